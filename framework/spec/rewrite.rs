//! Another value at a place of a YAML file, everything else byte for byte as it was: comments, order, quotes.
//!
//! `forebay test --update` rewrites expectations by it. A rewriting is only good when the file, read again, says exactly
//! what was wanted and nothing else changed; where that cannot be had there is none.

use serde_json::Value as Json;

use super::document::Document;
use super::fix::{Change, Edit, Fix};
use super::load;
use super::mistake::Place;
use super::patch::Replacement;
use super::patch::is_plain;
use super::path::Path;
use super::source::Source;

/// The text with this value at a path; `None` for the value takes the key or the item away.
pub fn rewrite(text: &str, at: &Path, to: Option<&Json>) -> Option<String> {
    let values = load::values(text).ok()?;
    let mut wanted = values.clone();
    set(&mut wanted, at, to)?;
    if wanted == values {
        return Some(text.to_owned());
    }
    let (document, _) = Document::parse(Source::new("", text));
    let good = |edits: Vec<Edit>| {
        let patch = document.patch(&Fix { edits, safe: true })?;
        let new = applied(&document.source.text, &patch.replacements);
        (load::values(&new).as_ref() == Ok(&wanted)).then_some(new)
    };
    // 1. As little as possible. What stands in an anchor would change elsewhere too, and is no good.
    let mut edits = Vec::new();
    change(at, value_at(&values, at), to, &mut edits);
    if let Some(new) = good(edits) {
        return Some(new);
    }
    // 2. A key of its own, over the one that a merge brings.
    if let (Some(to), Some(key)) = (to, at.last()) {
        let own = Fix::add(&at.parent(), flow(&Json::from(key)), flow(to));
        if let Some(new) = good(own.edits) {
            return Some(new);
        }
    }
    // 3. The whole value on one line.
    if let Some(to) = to
        && let Some(new) = good(vec![Edit { place: Place::value(at), change: Change::Yaml(flow(to)) }])
    {
        return Some(new);
    }
    // 4. A list or map that is left with nothing.
    let around = at.parent();
    if let (None, Some(left)) = (to, value_at(&wanted, &around))
        && let Some(new) = good(vec![Edit { place: Place::value(&around), change: Change::Yaml(flow(left)) }])
    {
        return Some(new);
    }
    // 5. The alias on the way becomes what it stood for, changed.
    (1..=at.0.len()).rev().find_map(|length| {
        let above = Path(at.0.get(..length)?.to_vec());
        let value = value_at(&wanted, &above).filter(|_| document.is_alias(&above))?;
        good(vec![Edit { place: Place::value(&above), change: Change::Yaml(flow(value)) }])
    })
}

fn applied(text: &str, replacements: &[Replacement]) -> String {
    let mut out = text.to_owned();
    for replacement in replacements.iter().rev() {
        out.replace_range(replacement.span.start..replacement.span.end, &replacement.text);
    }
    out
}

fn value_at<'v>(values: &'v Json, at: &Path) -> Option<&'v Json> {
    at.0.iter().try_fold(values, |value, token| match value {
        Json::Array(list) => list.get(token.parse::<usize>().ok()?),
        other => other.get(token),
    })
}

/// Sets, adds or takes away.
fn set(values: &mut Json, at: &Path, to: Option<&Json>) -> Option<()> {
    let last = at.last()?;
    let parent = at.parent();
    let parent = parent.0.iter().try_fold(values, |value, token| match value {
        Json::Array(list) => list.get_mut(token.parse::<usize>().ok()?),
        other => other.get_mut(token),
    })?;
    match (parent, to) {
        (Json::Object(map), Some(to)) => drop(map.insert(last.to_owned(), to.clone())),
        (Json::Object(map), None) => drop(map.shift_remove(last)?),
        (Json::Array(list), Some(to)) => *list.get_mut(last.parse::<usize>().ok()?)? = to.clone(),
        (Json::Array(list), None) => {
            let n = last.parse::<usize>().ok()?;
            list.get(n)?;
            list.remove(n);
        }
        (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_), _) => return None,
    }
    Some(())
}

/// The edits between two values at a place.
fn change(at: &Path, old: Option<&Json>, new: Option<&Json>, edits: &mut Vec<Edit>) {
    let edit = |change: Change| Edit { place: Place::value(at), change };
    match (old, new) {
        (_, None) => edits.extend(Fix::remove(at).edits),
        (None, Some(new)) => {
            let key = at.last().map(|key| flow(&Json::from(key))).unwrap_or_default();
            edits.extend(Fix::add(&at.parent(), key, flow(new)).edits);
        }
        (Some(old), Some(new)) if old == new => {}
        (Some(Json::Object(old)), Some(Json::Object(new))) if !new.is_empty() => {
            for (key, value) in old {
                change(&at.join(key.as_str()), Some(value), new.get(key), edits);
            }
            for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                change(&at.join(key.as_str()), None, Some(value), edits);
            }
        }
        (Some(Json::Array(old)), Some(Json::Array(new))) if !new.is_empty() && !old.is_empty() => {
            for (n, value) in old.iter().enumerate() {
                change(&at.join(n.to_string()), Some(value), new.get(n), edits);
            }
            let more: Vec<String> = new.iter().skip(old.len()).map(flow).collect();
            if !more.is_empty() {
                edits.push(edit(Change::Append(more)));
            }
        }
        (Some(Json::String(_)), Some(Json::String(text))) if !text.contains(char::is_control) => {
            edits.push(edit(Change::Text(text.clone())));
        }
        (Some(_), Some(new)) => edits.push(edit(Change::Yaml(flow(new)))),
    }
}

/// A value on one line of YAML.
pub fn flow(value: &Json) -> String {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(text) if is_simple(text) => text.clone(),
        Json::String(_) => double_quoted(value),
        Json::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Json::Object(map) => {
            let pair = |(key, value): (&String, &Json)| {
                format!("{}: {}", flow(&Json::from(key.as_str())), flow(value))
            };
            format!("{{{}}}", map.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A text that nobody would put into quotes.
fn is_simple(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && is_plain(text)
}

/// JSON text, which YAML reads too where nothing unprintable stands in it as it is.
fn double_quoted(value: &Json) -> String {
    value.to_string().chars().fold(String::new(), |mut out, c| {
        match c {
            ' '..='~' => out.push(c),
            c if c.is_alphanumeric() => out.push(c),
            c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CASE: &str = "\
# a comment
title: x # of the title
reply: {status: 200, json: {count: 1}} # flow
other: &shared {status: 202}
again: *shared
merged: {<<: *shared, more: 1}
block:
  status: 200   # why
  text: 'it''s'
  json:
    list:
      - a
      - {b: 1}
records:
  - '{\"a\":1}'
";

    fn at(path: &str) -> Path {
        Path(path.split('.').map(str::to_owned).collect())
    }

    /// Each change, and the one line that differs afterwards.
    #[test]
    fn a_value_changes_and_nothing_else() {
        for (path, to, old, new) in [
            ("reply.status", Some(json!(404)), "reply: {status: 200,", "reply: {status: 404,"),
            ("reply.json", Some(json!({"count": 2, "x y": true})), "{count: 1}", "{count: 2, \"x y\": true}"),
            ("reply.json", Some(json!({"other": "é: "})), "{count: 1}", "{other: \"é: \"}"),
            ("reply.json", None, ", json: {count: 1}", ""),
            ("other.status", Some(json!(500)), "", ""),
            ("again.status", Some(json!(500)), "again: *shared", "again: {status: 500}"),
            ("merged.status", Some(json!(500)), "more: 1}", "more: 1, status: 500}"),
            ("block.status", Some(json!(204)), "status: 200   # why", "status: 204   # why"),
            ("block.text", Some(json!("o'clock")), "'it''s'", "'o''clock'"),
            ("block.text", Some(json!("two\nlines\u{200b}")), "'it''s'", "\"two\\nlines\\u200b\""),
            ("block.json.list", Some(json!(["a", {"b": 2}, "c"])), "- {b: 1}\n", "- {b: 2}\n      - c\n"),
            ("block.json.list", Some(json!(["a"])), "      - {b: 1}\n", ""),
            ("block.json.list", Some(json!([])), "list:\n      - a\n      - {b: 1}", "list:\n      []"),
            ("records.0", None, "\n  - '{\"a\":1}'\n", "\n  []\n"),
            ("block.more", Some(json!({"a": [1]})), "      - {b: 1}\n", "      - {b: 1}\n  more: {a: [1]}\n"),
            ("records.0", Some(json!("{\"a\":2}")), "'{\"a\":1}'", "'{\"a\":2}'"),
        ] {
            let came = rewrite(CASE, &at(path), to.as_ref());
            if old.is_empty() {
                assert_eq!(came, None, "{path}: what others use is not changed");
                continue;
            }
            assert_eq!(came.as_deref(), Some(CASE.replacen(old, new, 1).as_str()), "{path} {to:?}");
        }
    }
}
