//! The reference of the language: every key of it, out of the definition that editors use too.
//!
//! A map with keys of its own becomes a table; what is used in several places stands once, under the name that the
//! definition gives it, and is linked.

use serde_json::Value as Json;

use super::allowed;
use super::markdown::{code, table};
use crate::spec::definition::{LANGUAGE, examples};

/// The word of the definition that tells the version of Forebay a key came with.
const SINCE: &str = "x-since";

/// How a page begins, before what the definition says.
const HEAD: &str = "<!-- Written by `forebay docs --reference` from schemas/connector.json: change that. -->

# The language

Every key of a spec, in version 1 of the language. The prose beside it, with whole examples:
[what may stand in a value](language/notations.md), [the receiver](language/receiver.md), [verify](language/verify.md),
[records](language/records.md), [auth](language/auth.md), [cases](language/cases.md),
[provisioning](language/provision.md), [the page](language/page.md). Keys that this version of Forebay knows and cannot run
yet are told by `forebay validate` (FB601). *Since* is the version of Forebay that a key came with.

Texts in which `{{ expression }}` is replaced are *built*, JSON Pointers are *picks*, bare expressions *decide*; which of
the three a key takes is fixed. Any key that begins with `x-` is free at the top of a spec: a place for anchors.
";

/// The page: docs/spec.md.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    if let Some(words) = words(&LANGUAGE) {
        text.push_str(&format!("\n{words}\n"));
    }
    text.push_str("\n## The spec\n\n");
    let since = since(&LANGUAGE, "");
    keys(&LANGUAGE, "", since, &mut text);
    text.push_str("\n## Parts\n\nWhat is used in several places.\n");
    for (name, part) in LANGUAGE.get("$defs").and_then(Json::as_object).into_iter().flatten() {
        text.push_str(&format!("\n### {name}\n\n"));
        self::part(name, part, self::since(part, since), &mut text);
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// What is used in several places.
fn part(name: &str, schema: &Json, since: &str, text: &mut String) {
    if let Some(words) = words(schema) {
        text.push_str(&format!("{words}\n\n"));
    }
    let kinds = kinds(schema);
    if let Some(other) = referred(schema) {
        text.push_str(&format!("All keys of {}.\n", link(other)));
    } else if schema.get("properties").is_none() {
        text.push_str(&format!("Values: {}.\n\n", values(schema, name)));
    }
    keys(schema, name, since, text);
    if !kinds.is_empty() {
        text.push_str(&format!("\n{}", table(["Which", "Keys"], &kinds)));
    }
}

/// The table of the keys of a map, and the tables of the maps in it.
fn keys(schema: &Json, path: &str, since: &str, text: &mut String) {
    let Some(map) = with_keys(schema) else { return };
    let properties = map.get("properties").and_then(Json::as_object);
    let known: Vec<(&String, &Json)> =
        properties.into_iter().flatten().filter(|(_, key)| words(key).is_some()).collect();
    let rows: Vec<[String; 6]> = known
        .iter()
        .map(|(name, key)| {
            let default = key.get("default").map(allowed::shown).unwrap_or_default();
            let came = self::since(key, since).to_owned();
            [code(name), values(key, &below(path, name)), needed(map, name), default, came, said(key)]
        })
        .collect();
    text.push_str(&table(["Key", "Values", "Required", "Default", "Since", "What it is"], &rows));
    for (name, key) in known {
        let path = below(path, name);
        if with_keys(key).is_some() {
            text.push_str(&format!("\n### {path}\n\n"));
            if let Some(words) = words(key) {
                text.push_str(&format!("{words}\n\n"));
            }
            if let Some(other) = referred(key) {
                text.push_str(&format!("All keys of {}, and these:\n\n", link(other)));
            }
            keys(key, &path, self::since(key, since), text);
        }
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The map with listed keys that a schema is, or that stands in its branches or its items.
fn with_keys(schema: &Json) -> Option<&Json> {
    let own = schema.get("properties").and_then(Json::as_object);
    if own.is_some_and(|keys| keys.values().any(|key| words(key).is_some())) {
        return Some(schema);
    }
    ["then", "else", "items", "additionalProperties"]
        .into_iter()
        .filter_map(|word| schema.get(word))
        .find_map(with_keys)
}

/// The kinds of a union, and where the keys of each stand.
fn kinds(schema: &Json) -> Vec<[String; 2]> {
    let branches = schema.get("allOf").and_then(Json::as_array).into_iter().flatten();
    branches
        .filter_map(|branch| {
            let condition = branch.get("if")?.get("properties")?.as_object()?;
            let (key, value) = condition.iter().next()?;
            let target = referred(branch.get("then")?)?;
            Some([format!("{}: {}", code(key), allowed::shown(value.get("const")?)), link(target)])
        })
        .collect()
}

/// What a value may be. `path` is the heading of the table of a map's own keys.
fn values(schema: &Json, path: &str) -> String {
    let mut said = Vec::new();
    if let Some(part) = referred(schema) {
        said.push(link(part));
    }
    if schema.get("properties").is_some() {
        said.push(format!("a map: [{path}](#{})", anchor(path)));
    } else if let Some(each) = schema.get("additionalProperties").filter(|each| each.is_object()) {
        said.push(format!("names, and for each {}", values(each, path)));
    } else if let Some(each) =
        schema.get("items").filter(|each| referred(each).is_some() || each.get("if").is_some())
    {
        said.push(format!("a list, each {}", values(each, path)));
    } else if let (Some(then), Some(other)) = (schema.get("then"), schema.get("else")) {
        said.push(format!("{}, or {}", values(then, path), values(other, path)));
    } else if said.is_empty() {
        said.push(allowed::said_of(schema));
    }
    said.retain(|words| !words.is_empty());
    if said.is_empty() { "any data".to_owned() } else { said.join(", ") }
}

fn needed(map: &Json, name: &str) -> String {
    let required = map.get("required").and_then(Json::as_array);
    let needed = required.is_some_and(|names| names.iter().any(|known| known == name));
    if needed { "yes" } else { "" }.to_owned()
}

/// What the definition says of a key, with its first example.
fn said(key: &Json) -> String {
    let words = words(key).unwrap_or_default();
    let example = examples(key).first().map(allowed::shown);
    match example {
        Some(example) => format!("{words} Example: {example}"),
        None => words.to_owned(),
    }
}

/// The version that a part of the definition came with: its own word, or that of what is around it.
fn since<'a>(schema: &'a Json, around: &'a str) -> &'a str {
    schema.get(SINCE).and_then(Json::as_str).unwrap_or(around)
}

fn words(schema: &Json) -> Option<&str> {
    schema.get("description").and_then(Json::as_str)
}

fn referred(schema: &Json) -> Option<&str> {
    schema.get("$ref").and_then(Json::as_str).and_then(|text| text.strip_prefix("#/$defs/"))
}

fn link(part: &str) -> String {
    format!("[{part}](#{})", anchor(part))
}

/// The anchor that Markdown gives a heading.
pub fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' '));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
