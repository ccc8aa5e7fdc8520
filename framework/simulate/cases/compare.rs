//! What differs between what a case expects and what came: a line for each place, for people to read.
//!
//! Called by the player and its script. Objects are compared by value, whatever the order of their keys.

use serde_json::Value as Json;

use crate::error::escaped;

/// Every difference of two documents, each with its place; empty: they are equal.
pub fn differences(expected: &Json, came: &Json) -> Vec<String> {
    let mut found = Vec::new();
    compare(expected, came, "", &mut found);
    found
}

fn compare(expected: &Json, came: &Json, at: &str, found: &mut Vec<String>) {
    match (expected, came) {
        (Json::Object(expected), Json::Object(came)) => {
            for (key, value) in expected {
                match came.get(key) {
                    Some(other) => compare(value, other, &format!("{at}/{key}"), found),
                    None => found.push(format!("- {at}/{key}: {}", shown(value))),
                }
            }
            for (key, value) in came.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                found.push(format!("+ {at}/{key}: {}", shown(value)));
            }
        }
        (Json::Array(expected), Json::Array(came)) => {
            for n in 0..expected.len().max(came.len()) {
                match (expected.get(n), came.get(n)) {
                    (Some(value), Some(other)) => compare(value, other, &format!("{at}/{n}"), found),
                    (Some(value), None) => found.push(format!("- {at}/{n}: {}", shown(value))),
                    (None, Some(other)) => found.push(format!("+ {at}/{n}: {}", shown(other))),
                    (None, None) => {}
                }
            }
        }
        (expected, came) if expected == came => {}
        (expected, came) => {
            found.push(format!("- {at}: {}", shown(expected)));
            found.push(format!("+ {at}: {}", shown(came)));
        }
    }
}

/// The difference of two texts; `None`: they are equal.
pub fn text_difference(what: &str, expected: &str, came: &str) -> Option<Vec<String>> {
    (expected != came).then(|| {
        vec![format!("- {what}: {}", escaped(expected, 500)), format!("+ {what}: {}", escaped(came, 500))]
    })
}

fn shown(value: &Json) -> String {
    escaped(&value.to_string(), 500)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_difference_has_its_place() {
        let expected = json!({"a": {"b": [1, 2]}, "gone": true});
        let came = json!({"a": {"b": [1, 3]}, "more": null});
        assert_eq!(
            differences(&expected, &came),
            ["- /a/b/1: 2", "+ /a/b/1: 3", "- /gone: true", "+ /more: null"]
        );
        assert!(differences(&expected, &expected).is_empty());
    }
}
