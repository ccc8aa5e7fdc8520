//! `forebay docs`: writes the page of every connector, and says which are stale. No network, no environment.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::validate::specs;
use crate::connector::load::load;
use crate::docs::page;
use crate::error::{Error, Kind, Result};

/// The page, beside the spec.
const PAGE: &str = "README.md";

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Connector folders, their connector.yaml files, or folders of connectors
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Write nothing; exit 1 where a page is not what would be written
    #[arg(long)]
    check: bool,
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut pages = Vec::new();
    for spec in specs(&arguments.paths)? {
        pages.push((spec.with_file_name(PAGE), page(&load(&spec)?)?));
    }
    let mut stale = 0;
    for (file, text) in &pages {
        let same = std::fs::read_to_string(file).is_ok_and(|found| found == *text);
        stale += usize::from(!same);
        match (same, arguments.check) {
            (true, _) => {}
            (false, true) => println!("stale: {}", file.display()),
            (false, false) => {
                write(file, text)?;
                println!("written: {}", file.display());
            }
        }
    }
    println!("{} of {} pages were up to date", pages.len() - stale, pages.len());
    Ok(if arguments.check && stale > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).map_err(|e| {
        Error::new(Kind::Io, "the page cannot be written").at(file.display().to_string()).because(e)
    })
}
