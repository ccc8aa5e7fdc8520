//! Our side: path, rules, decoding, picks, answers, and how the sender behaves.

use std::time::Duration;

use serde_json::Value as Json;

use super::verify::Verify;
use crate::connector::pick::{Pick, Pointer, TimeFormat};
use crate::connector::template::{Condition, Text, Tree};

/// Our side of the stream.
#[derive(Debug)]
pub struct Receiver {
    /// The path that the vendor posts to.
    pub path: Text,
    /// How a request proves who sent it.
    pub verify: Verify,
    /// What happens to requests that are no events.
    pub rules: Vec<Rule>,
    /// How a body is read.
    pub decode: Decode,
    /// Body to items to records.
    pub records: Records,
    /// Picks into the item.
    pub event: EventPicks,
    /// The answers.
    pub respond: Respond,
    /// How the vendor behaves.
    pub sender: Sender,
}

/// What happens to a request that is no event.
#[derive(Debug)]
pub struct Rule {
    /// What it is called in logs.
    pub name: String,
    /// The method it is routed by; `None` is the receiver's own.
    pub method: Option<http::Method>,
    /// When it applies.
    pub when: Option<Condition>,
    /// Whether the request must be verified first.
    pub verified: bool,
    /// The answer; `None` lets the request go on.
    pub respond: Option<Reply>,
    /// A request it applies to.
    pub sample: Json,
}

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

/// The answers, per outcome.
#[derive(Debug)]
pub struct Respond {
    /// The records are safe.
    pub accepted: Reply,
    /// The request did not prove who sent it.
    pub rejected: Option<Reply>,
    /// A rule swallowed it.
    pub ignored: Option<Reply>,
}

/// One answer.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Name and value.
    pub headers: Vec<(String, Text)>,
    /// The body.
    pub body: ReplyBody,
}

/// The body of an answer.
#[derive(Debug)]
pub enum ReplyBody {
    /// None.
    Empty,
    /// JSON, built as data.
    Json(Tree),
    /// Text.
    Text(Text),
}

/// How the vendor behaves; the stand-in plays it.
#[derive(Debug)]
pub struct Sender {
    /// Statuses that are a success to it: `2xx` or single ones.
    pub success: Vec<StatusRange>,
    /// How long it waits for an answer.
    pub timeout: Option<Duration>,
    /// How often it tries.
    pub attempts: Option<u32>,
    /// Statuses after which it stops for good.
    pub stops_on: Vec<StatusRange>,
    /// How long it goes on failing before it gives the stream up.
    pub gives_up_after: Option<Duration>,
    /// Whether it keeps order.
    pub ordered: bool,
}

/// Statuses from first to last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange(pub u16, pub u16);
