//! `forebay man`: the manual, made of the help of the commands: one page on stdout, or the page of every command in a
//! folder, as packages install them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::Cli;
use super::print::print;
use crate::error::{Error, Kind, Result};

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Write forebay.1 and a page of every command into this folder, which must be there
    folder: Option<PathBuf>,
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let unwritten = |e| Error::new(Kind::Io, "the manual cannot be written").because(e);
    // `help` is no command of its own: every page says what it would.
    let command = Cli::command().disable_help_subcommand(true);
    let Some(folder) = arguments.folder else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page).map_err(unwritten)?;
        print(String::from_utf8_lossy(&page))?;
        return Ok(ExitCode::SUCCESS);
    };
    clap_mangen::generate_to(command, &folder)
        .map_err(|e| unwritten(e).at(folder.display().to_string()).help("name a folder that is there"))?;
    Ok(ExitCode::SUCCESS)
}
