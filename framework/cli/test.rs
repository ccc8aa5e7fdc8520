//! `forebay test`: plays the cases of connectors, and says of each whether it holds.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::runtime;
use crate::call::transport::{HttpTransport, Options};
use crate::connector::load::{load, spec_file};
use crate::error::{Error, Kind, Result};
use crate::simulate::cases;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Connector folders, their connector.yaml, or single cases (default: every folder of connectors/)
    paths: Vec<PathBuf>,
}

/// Plays the cases; exit 1 where one does not hold.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let paths = if arguments.paths.is_empty() { every_connector()? } else { arguments.paths };
    let loopback = Arc::new(HttpTransport::new(Options { allow_loopback: true, ..Options::default() })?);
    let (runtime, scratch) = (runtime()?, std::env::temp_dir());
    let mut played = Vec::new();
    for path in &paths {
        let (spec, files) = cases_of(path)?;
        let connector = Arc::new(load(&spec)?);
        println!("{}", connector.name);
        if files.is_empty() {
            println!("  no cases in {}", spec.with_file_name("cases").display());
        }
        for file in files {
            let one = runtime.block_on(cases::play_file(&connector, &file, &scratch, loopback.clone()))?;
            print!("{one}");
            played.push(one);
        }
    }
    let failed = played.iter().filter(|one| !one.holds()).count();
    println!("{} of {} cases hold", played.len() - failed, played.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The spec that a path belongs to, and the cases that it means.
fn cases_of(path: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let is_case = path.parent().is_some_and(|folder| folder.ends_with("cases"));
    if path.is_file() && is_case {
        let folder = path.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        return Ok((folder.join("connector.yaml"), vec![path.to_owned()]));
    }
    let spec = spec_file(path);
    Ok((spec.clone(), cases::files(&spec.with_file_name("cases"))?))
}

fn every_connector() -> Result<Vec<PathBuf>> {
    let folder = Path::new("connectors");
    let entries = std::fs::read_dir(folder).map_err(|e| {
        Error::new(Kind::Configuration, "there is no folder `connectors` here")
            .because(e)
            .help("name connectors: forebay test PATH...")
    })?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("connector.yaml").is_file())
        .collect();
    found.sort();
    Ok(found)
}
