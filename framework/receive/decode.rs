//! From a verified, inflated body to checked records and dead letters: body → items → records → checked.
//!
//! `accept` calls it for a request, `run` for dead letters that are tried again. What it cannot read it
//! keeps as a dead letter: nothing that came in verified is thrown away, and one bad line costs one line.

use std::cell::OnceCell;

use bytes::Bytes;
use jiff::Timestamp;
use memchr::{memchr_iter, memchr2};

use super::events::{self, Item};
use super::request::Head;
use crate::connector::model::{Connector, Decode};
use crate::connector::node::{Node, Parsed, Shape};
use crate::connector::pick::Pointer;
use crate::connector::record::{Checked, Record};
use crate::connector::scan::{self, Span, Torn};
use crate::error::escaped;
use crate::queue::{DeadLetter, DeadReason, DeadWhat};

/// Items that one request may bring. Each takes memory beyond its bytes, and an item may be one byte long.
const MOST_ITEMS: usize = 200_000;

/// What is known while a body is decoded.
pub(super) struct Decoder<'a> {
    /// The spec.
    pub connector: &'a Connector,
    /// The head of the request; `None` for a dead letter that is decoded again.
    pub head: Option<&'a Head>,
    /// The known types of event, sorted.
    pub types: &'a [String],
    /// Nesting of a record.
    pub depth: usize,
    /// When the request came.
    pub at: Timestamp,
}

/// What a body held.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Records in the order of the body.
    pub records: Vec<Checked>,
    /// The type of each record, as a place among the known types; `None` for every other.
    pub kinds: Vec<Option<u16>>,
    /// What could not be accepted, in the order of the body.
    pub dead: Vec<DeadLetter>,
}

/// Why a document gives no items at all.
struct Broken(String);

/// One body on its way through.
struct Work<'d, 'a> {
    decoder: &'d Decoder<'a>,
    body: Bytes,
    hash: OnceCell<String>,
    id: Option<Bytes>,
    index: usize,
    out: Decoded,
}

impl Decoder<'_> {
    /// Decodes a whole body, or one line of one.
    pub(super) fn body(&self, body: &Bytes) -> Decoded {
        let mut work = self.work(body);
        work.read();
        work.out
    }

    /// Decodes one item that was cut out of a body before. The id that was known then stands in where its
    /// picks lead out of the item.
    pub(super) fn item(&self, item: &Bytes, id: Option<&Bytes>) -> Decoded {
        let mut work = self.work(item);
        work.id = id.cloned();
        match std::str::from_utf8(item).map(scan::whole) {
            Ok(Ok(span)) => {
                if let Err(broken) = work.item(span) {
                    work.bury(DeadWhat::Record, DeadReason::Undecodable, item.clone(), None, &broken.0);
                }
            }
            Ok(Err(Torn)) | Err(_) => {
                work.bury(DeadWhat::Record, DeadReason::Undecodable, item.clone(), None, "it is no JSON");
            }
        }
        work.out
    }

    /// A body that could not even be inflated: kept as it came.
    pub(super) fn torn(&self, body: &Bytes, detail: &str) -> Decoded {
        let mut work = self.work(body);
        work.bury(DeadWhat::Body, DeadReason::Undecodable, body.clone(), None, detail);
        work.out
    }

    fn work(&self, body: &Bytes) -> Work<'_, '_> {
        let (hash, out) = (OnceCell::new(), Decoded::default());
        Work { decoder: self, body: body.clone(), hash, id: None, index: 0, out }
    }
}

impl Work<'_, '_> {
    fn read(&mut self) {
        let body = self.body.clone();
        let bytes = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&body);
        let blanks = bytes.iter().take_while(|byte| scan::blank(**byte)).count();
        let bytes = bytes.get(blanks..).unwrap_or_default();
        let Some(first) = bytes.first() else { return };
        let read = match self.decoder.connector.receiver.decode {
            Decode::Json => self.document_or_nothing(bytes),
            Decode::JsonLines { also_json: true } if *first == b'[' => self.document_or_nothing(bytes),
            Decode::JsonLines { also_json } => self.lines(bytes, also_json),
        };
        if let Err(Broken(detail)) = read {
            // What was read of it so far is in the dead letter too, and counts once.
            self.out = Decoded::default();
            self.bury(DeadWhat::Body, DeadReason::Undecodable, body.clone(), None, &detail);
        }
    }

    fn document_or_nothing(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let text = std::str::from_utf8(bytes).map_err(|error| Broken(error.to_string()))?;
        self.document(text)
    }

    /// One document a line, each bounded by the body's cap alone.
    fn lines(&mut self, bytes: &[u8], also_json: bool) -> Result<(), Broken> {
        let ends = memchr_iter(b'\n', bytes).chain([bytes.len()]);
        let lines = ends.scan(0, |start, end| bytes.get(std::mem::replace(start, end + 1)..end));
        let lines = lines.map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        for (n, line) in lines.enumerate() {
            let before = (self.out.records.len(), self.out.dead.len(), self.index);
            let Err(Broken(detail)) = self.document_or_nothing(line) else { continue };
            self.out.records.truncate(before.0);
            self.out.kinds.truncate(before.0);
            self.out.dead.truncate(before.1);
            self.index = before.2;
            // A first line that is no JSON may be the first line of one document that was written on many.
            if n == 0 && also_json && line.len() < bytes.trim_ascii().len() {
                match self.document_or_nothing(bytes) {
                    Ok(()) => return Ok(()),
                    Err(_) => self.out = Decoded::default(),
                }
                self.index = 0;
            }
            self.room()?;
            let line = self.body.slice_ref(line);
            self.bury(DeadWhat::Body, DeadReason::Undecodable, line, None, &detail);
        }
        Ok(())
    }

    /// One document: the list of its items is the first of `each` that is there; what is no list is a list
    /// of one. A small document is read once, and its tree serves its items too.
    fn document(&mut self, text: &str) -> Result<(), Broken> {
        if !scan::shallow(text, self.decoder.depth) {
            return self.deep_document(text);
        }
        let parsed = Parsed::read(text).map_err(Broken)?;
        let each = &self.decoder.connector.receiver.records.each;
        let list = if each.is_empty() {
            Some(parsed.root())
        } else {
            each.iter().find_map(|pointer| parsed.root().at(pointer))
        };
        let Some(list) = list else { return Err(nothing_at(each)) };
        let Shape::List(items) = list.shape() else { return self.read_item(list) };
        items.iter().try_for_each(|item| self.read_item(item))
    }

    /// One document that may nest deeper than the reader can bear: cut into items without a tree.
    fn deep_document(&mut self, text: &str) -> Result<(), Broken> {
        let torn = |_: Torn| Broken(no_json(text));
        let each = &self.decoder.connector.receiver.records.each;
        let mut list = if each.is_empty() { Some(scan::whole(text).map_err(torn)?) } else { None };
        for pointer in each {
            list = scan::find(text, pointer).map_err(torn)?;
            if list.is_some() {
                break;
            }
        }
        let Some(list) = list else { return Err(nothing_at(each)) };
        if list.text.len() < scan::trim(text).len() {
            self.beside(text)?;
        }
        if list.text.starts_with('[') {
            for item in scan::elements(list.text) {
                self.item(item.map_err(torn)?)?;
            }
            return Ok(());
        }
        self.item(list)
    }

    /// A list that stands inside a document: the rest of the document must be JSON too.
    fn beside(&self, text: &str) -> Result<(), Broken> {
        let shallow = scan::whole(text).is_ok_and(|span| span.depth <= self.decoder.depth);
        if shallow { Parsed::read(text).map(drop).map_err(Broken) } else { Ok(()) }
    }

    /// One item that was cut out: read, if it does not nest too deep. `Broken` where it is no JSON.
    fn item(&mut self, item: Span<'_>) -> Result<(), Broken> {
        let records = &self.decoder.connector.receiver.records;
        let wrapping = records.unwrap.iter().map(|pointer| pointer.0.len()).max().unwrap_or(0);
        if item.depth > self.decoder.depth + wrapping {
            self.room()?;
            self.index += 1;
            let detail = format!("it nests {} deep, and {} is the bound", item.depth, self.decoder.depth);
            self.bury(DeadWhat::Record, DeadReason::TooDeep, self.cut(item.text), None, &detail);
            return Ok(());
        }
        let parsed = Parsed::read(item.text).map_err(Broken)?;
        self.read_item(parsed.root())
    }

    /// One item that was read: unwrapped, picked and checked.
    fn read_item(&mut self, item: Node<'_>) -> Result<(), Broken> {
        self.room()?;
        let index = self.index;
        self.index += 1;
        let body = self.body.clone();
        let seen = Item { tree: item, body: &body, head: self.decoder.head };
        let id =
            events::id(seen, &self.decoder.connector.receiver.event.id, index).or_else(|| self.id.clone());
        let Some(tree) = self.unwrap(item) else {
            let unwrap = &self.decoder.connector.receiver.records.unwrap;
            let detail = format!("the item has nothing at {}", places(unwrap));
            self.bury(DeadWhat::Record, DeadReason::Undecodable, self.cut(item.raw()), id, &detail);
            return Ok(());
        };
        let event = &self.decoder.connector.receiver.event;
        let time = events::time(seen, &event.time, event.time_format);
        let record = Record {
            bytes: self.record_bytes(tree.raw()),
            tree,
            id: id.clone().unwrap_or_else(|| events::stand_in(self.body_hash(), index)),
            time,
        };
        match self.decoder.connector.output.schema.check(record) {
            Ok(checked) => {
                self.out.kinds.push(self.known_type(seen));
                self.out.records.push(checked);
            }
            Err(failure) => {
                let detail = failure.to_string();
                self.bury(DeadWhat::Record, DeadReason::Schema, self.cut(item.raw()), id, &detail);
            }
        }
        Ok(())
    }

    /// The part of an item that is the record.
    fn unwrap<'i>(&self, item: Node<'i>) -> Option<Node<'i>> {
        let unwrap = &self.decoder.connector.receiver.records.unwrap;
        if unwrap.is_empty() { Some(item) } else { unwrap.iter().find_map(|pointer| item.at(pointer)) }
    }

    fn known_type(&self, item: Item<'_>) -> Option<u16> {
        let kind = events::kind(item, &self.decoder.connector.receiver.event.kind)?;
        self.decoder
            .types
            .binary_search_by(|known| known.as_str().cmp(&kind))
            .ok()
            .and_then(|n| n.try_into().ok())
    }

    /// The record's bytes as they came. Raw line breaks can only stand between tokens, and are taken out:
    /// the output is one line a record.
    fn record_bytes(&self, text: &str) -> Bytes {
        if memchr2(b'\n', b'\r', text.as_bytes()).is_some() {
            text.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect()
        } else {
            self.cut(text)
        }
    }

    fn cut(&self, text: &str) -> Bytes {
        self.body.slice_ref(text.as_bytes())
    }

    fn body_hash(&self) -> &str {
        self.hash.get_or_init(|| events::hash(&self.body))
    }

    fn room(&self) -> Result<(), Broken> {
        if self.out.records.len() + self.out.dead.len() < MOST_ITEMS {
            return Ok(());
        }
        Err(Broken(format!("it holds more than {MOST_ITEMS} records")))
    }

    fn bury(&mut self, what: DeadWhat, reason: DeadReason, bytes: Bytes, id: Option<Bytes>, detail: &str) {
        self.out.dead.push(DeadLetter {
            what,
            reason,
            detail: escaped(detail, 400),
            bytes,
            id,
            sink: None,
            at: self.decoder.at,
        });
    }
}

/// What a document lacks.
fn nothing_at(each: &[Pointer]) -> Broken {
    Broken(format!("there is nothing at {}", places(each)))
}

fn places(pointers: &[Pointer]) -> String {
    let places: Vec<_> = pointers.iter().map(|pointer| format!("`{pointer}`")).collect();
    places.join(" or ")
}

/// What is wrong with a text that does not hang together.
fn no_json(text: &str) -> String {
    // The reader says it better, but recurses: it is asked only where it cannot go deep.
    let brackets = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).take(201).count();
    match (brackets <= 200).then(|| Parsed::read(text)) {
        Some(Err(detail)) => detail,
        Some(Ok(_)) | None => "it is no JSON".to_owned(),
    }
}
