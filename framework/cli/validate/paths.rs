//! Which specs the paths of a command line mean: connectors' folders, their files, and folders of connectors.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// How deep folders are searched.
const MAX_DEPTH: usize = 8;

/// The specs that paths mean, each once; the first path that means none is the error.
pub fn specs(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        found.extend(specs_of(path)?);
    }
    let mut seen = BTreeSet::new();
    found.retain(|file| seen.insert(file.clone()));
    Ok(found)
}

/// The specs that one path means: the file itself, that of a case, a connector's folder, or the connectors in another
/// folder.
pub fn specs_of(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![spec_of_case(path).unwrap_or_else(|| path.to_owned())]);
    }
    let mut found = Vec::new();
    search(path, MAX_DEPTH, &mut found);
    if found.is_empty() {
        return Err(Error::new(Kind::Configuration, "there is no connector.yaml in this folder")
            .at(path.display().to_string())
            .help("name a connector's folder, its connector.yaml, or a folder of connectors"));
    }
    Ok(found)
}

/// The spec whose case a file is.
fn spec_of_case(file: &Path) -> Option<PathBuf> {
    let cases = file.parent().filter(|folder| folder.ends_with("cases"))?;
    Some(cases.parent()?.join("connector.yaml")).filter(|spec| spec.is_file())
}

fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let own = folder.join("connector.yaml");
    if own.is_file() {
        found.push(own);
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder) else {
        // Whoever reads it says why it cannot be read.
        found.push(own);
        return;
    };
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
