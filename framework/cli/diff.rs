//! `forebay diff OLD NEW`: what a change of connectors means for their instances. No network, no environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::print::print;
use super::validate::specs;
use crate::connector::load::load;
use crate::connector::model::Connector;
use crate::diff::diff;
use crate::diff::render::{Compared, human, json, markdown};
use crate::error::{Error, Kind, Result};

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The version that instances run with: a connector, or a folder of them. Where there is nothing, all is new
    old: PathBuf,
    /// The version that they will run with. Where there is nothing, all is gone
    new: PathBuf,
    /// How it is written
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Human,
    /// For a comment on a pull request
    Markdown,
    /// One JSON array (schemas/diff.json)
    Json,
}

/// Runs it: exit 1 where a change breaks an instance.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    if !arguments.old.exists() && !arguments.new.exists() {
        return Err(Error::new(Kind::Configuration, "neither of the two is there")
            .at(format!("{} and {}", arguments.old.display(), arguments.new.display()))
            .help("name the old and the new version: connectors, or folders of them"));
    }
    // An old version that cannot be read is no finding about the new one.
    let old = connectors(&arguments.old).map_err(|error| Error { kind: Kind::Configuration, ..error })?;
    let new = connectors(&arguments.new)?;
    let compared = compared(old, new);
    let text = match arguments.format {
        Format::Human => human(&compared),
        Format::Markdown => markdown(&compared),
        Format::Json => format!("{:#}\n", json(&compared)),
    };
    print(text)?;
    Ok(if compared.iter().any(Compared::breaks) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The connectors of a path by the folders they stand in below it; none where there is nothing.
fn connectors(path: &Path) -> Result<BTreeMap<PathBuf, Connector>> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let mut found = BTreeMap::new();
    for spec in specs(&[path.to_owned()])? {
        let folder = spec.parent().unwrap_or(Path::new(""));
        let place = folder.strip_prefix(path).map(Path::to_owned).unwrap_or_default();
        found.insert(place, load(&spec)?);
    }
    Ok(found)
}

fn compared(mut old: BTreeMap<PathBuf, Connector>, new: BTreeMap<PathBuf, Connector>) -> Vec<Compared> {
    let one = |was: Option<&Connector>, is: Option<&Connector>| {
        let name = is.or(was).map(|connector| connector.name.clone()).unwrap_or_default();
        Compared { name, findings: diff(was, is) }
    };
    let mut compared: Vec<Compared> =
        new.iter().map(|(place, is)| one(old.remove(place).as_ref(), Some(is))).collect();
    compared.extend(old.values().map(|was| one(Some(was), None)));
    compared
}
