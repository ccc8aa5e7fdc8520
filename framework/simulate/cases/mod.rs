//! Cases: recorded exchanges and requests, played against the code that runs in production.
//!
//! `forebay test` calls [`play_file`] for each case, and [`update`] where expectations are to be rewritten. It touches
//! loopback and a data folder of its own, which it makes where it is told and removes, and nothing else.

mod compare;
mod play;
mod receiver;
mod script;
mod update;
pub mod wanting;
mod wrong;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::play::{World, play};
pub use self::update::{Updated, rewritten, update};
pub use self::wrong::Wrong;
use super::configure::{Filled, instance};
use super::folder::Scratch;
use crate::call::Transport;
use crate::connector::instance::InstanceId;
use crate::connector::model::Connector;
use crate::error::{Error, Kind, Result};
use crate::spec::case::{Case, read};
use crate::spec::document::Document;
use crate::spec::mistake::Place;
use crate::spec::source::Source;

/// A case that was played.
#[derive(Debug)]
pub struct Played {
    /// Its file.
    pub file: PathBuf,
    /// What it shows.
    pub title: String,
    /// What went otherwise; empty: it holds.
    pub wrong: Vec<Wrong>,
    /// Why it could not be played to its end.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// The line of each thing that went otherwise.
    lines: Vec<usize>,
}

/// The cases in a folder, by name.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let unreadable = |e| Error::new(Kind::Io, "cannot be read").at(folder.display().to_string()).because(e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What a case shows, by its own words; `None` where it cannot be read.
pub fn title(file: &Path) -> Option<String> {
    let source = Source::read(file).ok()?;
    Some(read(&source.text, &file.display().to_string()).ok()?.title)
}

/// Plays one case, with a store in a new folder below `scratch` that is removed afterwards. A case that cannot
/// be read has not held; an error is this machine's trouble.
pub async fn play_file(
    connector: &Arc<Connector>,
    file: &Path,
    scratch: &Path,
    loopback: Arc<dyn Transport>,
) -> Result<Played> {
    let place = file.display().to_string();
    let source = Source::read(file)
        .map_err(|e| Error::new(Kind::Configuration, "the case cannot be read").at(&place).because(e))?;
    play_text(connector, file, &source.text, scratch, loopback).await
}

/// The same with a text in the place of the file's.
async fn play_text(
    connector: &Arc<Connector>,
    file: &Path,
    text: &str,
    scratch: &Path,
    loopback: Arc<dyn Transport>,
) -> Result<Played> {
    let place = file.display().to_string();
    let begun = Instant::now();
    let played = |title: String, wrong: Vec<Wrong>, error| {
        let lines = match wrong.is_empty() {
            true => Vec::new(),
            false => {
                let (document, _) = Document::parse(Source::new(&place, text));
                wrong.iter().map(|wrong| document.span(&Place::value(&wrong.at)).line).collect()
            }
        };
        Played { file: file.to_owned(), title, wrong, error, took: begun.elapsed(), lines }
    };
    let case = match read(text, &place) {
        Ok(case) => case,
        Err(error) => {
            return Ok(played("a case that cannot be read".to_owned(), Vec::new(), Some(error.to_string())));
        }
    };
    let data = Scratch::new(scratch)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let outcome = match configured(connector, &case) {
        Ok(instance) => {
            play(&case, &World { instance: Arc::new(instance), folder, data: data.path(), loopback }).await
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(wrong) => Ok(played(case.title, wrong, None)),
        Err(error) if error.kind == Kind::Io => Err(error.at(place)),
        Err(error) => Ok(played(case.title, Vec::new(), Some(error.to_string()))),
    }
}

fn configured(connector: &Arc<Connector>, case: &Case) -> Result<crate::connector::instance::Instance> {
    let name = case.id.as_deref().unwrap_or(&connector.name);
    let id = InstanceId::parse(name)
        .ok_or_else(|| Error::new(Kind::Finding, format!("`{name}` is no id of an instance")).at("id"))?;
    let filled = Filled { settings: case.settings.clone(), secrets: case.secrets.clone() };
    let base = case.public_url.as_deref().unwrap_or("https://forebay.example");
    let base = url::Url::parse(base)
        .map_err(|e| Error::new(Kind::Finding, format!("`{base}` is no URL")).at("public_url").because(e))?;
    instance(connector.clone(), id, filled, "the case")?.at_base(&base)
}

impl Played {
    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.wrong.is_empty() && self.error.is_none()
    }

    /// What went otherwise, each with the line of the case that expects it.
    pub fn reports(&self) -> Vec<String> {
        let file = self.file.display();
        let wrong = self.wrong.iter().zip(&self.lines);
        let wrong = wrong.map(|(wrong, line)| format!("{file}:{line}: {}", wrong.report()));
        wrong.chain(self.error.clone()).collect()
    }
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let word = if self.holds() { "ok  " } else { "FAIL" };
        writeln!(f, "  {word} {name}: {} ({} ms)", self.title, self.took.as_millis())?;
        self.reports().iter().try_for_each(|report| writeln!(f, "    {}", report.replace('\n', "\n    ")))
    }
}
