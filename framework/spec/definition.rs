//! The definition of the language, and what it says of each key.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value as Json;

use super::path::Path;

/// The definition of the language, as it is shipped for editors.
pub const DEFINITION: &str = include_str!("../../schemas/connector.json");

/// The definition, parsed.
pub static LANGUAGE: LazyLock<Json> =
    LazyLock::new(|| serde_json::from_str(DEFINITION).expect("a test parses it"));

/// The definition of what stands at a path.
fn at_path(path: &Path) -> Option<&'static Json> {
    path.0.iter().try_fold(&*LANGUAGE, |schema, token| below(schema, token))
}

/// The one key that a map at this path must have, and its definition.
pub fn only_required(path: &Path) -> Option<(&'static str, &'static Json)> {
    let schema = resolved(at_path(path)?);
    let [key] = schema.get("required")?.as_array()?.as_slice() else { return None };
    let key = key.as_str()?;
    Some((key, resolved(schema.get("properties")?.get(key)?)))
}

/// What the definition says of a key, with its first example.
pub fn description(parent: &Path, key: &str) -> Option<String> {
    let words = below(at_path(parent)?, key)?;
    let example =
        examples(words).first().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let text = words.get("description").and_then(Json::as_str)?;
    Some(match example.filter(|example| example.len() < 60) {
        Some(example) => format!("{text} For example: {example}"),
        None => text.to_owned(),
    })
}

/// The examples of a key. Those that YAML would read as something else where an editor puts them in without quotes have a
/// word of our own, and snippets beside it. Where a key has none, those of what it refers to are meant.
pub fn examples(schema: &Json) -> &[Json] {
    let own = |schema: &'_ Json| ["examples", "x-examples"].iter().any(|word| schema.get(word).is_some());
    let schema = if own(schema) { schema } else { resolved(schema) };
    let list = schema.get("examples").or_else(|| schema.get("x-examples"));
    list.and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// The definition of what stands under a key or an index.
fn below<'a>(schema: &'a Json, token: &str) -> Option<&'a Json> {
    let schema = resolved(schema);
    let direct = schema.get("properties").and_then(|p| p.get(token)).or_else(|| {
        let items = token.parse::<usize>().ok().and_then(|_| schema.get("items"));
        items.or_else(|| schema.get("additionalProperties").filter(|more| more.is_object()))
    });
    let inside = || {
        let groups = ["then", "else"].into_iter().filter_map(|word| schema.get(word));
        groups
            .chain(schema.get("allOf").and_then(Json::as_array).into_iter().flatten())
            .find_map(|s| below(s, token))
    };
    let referred =
        || schema.get("$ref").and_then(Json::as_str).and_then(|r| at_pointer(r.trim_start_matches('#')));
    direct.or_else(|| referred().and_then(|schema| below(schema, token))).or_else(inside)
}

/// A definition that is nothing but a reference, followed.
fn resolved(schema: &Json) -> &Json {
    match schema.get("$ref").and_then(Json::as_str) {
        Some(reference) if schema.get("properties").is_none() => {
            at_pointer(reference.trim_start_matches('#')).map_or(schema, resolved)
        }
        _ => schema,
    }
}

/// Every key that the schema around a keyword knows.
pub fn known_keys(keyword: &str) -> BTreeSet<String> {
    let around = keyword.rsplit_once('/').map_or("", |(around, _)| around);
    let mut keys = BTreeSet::new();
    if let Some(schema) = at_pointer(around) {
        collect_keys(schema, &mut keys, 0);
    }
    keys
}

/// Adds the keys that a schema knows, those of the schemas it refers to included.
pub fn collect_keys(schema: &Json, keys: &mut BTreeSet<String>, depth: usize) {
    if depth > 6 {
        return;
    }
    keys.extend(
        schema.get("properties").and_then(Json::as_object).into_iter().flatten().map(|(key, _)| key.clone()),
    );
    if let Some(schema) =
        schema.get("$ref").and_then(Json::as_str).and_then(|r| at_pointer(r.trim_start_matches('#')))
    {
        collect_keys(schema, keys, depth + 1);
    }
}

/// A part of the definition. References on the way are followed, as the validator reports them in its paths.
pub fn at_pointer(pointer: &str) -> Option<&'static Json> {
    let mut at: &'static Json = &LANGUAGE;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        at = match at {
            Json::Array(list) => list.get(token.parse::<usize>().ok()?)?,
            Json::Object(map) => map.get(&token)?,
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => return None,
        };
        if token == "$ref" {
            at = at_pointer(at.as_str()?.trim_start_matches('#'))?;
        }
    }
    Some(at)
}
