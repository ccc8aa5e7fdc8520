//! From a verified, inflated body to items: where the lists of items stand in its documents.
//!
//! `accept` calls it for a request, `run` for dead letters that are tried again; `formats` makes the documents, and
//! `records` goes on with each item. What it cannot read it keeps as a dead letter: nothing that came in verified is
//! thrown away.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use jiff::Timestamp;

use super::known_types::KnownTypes;
use super::request::Head;
use crate::connector::instance::Instance;
use crate::connector::model::Each;
use crate::connector::node::{Node, Parsed, Rows, Shape, Unread};
use crate::connector::pick::{EventPick, Pick, Pointer};
use crate::connector::record::Checked;
use crate::connector::scan::{self, Span, Torn};
use crate::connector::schema::Steps;
use crate::connector::template::Scope;
use crate::error::escaped;
use crate::queue::{DeadLetter, DeadReason, DeadWhat};

/// Items that one request may bring. Each takes memory beyond its bytes, and an item may be one byte long.
const MOST_ITEMS: usize = 200_000;
/// Bytes of a document that is read whole. A longer one is cut into its elements first: the table of all its values
/// would take more memory than the document.
const WHOLE: usize = 256 << 10;
/// What is known while a body is decoded.
pub(super) struct Decoder<'a> {
    /// Whose stream it is.
    pub instance: &'a Instance,
    /// The picks of the id that can be believed.
    pub ids: &'a [EventPick],
    /// The head of the request; `None` for a dead letter that is decoded again.
    pub head: Option<&'a Head>,
    /// The names that exist everywhere, and `state`: for what the spec builds. `None` where it builds nothing.
    pub scope: Option<Scope>,
    /// The rules that are asked about every item, by their places in the spec.
    pub item_rules: &'a [usize],
    /// What stands before every path in the public address.
    pub prefix: &'a str,
    /// The known types of event.
    pub types: &'a KnownTypes,
    /// Nesting of a record.
    pub depth: usize,
    /// Steps that checking the records of one body may take.
    pub steps: Steps,
    /// Bytes that the layers of one body's records may grow to.
    pub inflated: usize,
    /// When the request came.
    pub at: Timestamp,
}

/// What a body held.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Records in the order of the body.
    pub records: Vec<Checked>,
    /// The type of each record, as its number among the known types; `None` for every other.
    pub kinds: Vec<Option<u16>>,
    /// What could not be accepted, in the order of the body.
    pub dead: Vec<DeadLetter>,
    /// Rules that hold for an item, by their places in the spec, with the item.
    pub ruled: Vec<(usize, Bytes)>,
}

/// Why a document gives no items at all.
pub(super) struct Broken(pub String);

impl From<Unread> for Broken {
    fn from(unread: Unread) -> Self {
        Self(unread.to_string())
    }
}

/// What one body is read from.
pub(super) struct Texts {
    /// The body, inflated.
    pub body: Bytes,
    /// What items are cut out of: the body, or a text that was made of it.
    pub source: Bytes,
    /// What picks found in the body before: it is looked through once for each, not once for every record.
    pub picked: RefCell<Vec<(Pick, Option<String>)>>,
    /// The same of values as they are written.
    pub cut: RefCell<Vec<(Pointer, Option<String>)>>,
}

impl Texts {
    pub(super) fn of(body: Bytes, source: Bytes) -> Self {
        Self { body, source, picked: RefCell::default(), cut: RefCell::default() }
    }
}

/// One body on its way through.
pub(super) struct Work<'d, 'a> {
    pub decoder: &'d Decoder<'a>,
    /// Shared, since whoever works on an item holds them while the work goes on.
    pub texts: Rc<Texts>,
    pub hash: OnceCell<String>,
    /// The id that was known of an item that is decoded again.
    pub id: Option<Bytes>,
    /// Items so far.
    pub index: usize,
    /// Bytes that layers may still grow to.
    pub left: usize,
    /// Where the values of the document in hand stand.
    pub rows: Rows,
    /// The names that conditions about an item see beside it.
    pub item_scope: OnceCell<Scope>,
    pub out: Decoded,
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
        let read = match std::str::from_utf8(item).map(scan::whole) {
            Ok(Ok(span)) => work.item_again(span),
            Ok(Err(Torn)) | Err(_) => Err(Broken("it is no JSON".to_owned())),
        };
        if let Err(Broken(detail)) = read {
            work.out = Decoded::default();
            work.bury(DeadWhat::Record, DeadReason::Undecodable, item.clone(), id.cloned(), &detail);
        }
        work.out
    }

    /// A record that was found before, and held back for its id alone: it is not looked for in an item again.
    pub(super) fn record(&self, record: &Bytes, id: Option<&Bytes>) -> Decoded {
        let mut work = self.work(record);
        work.id = id.cloned();
        if let Err(Broken(detail)) = work.bare() {
            work.bury(DeadWhat::Record, DeadReason::Undecodable, record.clone(), id.cloned(), &detail);
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
        Work {
            decoder: self,
            texts: Rc::new(Texts::of(body.clone(), body.clone())),
            hash: OnceCell::new(),
            id: None,
            index: 0,
            item_scope: OnceCell::new(),
            left: self.inflated,
            rows: Rows::default(),
            out: Decoded::default(),
        }
    }
}

impl Work<'_, '_> {
    /// One document: the list of its items is the first of `each` that is there; what is no list is a list
    /// of one. A document that is not too large is read once, and what was read serves its items too.
    pub(super) fn document(&mut self, text: &str) -> Result<(), Broken> {
        let each = match &self.decoder.instance.connector.receiver.records.each {
            Each::At(each) => each,
            Each::Built(list) => {
                let list = list.json(&self.scope(text)).map_err(|error| Broken(error.to_string()))?;
                let list = list.ok_or_else(|| Broken("the document has no list of items".to_owned()))?;
                return self.within(list, |work, text| work.list(text, &[]));
            }
        };
        self.list(text, each)
    }

    fn list(&mut self, text: &str, each: &[Pointer]) -> Result<(), Broken> {
        if text.len() > WHOLE {
            return self.large_list(text, each);
        }
        let parsed = match Parsed::within(text, self.decoder.depth, &mut self.rows) {
            Ok(parsed) => parsed,
            Err(Unread::Deep) => return self.large_list(text, each),
            Err(Unread::Wrong(what)) => return Err(Broken(what)),
        };
        let outcome = self.elements(parsed.root(), each);
        self.rows = parsed.into_rows();
        outcome
    }

    fn elements(&mut self, document: Node<'_>, each: &[Pointer]) -> Result<(), Broken> {
        let list = if each.is_empty() {
            Some(document)
        } else {
            each.iter().find_map(|pointer| document.at(pointer))
        };
        let Some(list) = list else { return Err(nothing_at(each)) };
        let Shape::List(items) = list.shape() else { return self.element(list) };
        items.iter().try_for_each(|item| self.element(item))
    }

    /// One document that is large, or nests deeper than the reader may go: cut into elements, which are read one by one.
    fn large_list(&mut self, text: &str, each: &[Pointer]) -> Result<(), Broken> {
        let torn = |_: Torn| Broken(no_json(text));
        let mut list = if each.is_empty() { Some(scan::whole(text).map_err(torn)?) } else { None };
        for pointer in each {
            list = scan::find(text, pointer).map_err(torn)?;
            if list.is_some() {
                break;
            }
        }
        let Some(list) = list else { return Err(nothing_at(each)) };
        self.beside(text, list.text)?;
        if list.text.starts_with('[') {
            for item in scan::elements(list.text) {
                self.item(item.map_err(torn)?)?;
            }
            return Ok(());
        }
        self.item(list)
    }

    /// A list that stands inside a document: the rest of the document must be JSON too.
    fn beside(&mut self, text: &str, list: &str) -> Result<(), Broken> {
        let Some((before, after)) = around(text, list) else { return Ok(()) };
        if scan::trim(before).is_empty() && scan::trim(after).is_empty() {
            return Ok(());
        }
        // A number stands in for the list, whose elements are read one by one.
        match Parsed::within(&[before, "0", after].concat(), self.decoder.depth, &mut self.rows) {
            Ok(_) | Err(Unread::Deep) => Ok(()),
            Err(Unread::Wrong(what)) => Err(Broken(what)),
        }
    }

    /// One element that was cut out: read, if it does not nest too deep. `Broken` where it is no JSON.
    fn item(&mut self, item: Span<'_>) -> Result<(), Broken> {
        let records = &self.decoder.instance.connector.receiver.records;
        let deepest = |pointers: &[Pointer]| pointers.iter().map(|pointer| pointer.0.len()).max();
        let wrapping =
            deepest(&records.unwrap).unwrap_or(0) + deepest(&records.then_each).map_or(0, |n| n + 1);
        if item.depth > self.decoder.depth + wrapping {
            self.room()?;
            self.index += 1;
            let detail = format!("it nests {} deep, and {} is the bound", item.depth, self.decoder.depth);
            self.bury(DeadWhat::Record, DeadReason::TooDeep, self.cut(item.text), None, &detail);
            return Ok(());
        }
        let parsed = Parsed::within(item.text, item.depth, &mut self.rows)?;
        let outcome = self.element(parsed.root());
        self.rows = parsed.into_rows();
        outcome
    }

    /// An item that was cut out before. Where lists stand in elements it may be a member of such a list.
    fn item_again(&mut self, item: Span<'_>) -> Result<(), Broken> {
        let then = &self.decoder.instance.connector.receiver.records.then_each;
        let mut lists = then.iter().map(|pointer| scan::find(item.text, pointer));
        if then.is_empty()
            || lists.any(|found| matches!(found, Ok(Some(_))))
            || item.depth > self.decoder.depth
        {
            return self.item(item);
        }
        let parsed = Parsed::within(item.text, item.depth, &mut self.rows)?;
        self.read_item(parsed.root(), None)
    }

    /// One element of the list: an item, or what holds a list of items.
    fn element(&mut self, element: Node<'_>) -> Result<(), Broken> {
        let then = &self.decoder.instance.connector.receiver.records.then_each;
        if then.is_empty() {
            return self.read_item(element, None);
        }
        let Some(list) = then.iter().find_map(|pointer| element.at(pointer)) else {
            self.room()?;
            self.index += 1;
            let Broken(detail) = nothing_at(then);
            self.bury(DeadWhat::Record, DeadReason::Undecodable, self.cut(element.raw()), None, &detail);
            return Ok(());
        };
        let Shape::List(items) = list.shape() else { return self.read_item(list, Some(element)) };
        items.iter().try_for_each(|item| self.read_item(item, Some(element)))
    }

    pub(super) fn room(&self) -> Result<(), Broken> {
        if self.out.records.len() + self.out.dead.len() < MOST_ITEMS {
            return Ok(());
        }
        Err(Broken(format!("it holds more than {MOST_ITEMS} records")))
    }

    pub(super) fn bury(
        &mut self,
        what: DeadWhat,
        reason: DeadReason,
        bytes: Bytes,
        id: Option<Bytes>,
        detail: &str,
    ) {
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

/// What stands before and after a part of a text.
fn around<'t>(text: &'t str, part: &str) -> Option<(&'t str, &'t str)> {
    let start = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    Some((text.get(..start)?, text.get(start + part.len()..)?))
}

/// What a document lacks.
fn nothing_at(each: &[Pointer]) -> Broken {
    Broken(format!("there is nothing at {}", places(each)))
}

/// Pointers as people read them.
pub(super) fn places(pointers: &[Pointer]) -> String {
    let places: Vec<_> = pointers.iter().map(|pointer| format!("`{pointer}`")).collect();
    places.join(" or ")
}

/// What is wrong with a text that does not hang together.
fn no_json(text: &str) -> String {
    match Parsed::read(text) {
        Err(Unread::Wrong(what)) => what,
        Ok(_) | Err(Unread::Deep) => "it is no JSON".to_owned(),
    }
}
