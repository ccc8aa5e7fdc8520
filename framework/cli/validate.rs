//! `forebay validate`: checks connectors offline. No network, no environment, no secrets.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value as Json;

use crate::connector::load::{Examined, examine};
use crate::connector::model::Connector;
use crate::error::{Error, Kind, Result};
use crate::provision::scopes::scopes;
use crate::spec::mistake::Severity;
use crate::spec::render;

/// How deep folders are searched.
const MAX_DEPTH: usize = 8;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Connector folders, their connector.yaml files, or folders of connectors
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// How findings are written
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people, with the lines they are about
    Human,
    /// One JSON array
    Json,
    /// Annotations for GitHub Actions
    Github,
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut examined = Vec::new();
    for file in specs(&arguments.paths)? {
        examined.push(examine(&file)?);
    }
    let colour = out.is_terminal();
    let text = match arguments.format {
        Format::Human => examined.iter().map(|spec| human(spec, colour)).collect(),
        Format::Json => json(&examined),
        Format::Github => github(&examined),
    };
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Error::new(Kind::Io, "cannot write to stdout").because(e))?;
    let sound = examined.iter().all(|spec| spec.connector.is_some());
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn human(spec: &Examined, colour: bool) -> String {
    let mut text = String::new();
    if !spec.diagnostics.is_empty() {
        text = render::human(&spec.source, &spec.diagnostics, colour);
        text.push_str("\n\n");
    }
    text.push_str(&match &spec.connector {
        Some(connector) => format!("ok: {} ({})\n{}", connector.name, spec.source.name, reach(connector)),
        None => {
            let errors = spec.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
            let word = if errors == 1 { "mistake" } else { "mistakes" };
            format!("{}: {errors} {word}\n", spec.source.name)
        }
    });
    text
}

/// Whom a connector calls and what that takes, for whoever has to allow it.
fn reach(connector: &Connector) -> String {
    let line = |word: &str, names: Vec<&str>| match names.as_slice() {
        [] => String::new(),
        names => format!("    {word}: {}\n", names.join(", ")),
    };
    let hosts = connector.hosts.iter().map(String::as_str).collect();
    let scopes = connector.provision.as_ref().map(scopes).unwrap_or_default();
    line("calls", hosts) + &line("needs", scopes)
}

fn json(examined: &[Examined]) -> String {
    let all: Vec<Json> = examined.iter().flat_map(|spec| &spec.diagnostics).map(|d| d.to_json()).collect();
    format!("{:#}\n", Json::Array(all))
}

fn github(examined: &[Examined]) -> String {
    examined.iter().flat_map(|spec| &spec.diagnostics).map(|d| format!("{}\n", render::github(d))).collect()
}

/// The specs that paths mean: files themselves, connector folders, and the connectors in other folders.
pub fn specs(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        if path.is_dir() {
            search(path, MAX_DEPTH, &mut found);
        } else {
            found.push(path.clone());
        }
        if found.len() == before {
            return Err(Error::new(Kind::Configuration, "there is no connector.yaml in this folder")
                .at(path.display().to_string())
                .help("name a connector's folder, its connector.yaml, or a folder of connectors"));
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|file| seen.insert(file.clone()));
    Ok(found)
}

fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let own = folder.join("connector.yaml");
    if own.is_file() {
        found.push(own);
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    // Links are not followed: they can lead in a circle.
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    let hidden =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    for folder in folders.iter().filter(|path| depth > 0 && !hidden(path)) {
        search(folder, depth - 1, found);
    }
}
