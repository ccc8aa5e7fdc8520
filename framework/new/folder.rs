//! The folder of a new connector, written whole or not at all: in a folder beside its place, which takes its place by one
//! rename when everything in it was checked. What is there already is never touched.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use super::case;
use super::questions::Answers;
use super::sample;
use super::takes::NONE;
use super::template::{GUIDE, SPEC, fill, scalar};
use crate::connector::instance::InstanceId;
use crate::connector::load::examine;
use crate::connector::model::Connector;
use crate::docs::page;
use crate::error::{Error, Kind, Result};
use crate::spec::render;

/// The name of a connector, where it can be one.
pub fn name(text: &str) -> Result<()> {
    InstanceId::parse(text).map(|_| ()).ok_or_else(|| {
        Error::new(
            Kind::Configuration,
            format!("`{}` is no name of a connector", crate::error::escaped(text, 80)),
        )
        .help("small letters, digits and dashes, at most 63, no dash at either end: acme-events")
    })
}

/// Writes the connector into `connectors/`; gives its folder. `Err` where there is something already.
pub fn write(connectors: &Path, answers: &Answers) -> Result<PathBuf> {
    let wanted = answers.get("name").map(String::as_str).unwrap_or_default();
    name(wanted)?;
    let place = connectors.join(wanted);
    if place.symlink_metadata().is_ok() {
        return Err(Error::new(Kind::Configuration, "there is something already, and nothing was changed")
            .at(place.display().to_string())
            .help("take another name, or move what is there away"));
    }
    let draft = Draft::new(connectors, wanted)?;
    compose(&draft, answers)?;
    draft.take_place(&place)?;
    Ok(place)
}

/// Everything that stands in the folder.
fn compose(draft: &Draft, answers: &Answers) -> Result<()> {
    let sample = sample::make(answers)?;
    let names = names(answers);
    draft.file("connector.yaml", &fill(SPEC, &names)?)?;
    draft.file("guide.md", &fill(GUIDE, &names)?)?;
    draft.file("record.json", &format!("{:#}\n", sample.schema))?;
    draft.file("cases/event.json", &format!("{:#}\n", sample.item))?;
    let text = case::write(sound(&draft.folder)?, answers, &sample, names)?;
    draft.file("cases/event.yaml", &text)?;
    draft.file("README.md", &page(&sound(&draft.folder)?)?)
}

/// The connector as it stands, in which nothing may be wrong.
fn sound(folder: &Path) -> Result<Connector> {
    let examined = examine(folder)?;
    match examined.connector {
        Some(connector) if examined.diagnostics.is_empty() => Ok(connector),
        Some(_) | None => {
            let wrong = render::human(&examined.source, &examined.diagnostics, false);
            Err(Error::new(
                Kind::Finding,
                format!("these answers make a spec that cannot be used, and nothing was written\n{wrong}"),
            )
            .help("this is a fault of forebay: please report it with the command"))
        }
    }
}

/// What the templates name: the answers, and what follows from them.
fn names(answers: &Answers) -> Map<String, Json> {
    let answer = |name: &str| answers.get(name).map(String::as_str).unwrap_or(NONE);
    let mut names: Map<String, Json> = super::questions::QUESTIONS
        .iter()
        .map(|q| (q.name.replace('-', "_"), json!(answer(q.name))))
        .collect();
    names.insert("name".to_owned(), json!(answer("name")));
    for name in ["title", "vendor", "summary"] {
        names.insert(format!("{name}_line"), json!(answer(name)));
        names.insert(name.to_owned(), json!(scalar(answer(name))));
    }
    let (has_api, verify) = (answer("api") != NONE, answer("verify"));
    let has_key = matches!(verify, "hmac" | "token" | "basic");
    let key = if verify == "basic" { "forebay" } else { answer("key") };
    let is_there = |name: &str| answer(name) != NONE;
    let place = |name: &str| match answer(name).strip_prefix("header:") {
        Some(header) => format!("{{header: {header}}}"),
        None => answer(name).to_owned(),
    };
    let time = match answer("time-format") {
        "unix" | "unix_ms" => format!("{{item: {}, format: {}}}", answer("time"), answer("time-format")),
        _ => answer("time").to_owned(),
    };
    let pair = answer("timestamp").strip_prefix("pair:");
    let time_place = pair.map_or(format!("header: {}", answer("timestamp")), |pair| format!("key: {pair}"));
    let mut grammar = String::new();
    if pair.is_some() {
        grammar = format!("format: pairs, key: {}, ", answer("pair"));
    }
    if is_there("prefix") {
        grammar.push_str(&format!("prefix: \"{}\", ", answer("prefix")));
    }
    for (name, value) in [
        ("has_api", json!(has_api)),
        ("has_key", json!(has_key)),
        ("key", json!(key)),
        ("has_settings", json!(has_api || verify == "public_key")),
        ("has_secrets", json!(has_key || (has_api && answer("auth") != "none"))),
        ("has_event", json!(is_there("id") || is_there("time") || is_there("type"))),
        // Without an id an event is known by its bytes, and without a time two of them may have the same.
        ("alike", json!(!is_there("id") && !is_there("time"))),
        ("key_text", json!(key_text(has_api, key))),
        ("key_description", json!(key_description(verify, key))),
        ("time_place", json!(time_place)),
        ("grammar", json!(grammar)),
        ("id_pick", json!(place("id"))),
        ("time_pick", json!(time)),
        ("type_pick", json!(place("type"))),
        ("type_header", json!(answer("type").strip_prefix("header:").unwrap_or_default())),
        ("issuer", json!(answer("keys-url").splitn(4, '/').take(3).collect::<Vec<_>>().join("/"))),
    ] {
        names.insert(name.to_owned(), value);
    }
    names
}

/// The key as `verify` names it: what the vendor said when the webhook was made, or what a person gave.
fn key_text(has_api: bool, key: &str) -> &'static str {
    if has_api && key == "vendor" {
        r#"["{{ state.webhook.secret | default(omit) }}", "{{ secrets.webhook_key | default(omit) }}"]"#
    } else {
        r#""{{ secrets.webhook_key }}""#
    }
}

fn key_description(verify: &str, key: &str) -> &'static str {
    match (verify, key) {
        ("hmac", "vendor") => {
            "What the vendor signs its requests with. The vendor shows it where the webhook is made."
        }
        ("hmac", _) => "What the vendor signs its requests with.",
        ("token", "vendor") => {
            "What the vendor sends with each request. The vendor shows it where the webhook is made."
        }
        ("token", _) => "What the vendor sends with each request.",
        (_, _) => "The password that the vendor sends with each request.",
    }
}

/// A folder beside the one that it will be, removed in the end.
struct Draft {
    /// What is removed.
    around: PathBuf,
    /// The connector's, which has its name already.
    folder: PathBuf,
}

impl Draft {
    fn new(connectors: &Path, name: &str) -> Result<Self> {
        // A dot in front: whoever looks for connectors passes it over.
        let around = connectors.join(format!(".{name}.{}", std::process::id()));
        let folder = around.join(name);
        std::fs::create_dir_all(folder.join("cases")).map_err(|e| unwritten(&folder, e))?;
        Ok(Self { around, folder })
    }

    fn file(&self, name: &str, text: &str) -> Result<()> {
        let file = self.folder.join(name);
        std::fs::write(&file, text).map_err(|e| unwritten(&file, e))
    }

    /// Takes its place. An empty folder that somebody made meanwhile is all that could be lost.
    fn take_place(&self, place: &Path) -> Result<()> {
        std::fs::rename(&self.folder, place).map_err(|e| unwritten(place, e))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.around);
    }
}

fn unwritten(place: &Path, why: std::io::Error) -> Error {
    Error::new(Kind::Io, "the connector cannot be written").at(place.display().to_string()).because(why)
}
