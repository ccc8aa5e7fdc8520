//! What is put around a record where the spec asks for it: who received it, when, under which id, and the headers
//! and fields that are not in the record itself.
//!
//! `records` calls it for a record that passed its check. The record goes in as the bytes that came; everything
//! before it is written here, as JSON, so that no value can break out.

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use super::decode::Decoder;
use super::events::Item;
use super::request::Head;
use crate::connector::model::Envelope;
use crate::connector::node::Node;
use crate::connector::pick::{EventPick, Pick};

/// Everything of the envelope that stands before the record.
pub(super) fn before(envelope: &Envelope, decoder: &Decoder<'_>, item: Item<'_>, id: &Bytes) -> String {
    let mut around = Map::new();
    around.insert("connector".to_owned(), Json::from(decoder.instance.connector.name.as_str()));
    around.insert("instance".to_owned(), Json::from(decoder.instance.id.as_str()));
    around.insert("id".to_owned(), Json::from(String::from_utf8_lossy(id)));
    around.insert("received_at".to_owned(), Json::from(format!("{:.3}", decoder.at)));
    let headers = envelope.headers.iter();
    let headers = headers.filter_map(|name| Some((name.clone(), header(decoder.head?, name)?)));
    around.insert("headers".to_owned(), Json::Object(headers.collect()));
    let mut text = json!(around).to_string();
    text.pop();
    for (name, pick) in &envelope.fields {
        if let Some(value) = value(item, pick) {
            text.push_str(&format!(",{}:{value}", Json::from(name.as_str())));
        }
    }
    text.push_str(",\"record\":");
    text
}

/// A header as one text, however often it stands there.
fn header(head: &Head, name: &str) -> Option<Json> {
    let values: Vec<_> =
        head.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| Json::from(values.join(", ")))
}

/// A value as JSON on one line, as it came where it came as JSON.
fn value(item: Item<'_>, pick: &EventPick) -> Option<String> {
    let raw = |tree: Node<'_>, pointer| tree.at(pointer).map(|found| one_line(found.raw()));
    match pick {
        EventPick::Item(pointer) => raw(item.tree, pointer),
        EventPick::Outer(pointer) => raw(item.outer?, pointer),
        EventPick::Record(pointer) => raw(item.record?, pointer),
        EventPick::Hash(pointer) => {
            let found = item.record?.at(pointer)?;
            Some(Json::from(super::events::hash(found.raw().as_bytes())).to_string())
        }
        EventPick::Headers(names) => {
            names.iter().find_map(|name| header(item.head?, name)).map(|value| value.to_string())
        }
        EventPick::Request(Pick::Body(pointer) | Pick::Item(pointer)) => {
            item.texts.raw(pointer).map(|found| one_line(&found))
        }
        EventPick::Request(Pick::Header(name)) => header(item.head?, name).map(|value| value.to_string()),
        EventPick::Request(pick @ (Pick::Query(_) | Pick::Form(_))) => {
            item.texts.pick(item.head?, pick).map(|text| Json::from(text).to_string())
        }
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], "")
}
