//! docs/spec.md against schemas/connector.json: every key stands there with its values, its default, its example, its
//! version and its description.

use forebay::spec::definition::examples;
use serde_json::Value as Json;

use crate::support::root;

/// A key of the definition: its name, its schema, and the version of what is around it.
struct Key<'a> {
    name: &'a str,
    schema: &'a Json,
    since: &'a str,
}

/// Every key with a description, wherever it stands.
fn keys<'a>(schema: &'a Json, since: &'a str, found: &mut Vec<Key<'a>>) {
    match schema {
        Json::Array(items) => items.iter().for_each(|item| keys(item, since, found)),
        Json::Object(map) => {
            let since = map.get("x-since").and_then(Json::as_str).unwrap_or(since);
            for (word, value) in map {
                match word.as_str() {
                    "properties" => {
                        for (name, schema) in value.as_object().unwrap() {
                            if schema.get("description").is_some() {
                                found.push(Key { name, schema, since });
                            }
                            keys(schema, since, found);
                        }
                    }
                    "$defs" => value.as_object().unwrap().values().for_each(|part| keys(part, since, found)),
                    "examples" | "x-examples" | "defaultSnippets" | "enum" | "const" | "default" => {}
                    _ => keys(value, since, found),
                }
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// The cells of the rows of every table of keys.
fn rows() -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(root().join("docs/spec.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = |row: &str| -> Vec<String> {
        let row = row.replace("\\|", "\u{1}");
        let cells = row.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "|"));
        cells.collect()
    };
    rows.map(cells).filter(|cells| cells.len() == 6).collect()
}

/// What a value looks like in a cell.
fn shown(value: &Json) -> String {
    match value.as_str() {
        Some(text) if !text.is_empty() => text.split_whitespace().collect::<Vec<_>>().join(" "),
        _ => value.to_string(),
    }
}

#[test]
fn every_key_of_the_language_is_explained() {
    let language = std::fs::read_to_string(root().join("schemas/connector.json")).unwrap();
    let language: Json = serde_json::from_str(&language).unwrap();
    let (mut all, rows) = (Vec::new(), rows());
    keys(&language, "", &mut all);
    assert!(all.len() > 250 && rows.len() >= 250, "{} keys, {} rows", all.len(), rows.len());
    let mut wrong = Vec::new();
    for Key { name, schema, since } in all {
        let since = schema.get("x-since").and_then(Json::as_str).unwrap_or(since);
        let words = schema["description"].as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        let example = shown(&examples(schema)[0]);
        let default = schema.get("default").map(shown).unwrap_or_default();
        let explains = |cells: &&Vec<String>| {
            let [key, values, _, given, came, said] = cells.as_slice() else { return false };
            key == &format!("`{name}`")
                && !values.is_empty()
                && given.contains(&default)
                && given.is_empty() == default.is_empty()
                && came == since
                && said.starts_with(&words)
                && said.contains(" Example: ")
                && said.contains(&example)
        };
        if !rows.iter().any(|row| explains(&row)) {
            wrong.push(format!("{name} (since {since:?}): {words} Example: {example}"));
        }
    }
    assert!(wrong.is_empty(), "not in docs/spec.md:\n{}", wrong.join("\n"));
}

#[test]
fn no_key_is_newer_than_the_program() {
    let language = std::fs::read_to_string(root().join("schemas/connector.json")).unwrap();
    let language: Json = serde_json::from_str(&language).unwrap();
    let number =
        |version: &str| -> Vec<u32> { version.split('.').map(|part| part.parse().unwrap()).collect() };
    let mut all = Vec::new();
    keys(&language, "", &mut all);
    let own = number(env!("CARGO_PKG_VERSION"));
    for key in all {
        let since = key.schema.get("x-since").and_then(Json::as_str).unwrap_or(key.since);
        assert!(number(since).len() == 3 && number(since) <= own, "{} since {since:?}", key.name);
    }
}
