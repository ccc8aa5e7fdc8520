//! Our side: path, rules, decoding, picks, answers, and how the sender behaves.

mod records;
mod rules;

use std::time::Duration;

use super::verify::Verify;
use crate::connector::coding::Coding;
use crate::connector::template::Text;

pub use self::records::{Decode, Each, EventPicks, Layer, OnReuse, Otherwise, Records};
pub use self::rules::{Capture, End, Lifecycle, Reply, ReplyBody, Respond, Rule, Run, Sample, SampleBody};

/// Our side of the stream.
#[derive(Debug)]
pub struct Receiver {
    /// The path that the vendor posts to.
    pub path: Text,
    /// The methods that events come by; GET too where no body is read.
    pub methods: Vec<http::Method>,
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
    /// How it compresses its bodies.
    pub encoding: Option<Coding>,
    /// Bytes of the largest body that it sends, where that is known.
    pub max_body: Option<u64>,
}

/// Statuses from first to last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange(pub u16, pub u16);
