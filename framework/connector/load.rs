//! A connector from its folder: read, check, compile.

use std::path::{Path, PathBuf};

use super::compile::compile;
use super::model::Connector;
use crate::error::{Error, Kind, Result};
use crate::spec::load;

/// The connector in a folder, or of a spec's file. Every mistake in it is in the error.
pub fn load(path: &Path) -> Result<Connector> {
    let file = spec_file(path);
    let place = file.display().to_string();
    let text = std::fs::read_to_string(&file)
        .map_err(|e| Error::new(Kind::Configuration, "the spec cannot be read").at(&place).because(e))?;
    let wrong = |mistakes: Vec<String>| Error::new(Kind::Finding, mistakes.join("\n")).at(&place);
    let spec = load::values(&text).map_err(|m| wrong(vec![m.message]))?;
    let (connector, mistakes) = compile(&spec, &file);
    connector
        .ok_or_else(|| wrong(mistakes.iter().map(|m| format!("{}: {}", m.place.path, m.message)).collect()))
}

/// The file of the spec: the path itself, or `connector.yaml` in it.
pub fn spec_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("connector.yaml") } else { path.to_owned() }
}
