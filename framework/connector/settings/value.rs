//! The value of one setting: text read by the setting's type, and checked against its schema.
//!
//! Called by [`super::check`] and by the simulation. A fault's sentence goes on after the setting's name.

use serde_json::Value as Json;

use super::fault::Fault;
use super::names::{nearest, shouted};
use crate::connector::model::{Required, Setting};
use crate::connector::units;
use crate::error::escaped;

/// A setting as it was given.
#[derive(Debug, Clone)]
pub enum Given {
    /// Text of a flag or of the environment: read by the setting's type.
    Text(String),
    /// Data of a file.
    Data(Json),
}

/// Reads and checks one setting's value; the fault's sentence goes on after the setting's name.
pub fn value(setting: &Setting, given: &Given) -> Result<Json, Fault> {
    let value = match given {
        Given::Text(text) => read(setting, text)?,
        Given::Data(data) => data.clone(),
    };
    if let Some(reference) = reference(&value) {
        return Err(Fault::new(format!("holds `{reference}`, and nothing is put in its place"))
            .help(format!("give the value itself, or set FOREBAY_SETTING_{}", shouted(&setting.name))));
    }
    match wrong(setting, &value) {
        Some(fault) => Err(fault),
        None => Ok(value),
    }
}

fn kinds(setting: &Setting) -> Vec<&str> {
    match setting.schema.get("type") {
        Some(Json::String(kind)) => vec![kind],
        Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Text by the setting's type: `00123` of a string setting stays text.
fn read(setting: &Setting, text: &str) -> Result<Json, Fault> {
    let kinds = kinds(setting);
    if kinds.is_empty() || kinds.contains(&"string") {
        return Ok(Json::from(text));
    }
    let read: Option<Json> = match kinds.first().copied().unwrap_or_default() {
        "integer" => text.parse::<i64>().ok().map(Json::from),
        "number" => text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Json::from),
        "boolean" => text.parse::<bool>().ok().map(Json::from),
        _ => serde_json::from_str(text).ok(),
    };
    read.ok_or_else(|| {
        let fault =
            Fault::new(format!("is {}, which is no {}", shown(&Json::from(text)), kinds.join(" or ")));
        match kinds.first().copied() {
            Some("array" | "object") => fault.help("write it as JSON: '[\"a\", \"b\"]'"),
            Some("boolean") => fault.help("write true or false"),
            _ => fault,
        }
    })
}

/// A `${NAME}` that somebody may have expected to be replaced.
fn reference(value: &Json) -> Option<&str> {
    match value {
        Json::String(text) => {
            let start = text.find("${")?;
            let end = start + text.get(start..)?.find('}')? + 1;
            let name = text.get(start + 2..end - 1)?;
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.is_empty();
            if plain { text.get(start..end) } else { None }
        }
        Json::Array(items) => items.iter().find_map(reference),
        Json::Object(map) => map.values().find_map(reference),
        Json::Null | Json::Bool(_) | Json::Number(_) => None,
    }
}

/// What is wrong with a value by its setting's schema.
fn wrong(setting: &Setting, value: &Json) -> Option<Fault> {
    let kinds = kinds(setting);
    if !kinds.is_empty() && !kinds.iter().any(|kind| is(value, kind)) {
        let fault = Fault::new(format!("must be of type {}, and is {}", kinds.join(" or "), shown(value)));
        let text = kinds.contains(&"string") && (value.is_number() || value.is_boolean());
        return Some(if text { fault.help("put it in quotes") } else { fault });
    }
    if let Some(values) = setting.schema.get("enum").and_then(Json::as_array)
        && !values.contains(value)
    {
        let names: Vec<&str> = values.iter().filter_map(Json::as_str).collect();
        let sentence = format!("is {}, which is none of: {}", shown(value), names.join(", "));
        let near = value.as_str().and_then(|text| nearest(text, names.iter().copied()));
        return Some(match near {
            Some(near) => Fault::new(sentence).help(format!("did you mean `{near}`?")),
            None => Fault::new(sentence),
        });
    }
    let required = !matches!(setting.required, Required::No);
    if required && value.as_str().is_some_and(str::is_empty) {
        return Some(Fault::new("is empty"));
    }
    format_fault(setting, value).or_else(|| schema_fault(setting, value))
}

fn is(value: &Json, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    }
}

fn format_fault(setting: &Setting, value: &Json) -> Option<Fault> {
    let text = value.as_str()?;
    match setting.schema.get("format").and_then(Json::as_str)? {
        "uri" | "url" => (!is_url(text)).then(|| {
            let fault = Fault::new(format!("is {}, which is no absolute http or https URL", shown(value)));
            match setting.placeholder.as_deref().or(setting.example.as_ref().and_then(Json::as_str)) {
                Some(like) => fault.help(format!("write it like {like}")),
                None => fault.help("write it like https://example.com/"),
            }
        }),
        "duration" => units::duration(text).is_none().then(|| {
            Fault::new(format!("is {}, which is no duration", shown(value)))
                .help("write a number and a unit: 250ms, 30s, 5m, 2h, 7d")
        }),
        _ => None,
    }
}

fn is_url(text: &str) -> bool {
    let absolute = url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty())
    });
    absolute && text.contains("://") && !text.contains(char::is_whitespace)
}

/// The rest of the schema: patterns, items, bounds.
fn schema_fault(setting: &Setting, value: &Json) -> Option<Fault> {
    let mut schema = setting.schema.clone();
    if let Some(words) = schema.as_object_mut() {
        words.remove("format");
    }
    match forebay_json_schema::compile(&schema) {
        Ok(validator) => validator.iter_errors(value).next().map(|error| {
            let at = error.instance_path().to_string();
            let at = if at.is_empty() { String::new() } else { format!("at {at}: ") };
            Fault::new(format!("does not fit: {at}{}", escaped(&error.to_string(), 300)))
        }),
        Err(error) => {
            Some(Fault::new(format!("has a schema that is none: {}", escaped(&error.to_string(), 200))))
        }
    }
}

fn shown(value: &Json) -> String {
    match value {
        Json::String(text) => format!("`{}`", escaped(text, 80)),
        other => format!("`{}`", escaped(&other.to_string(), 80)),
    }
}
