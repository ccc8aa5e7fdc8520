//! `forebay test`: plays the cases of connectors and their simulated lives, and says of each whether it holds.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::Args;
use tokio::runtime::Runtime;

use super::{runtime, simulated};
use crate::call::transport::{HttpTransport, Options};
use crate::connector::load::{load, spec_file};
use crate::connector::model::Connector;
use crate::error::{Error, Kind, Result};
use crate::simulate::cases;
use crate::simulate::folder::Scratch;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Connector folders, their connector.yaml, or single cases (default: every folder of connectors/)
    paths: Vec<PathBuf>,
}

/// Plays the cases, and of a whole connector its simulated life; exit 1 where one does not hold.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let paths = if arguments.paths.is_empty() { every_connector()? } else { arguments.paths };
    let loopback = Arc::new(HttpTransport::new(Options { allow_loopback: true, ..Options::default() })?);
    let (runtime, scratch) = (runtime()?, Scratch::new(&std::env::temp_dir())?);
    let (mut all, mut held) = (0, 0);
    for path in &paths {
        let (spec, files, whole) = cases_of(path)?;
        let connector = Arc::new(load(&spec)?);
        println!("{}", connector.name);
        for file in files {
            let case = cases::play_file(&connector, &file, scratch.path(), loopback.clone());
            let one = runtime.block_on(case)?;
            print!("{one}");
            (all, held) = (all + 1, held + usize::from(one.holds()));
        }
        if whole {
            let holds = live(&runtime, load(&spec)?, scratch.path());
            (all, held) = (all + 1, held + usize::from(holds));
        }
    }
    println!("{held} of {all} hold");
    Ok(if held == all { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The life of a connector against its stand-in; what it told is shown where it did not come to its end.
fn live(runtime: &Runtime, connector: Connector, scratch: &Path) -> bool {
    let (begun, told) = (Instant::now(), Arc::new(Mutex::new(String::new())));
    let outcome = runtime.block_on(simulated::rehearse(connector, scratch, told.clone()));
    let wrong = match outcome {
        Ok(summary) if summary.agrees() => {
            println!("  ok   its whole life, simulated with faults ({} ms)", begun.elapsed().as_millis());
            return true;
        }
        Ok(summary) => summary.disagreements().join("\n    "),
        Err(error) => error.to_string(),
    };
    println!("  FAIL its whole life, simulated with faults");
    print!("{}", told.lock().unwrap_or_else(PoisonError::into_inner));
    println!("    {wrong}");
    false
}

/// The spec that a path belongs to, the cases that it means, and whether it means the whole connector.
fn cases_of(path: &Path) -> Result<(PathBuf, Vec<PathBuf>, bool)> {
    let is_case = path.parent().is_some_and(|folder| folder.ends_with("cases"));
    if path.is_file() && is_case {
        let folder = path.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        return Ok((folder.join("connector.yaml"), vec![path.to_owned()], false));
    }
    let spec = spec_file(path);
    Ok((spec.clone(), cases::files(&spec.with_file_name("cases"))?, true))
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
