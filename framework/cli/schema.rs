//! `forebay schema`: prints the JSON Schemas that are built in, for editors and for whoever checks what Forebay reads
//! and writes. No network, no environment, no file is read.

use std::process::ExitCode;

use clap::Args;

use super::print::print;
use crate::error::Result;
pub(super) use crate::spec::case::SCHEMA as CASE;
pub(super) use crate::spec::definition::DEFINITION as CONNECTOR;
use crate::spec::render::json;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What the schema is of
    #[arg(default_value = "connector")]
    of: Of,
}

/// What there is a schema of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    /// A connector's spec, connector.yaml
    Connector,
    /// A case, cases/*.yaml
    Case,
    /// What `validate --format json` prints
    Findings,
    /// What `diff --format json` prints
    Diff,
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let text = match arguments.of {
        Of::Connector => CONNECTOR,
        Of::Case => CASE,
        Of::Findings => json::SCHEMA,
        Of::Diff => include_str!("../../schemas/diff.json"),
    };
    print(text)?;
    Ok(ExitCode::SUCCESS)
}
