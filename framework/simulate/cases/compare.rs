//! What differs between what a case expects and what came, for people to read: the parts that differ, with a little
//! around them.
//!
//! Called by the player and its script. JSON is compared by value, whatever the order of keys, and told place by place;
//! texts are told line by line, with what nobody can see made visible.

use serde_json::Value as Json;
use similar::{Algorithm, ChangeTag, DiffOp, TextDiff, capture_diff_slices};

use crate::error::escaped;

/// Characters of a value that are shown.
const SHOWN: usize = 300;
/// Characters around the first difference of two long lines.
const AROUND: usize = 60;
/// Lines around a difference of two texts.
const CONTEXT: usize = 2;
/// Lines that are told of one difference.
const MOST: usize = 60;

/// Every difference of two documents, each with its place; empty: they are equal.
pub fn differences(expected: &Json, came: &Json) -> Vec<String> {
    let mut found = Vec::new();
    compare(expected, came, "", &mut found);
    bounded(found)
}

fn compare(expected: &Json, came: &Json, at: &str, found: &mut Vec<String>) {
    match (expected, came) {
        (expected, came) if expected == came => {}
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
        (Json::Array(expected), Json::Array(came)) => lists(expected, came, at, found),
        (Json::String(expected), Json::String(came)) if is_long(expected) || is_long(came) => {
            found.extend(text_difference(at, expected, came).unwrap_or_default());
        }
        (expected, came) => {
            found.push(format!("- {at}: {}", shown(expected)));
            found.push(format!("+ {at}: {}", shown(came)));
        }
    }
}

fn is_long(text: &str) -> bool {
    text.len() > 2 * AROUND || text.contains('\n')
}

/// Items that are equal are paired, so that one more at the front is one more and not all others changed.
fn lists(expected: &[Json], came: &[Json], at: &str, found: &mut Vec<String>) {
    let texts = |list: &[Json]| list.iter().map(sorted).collect::<Vec<_>>();
    for op in capture_diff_slices(Algorithm::Myers, &texts(expected), &texts(came)) {
        let (_, old, new) = op.as_tag_tuple();
        if matches!(op, DiffOp::Equal { .. }) {
            continue;
        }
        for n in 0..old.len().max(new.len()) {
            let (was, is) = (old.clone().nth(n), new.clone().nth(n));
            match (was.and_then(|n| expected.get(n)), is.and_then(|n| came.get(n)), is.or(was)) {
                (Some(value), Some(other), Some(n)) => compare(value, other, &format!("{at}/{n}"), found),
                (Some(value), None, Some(n)) => found.push(format!("- {at}/{n}: {}", shown(value))),
                (None, Some(other), Some(n)) => found.push(format!("+ {at}/{n}: {}", shown(other))),
                (..) => {}
            }
        }
    }
}

/// A value as a text that is the same for equal values.
fn sorted(value: &Json) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

/// The difference of two texts; `None`: they are equal. `what` stands before each line.
pub fn text_difference(what: &str, expected: &str, came: &str) -> Option<Vec<String>> {
    if expected == came {
        return None;
    }
    if let Some(found) = same_documents(what, expected, came) {
        return Some(found);
    }
    if expected.trim_end().contains('\n') || came.trim_end().contains('\n') {
        return Some(lines(what, expected, came));
    }
    let (old, new) = windows(expected, came);
    Some(vec![format!("- {what}: {old}"), format!("+ {what}: {new}")])
}

/// Two JSON texts that differ in what they say are told place by place.
fn same_documents(what: &str, expected: &str, came: &str) -> Option<Vec<String>> {
    let document =
        |text: &str| serde_json::from_str::<Json>(text).ok().filter(|v| v.is_object() || v.is_array());
    let found = differences(&document(expected)?, &document(came)?);
    if !found.is_empty() {
        return Some(found);
    }
    let (old, new) = windows(expected, came);
    Some(vec![
        format!("  {what}: the same values, written otherwise"),
        format!("- {what}: {old}"),
        format!("+ {what}: {new}"),
    ])
}

/// The lines that differ, and some around them.
fn lines(what: &str, expected: &str, came: &str) -> Vec<String> {
    let mut found = vec![format!("  {what}:")];
    let diff = TextDiff::from_lines(expected, came);
    for (n, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if n > 0 {
            found.push("  ...".to_owned());
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            let line = change.value();
            let end = if line.ends_with('\n') { "" } else { " (no line break at its end)" };
            found.push(format!("{sign}   {}{end}", visible(line.strip_suffix('\n').unwrap_or(line), SHOWN)));
        }
    }
    bounded(found)
}

/// Two lines from a little before their first difference on.
fn windows(expected: &str, came: &str) -> (String, String) {
    let same = expected.chars().zip(came.chars()).take_while(|(a, b)| a == b).count();
    let skipped = if expected.chars().count().max(came.chars().count()) > 2 * AROUND {
        same.saturating_sub(AROUND)
    } else {
        0
    };
    let window = |text: &str| {
        let rest: String = text.chars().skip(skipped).collect();
        let dots = if skipped > 0 { "…" } else { "" };
        format!("{dots}{}", visible(&rest, SHOWN.min(if skipped > 0 { 3 * AROUND } else { SHOWN })))
    };
    (window(expected), window(came))
}

/// A text in which nothing is invisible: control characters and odd blanks are escaped, blanks at its end are dots.
fn visible(text: &str, most: usize) -> String {
    let inner = text.trim_end_matches(' ');
    format!("{}{}", escaped(inner, most), "·".repeat((text.len() - inner.len()).min(8)))
}

fn shown(value: &Json) -> String {
    escaped(&value.to_string(), SHOWN)
}

fn bounded(mut found: Vec<String>) -> Vec<String> {
    if found.len() > MOST {
        let more = found.len() - MOST;
        found.truncate(MOST);
        found.push(format!("  and {more} lines more"));
    }
    found
}

/// The lines of a file that a rewriting changes, with some around them, as `diff -u` writes them.
pub fn file_difference(file: &str, old: &str, new: &str) -> String {
    TextDiff::from_lines(old, new).unified_diff().context_radius(CONTEXT).header(file, file).to_string()
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

    #[test]
    fn one_more_item_is_one_more() {
        let expected = json!([{"id": 1, "x": 1}, {"id": 2, "x": 1}]);
        let came = json!([{"id": 0, "x": 1}, {"x": 1, "id": 1}, {"id": 2, "x": 1}]);
        assert_eq!(differences(&expected, &came), ["+ /0: {\"id\":0,\"x\":1}"]);
    }

    #[test]
    fn texts_show_what_nobody_sees_and_only_what_differs() {
        let said = |a: &str, b: &str| text_difference("t", a, b).unwrap_or_default().join("|");
        assert_eq!(said("a ", "a\t"), "- t: a·|+ t: a\\t");
        assert_eq!(said("a\u{200b}", "a"), "- t: a\\u{200b}|+ t: a");
        assert_eq!(
            said("1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\n5\r\n6"),
            "  t:|    3|    4|-   5|-   6|+   5\\r|+   6 (no line break at its end)"
        );
        let long = "x".repeat(500);
        let told = said(&format!("{long}a{long}"), &format!("{long}b{long}"));
        assert!(told.starts_with("- t: …xxx") && told.len() < 500, "{told}");
        assert_eq!(said("{\"a\":1}", "{\"a\":2}"), "- /a: 1|+ /a: 2");
        assert!(said("{\"a\":1}", "{\"a\": 1}").starts_with("  t: the same values, written otherwise|"));
        assert_eq!(said("same", "same"), "");
    }
}
