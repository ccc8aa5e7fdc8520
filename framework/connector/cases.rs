//! The cases of a connector, held against the language of cases and against the connector: names, values, records.
//!
//! `validate` calls it for connectors that are sound. Nothing is played here: that is `simulate::cases`.

use std::path::{Path as FilePath, PathBuf};

use forebay_json_schema::error::ValidationErrorKind;
use serde_json::Value as Json;

use super::load::Examined;
use super::model::{Connector, Resource};
use super::settings::{Given, value};
use crate::error::escaped;
use crate::spec::allow::settle;
use crate::spec::case::{SCHEMA, validator};
use crate::spec::diagnostic::placed;
use crate::spec::document::Document;
use crate::spec::fix::Fix;
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::nearest::{Meant, listed, meant};
use crate::spec::path::Path;
use crate::spec::source::{Source, inside};

/// The cases of a connector that have mistakes, each with what is wrong with it.
pub fn examine_cases(connector: &Connector) -> Vec<Examined> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(connector.folder.join("cases"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| examine_case(connector, file))
        .filter(|case| !case.diagnostics.is_empty())
        .collect()
}

fn examine_case(connector: &Connector, file: &FilePath) -> Examined {
    let (source, unread) = match Source::read(file) {
        Ok(source) => (source, None),
        Err(why) => (Source::new(file.display().to_string(), ""), Some(why)),
    };
    let Some(why) = unread else { return examine_text(connector, source, file) };
    let (document, _) = Document::parse(source);
    let mistake =
        Mistake::new(Code::Unreadable, Place::bytes(0..0), format!("the case cannot be read: {why}"))
            .help("a case is a UTF-8 text of at most 1 MiB");
    let diagnostics = placed(&document, vec![mistake]);
    Examined { connector: None, source: document.source, diagnostics, allowed: Vec::new() }
}

/// Examines a case's text as if it stood in a file.
pub fn examine_text(connector: &Connector, source: Source, file: &FilePath) -> Examined {
    let (document, mut mistakes) = Document::parse(source);
    if mistakes.is_empty() {
        mistakes = shape(&document.values);
        let case =
            Case { values: &document.values, connector, folder: file.parent().unwrap_or(FilePath::new("")) };
        let meaning = [case.settings(), case.secrets(), case.state(), case.files(), case.records()];
        let own: Vec<Path> = mistakes.iter().map(|m| m.place.path.clone()).collect();
        let new = |m: &Mistake| own.iter().all(|path| !m.place.path.within(path) || path.0.is_empty());
        mistakes.extend(meaning.into_iter().flatten().filter(new));
    }
    let (diagnostics, allowed) = settle(&document, placed(&document, mistakes));
    Examined { connector: None, source: document.source, diagnostics, allowed }
}

/// Whether a case is written in the language of cases.
fn shape(values: &Json) -> Vec<Mistake> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    for error in validator().iter_errors(values) {
        let path = Path::from_pointer(error.instance_path().as_str());
        let mistake = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let Some(key) = unexpected.first() else { continue };
                unknown_key(&path, key, error.schema_path().as_str())
            }
            ValidationErrorKind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                Mistake::new(Code::BadCase, Place::key(&path), format!("the case lacks `{key}` here"))
                    .help(format!("add `{key}`: schemas/case.json says what it is"))
            }
            _ => Mistake::new(Code::BadCase, Place::value(&path), escaped(&error.to_string(), 200))
                .help("schemas/case.json describes every key of a case"),
        };
        // Several rules for one place are one mistake.
        if !mistakes.iter().any(|known| known.place.path.within(&path) || path.within(&known.place.path)) {
            mistakes.push(mistake);
        }
    }
    mistakes
}

fn unknown_key(path: &Path, key: &str, keyword: &str) -> Mistake {
    let schema: Json = serde_json::from_str(SCHEMA).unwrap_or_default();
    let around = keyword.rsplit_once('/').map_or("", |(around, _)| around);
    let known = resolved(&schema, around).and_then(|around| around.get("properties"));
    let known: Vec<&str> =
        known.and_then(Json::as_object).into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    let near = meant(key, known.iter().copied());
    let help = match near {
        Some(Meant { name, .. }) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", listed(known.iter().copied())),
    };
    let place = Place::key(&path.join(key));
    let fix = near.map(|near| Fix::meant(place.clone(), near));
    Mistake::new(Code::BadCase, place, format!("a case has no key `{}` here", escaped(key, 60)))
        .help(help)
        .fix(fix)
}

/// A part of a schema by the path that the validator took, references followed.
fn resolved<'a>(schema: &'a Json, pointer: &str) -> Option<&'a Json> {
    let mut at = schema;
    for token in pointer.split('/').skip(1) {
        at = match at {
            Json::Array(list) => list.get(token.parse::<usize>().ok()?)?,
            Json::Object(map) => map.get(&token.replace("~1", "/").replace("~0", "~"))?,
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => return None,
        };
        if token == "$ref" {
            at = schema.pointer(at.as_str()?.trim_start_matches('#'))?;
        }
    }
    Some(at)
}

/// One case that is held against its connector.
struct Case<'a> {
    values: &'a Json,
    connector: &'a Connector,
    folder: &'a FilePath,
}

impl Case<'_> {
    fn pairs(&self, key: &str) -> impl Iterator<Item = (Path, &str, &Json)> {
        let path = Path(vec![key.to_owned()]);
        let map = self.values.get(key).and_then(Json::as_object);
        map.into_iter().flatten().map(move |(name, value)| (path.join(name.as_str()), name.as_str(), value))
    }

    fn settings(&self) -> Vec<Mistake> {
        let known = &self.connector.settings;
        let found = self.pairs("settings").filter_map(|(path, name, given)| {
            let Some(setting) = known.iter().find(|setting| setting.name == name) else {
                let known: Vec<&str> = known.iter().map(|setting| setting.name.as_str()).collect();
                return Some(undefined(&path, "setting", name, &known));
            };
            let fault = value(setting, &Given::Data(given.clone())).err()?;
            let message = format!("the setting `{name}` {}", fault.sentence);
            let help = fault.help.unwrap_or_else(|| "the spec says which values it takes".to_owned());
            Some(Mistake::new(Code::BadCase, Place::value(&path), message).help(help))
        });
        found.collect()
    }

    fn secrets(&self) -> Vec<Mistake> {
        let known: Vec<&str> = self.connector.secrets.iter().map(|secret| secret.name.as_str()).collect();
        let unknown = self.pairs("secrets").filter(|(_, name, _)| !known.contains(name));
        unknown.map(|(path, name, _)| undefined(&path, "secret", name, &known)).collect()
    }

    fn state(&self) -> Vec<Mistake> {
        let provision = self.connector.provision.as_ref();
        let resources = provision
            .iter()
            .flat_map(|provision| &provision.resources)
            .map(|resource: &Resource| resource.name.as_str());
        let captures = self.connector.receiver.rules.iter().flat_map(|rule| &rule.capture);
        let known: Vec<&str> = resources.chain(captures.map(|capture| capture.resource.as_str())).collect();
        let unknown = self.pairs("state").filter(|(_, name, _)| !known.contains(name));
        unknown.map(|(path, name, _)| undefined(&path, "resource", name, &known)).collect()
    }

    /// Bodies in files of their own are there.
    fn files(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        for (n, step) in self.values.get("steps").and_then(Json::as_array).into_iter().flatten().enumerate() {
            let Some(name) = step.pointer("/receive/file").and_then(Json::as_str) else { continue };
            let file = inside(&self.connector.folder, &self.folder.join(name));
            if !file.is_ok_and(|file| file.is_file()) {
                let path =
                    Path(vec!["steps".to_owned(), n.to_string(), "receive".to_owned(), "file".to_owned()]);
                let message = format!("there is no file `{}` in the connector's folder", escaped(name, 100));
                found.push(
                    Mistake::new(Code::BadCase, Place::value(&path), message)
                        .help("files of a case are named from the folder that it stands in"),
                );
            }
        }
        found
    }

    /// Records that must come out are records that can.
    fn records(&self) -> Vec<Mistake> {
        let output = &self.connector.output;
        let path = Path(vec!["records".to_owned()]);
        let mut found = Vec::new();
        for (n, record) in
            self.values.get("records").and_then(Json::as_array).into_iter().flatten().enumerate()
        {
            // Text is compared byte for byte: a record may be a text itself.
            let read = record.as_str().and_then(|text| serde_json::from_str(text).ok());
            let whole = read.as_ref().unwrap_or(record);
            let record = if output.envelope.is_some() { whole.get("record") } else { Some(whole) };
            let wrong = record.and_then(|record| output.schema.faults(record, 1).into_iter().next());
            let Some((at, wrong)) = wrong else { continue };
            let at = if at.is_empty() { "the record".to_owned() } else { at };
            let message = format!("no such record can come out: {}", escaped(&format!("{at}: {wrong}"), 200));
            found.push(Mistake::new(Code::BadCase, Place::value(&path.join(n.to_string())), message).help(
                "what does not fit the output's schema becomes a dead letter: mend the case, or the schema",
            ));
        }
        found
    }
}

fn undefined(path: &Path, what: &str, name: &str, known: &[&str]) -> Mistake {
    let near = meant(name, known.iter().copied());
    let help = match near {
        Some(Meant { name, .. }) => format!("did you mean `{name}`?"),
        None if known.is_empty() => format!("it has no {what} at all"),
        None => format!("it has {}", listed(known.iter().copied())),
    };
    let fix = near.map(|near| Fix::meant(Place::key(path), near));
    Mistake::new(
        Code::BadCase,
        Place::key(path),
        format!("the connector has no {what} `{}`", escaped(name, 60)),
    )
    .help(help)
    .fix(fix)
}
