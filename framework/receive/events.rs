//! What tells an event from others: its id, its time, its type, by the spec's picks.
//!
//! `decode` calls it for every record. A bad time is no error, and neither is a missing id: a hash of the
//! body and the record's place in it stands in, the same on every machine and on every day.

use std::borrow::Cow;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use jiff::Timestamp;

use super::decode::Texts;
use super::request::{Found, Head};
use crate::connector::node::{Node, Number, Shape};
use crate::connector::pick::{EventPick, Pick, Pointer, TimeFormat};
use crate::connector::scan;

/// The longest id that is kept as it is; a longer one is hashed.
const LONGEST_ID: usize = 512;

/// An item as the picks see it.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    /// The item, read.
    pub tree: Node<'a>,
    /// The element that holds the list which the item is of, where the spec goes that deep.
    pub outer: Option<Node<'a>>,
    /// The record in the item; `None` before it is found.
    pub record: Option<Node<'a>>,
    /// What the item was cut out of, and the body it came in.
    pub texts: &'a Texts,
    /// The head of its request; `None` for a dead letter that is decoded again.
    pub head: Option<&'a Head>,
}

/// Where a record stands among those of its request.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The item's place in the body.
    pub index: usize,
    /// The record's place in its item.
    pub part: usize,
    /// Whether an item of this spec may hold several records.
    pub split: bool,
}

/// The picked id: the parts joined by `|`, so that no two lists of parts make the same id. `None` where a
/// part is missing or empty. An id that is the request's and not the item's, or the item's and not the record's,
/// is told apart by the record's place.
pub(super) fn id(item: Item<'_>, picks: &[EventPick], place: Place) -> Option<Bytes> {
    let numbered = numbered(picks, place.split);
    let mut joined = match picks {
        [] => return None,
        [pick] => match text_at(item, pick)? {
            // Mostly it stands in the body as it is, and needs no memory of its own.
            Cow::Borrowed(text)
                if text.len() <= LONGEST_ID && matches!(pick, EventPick::Item(_)) && !numbered =>
            {
                return Some(
                    part_of(&item.texts.source, text)
                        .unwrap_or_else(|| Bytes::copy_from_slice(text.as_bytes())),
                );
            }
            text => text.into_owned(),
        },
        many => {
            let mut joined = String::new();
            for (n, pick) in many.iter().enumerate() {
                if n > 0 {
                    joined.push('|');
                }
                joined.push_str(&text_at(item, pick)?.replace('\\', "\\\\").replace('|', "\\|"));
            }
            joined
        }
    };
    if numbered {
        // What an id may end in itself must not look like a number of ours.
        joined = joined.replace('\\', "\\\\").replace('#', "\\#");
        if place.index > 0 || place.split {
            joined.push_str(&format!("#{}", place.index));
        }
        if place.part > 0 {
            joined.push_str(&format!("#{}", place.part));
        }
    }
    if joined.len() > LONGEST_ID {
        return Some(Bytes::from(format!("sha256:{}", hash(joined.as_bytes()))));
    }
    (!joined.is_empty()).then(|| Bytes::from(joined))
}

/// Whether records of one request may have the same picked id without being the same.
fn numbered(picks: &[EventPick], split: bool) -> bool {
    !picks.iter().any(|pick| match pick {
        EventPick::Record(_) | EventPick::Hash(_) => true,
        EventPick::Item(_) => !split,
        EventPick::Outer(_) | EventPick::Headers(_) | EventPick::Request(_) => false,
    })
}

/// A text as a part of the body, where it is one.
fn part_of(body: &Bytes, text: &str) -> Option<Bytes> {
    let start = (text.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let end = start + text.len();
    (end <= body.len()).then(|| body.slice(start..end))
}

/// What stands in for an id that the vendor did not send.
pub(super) fn stand_in(body_hash: &str, place: Place) -> Bytes {
    match place {
        Place { index, part: 0, .. } => Bytes::from(format!("sha256:{body_hash}:{index}")),
        Place { index, part, .. } => Bytes::from(format!("sha256:{body_hash}:{index}#{part}")),
    }
}

/// SHA-256, in hex.
pub(super) fn hash(bytes: &[u8]) -> String {
    HEXLOWER.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

/// The time of the event: the first pick that is there and is a time.
pub(super) fn time(item: Item<'_>, picks: &[(EventPick, TimeFormat)]) -> Option<Timestamp> {
    let (text, format) =
        picks.iter().find_map(|(pick, format)| text_at(item, pick).map(|text| (text, *format)))?;
    format.read(&text)
}

/// The type of the event: the first pick that is there.
pub(super) fn kind<'a>(item: Item<'a>, picks: &[EventPick]) -> Option<Cow<'a, str>> {
    picks.iter().find_map(|pick| text_at(item, pick))
}

fn text_at<'a>(item: Item<'a>, pick: &EventPick) -> Option<Cow<'a, str>> {
    let text = match pick {
        EventPick::Item(pointer) => in_tree(item.tree, pointer)?,
        EventPick::Outer(pointer) => in_tree(item.outer?, pointer)?,
        EventPick::Record(pointer) => in_tree(item.record?, pointer)?,
        EventPick::Hash(pointer) => Cow::Owned(hash(item.record?.at(pointer)?.raw().as_bytes())),
        EventPick::Headers(names) => {
            let there =
                names.iter().find(|name| item.head.is_some_and(|head| head.headers.contains_key(*name)))?;
            Cow::Owned(one(item.head?.pick(&Pick::Header(there.clone()), &item.texts.body))?.into_owned())
        }
        EventPick::Request(pick @ (Pick::Header(_) | Pick::Query(_))) => {
            one(item.head?.pick(pick, &item.texts.body))?
        }
        EventPick::Request(pick @ (Pick::Body(_) | Pick::Item(_) | Pick::Form(_))) => {
            Cow::Owned(item.texts.pick(item.head?, pick)?)
        }
    };
    (!text.is_empty()).then_some(text)
}

impl Texts {
    /// A text in the body, which is looked for once.
    pub(super) fn pick(&self, head: &Head, pick: &Pick) -> Option<String> {
        let mut picked = self.picked.borrow_mut();
        if let Some((_, found)) = picked.iter().find(|(known, _)| known == pick) {
            return found.clone();
        }
        let found = one(head.pick(pick, &self.body)).map(Cow::into_owned);
        picked.push((pick.clone(), found.clone()));
        found
    }

    /// A value of the body as it is written, which is looked for once.
    pub(super) fn raw(&self, pointer: &Pointer) -> Option<String> {
        let mut cut = self.cut.borrow_mut();
        if let Some((_, found)) = cut.iter().find(|(known, _)| known == pointer) {
            return found.clone();
        }
        let body = std::str::from_utf8(&self.body).ok();
        let found = body.and_then(|body| scan::find(body, pointer).ok().flatten());
        let found = found.map(|found| found.text.to_owned());
        cut.push((pointer.clone(), found.clone()));
        found
    }
}

/// The one value that was found, as text.
fn one(found: Found<'_>) -> Option<Cow<'_, str>> {
    match found {
        Found::One(Cow::Borrowed(bytes)) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Found::One(Cow::Owned(bytes)) => String::from_utf8(bytes).ok().map(Cow::Owned),
        Found::Nothing | Found::Several => None,
    }
}

fn in_tree<'a>(tree: Node<'a>, pointer: &Pointer) -> Option<Cow<'a, str>> {
    let found = tree.at(pointer)?;
    match found.shape() {
        // A text that could not be read whole is taken as it is written: two ids must not become one.
        Shape::Text(Cow::Owned(text)) if text.contains('\u{fffd}') => Some(Cow::Borrowed(found.raw())),
        Shape::Text(text) => Some(text),
        Shape::Number(Number::Unsigned(number)) => Some(Cow::Owned(number.to_string())),
        Shape::Number(Number::Signed(number)) => Some(Cow::Owned(number.to_string())),
        // A double cannot hold every number that a vendor may write.
        Shape::Number(Number::Float(_)) => Some(Cow::Borrowed(found.raw())),
        Shape::Null | Shape::Bool(_) | Shape::List(_) | Shape::Map(_) => None,
    }
}
