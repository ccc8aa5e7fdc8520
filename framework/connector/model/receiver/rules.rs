//! What becomes of requests that are no events, and what is answered to all of them.

use serde_json::Value as Json;

use crate::connector::template::{Condition, Text, Tree};

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
