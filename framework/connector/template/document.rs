//! JSON that came in, as templates see it: looked at where it stands.
//!
//! A tree of a body takes a hundred times the memory of its text where a stranger shapes it. Here a value is made
//! when somebody asks for it, of the rows that reading wrote: sixteen bytes a value.

use std::collections::HashMap;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};

use super::operators;
use super::work::spend;
use crate::connector::node::{Kept, Node, Number, Shape};

/// Nesting that a document may have.
const NESTING: usize = 128;

/// A JSON document; `None` where the bytes are none, or where it has more values than `most`.
pub(super) fn document(bytes: &[u8], most: usize) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    // Each value but the first stands behind one of these: what has too many is not read at all.
    if bytes.len() > most && memchr::memchr3_iter(b',', b'[', b'{', bytes).nth(most).is_some() {
        return None;
    }
    // The names of members are rows too, each before one of these. What stands in texts is counted as well: room that is
    // not written to takes no memory.
    let values = memchr::memchr3_iter(b',', b'[', b'{', bytes).count();
    let names = memchr::memchr_iter(b':', bytes).count().min(values);
    let kept = Arc::new(Kept::read(text.to_owned(), NESTING, 1 + values + names).ok()?);
    Some(value(&kept, kept.root()))
}

fn value(kept: &Arc<Kept>, node: Node<'_>) -> Value {
    match node.shape() {
        Shape::Null => Value::from(()),
        Shape::Bool(value) => Value::from(value),
        Shape::Number(Number::Unsigned(number)) => Value::from(number),
        Shape::Number(Number::Signed(number)) => Value::from(number),
        Shape::Number(Number::Float(number)) => operators::digits(node.raw(), number),
        Shape::Text(text) => Value::from(text.as_ref()),
        Shape::List(_) => Value::from_object(Part { kept: kept.clone(), row: node.row_number(), map: false }),
        Shape::Map(_) => Value::from_object(Part { kept: kept.clone(), row: node.row_number(), map: true }),
    }
}

/// A list or a map in a document.
#[derive(Debug)]
struct Part {
    kept: Arc<Kept>,
    row: usize,
    map: bool,
}

impl Part {
    /// What it is. Whoever asks goes over its rows, which costs: a loop that asks a large one again and again has an end.
    fn shape(&self) -> Option<Shape<'_>> {
        let node = self.kept.node(self.row);
        spend(node.rows()).ok().map(|()| node.shape())
    }

    /// The elements of a list, in order.
    fn elements(&self) -> impl Iterator<Item = Node<'_>> {
        let list = if let Some(Shape::List(list)) = self.shape() { Some(list) } else { None };
        list.into_iter().flat_map(|list| list.iter())
    }

    /// The members of a map, in order. Of a name that stands twice the last one counts.
    fn members(&self) -> Vec<(Value, Value)> {
        let Some(Shape::Map(map)) = self.shape() else { return Vec::new() };
        let mut places = HashMap::new();
        let mut members: Vec<(Value, Value)> = Vec::new();
        for (name, node) in map.iter() {
            let member = (Value::from(name.as_ref()), value(&self.kept, node));
            match places.get(&name) {
                Some(&place) => members[place] = member,
                None => {
                    places.insert(name, members.len());
                    members.push(member);
                }
            }
        }
        members
    }
}

impl Object for Part {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.map { ObjectRepr::Map } else { ObjectRepr::Seq }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let node = match self.shape()? {
            Shape::Map(map) => map.get(key.as_str()?)?,
            Shape::List(list) => {
                let index = i64::try_from(key.clone()).ok()?;
                let before = usize::try_from(index.unsigned_abs()).ok()?;
                list.get(if index < 0 { list.len().checked_sub(before)? } else { before })?
            }
            _ => return None,
        };
        Some(value(&self.kept, node))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        if self.map {
            Enumerator::KeyValueIter(Box::new(self.members().into_iter()))
        } else {
            Enumerator::Values(self.elements().map(|node| value(&self.kept, node)).collect())
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(if self.map { self.members().len() } else { self.elements().count() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    /// What stands there, as templates write it.
    fn seen(text: &str) -> Json {
        operators::data(&document(text.as_bytes(), 100).unwrap(), String::new).unwrap().unwrap()
    }

    #[test]
    fn a_document_is_what_it_says() {
        for text in [
            r#"{"a": [1, -2, 3.5, "x\u00e9\n", null, true, {"b": {}}], "c": []}"#,
            r#""text""#,
            "18446744073709551615",
            "[[[]]]",
        ] {
            assert_eq!(seen(text), serde_json::from_str::<Json>(text).unwrap(), "{text}");
        }
        assert_eq!(seen(r#"{"a": 1, "b": 2, "a": 3}"#), json!({"a": 3, "b": 2}));
        assert!(document(b"{\"a\": 1", 100).is_none());
        assert!(document(b"\"\xff\"", 100).is_none());
    }

    #[test]
    fn its_parts_are_found_counted_and_compared_as_any_value() {
        let value =
            document(br#"{"list": [1, 2, {"k": "v"}], "map": {"x": 1, "y": 2, "x": 3}}"#, 100).unwrap();
        let list = value.get_attr("list").unwrap();
        assert_eq!(list.len(), Some(3));
        assert_eq!(list.get_item_by_index(2).unwrap(), operators::value(json!({"k": "v"})));
        assert_eq!(list.get_item(&Value::from(-1)).unwrap(), operators::value(json!({"k": "v"})));
        assert!(list.get_item(&Value::from(-4)).unwrap().is_undefined());
        let map = value.get_attr("map").unwrap();
        assert_eq!((map.len(), map.get_attr("x").unwrap()), (Some(2), Value::from(3)));
        assert_eq!(map, operators::value(json!({"x": 3, "y": 2})));
        assert!(map.get_attr("z").unwrap().is_undefined());
        assert!(map.is_true() && !document(b"{}", 100).unwrap().is_true());
    }
}
