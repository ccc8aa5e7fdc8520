//! Values that a spec removes from records: secrets that a vendor sends in the body.
//!
//! The receiver asks for it before a record is checked, `compile` and the simulation for what they compare with. What
//! is removed takes one comma with it; every other byte stays as it came.

use std::ops::Range;

use serde_json::Value as Json;

use super::node::{Node, Shape};
use super::pick::Pointer;

/// Where in a record the values stand that are removed from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removal(pub Vec<Pointer>);

impl Removal {
    /// Whether nothing is removed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a value is removed, or what it is a part of.
    pub fn covers(&self, pointer: &Pointer) -> bool {
        self.0.iter().any(|removed| pointer.0.starts_with(&removed.0))
    }

    /// Returns the text of a record without what is removed; `None` where nothing of it is there.
    pub fn cleaned(&self, record: Node<'_>) -> Option<String> {
        self.cleaned_within(record, record)
    }

    /// The same of the whole that a record is a part of. `None` also where it is a part of another text.
    pub fn cleaned_within(&self, whole: Node<'_>, record: Node<'_>) -> Option<String> {
        let text = whole.raw();
        let mut cuts = self.cuts(text, record)?;
        cuts.sort_by_key(|cut| cut.start);
        let mut kept = String::with_capacity(text.len());
        let mut from = 0;
        for cut in cuts {
            kept.push_str(text.get(from..cut.start.max(from))?);
            from = cut.end.max(from);
        }
        kept.push_str(text.get(from..)?);
        Some(kept)
    }

    fn cuts(&self, text: &str, record: Node<'_>) -> Option<Vec<Range<usize>>> {
        let pointers: Vec<&[String]> = self.0.iter().map(|pointer| pointer.0.as_slice()).collect();
        let mut cuts = Vec::new();
        if !pointers.is_empty() {
            collect(text, record, &pointers, &mut cuts)?;
        }
        (!cuts.is_empty()).then_some(cuts)
    }

    /// Removes the same from a record that was read otherwise.
    pub fn remove_from(&self, record: &mut Json) {
        for pointer in &self.0 {
            let Some((last, parent)) = pointer.0.split_last() else { continue };
            let parent = Pointer(parent.to_vec()).to_string();
            match record.pointer_mut(&parent) {
                Some(Json::Object(map)) => drop(map.shift_remove(last)),
                Some(Json::Array(list)) => {
                    if let Some(index) = last.parse::<usize>().ok().filter(|index| *index < list.len()) {
                        list.remove(index);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Where a part of a text stands in it.
fn range(text: &str, part: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    (start + part.len() <= text.len()).then_some(start..start + part.len())
}

/// Collects the ranges to leave out. A name that stands twice is removed twice.
fn collect(text: &str, node: Node<'_>, pointers: &[&[String]], cuts: &mut Vec<Range<usize>>) -> Option<()> {
    // Each part with the range of its value, its name included, and whether it goes.
    let mut parts: Vec<(Range<usize>, bool)> = Vec::new();
    let mut part = |name: &str, whole: Range<usize>, value: Node<'_>| -> Option<()> {
        let inner: Vec<&[String]> = pointers
            .iter()
            .filter_map(|pointer| pointer.split_first().filter(|(first, _)| *first == name))
            .map(|(_, rest)| rest)
            .collect();
        let goes = inner.iter().any(|rest| rest.is_empty());
        if !goes && !inner.is_empty() {
            collect(text, value, &inner, cuts)?;
        }
        parts.push((whole, goes));
        Some(())
    };
    match node.shape() {
        Shape::Map(members) => {
            for (name, value) in members.nodes() {
                let whole = range(text, name.raw())?.start..range(text, value.raw())?.end;
                part(&name.text()?, whole, value)?;
            }
        }
        Shape::List(elements) => {
            for (index, value) in elements.iter().enumerate() {
                part(&index.to_string(), range(text, value.raw())?, value)?;
            }
        }
        Shape::Null | Shape::Bool(_) | Shape::Number(_) | Shape::Text(_) => {}
    }
    let mut kept_before = false;
    for (n, (whole, goes)) in parts.iter().enumerate() {
        if !goes {
            kept_before = true;
            continue;
        }
        // With the comma before it where something before it stays, else with the one behind it.
        cuts.push(match (n.checked_sub(1).and_then(|before| parts.get(before)), parts.get(n + 1)) {
            (Some((before, _)), _) if kept_before => before.end..whole.end,
            (_, Some((next, _))) => whole.start..next.start,
            (_, None) => whole.clone(),
        });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::node::Parsed;
    use super::*;

    fn removal(pointers: &[&str]) -> Removal {
        Removal(pointers.iter().map(|text| Pointer::parse(text).unwrap()).collect())
    }

    fn cleaned(pointers: &[&str], text: &str) -> Option<String> {
        removal(pointers).cleaned(Parsed::read(text).unwrap().root())
    }

    #[test]
    fn removed_value_takes_one_comma_and_leaves_other_bytes() {
        for (pointers, text, left) in [
            (&["/a"][..], r#"{ "a" : 1 , "b":1.0}"#, r#"{ "b":1.0}"#),
            (&["/b"], r#"{ "a" : 1 , "b":1.0 }"#, r#"{ "a" : 1 }"#),
            (&["/b"], r#"{"a":1,"b":[{}],"c":1e400}"#, r#"{"a":1,"c":1e400}"#),
            (&["/a"], r#"{"a":"x"}"#, "{}"),
            (&["/a", "/b"], r#"{"a":1,"b":2}"#, "{}"),
            (&["/a", "/b"], r#"{"a":1,"b":2,"c":3}"#, r#"{"c":3}"#),
            (&["/b", "/c"], r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1}"#),
            (&["/a"], r#"{"\u0061":"secret","b":{"a":2},"a":"again"}"#, r#"{"b":{"a":2}}"#),
            (&["/x/y", "/x"], r#"{"w":0,"x":{"y":1}}"#, r#"{"w":0}"#),
            (&["/x/1/y"], r#"{"x":[{"y":0},{"y":1,"z":2}]}"#, r#"{"x":[{"y":0},{"z":2}]}"#),
            (&["/0"], "[1, 2]", "[2]"),
        ] {
            let found = cleaned(pointers, text).unwrap();
            assert_eq!(found, left, "{pointers:?} of {text}");
            let mut json: Json =
                serde_json::from_str(&text.replace(r#","a":"again""#, "")).unwrap_or_default();
            removal(pointers).remove_from(&mut json);
            assert_eq!(json, serde_json::from_str::<Json>(left).unwrap_or_default(), "{text}");
        }
        assert_eq!(cleaned(&["/a"], r#"{"b":{"a":1}}"#), None);
        assert_eq!(cleaned(&["/a"], "7"), None);
        assert_eq!(cleaned(&[], "{}"), None);
    }
}
