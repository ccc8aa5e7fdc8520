//! `forebay completions`: prints what a shell sources to complete commands, flags and their values.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::print::print;
use crate::error::Result;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell that will source it
    shell: Shell,
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "forebay", &mut script);
    print(String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
