//! Items made into a body: the inverse of what the receiver's format and its lists make of one.
//!
//! Called by the plan for each push. The text of an item goes in as it is, so that its bytes are those that were
//! noted.

use serde_json::Value as Json;

use super::events::Event;
use crate::connector::model::{Connector, Decode, Each, ReplyBody};
use crate::connector::overlay::write;
use crate::connector::pick::Pointer;

/// How items become a body.
#[derive(Debug, Clone)]
pub struct Frame {
    format: Format,
    /// Whether the spec says what body items make.
    built: bool,
    /// Where the list of elements stands in a document.
    each: Pointer,
    /// Where the list of items stands in an element.
    then_each: Option<Pointer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Format {
    Json,
    Lines { also_json: bool },
    Concat,
    Form(Option<String>),
    Nothing,
}

/// What stands where a text goes in.
const MARKER: &str = "forebay items stand here";

impl Frame {
    /// The frame of a connector.
    pub fn of(connector: &Connector) -> Self {
        let receiver = &connector.receiver;
        let each = match &receiver.records.each {
            Each::At(each) => {
                each.iter().find(|p| p.0.is_empty()).or(each.first()).cloned().unwrap_or_default()
            }
            Each::Built(_) => Pointer::default(),
        };
        let then = &receiver.records.then_each;
        Self {
            format: match &receiver.decode {
                Decode::Json => Format::Json,
                Decode::JsonLines { also_json } => Format::Lines { also_json: *also_json },
                Decode::JsonConcat => Format::Concat,
                Decode::Form { field } => Format::Form(field.clone()),
                Decode::Nothing(_) => Format::Nothing,
            },
            built: !matches!(connector.simulate.body, ReplyBody::Empty),
            each,
            then_each: then.iter().find(|p| !p.0.is_empty()).or(then.first()).cloned(),
        }
    }

    /// Whether a body can hold no more than one item.
    pub fn is_single(&self) -> bool {
        matches!(self.format, Format::Form(None) | Format::Nothing)
    }

    /// Whether a body is several documents, of which one may be broken alone.
    pub fn is_lines(&self) -> bool {
        matches!(self.format, Format::Lines { .. })
            && !self.built
            && self.each.0.is_empty()
            && self.then_each.is_none()
    }

    /// Whether the spec says what body items make.
    pub fn is_built(&self) -> bool {
        self.built
    }

    /// Whether a body can be broken at all.
    pub fn can_break(&self) -> bool {
        !self.is_single()
    }

    /// A body that holds these; `turn` is its number, and some bodies look different.
    pub fn body(&self, events: &[Event], turn: u64) -> Vec<u8> {
        match &self.format {
            Format::Nothing => Vec::new(),
            Format::Form(None) => fields(events),
            Format::Form(Some(field)) => form([(field.as_str(), self.document(events).as_str())]),
            Format::Lines { also_json: true } if turn % 5 == 2 => self.document(events).into_bytes(),
            Format::Lines { .. } if self.is_lines() => lines(events),
            Format::Concat => {
                let between = if turn.is_multiple_of(2) { "" } else { "\n" };
                let documents = events.iter().map(|event| self.document(std::slice::from_ref(event)));
                documents.collect::<Vec<_>>().join(between).into_bytes()
            }
            Format::Json | Format::Lines { .. } => self.document(events).into_bytes(),
        }
    }

    /// A line for each.
    pub fn lines(&self, events: &[Event]) -> Vec<u8> {
        lines(events)
    }

    /// A body that ends in the middle of its only item, and what of it must become a dead letter.
    pub fn broken(&self, half: &str) -> (Vec<u8>, Vec<u8>) {
        match &self.format {
            Format::Form(Some(field)) => {
                let body = form([(field.as_str(), half)]);
                (body.clone(), body)
            }
            Format::Json | Format::Lines { .. } | Format::Concat | Format::Form(None) | Format::Nothing => {
                (half.into(), half.into())
            }
        }
    }

    fn document(&self, events: &[Event]) -> String {
        let elements: Vec<String> = events.iter().map(|event| self.element(event)).collect();
        let list = format!("[{}]", elements.join(","));
        let around: Vec<&(Pointer, Json)> = events.iter().flat_map(|event| &event.around).collect();
        match elements.as_slice() {
            // A vendor that sends lists sends a single event as itself, too, where the spec allows it.
            [element] if self.each.0.is_empty() => element.clone(),
            _ if self.each.0.is_empty() => list,
            _ => within(&Json::Null, &self.each, &list, &around),
        }
    }

    fn element(&self, event: &Event) -> String {
        match &self.then_each {
            Some(at) => within(&event.outer, at, &format!("[{}]", event.item), &[]),
            None => event.item.clone(),
        }
    }
}

/// A document with a text at a place, and values beside it.
fn within(document: &Json, at: &Pointer, text: &str, around: &[&(Pointer, Json)]) -> String {
    let mut document = document.clone();
    for (place, value) in around {
        write(&mut document, place, value.clone());
    }
    let marker = Json::from(MARKER);
    write(&mut document, at, marker.clone());
    document.to_string().replacen(&marker.to_string(), text, 1)
}

fn lines(events: &[Event]) -> Vec<u8> {
    let mut body: Vec<u8> = Vec::new();
    for event in events {
        body.extend_from_slice(event.item.as_bytes());
        body.push(b'\n');
    }
    body
}

/// The fields of an item as a form; a list is a repeated field.
fn fields(events: &[Event]) -> Vec<u8> {
    let item: Json =
        events.first().and_then(|event| serde_json::from_str(&event.item).ok()).unwrap_or_default();
    let mut pairs: Vec<(&str, String)> = Vec::new();
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for (name, value) in item.as_object().into_iter().flatten() {
        match value {
            Json::Array(values) => pairs.extend(values.iter().map(|value| (name.as_str(), text(value)))),
            value => pairs.push((name.as_str(), text(value))),
        }
    }
    form(pairs.iter().map(|(name, value)| (*name, value.as_str())))
}

fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().into_bytes()
}
