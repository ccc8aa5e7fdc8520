//! JSON with more values, and forms with more fields, than a table of them would be worth: nothing is built, each look-up
//! reads the text.
//!
//! `request` makes them. Whatever a body within its limit holds, a place in it can be looked up, for no memory beyond the
//! body; each look-up costs work by the bytes that it reads. What would take memory for each of the values (a loop over
//! the members of such an object, or over such a form) ends the evaluation by its bound on work.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, Value};
use serde::de::IgnoredAny;

use super::document::document;
use super::work::{NODE, beyond, exhaust, spend};
use crate::connector::scan;

/// Members of an object whose places are noted when it is first looked into.
const MAX_NOTED: usize = 65_536;
/// Values that a field that is repeated may have.
const MAX_REPEATED: usize = 10_000;
/// Fields that are sorted for `form_concat` and `sorted_query`, each of which takes memory and comparisons.
const MAX_SORTED: usize = 250_000;
/// Bytes that are read for the work of one that is made.
const READ: usize = 4;
/// The work of an element that is made while a list is gone over: who goes over it may keep them all.
const ELEMENT: usize = 512;

/// A JSON document of any size; `None` where the bytes are none. A part of it with no more values than `most` is read
/// into a table.
pub(super) fn json(bytes: &Bytes, most: usize) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let whole = scan::whole(text).ok()?;
    Some(value(bytes.slice_ref(whole.text.as_bytes()), most))
}

fn value(text: Bytes, most: usize) -> Value {
    match (document(&text, most), text.first()) {
        (Some(value), _) => value,
        (None, Some(b'{')) => Value::from_object(Part { text, most, map: true, noted: OnceLock::new() }),
        (None, Some(b'[')) => Value::from_object(Part { text, most, map: false, noted: OnceLock::new() }),
        (None, _) => Value::UNDEFINED,
    }
}

/// A list or an object with many values.
#[derive(Debug)]
struct Part {
    text: Bytes,
    most: usize,
    map: bool,
    /// Name and value of each member, the last of a name; `None` where there are too many.
    noted: OnceLock<Option<Vec<(String, Bytes)>>>,
}

impl Part {
    /// Its text. Whoever asks reads it from end to end.
    fn text(&self) -> Option<&str> {
        spend(self.text.len() / READ + NODE).ok()?;
        std::str::from_utf8(&self.text).ok()
    }

    fn noted(&self) -> Option<&[(String, Bytes)]> {
        let note = || {
            let mut places: HashMap<String, usize> = HashMap::new();
            let mut members: Vec<(String, Bytes)> = Vec::new();
            for member in scan::members(self.text()?) {
                let (name, value) = member.ok()?;
                let (name, value) = (scan::unescaped(name)?, self.text.slice_ref(value.text.as_bytes()));
                match places.get(name.as_ref()) {
                    Some(&place) => members.get_mut(place)?.1 = value,
                    None if members.len() == MAX_NOTED => return None,
                    None => {
                        places.insert(name.clone().into_owned(), members.len());
                        members.push((name.into_owned(), value));
                    }
                }
            }
            Some(members)
        };
        self.noted.get_or_init(note).as_deref()
    }

    fn member(&self, name: &str) -> Option<Value> {
        let found = match self.noted() {
            Some(members) => members.iter().find(|(known, _)| known == name)?.1.clone(),
            None => {
                let span = scan::last_member(self.text()?, name).ok()??;
                self.text.slice_ref(span.text.as_bytes())
            }
        };
        Some(value(found, self.most))
    }

    fn element(&self, index: i64) -> Option<Value> {
        let from_end = usize::try_from(index.unsigned_abs()).ok()?;
        let index = if index < 0 { self.enumerator_count()?.checked_sub(from_end)? } else { from_end };
        let span = scan::elements(self.text()?).nth(index)?.ok()?;
        Some(value(self.text.slice_ref(span.text.as_bytes()), self.most))
    }

    fn enumerator_count(&self) -> Option<usize> {
        Some(scan::elements(self.text()?).count())
    }
}

impl Object for Part {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.map { ObjectRepr::Map } else { ObjectRepr::Seq }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        if self.map { self.member(key.as_str()?) } else { self.element(i64::try_from(key.clone()).ok()?) }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        if !self.map {
            // Each element is made when the loop comes to it.
            let elements = Elements { text: self.text.clone(), at: 1, most: self.most };
            return if self.text().is_some() {
                Enumerator::Iter(Box::new(elements))
            } else {
                Enumerator::Empty
            };
        }
        let Some(members) = self.noted() else {
            exhaust();
            return Enumerator::Empty;
        };
        let most = self.most;
        let members: Vec<(Value, Value)> = members
            .iter()
            .map(|(name, text)| (Value::from(name.as_str()), value(text.clone(), most)))
            .collect();
        Enumerator::KeyValueIter(Box::new(members.into_iter()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        if self.map { self.noted().map(<[_]>::len) } else { self.enumerator_count() }
    }
}

/// The elements of a list that is well-formed, from a place in it on.
struct Elements {
    text: Bytes,
    at: usize,
    most: usize,
}

impl Iterator for Elements {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        spend(ELEMENT).ok()?;
        let rest = self.text.get(self.at..)?;
        let start = self.at + rest.iter().position(|byte| !scan::blank(*byte) && *byte != b',')?;
        // The bracket at the end begins no value.
        let (end, _) =
            scan::end_of_value(&self.text, start).filter(|_| self.text.get(start) != Some(&b']'))?;
        self.at = end;
        Some(value(self.text.slice(start..end), self.most))
    }
}

/// Name and value of a field.
pub(super) type Field<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A form with many fields.
#[derive(Debug)]
pub(super) struct Fields(Bytes);

/// A form of any size.
pub(super) fn form(text: &Bytes) -> Value {
    Value::from_object(Fields(text.clone()))
}

/// The form that a value is, if it is one of many fields.
pub(super) fn fields(value: &Value) -> Option<&Fields> {
    value.downcast_object_ref::<Fields>()
}

impl Fields {
    /// The work of going over it once.
    pub(super) fn weight(&self) -> usize {
        NODE + self.0.len()
    }

    /// Names and values, by name and then by value.
    pub(super) fn sorted(&self) -> Result<Vec<Field<'_>>, Error> {
        if memchr::memchr_iter(b'&', &self.0).count() >= MAX_SORTED {
            return Err(beyond(format!("a form of more than {MAX_SORTED} fields is not sorted")));
        }
        let mut fields: Vec<_> = url::form_urlencoded::parse(&self.0).collect();
        fields.sort_unstable();
        Ok(fields)
    }
}

impl Object for Fields {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        spend(self.0.len() / READ + NODE).ok()?;
        let mut values = Vec::new();
        for (_, value) in url::form_urlencoded::parse(&self.0).filter(|(known, _)| known == name) {
            if values.len() == MAX_REPEATED {
                exhaust();
                return None;
            }
            values.push(Value::from(value.as_ref()));
        }
        match values.len() {
            0 | 1 => values.pop(),
            _ => Some(Value::from(values)),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        exhaust();
        Enumerator::Empty
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        exhaust();
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::template::operators;
    use crate::connector::template::work::within;

    fn document_of(text: &str) -> Value {
        json(&Bytes::copy_from_slice(text.as_bytes()), 3).unwrap()
    }

    #[test]
    fn large_document_is_what_a_small_one_is() {
        for text in [
            r#"{"a": [1, -2, 3.50, "x\u00e9\n", null, true, {"b": {}}, []], "c": [], "a\u0062": {"d":[1,2,3,4]}}"#,
            "[[[]],[ ] , 1,2,3,{\"a\":[1,2,3,4,5]}]",
            r#"{"a": 1, "b": [1,2,3,4,5], "a": 3}"#,
        ] {
            let small = document(text.as_bytes(), 100).unwrap();
            let seen = |value: &Value| within(|| operators::written(value, String::new)).unwrap().unwrap();
            assert_eq!(seen(&document_of(text)), seen(&small), "{text}");
        }
        for bad in [
            "[1,2,3,4,5",
            "[1,2,3,4,,5]",
            "{\"a\":1,\"b\":2,\"c\":[1,2,3}",
            "[1,2,3,4] 5",
            "[1,2,3,4,\"\u{1}\"]",
        ] {
            assert!(json(&Bytes::copy_from_slice(bad.as_bytes()), 3).is_none(), "{bad}");
        }
    }

    #[test]
    fn places_of_a_large_document_are_found() {
        let value =
            document_of(r#"{"a": 1, "list": [1, 2, 3, 4, {"k": "v"}], "a": 2, "deep": {"x": {"y": "z"}}}"#);
        let found = |name: &str| value.get_attr(name).unwrap();
        assert_eq!(
            (found("a"), found("deep").get_attr("x").unwrap().get_attr("y").unwrap()),
            (2.into(), "z".into())
        );
        assert!(found("none").is_undefined());
        let list = found("list");
        assert_eq!((list.len(), list.get_item(&Value::from(1)).unwrap()), (Some(5), 2.into()));
        assert_eq!(list.get_item(&Value::from(-1)).unwrap(), operators::value(json!({"k": "v"})));
        assert!(list.get_item(&Value::from(5)).unwrap().is_undefined());
        assert_eq!(list.try_iter().unwrap().count(), 5);
        assert_eq!(value.len(), Some(3));
    }

    #[test]
    fn fields_of_a_large_form_are_found_and_sorted() {
        let value = form(&Bytes::from_static(b"b=2&a=1&b=%33&c=x+y&a=1&d"));
        let found = |name: &str| value.get_attr(name).unwrap();
        assert_eq!((found("c"), found("d")), ("x y".into(), "".into()));
        assert_eq!(found("b"), Value::from(vec!["2", "3"]));
        assert!(found("e").is_undefined());
        let sorted = fields(&value).unwrap().sorted().unwrap();
        let sorted: Vec<String> = sorted.iter().map(|(name, value)| format!("{name}{value}")).collect();
        assert_eq!(sorted, ["a1", "a1", "b2", "b3", "cx y", "d"]);
        // Going over all of it has an end.
        let looped = within(|| Ok(value.try_iter().map_or(0, Iterator::count)));
        assert!(looped.is_err_and(|fault| fault.bound));
    }
}
