//! A connector from its folder: read, checked, compiled. Every mistake in it is found at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::compile::compile;
use super::model::Connector;
use crate::error::{Error, Kind, Result};
use crate::spec::allow::{Allowed, settle};
use crate::spec::diagnostic::{Diagnostic, placed};
use crate::spec::document::Document;
use crate::spec::mistake::{Code, Mistake, Part, Place, Severity};
use crate::spec::source::Source;
use crate::spec::traps::ONE_LINE_MAP;
use crate::spec::{render, shape};

/// What became of a spec.
#[derive(Debug)]
pub struct Examined {
    /// The connector, where nothing in the spec is an error.
    pub connector: Option<Connector>,
    /// The text of the spec.
    pub source: Source,
    /// What is wrong with it, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The warnings that comments in it allow.
    pub allowed: Vec<Allowed>,
}

/// The connector in a folder, or of a spec's file. Every mistake in it is in the error.
pub fn load(path: &Path) -> Result<Connector> {
    let examined = examine(path)?;
    for diagnostic in &examined.diagnostics {
        if diagnostic.severity == Severity::Warning {
            let place = format!("{}:{}:{}", diagnostic.file, diagnostic.span.line, diagnostic.span.column);
            tracing::warn!(code = diagnostic.code.id(), %place, "{}", diagnostic.message);
        }
    }
    examined.connector.ok_or_else(|| {
        let wrong = render::human(&examined.source, &examined.diagnostics, false);
        Error::new(Kind::Finding, format!("the spec cannot be used\n{wrong}")).at(&examined.source.name)
    })
}

/// Examines the spec in a folder, or of a file. Fails only where there is no file to be read.
pub fn examine(path: &Path) -> Result<Examined> {
    let file = spec_file(path);
    match Source::read(&file) {
        Ok(source) => Ok(examine_source(source, &file)),
        Err(why) if file.is_file() => {
            let source = Source::new(file.display().to_string(), "");
            let mistake =
                Mistake::new(Code::Unreadable, Place::bytes(0..0), format!("the spec cannot be read: {why}"))
                    .help("a spec is a UTF-8 text of at most 1 MiB in its own folder, and no link out of it");
            let (document, _) = Document::parse(source);
            let diagnostics = placed(&document, vec![mistake]);
            Ok(Examined { connector: None, source: document.source, diagnostics, allowed: Vec::new() })
        }
        Err(why) => Err(Error::new(Kind::Configuration, "there is no spec here")
            .at(file.display().to_string())
            .because(why)
            .help("name a connector's folder, or its connector.yaml")),
    }
}

/// The connector of an instance with these settings. Where the spec leaves it to a setting where something
/// stands, it is compiled again with what they say.
pub fn settled(connector: &Arc<Connector>, settings: &Map<String, Json>) -> Result<Arc<Connector>> {
    if connector.by_settings.is_empty() {
        return Ok(connector.clone());
    }
    let place = connector.file.display().to_string();
    let source = Source::read(&connector.file)
        .map_err(|why| Error::new(Kind::Configuration, "the spec cannot be read").at(&place).because(why))?;
    let examined = examine_with(source, &connector.file, Some(settings));
    let wrong = |examined: &Examined| render::human(&examined.source, &examined.diagnostics, false);
    match examined.connector {
        Some(connector) => Ok(Arc::new(connector)),
        None => Err(Error::new(
            Kind::Configuration,
            format!("the spec cannot be used with these settings\n{}", wrong(&examined)),
        )
        .at(place)),
    }
}

/// Examines a spec's text as if it stood in a file.
pub fn examine_source(source: Source, file: &Path) -> Examined {
    examine_with(source, file, None)
}

fn examine_with(source: Source, file: &Path, settings: Option<&Map<String, Json>>) -> Examined {
    let (document, mut mistakes) = Document::parse(source);
    mistakes.extend(document.odd_keys());
    if !mistakes.is_empty() {
        // What YAML itself forbids leaves nothing to look at; a key that is a map is said better by its place.
        if mistakes.iter().any(|m| m.place.part != Part::Value) {
            mistakes.retain(|m| m.place.part != Part::Value);
        }
        let diagnostics = placed(&document, mistakes);
        return Examined { connector: None, source: document.source, diagnostics, allowed: Vec::new() };
    }
    let shape = shape::check(&document.values);
    let malformed: Vec<_> =
        shape.iter().filter(|m| m.place.part == Part::Value).map(|m| m.place.path.clone()).collect();
    let (connector, meaning) = compile(&document.values, file, &malformed, settings);
    let mut mistakes = without_echoes(shape, meaning);
    breaks_off(&document.values, &mut mistakes);
    let mut diagnostics = placed(&document, mistakes);
    let sound = diagnostics.iter().all(|d| d.severity != Severity::Error);
    let connector = connector.filter(|_| sound);
    if sound && connector.is_none() {
        let ours =
            Mistake::new(Code::Ours, Place::bytes(0..0), "the spec fits the language and cannot be compiled")
                .help("this is a fault of forebay: please report it with the spec");
        diagnostics = placed(&document, vec![ours]);
    }
    let (diagnostics, allowed) = settle(&document, diagnostics);
    Examined { connector, source: document.source, diagnostics, allowed }
}

/// One mistake is reported once: a value of the wrong shape says nothing by its meaning, and where its
/// meaning says more than that it is malformed, that is what is said.
fn without_echoes(mut shape: Vec<Mistake>, mut meaning: Vec<Mistake>) -> Vec<Mistake> {
    // What was read wrong names nothing that counts: where there is an error, what seems unused may be its consequence.
    if shape.iter().chain(&meaning).any(|m| m.code.severity() == Severity::Error) {
        meaning.retain(|m| m.code != Code::Unused);
    }
    shape.retain(|s| s.code != Code::Malformed || meaning.iter().all(|m| m.place.path != s.place.path));
    meaning
        .retain(|m| shape.iter().all(|s| s.place.part != Part::Value || !m.place.path.within(&s.place.path)));
    // A choice with a slip in it is why the default seems to be none.
    let slipped: Vec<_> = meaning
        .iter()
        .filter(|m| m.code == Code::AuthChoice)
        .map(|m| m.place.path.parent().parent())
        .collect();
    meaning.retain(|m| m.code != Code::BadDefault || !slipped.contains(&m.place.path.parent()));
    // Samples are held against a receiver that is whole.
    let receives = |m: &Mistake| {
        m.code != Code::BadSample && m.place.path.0.first().is_some_and(|key| key == "receiver")
    };
    let whole = shape.is_empty() && !meaning.iter().any(receives);
    meaning.retain(|m| m.code != Code::BadSample || whole);
    // What a text that was not understood would bring along or keep away is nobody's guess.
    let places = |m: &Mistake| {
        let others = m.related.iter().map(|(place, _)| place.path.clone());
        others.chain([m.place.path.clone()]).collect::<Vec<_>>()
    };
    let unread: Vec<_> = meaning.iter().filter(|m| is_unread(m)).flat_map(places).collect();
    let var = meaning.iter().any(|m| is_unread(m) && m.place.path.0.first().is_some_and(|key| key == "vars"));
    meaning.retain(|m| !m.code.id().starts_with("FB5") || !(var || unread.contains(&m.place.path)));
    // Nothing goes to a URL that cannot be called.
    let uncalled: Vec<_> =
        meaning.iter().filter(|m| m.code == Code::BadUrl).map(|m| m.place.path.clone()).collect();
    meaning.retain(|m| m.code != Code::SecretAstray || !uncalled.contains(&m.place.path));
    // A one-line map that YAML tore in two says nothing by its first half.
    let torn: Vec<_> = shape
        .iter()
        .filter(|s| s.code == Code::UnknownKey && s.help.as_deref() == Some(ONE_LINE_MAP))
        .map(|s| s.place.path.parent())
        .collect();
    meaning.retain(|m| !torn.contains(&m.place.path.parent()));
    shape.extend(meaning);
    shape
}

/// A spec that has no receiver, or no output, ends too early: what else is not there, where it ends, is no mistake of its
/// own, and neither is what would be defined behind.
fn breaks_off(spec: &Json, mistakes: &mut Vec<Mistake>) {
    let ends = |m: &Mistake| {
        m.code == Code::MissingKey && m.place.path.0.is_empty() && m.message.contains("`output`")
    };
    if !mistakes.iter().any(ends) {
        return;
    }
    let mut last = crate::spec::path::Path::default();
    let mut at = spec;
    loop {
        let next = match at {
            Json::Object(map) => map.iter().next_back().map(|(key, value)| (key.clone(), value)),
            Json::Array(list) => list.iter().enumerate().next_back().map(|(n, value)| (n.to_string(), value)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
        };
        let Some((key, value)) = next else { break };
        last = last.join(key);
        at = value;
    }
    let at_the_end = |place: &Place| !place.path.0.is_empty() && last.within(&place.path);
    mistakes.retain(|m| {
        let behind = m.code == Code::Undefined
            || at_the_end(&m.place)
            || m.related.iter().any(|(place, _)| at_the_end(place));
        !behind || m.code == Code::TemplateSyntax
    });
}

/// Whether a text could not be understood, or names what is not there.
fn is_unread(mistake: &Mistake) -> bool {
    matches!(
        mistake.code,
        Code::TemplateSyntax | Code::ExpressionSyntax | Code::Braces | Code::UnknownName | Code::Undefined
    )
}

/// The file of the spec: the path itself, or `connector.yaml` in it.
pub fn spec_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("connector.yaml") } else { path.to_owned() }
}
