//! How a body becomes items and records, and where an item says what it is.

use crate::connector::coding::Coding;
use crate::connector::pick::{EventPick, Pointer, TimeFormat};
use crate::connector::record::Remember;
use crate::connector::template::{Text, Tree};

/// How a body is read.
#[derive(Debug)]
pub enum Decode {
    /// One JSON document.
    Json,
    /// One JSON document a line.
    JsonLines {
        /// Whether one document for the whole body is taken too.
        also_json: bool,
    },
    /// JSON documents one after the other, whatever white space stands between them.
    JsonConcat,
    /// The fields of a form.
    Form {
        /// The field that holds a JSON document; `None`: the fields are the document.
        field: Option<String>,
    },
    /// No body is read: the document is built from the request.
    Nothing(Tree),
}

/// Body to items to records.
#[derive(Debug)]
pub struct Records {
    /// Where the list of items stands.
    pub each: Each,
    /// Where in each element of that list the list of items stands: the first that is there. Empty: the elements
    /// are the items.
    pub then_each: Vec<Pointer>,
    /// The part of an item that is the record: the first that is there.
    pub unwrap: Vec<Pointer>,
    /// What is around the record, from the outside in.
    pub layers: Vec<Layer>,
    /// What becomes of a record whose layers do not open.
    pub otherwise: Otherwise,
}

/// Where a list stands. What is no list is a list of one.
#[derive(Debug)]
pub enum Each {
    /// At the first of these that is there.
    At(Vec<Pointer>),
    /// Nowhere: it is built from the document.
    Built(Text),
}

/// One layer around a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// Base64, of either alphabet, padded or not.
    Base64,
    /// A compression.
    Inflate(Coding),
    /// A compression where the bytes begin as it does; others go on as they are.
    MayInflate(Coding),
    /// JSON.
    Json,
    /// Several JSON documents, one a line.
    JsonLines,
    /// Several JSON documents, one after the other.
    JsonConcat,
    /// The value at a place.
    At(Pointer),
    /// Every member of the list at a place.
    Each(Pointer),
}

/// What becomes of a record whose layers do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Otherwise {
    /// Kept as a dead letter.
    #[default]
    DeadLetter,
    /// Delivered as the text that it is.
    Text,
}

/// Picks into the item.
#[derive(Debug)]
pub struct EventPicks {
    /// Joined; empty: a hash of the request body and the record's index.
    pub id: Vec<EventPick>,
    /// The first that is there, and how it is written.
    pub time: Vec<(EventPick, TimeFormat)>,
    /// The first that is there.
    pub kind: Vec<EventPick>,
    /// What becomes of other bytes under an id that is known.
    pub on_reuse: OnReuse,
    /// How long the ids of events that have one are remembered.
    pub with_id: Remember,
    /// The same of events of which no id can be formed: they are known by the bytes of their body.
    pub without_id: Remember,
}

/// What becomes of other bytes under an id that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnReuse {
    /// Kept as a dead letter.
    #[default]
    DeadLetter,
    /// Dropped and counted.
    Drop,
    /// Delivered like a new one.
    Deliver,
}

impl Layer {
    /// Whether more than one record may come out of it.
    pub fn splits(&self) -> bool {
        match self {
            Self::JsonLines | Self::JsonConcat | Self::Each(_) => true,
            Self::Base64 | Self::Inflate(_) | Self::MayInflate(_) | Self::Json | Self::At(_) => false,
        }
    }
}
