//! How a body becomes items and records, and where an item says what it is.

use crate::connector::pick::{Pick, Pointer, TimeFormat};

/// How a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decode {
    /// One JSON document.
    Json,
    /// One JSON document a line.
    JsonLines {
        /// Whether one document for the whole body is taken too.
        also_json: bool,
    },
}

/// Body to items to records.
#[derive(Debug)]
pub struct Records {
    /// Where the list of items stands: the first that is there. An item that is no list is a list of one.
    pub each: Vec<Pointer>,
    /// The part of an item that is the record: the first that is there.
    pub unwrap: Vec<Pointer>,
}

/// Picks into the item.
#[derive(Debug)]
pub struct EventPicks {
    /// Joined; empty: a hash of the request body and the record's index.
    pub id: Vec<Pick>,
    /// The first that is there.
    pub time: Vec<Pick>,
    /// How the time is written.
    pub time_format: TimeFormat,
    /// The first that is there.
    pub kind: Vec<Pick>,
    /// What becomes of other bytes under an id that is known.
    pub on_reuse: OnReuse,
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
