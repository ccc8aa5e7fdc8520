//! `forebay docs`: writes the page of every connector, the reference of the language, the table of connectors and the
//! catalogue in HTML, and says which are stale. No network, no environment.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::print::line;
use super::validate::specs;
use crate::connector::load::load;
use crate::connector::model::Connector;
use crate::docs::{catalogue, errors, html, page, reference};
use crate::error::{Error, Kind, Result};
use crate::spec::source::inside;

/// The page, beside the spec.
const PAGE: &str = "README.md";

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Connector folders, their connector.yaml files, or folders of connectors
    #[arg(required_unless_present_any = ["reference", "errors"])]
    paths: Vec<PathBuf>,
    /// Write the reference of the language to this file too
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Write the explanations of the codes of `validate` to this file too
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Put the table of these connectors into this page too
    #[arg(long, value_name = "FILE", requires = "paths")]
    catalogue: Option<PathBuf>,
    /// Write a catalogue in HTML into this folder too: a list that can be searched, and a page for each connector
    #[arg(long, value_name = "DIR", requires = "paths")]
    html: Option<PathBuf>,
    /// Write nothing; exit 1 where a page is not what would be written
    #[arg(long)]
    check: bool,
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let pages = pages(&arguments)?;
    let mut stale = 0;
    for (file, text) in &pages {
        let same = std::fs::read_to_string(file).is_ok_and(|found| found == *text);
        stale += usize::from(!same);
        match (same, arguments.check) {
            (true, _) => {}
            (false, true) => line(format_args!("stale: {}", file.display()))?,
            (false, false) => {
                write(file, text)?;
                line(format_args!("written: {}", file.display()))?;
            }
        }
    }
    let left_over = arguments.html.as_deref().map(|folder| left_over(folder, &pages)).unwrap_or_default();
    for file in &left_over {
        if arguments.check {
            line(format_args!("left over: {}", file.display()))?;
        } else {
            remove(file)?;
            line(format_args!("removed: {}", file.display()))?;
        }
    }
    line(format_args!("{} of {} pages were up to date", pages.len() - stale, pages.len()))?;
    stale += left_over.len();
    Ok(if arguments.check && stale > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The files that are asked for, and what has to stand in each.
fn pages(arguments: &Arguments) -> Result<Vec<(PathBuf, String)>> {
    let (mut pages, mut connectors) = (Vec::new(), Vec::new());
    for spec in specs(&arguments.paths)? {
        let connector = load(&spec)?;
        let text = page(&connector).map_err(|error| error.at(spec.display().to_string()))?;
        pages.push((spec.with_file_name(PAGE), text));
        let folder = spec.parent().unwrap_or(Path::new(".")).display().to_string();
        connectors.push((folder, connector));
    }
    if let Some(file) = &arguments.reference {
        pages.push((file.clone(), reference::reference()));
    }
    if let Some(file) = &arguments.errors {
        pages.push((file.clone(), errors::errors()));
    }
    if let Some(file) = &arguments.catalogue {
        let at = |error: Error| error.at(file.display().to_string());
        let text = std::fs::read_to_string(file).map_err(|e| {
            at(Error::new(Kind::Configuration, "the page of the table cannot be read").because(e))
        })?;
        pages.push((file.clone(), catalogue::within(&text, &connectors).map_err(at)?));
    }
    if let Some(folder) = &arguments.html {
        let connectors: Vec<&Connector> = connectors.iter().map(|(_, connector)| connector).collect();
        pages.extend(html::files(&connectors)?.into_iter().map(|(file, text)| (folder.join(file), text)));
    }
    Ok(pages)
}

/// The pages in a catalogue's folder of connectors that are in it no more: files of our own, and no others.
fn left_over(folder: &Path, pages: &[(PathBuf, String)]) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder.join(html::PAGES)) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "html"))
        .filter(|path| pages.iter().all(|(known, _)| known != path))
        .filter(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(html::MARK)))
        .collect();
    found.sort();
    found
}

fn remove(file: &Path) -> Result<()> {
    std::fs::remove_file(file).map_err(|e| {
        Error::new(Kind::Io, "a page that is left over cannot be removed")
            .at(file.display().to_string())
            .because(e)
    })
}

fn write(file: &Path, text: &str) -> Result<()> {
    // Of a connector from elsewhere the page may be a link to any file of this machine.
    if file.is_symlink()
        && let Err(why) = inside(file.parent().unwrap_or(Path::new("")), file)
    {
        return Err(Error::new(Kind::Configuration, "the page cannot be written")
            .at(file.display().to_string())
            .because(why)
            .help("replace the symbolic link by a file"));
    }
    let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder.and_then(|()| std::fs::write(file, text)).map_err(|e| {
        Error::new(Kind::Io, "the page cannot be written").at(file.display().to_string()).because(e)
    })
}
