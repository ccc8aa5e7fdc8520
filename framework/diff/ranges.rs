//! What a JSON Schema takes, compared: what was taken before and is not any more, and what is taken now.
//!
//! The words that settings and fields use are understood. Of patterns and formats that differ nobody can say which of
//! them takes more: that counts as less.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::docs::allowed::shown;
use crate::docs::markdown::{code, joined};

/// What differs between what two schemas take.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// What is not taken any more, each a sentence.
    pub less: Vec<String>,
    /// What is taken now.
    pub more: Vec<String>,
}

/// The types of JSON Schema; one that says nothing takes every one.
const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// Bounds, and whether a higher one takes less.
const BOUNDS: [(&str, bool, &str); 10] = [
    ("minimum", true, "the least value"),
    ("exclusiveMinimum", true, "the value it must be above"),
    ("maximum", false, "the greatest value"),
    ("exclusiveMaximum", false, "the value it must be below"),
    ("minLength", true, "the least number of characters"),
    ("maxLength", false, "the greatest number of characters"),
    ("minItems", true, "the least number of items"),
    ("maxItems", false, "the greatest number of items"),
    ("minProperties", true, "the least number of entries"),
    ("maxProperties", false, "the greatest number of entries"),
];

/// Compares what two schemas take, their items included and their properties not.
pub fn compare(old: &Json, new: &Json) -> Change {
    let mut change = Change::default();
    types(old, new, &mut change);
    choices(old, new, &mut change);
    for word in ["pattern", "format"] {
        rules(word, old, new, &mut change);
    }
    for (word, higher_is_less, what) in BOUNDS {
        bound((word, higher_is_less, what), old, new, &mut change);
    }
    if let (Some(old), Some(new)) = (old.get("items"), new.get("items")) {
        let inner = compare(old, new);
        change.less.extend(inner.less.into_iter().map(|what| format!("of its items: {what}")));
        change.more.extend(inner.more.into_iter().map(|what| format!("of its items: {what}")));
    }
    change
}

fn types(old: &Json, new: &Json, change: &mut Change) {
    let (before, after) = (taken(old), taken(new));
    if before == after {
        return;
    }
    let sentence = format!("the type was {}, and is {}", said(old), said(new));
    if before.is_subset(&after) {
        change.more.push(sentence);
    } else {
        change.less.push(sentence);
    }
}

/// The types that a schema takes; numbers take integers.
fn taken(schema: &Json) -> BTreeSet<&str> {
    let mut names: BTreeSet<&str> = match schema.get("type") {
        Some(Json::String(one)) => BTreeSet::from([one.as_str()]),
        Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).collect(),
        Some(_) | None => BTreeSet::from(TYPES),
    };
    if names.contains("number") {
        names.insert("integer");
    }
    names
}

fn said(schema: &Json) -> String {
    let kind = crate::docs::allowed::kind(schema);
    if kind.is_empty() { "any".to_owned() } else { kind }
}

fn choices(old: &Json, new: &Json, change: &mut Change) {
    let listed = |schema: &Json| -> Option<Vec<Json>> {
        schema
            .get("enum")
            .and_then(Json::as_array)
            .cloned()
            .or_else(|| Some(vec![schema.get("const")?.clone()]))
    };
    let names = |all: Vec<&Json>| joined(&all.into_iter().map(shown).collect::<Vec<_>>(), "and");
    match (listed(old), listed(new)) {
        (None, None) => {}
        (None, Some(values)) => {
            change.less.push(format!("only {} can stand there", names(values.iter().collect())));
        }
        (Some(_), None) => change.more.push("any value can stand there".to_owned()),
        (Some(old), Some(new)) => {
            let gone: Vec<&Json> = old.iter().filter(|value| !new.contains(value)).collect();
            let come: Vec<&Json> = new.iter().filter(|value| !old.contains(value)).collect();
            if !gone.is_empty() {
                change.less.push(format!("{} cannot stand there any more", names(gone)));
            }
            if !come.is_empty() {
                change.more.push(format!("{} can stand there too", names(come)));
            }
        }
    }
}

fn rules(word: &str, old: &Json, new: &Json, change: &mut Change) {
    let text = |schema: &Json| schema.get(word).and_then(Json::as_str).map(code);
    match (text(old), text(new)) {
        (None, Some(new)) => change.less.push(format!("it has the {word} {new}")),
        (Some(old), None) => change.more.push(format!("it has the {word} {old} no more")),
        (Some(old), Some(new)) if old != new => {
            change.less.push(format!("the {word} was {old}, and is {new}"));
        }
        (None, None) | (Some(_), Some(_)) => {}
    }
}

fn bound((word, higher_is_less, what): (&str, bool, &str), old: &Json, new: &Json, change: &mut Change) {
    let number = |schema: &Json| schema.get(word).and_then(Json::as_f64);
    let shown = |schema: &Json| schema.get(word).map(Json::to_string).unwrap_or_default();
    let (less, sentence) = match (number(old), number(new)) {
        (None, None) => return,
        (None, Some(_)) => (true, format!("{what} is {}", shown(new))),
        (Some(_), None) => (false, format!("{what} is not {} any more", shown(old))),
        (Some(before), Some(after)) if before.total_cmp(&after).is_eq() => return,
        (Some(before), Some(after)) => {
            ((after > before) == higher_is_less, format!("{what} was {}, and is {}", shown(old), shown(new)))
        }
    };
    if less {
        change.less.push(sentence);
    } else {
        change.more.push(sentence);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn taking_less_is_told_from_taking_more() {
        let cases = [
            (json!({"type": "string"}), json!({"type": "integer"}), (1, 0)),
            (json!({"type": "integer"}), json!({"type": "number"}), (0, 1)),
            (json!({"type": "string"}), json!({"type": ["null", "string"]}), (0, 1)),
            (json!({}), json!({"type": "string"}), (1, 0)),
            (json!({"enum": ["a", "b"]}), json!({"enum": ["b", "c"]}), (1, 1)),
            (json!({"const": 1}), json!({"enum": [1, 2]}), (0, 1)),
            (json!({}), json!({"pattern": "^a"}), (1, 0)),
            (json!({"pattern": "^a"}), json!({"pattern": "^b"}), (1, 0)),
            (json!({"minLength": 2}), json!({"minLength": 1}), (0, 1)),
            (json!({"maxLength": 2}), json!({"maxLength": 1}), (1, 0)),
            (json!({"maximum": 2}), json!({"maximum": 2.0}), (0, 0)),
            (json!({"items": {"type": "string"}}), json!({"items": {"type": "null"}}), (1, 0)),
        ];
        for (old, new, expected) in cases {
            let change = compare(&old, &new);
            assert_eq!((change.less.len(), change.more.len()), expected, "{old} -> {new}: {change:?}");
        }
    }
}
