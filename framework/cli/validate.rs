//! `forebay validate`.

use std::process::ExitCode;

use clap::Args;

use crate::error::Result;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {}

/// Runs it.
pub fn run(_arguments: Arguments) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
