//! `forebay validate`: checks connectors offline. No network, no environment, no secrets.
//!
//! What it finds goes to stdout, in one of four formats; what keeps it from looking goes to stderr, and does not keep
//! it from looking at the others.

mod mend;
mod paths;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use self::mend::Again;
pub use self::paths::{specs, specs_of};
use super::print::{self, print};
use crate::connector::cases::{examine_cases, examine_text};
use crate::connector::load::{Examined, examine, examine_source, spec_file};
use crate::connector::model::Connector;
use crate::error::{Error, Result};
use crate::provision::scopes::scopes;
use crate::spec::mistake::Severity;
use crate::spec::render;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Connector folders, their connector.yaml files or cases, or folders of connectors
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// How findings are written
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
    /// Exit 1 on warnings too
    #[arg(long)]
    pub deny_warnings: bool,
    /// Mend what can be mended safely, show what was changed, and report what is left
    #[arg(long)]
    pub fix: bool,
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people, with the lines they are about
    Human,
    /// One JSON array, as schemas/findings.json describes it
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations for GitHub Actions
    Github,
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let (mut examined, mut worst) = (Vec::new(), 0);
    let mut seen = BTreeSet::new();
    let mut fault = |error: &Error| {
        eprintln!("error: {error}");
        worst = worst.max(super::exit_code(error));
    };
    for path in &arguments.paths {
        let files = specs_of(path).unwrap_or_else(|error| {
            fault(&error);
            Vec::new()
        });
        for file in files {
            if !seen.insert(file.clone()) {
                continue;
            }
            match looked_at(&file, &arguments) {
                Ok(found) => examined.extend(found),
                Err(error) => fault(&error),
            }
        }
    }
    print(written(&examined, arguments.format, std::io::stdout().is_terminal()))?;
    let error = |spec: &Examined| spec.diagnostics.iter().any(|found| found.severity == Severity::Error);
    let denied = |spec: &Examined| error(spec) || arguments.deny_warnings && !spec.diagnostics.is_empty();
    Ok(match (worst, examined.iter().any(denied)) {
        (0, false) => ExitCode::SUCCESS,
        (0, true) => ExitCode::FAILURE,
        (worst, _) => ExitCode::from(worst),
    })
}

/// One spec and those of its cases that have mistakes; mended where that is asked for.
fn looked_at(file: &Path, arguments: &Arguments) -> Result<Vec<Examined>> {
    let file = &spec_file(file);
    let spec = mended(examine(file)?, file, &|source| examine_source(source, file), arguments)?;
    let mut cases = Vec::new();
    if let Some(connector) = &spec.connector {
        for case in examine_cases(connector) {
            let file = &PathBuf::from(&case.source.name);
            let again = |source| examine_text(connector, source, file);
            cases.push(mended(case, file, &again, arguments)?);
        }
    }
    cases.retain(|case| !case.diagnostics.is_empty());
    Ok(std::iter::once(spec).chain(cases).collect())
}

/// What is left of a file's findings once it is mended, where that is asked for; what was done is said.
fn mended(found: Examined, file: &Path, again: &Again<'_>, arguments: &Arguments) -> Result<Examined> {
    if !arguments.fix {
        return Ok(found);
    }
    let mended = mend::mend(found, file, again)?;
    for line in mended.report {
        match arguments.format {
            Format::Human => print::line(line)?,
            Format::Json | Format::Sarif | Format::Github => eprintln!("{line}"),
        }
    }
    Ok(mended.examined)
}

/// The findings of all specs, as one text.
fn written(examined: &[Examined], format: Format, colour: bool) -> String {
    let found = examined.iter().flat_map(|spec| &spec.diagnostics);
    match format {
        Format::Human => human(examined, colour),
        Format::Json => render::json::json(found),
        Format::Sarif => render::sarif(found, examined.iter().flat_map(|spec| &spec.allowed)),
        Format::Github => examined.iter().map(annotated).collect(),
    }
}

/// What was found of one spec, and whom it calls: whoever reviews a change sees that too.
fn annotated(spec: &Examined) -> String {
    let mut text: String = spec.diagnostics.iter().map(render::github).collect();
    if let Some(connector) = &spec.connector {
        let reach = reach(connector).join("\n");
        if !reach.is_empty() {
            text.push_str(&render::notice(&spec.source.name, &connector.name, &reach));
        }
    }
    text
}

fn human(examined: &[Examined], colour: bool) -> String {
    let mut text = String::new();
    for spec in examined {
        if !spec.diagnostics.is_empty() {
            text.push_str(&render::human(&spec.source, &spec.diagnostics, colour));
            text.push_str("\n\n");
        }
        let counted = counted(std::slice::from_ref(spec));
        let counted = if counted.is_empty() { counted } else { format!(": {counted}") };
        text.push_str(&match &spec.connector {
            Some(connector) => {
                let reach: String = reach(connector).iter().map(|line| format!("    {line}\n")).collect();
                format!("ok: {} ({}){counted}\n{reach}", connector.name, spec.source.name)
            }
            None => format!("{}{counted}\n", spec.source.name),
        });
    }
    let counted = counted(examined);
    if examined.len() > 1 && !counted.is_empty() {
        text.push_str(&format!("in all: {counted}\n"));
    }
    text
}

/// Whom a connector calls and what that takes, for whoever has to allow it.
fn reach(connector: &Connector) -> Vec<String> {
    let hosts = connector.hosts.iter().map(String::as_str).collect();
    let scopes = connector.provision.as_ref().map(scopes).unwrap_or_default();
    let lines = [("calls", hosts), ("needs", scopes)];
    let lines = lines.into_iter().filter(|(_, names): &(&str, Vec<&str>)| !names.is_empty());
    lines.map(|(word, names)| format!("{word}: {}", names.join(", "))).collect()
}

/// What was found, in figures: errors and warnings apart, and what can be done about them at once.
fn counted(examined: &[Examined]) -> String {
    let found = || examined.iter().flat_map(|spec| &spec.diagnostics);
    let of = |severity: Severity| found().filter(|diagnostic| diagnostic.severity == severity).count();
    let fixable = found().filter(|d| d.fix.as_ref().is_some_and(|fix| fix.safe)).count();
    let allowed = examined.iter().map(|spec| spec.allowed.len()).sum();
    let figures = [
        (of(Severity::Error), "error", "errors"),
        (of(Severity::Warning), "warning", "warnings"),
        (allowed, "warning allowed", "warnings allowed"),
        (fixable, "can be mended with --fix", "can be mended with --fix"),
    ];
    let words: Vec<String> = figures
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
    words.join(", ")
}
