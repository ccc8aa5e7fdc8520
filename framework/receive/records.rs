//! From an item to checked records: the part of it that is the record, out of its layers, with its id, time and
//! type, and in its envelope.
//!
//! `decode` calls it for every item. The record stays the slice that came wherever nothing had to be opened.
//! Several records may come out of the layers of one item; what fails of them is one dead letter, which holds the
//! item whole, and the others go on.

use bytes::Bytes;
use memchr::memchr2;

use super::decode::{Broken, Work, places};
use super::envelope;
use super::events::{self, Item, Place};
use crate::connector::layers::{from_base64, undone};
use crate::connector::model::{Layer, Otherwise};
use crate::connector::node::{Node, Parsed, Rows, Shape, Unread};
use crate::connector::record::Record;
use crate::connector::scan;
use crate::queue::{DeadReason, DeadWhat};

/// Items that one rule is done for in one request.
const MOST_RULED: usize = 64;

/// What is between two layers.
enum Piece<'n> {
    /// A value, and the text that it is a part of.
    Value(&'n Bytes, Node<'n>),
    /// What is no value yet.
    Bytes(Bytes),
}

/// An item that is being opened.
struct Opening<'i> {
    item: Item<'i>,
    place: Place,
    /// The first of its records that could not be accepted, and why.
    failed: Option<(DeadReason, String)>,
}

impl Work<'_, '_> {
    /// One item that was read: unwrapped, picked and checked.
    pub(super) fn read_item(&mut self, tree: Node<'_>, outer: Option<Node<'_>>) -> Result<(), Broken> {
        self.room()?;
        let index = self.index;
        self.index += 1;
        if !self.decoder.item_rules.is_empty() && self.ruled(tree) {
            return Ok(());
        }
        let texts = self.texts.clone();
        let source = &texts.source;
        let records = &self.decoder.instance.connector.receiver.records;
        let record = if records.unwrap.is_empty() {
            Some(tree)
        } else {
            records.unwrap.iter().find_map(|pointer| tree.at(pointer))
        };
        let place = Place { index, part: 0, split: records.layers.iter().any(Layer::splits) };
        let item = Item { tree, outer, record, texts: &texts, head: self.decoder.head };
        let Some(record) = record else {
            let detail = format!("the item has nothing at {}", places(&records.unwrap));
            self.bury_item(item, place, DeadReason::Undecodable, &detail);
            return Ok(());
        };
        if !records.layers.is_empty() {
            let mut opening = Opening { item, place, failed: None };
            self.open(&mut opening, Piece::Value(source, record), &records.layers)?;
            if let Some((reason, detail)) = opening.failed {
                self.bury_item(item, place, reason, &detail);
            }
            return Ok(());
        }
        if let Err(detail) = self.record(item, place, source) {
            self.bury_item(item, place, DeadReason::Schema, &detail);
        }
        Ok(())
    }

    /// Asks the rules per item about an item. `true`: one of them leaves it out.
    fn ruled(&mut self, item: Node<'_>) -> bool {
        let rules = &self.decoder.instance.connector.receiver.rules;
        let scope = self.item_scope.get_or_init(|| self.scope(""));
        let scope = scope.with("item", item.to_json());
        let mut left_out = false;
        for number in self.decoder.item_rules {
            let Some(rule) = rules.get(*number) else { continue };
            // A condition that cannot be decided does not hold: the item goes on.
            if rule.when.as_ref().is_some_and(|when| !when.holds(&scope).unwrap_or(false)) {
                continue;
            }
            let before = self.out.ruled.iter().filter(|(known, _)| known == number).count();
            if before < MOST_RULED {
                let text = self.cut(item.raw());
                self.out.ruled.push((*number, text));
            }
            left_out |= rule.end.is_some();
        }
        left_out
    }

    /// A record that stands alone and is known by its id.
    pub(super) fn bare(&mut self) -> Result<(), Broken> {
        let texts = self.texts.clone();
        let source = &texts.source;
        let text = std::str::from_utf8(source).map_err(|error| Broken(error.to_string()))?;
        let (parsed, place) = (self.parsed(text)?, Place { index: 0, part: 0, split: false });
        let tree = parsed.root();
        let item = Item { tree, outer: None, record: Some(tree), texts: &texts, head: None };
        self.record(item, place, source).map_err(Broken)
    }

    /// A document that does not nest too deep.
    fn parsed<'t>(&self, text: &'t str) -> Result<Parsed<'t>, Broken> {
        let bound = self.decoder.depth;
        match Parsed::within(text, bound, &mut Rows::default()) {
            Err(Unread::Deep) => Err(Broken(format!("it nests deeper than {bound}, which is the bound"))),
            read => Ok(read?),
        }
    }

    /// Opens the outermost of these layers, and what is in it. `Err`: there are too many records.
    fn open(&mut self, opening: &mut Opening<'_>, piece: Piece<'_>, layers: &[Layer]) -> Result<(), Broken> {
        let Some((layer, inner)) = layers.split_first() else { return self.take(opening, piece) };
        let why = match layer {
            Layer::Base64 => match piece.bytes().ok_or_else(no_text).and_then(|text| from_base64(&text)) {
                Ok(bytes) => return self.open(opening, Piece::Bytes(bytes), inner),
                Err(why) => why,
            },
            Layer::Inflate(coding) | Layer::MayInflate(coding) => {
                let optional = matches!(layer, Layer::MayInflate(_));
                let inflated = piece.bytes().ok_or_else(no_text).and_then(|bytes| {
                    match optional && coding.begins(&bytes) == Some(false) {
                        true => Ok(bytes),
                        false => undone(*coding, &bytes, &mut self.left),
                    }
                });
                match inflated {
                    Ok(bytes) => return self.open(opening, Piece::Bytes(bytes), inner),
                    Err(why) => why,
                }
            }
            Layer::Json => match piece.bytes().ok_or_else(no_text) {
                Ok(bytes) => match self.open_document(opening, &bytes, inner)? {
                    Ok(()) => return Ok(()),
                    Err(why) => why,
                },
                Err(why) => why,
            },
            Layer::JsonLines | Layer::JsonConcat => match piece.bytes() {
                Some(bytes) => {
                    return self.open_documents(opening, &bytes, inner, matches!(layer, Layer::JsonLines));
                }
                None => no_text(),
            },
            Layer::At(pointer) | Layer::Each(pointer) => match piece.at(pointer) {
                Some((text, value)) => match (layer, value.shape()) {
                    (Layer::Each(_), Shape::List(list)) => {
                        let mut members = list.iter();
                        return members
                            .try_for_each(|value| self.open(opening, Piece::Value(text, value), inner));
                    }
                    _ => return self.open(opening, Piece::Value(text, value), inner),
                },
                None => format!("there is nothing at `{pointer}`"),
            },
        };
        self.closed(opening, piece, why)
    }

    /// One document, and what is in it. The inner error: why it is none.
    fn open_document(
        &mut self,
        opening: &mut Opening<'_>,
        bytes: &Bytes,
        inner: &[Layer],
    ) -> Result<Result<(), String>, Broken> {
        let Ok(text) = std::str::from_utf8(bytes) else { return Ok(Err("it is no UTF-8".to_owned())) };
        match self.parsed(text) {
            Ok(parsed) => self.open(opening, Piece::Value(bytes, parsed.root()), inner).map(Ok),
            Err(Broken(why)) => Ok(Err(why)),
        }
    }

    /// Documents one a line, or one after the other; each that is none is a piece that stays closed.
    fn open_documents(
        &mut self,
        opening: &mut Opening<'_>,
        bytes: &Bytes,
        inner: &[Layer],
        lines: bool,
    ) -> Result<(), Broken> {
        let mut rest = scan::trim_start(bytes);
        while !rest.is_empty() {
            let end = if lines {
                memchr::memchr(b'\n', rest)
            } else {
                scan::end_of_value(rest, 0).map(|(end, _)| end)
            };
            let (document, behind) = rest.split_at(end.unwrap_or(rest.len()));
            let document = bytes.slice_ref(scan::trim_end(document));
            if let Err(why) = self.open_document(opening, &document, inner)? {
                self.closed(opening, Piece::Bytes(document), why)?;
            }
            rest = scan::trim_start(behind);
        }
        Ok(())
    }

    /// A piece whose layer does not open.
    fn closed(&mut self, opening: &mut Opening<'_>, piece: Piece<'_>, why: String) -> Result<(), Broken> {
        match self.decoder.instance.connector.receiver.records.otherwise {
            Otherwise::Text => self.take(opening, piece),
            Otherwise::DeadLetter => {
                opening.failed.get_or_insert((DeadReason::Undecodable, why));
                opening.place.part += 1;
                Ok(())
            }
        }
    }

    /// A piece that came out of all layers, or is to be delivered as the text that it is.
    fn take(&mut self, opening: &mut Opening<'_>, piece: Piece<'_>) -> Result<(), Broken> {
        self.room()?;
        let taken = match piece {
            Piece::Value(text, value) => {
                let item = Item { record: Some(value), ..opening.item };
                self.record(item, opening.place, text).map_err(|why| (DeadReason::Schema, why))
            }
            Piece::Bytes(bytes) => match std::str::from_utf8(&bytes) {
                // What is no JSON is delivered as the JSON text of it.
                Ok(text) => {
                    let quoted = Bytes::from(serde_json::Value::from(text).to_string());
                    let text = std::str::from_utf8(&quoted).expect("a JSON text of a text is text");
                    let parsed = Parsed::read(text)?;
                    let item = Item { record: Some(parsed.root()), ..opening.item };
                    self.record(item, opening.place, &quoted).map_err(|why| (DeadReason::Schema, why))
                }
                Err(_) => Err((DeadReason::Undecodable, "what is in its layers is no text".to_owned())),
            },
        };
        opening.place.part += 1;
        if let Err(failed) = taken {
            opening.failed.get_or_insert(failed);
        }
        Ok(())
    }

    /// A record that was found, without what the spec removes from it.
    fn record(&mut self, item: Item<'_>, place: Place, source: &Bytes) -> Result<(), String> {
        let remove = &self.decoder.instance.connector.output.remove;
        if remove.is_empty() {
            return self.cleaned(item, place, source);
        }
        let Some(text) = remove.cleaned(item.record.unwrap_or(item.tree)) else {
            return self.cleaned(item, place, source);
        };
        let source = Bytes::from(text);
        let text = std::str::from_utf8(&source).map_err(|error| error.to_string())?;
        let parsed = self.parsed(text).map_err(|Broken(why)| why)?;
        self.cleaned(Item { record: Some(parsed.root()), ..item }, place, &source)
    }

    /// A record that was found: checked, and put into its envelope. `source` is the text that it stands in. The
    /// error says why the schema refuses it.
    fn cleaned(&mut self, item: Item<'_>, place: Place, source: &Bytes) -> Result<(), String> {
        let connector = &self.decoder.instance.connector;
        let event = &connector.receiver.event;
        let tree = item.record.unwrap_or(item.tree);
        let id = self.id_of(item, place);
        let remember = if id.is_some() { event.with_id } else { event.without_id };
        let record = Record {
            bytes: record_bytes(tree.raw(), source),
            tree,
            id: id.unwrap_or_else(|| events::stand_in(self.body_hash(), place)),
            remember,
            time: events::time(item, &event.time),
        };
        let checked = connector
            .output
            .schema
            .check_within(record, &self.decoder.steps)
            .map_err(|failure| failure.to_string())?;
        self.out.kinds.push(self.known_type(item));
        let checked = match &connector.output.envelope {
            None => checked,
            Some(envelope) => {
                let before = envelope::before(envelope, self.decoder, item, checked.id());
                checked.enclosed(&before)
            }
        };
        self.out.records.push(checked);
        Ok(())
    }

    /// The id that the picks find, or the one that was known before.
    fn id_of(&self, item: Item<'_>, place: Place) -> Option<Bytes> {
        events::id(item, self.decoder.ids, place).or_else(|| match (&self.id, place.part) {
            (Some(id), part @ 1..) => Some(Bytes::from(format!("{}#{part}", String::from_utf8_lossy(id)))),
            (id, _) => id.clone(),
        })
    }

    fn bury_item(&mut self, item: Item<'_>, place: Place, reason: DeadReason, detail: &str) {
        // Records of it may have been accepted: tried again, they must be known.
        let id = self.id_of(item, place);
        let id = id.or_else(|| place.split.then(|| events::stand_in(self.body_hash(), place)));
        let remove = &self.decoder.instance.connector.output.remove;
        let cleaned = match remove.is_empty() {
            true => None,
            false => remove.cleaned_within(item.tree, item.record.unwrap_or(item.tree)),
        };
        let bytes = cleaned.map_or_else(|| self.cut(item.tree.raw()), Bytes::from);
        self.bury(DeadWhat::Record, reason, bytes, id, detail);
    }

    fn known_type(&self, item: Item<'_>) -> Option<u16> {
        let kind = events::kind(item, &self.decoder.instance.connector.receiver.event.kind)?;
        self.decoder.types.number(&kind)
    }

    /// A part of what items are cut out of.
    pub(super) fn cut(&self, text: &str) -> Bytes {
        self.texts.source.slice_ref(text.as_bytes())
    }

    fn body_hash(&self) -> &str {
        self.hash.get_or_init(|| events::hash(&self.texts.body))
    }
}

impl<'n> Piece<'n> {
    /// What the next layer is opened from: bytes, or a text's.
    fn bytes(&self) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::Value(_, value) => value.text().map(|text| Bytes::copy_from_slice(text.as_bytes())),
        }
    }

    fn at(&self, pointer: &crate::connector::pick::Pointer) -> Option<(&'n Bytes, Node<'n>)> {
        match self {
            Self::Value(text, value) => value.at(pointer).map(|value| (*text, value)),
            Self::Bytes(_) => None,
        }
    }
}

fn no_text() -> String {
    "it is no text".to_owned()
}

/// The record's bytes as they came. Raw line breaks can only stand between tokens, and are taken out: the output
/// is one line a record.
fn record_bytes(text: &str, source: &Bytes) -> Bytes {
    if memchr2(b'\n', b'\r', text.as_bytes()).is_some() {
        text.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect()
    } else {
        source.slice_ref(text.as_bytes())
    }
}
