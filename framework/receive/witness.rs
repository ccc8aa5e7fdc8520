//! Who may look on while requests are answered: `explain-request` is told of every stage, `run --record` of the
//! request and its answer.
//!
//! In an ordinary run nobody looks on, and a stage costs one look at an empty cell. A witness changes nothing of what
//! becomes of a request, and it is told of what is secret in it: it is the person's own tool.

use bytes::Bytes;
use http::Response;
use serde_json::Value as Json;

use super::request::Head;
use crate::spec::path::Path;

/// Looks on while an endpoint answers requests. Called from many requests at once; it must return at once.
pub trait Witness: Send + Sync + 'static {
    /// Whether it wants to hear of the stages: what is told of them takes a second look at the request.
    fn wants_stages(&self) -> bool;

    /// What a stage did.
    fn told(&self, told: Told);

    /// A request that was answered.
    fn answered(&self, request: &Answered<'_>);
}

/// A request with its answer.
pub struct Answered<'a> {
    /// Its head.
    pub head: &'a Head,
    /// Its body, as it came; `None` where nobody read it.
    pub body: Option<&'a Bytes>,
    /// The answer.
    pub answer: &'a Response<Bytes>,
    /// Why it was not accepted, in the word of the log.
    pub refused: Option<&'static str>,
}

/// What a stage did to a request.
#[derive(Debug, Clone)]
pub struct Told {
    /// Which stage.
    pub stage: Stage,
    /// What it came to.
    pub outcome: Outcome,
    /// The same for people, secrets never among it.
    pub sentence: String,
    /// What in the spec decided it; empty where nothing there did.
    pub place: Path,
    /// The same for programs, where there is more to say.
    pub data: Json,
}

/// A stage of the life of a request, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Path and method.
    Route,
    /// Sizes and times.
    Limits,
    /// What the head alone tells of the sender.
    Who,
    /// A rule.
    Rule,
    /// A check of `verify`.
    Verify,
    /// The Content-Encoding.
    Inflate,
    /// From the body to items.
    Decode,
    /// A record: its schema, its id.
    Record,
    /// Dedupe, append and sync.
    Store,
    /// The answer.
    Reply,
}

impl Stage {
    /// Its name, for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Limits => "limits",
            Self::Who => "who",
            Self::Rule => "rule",
            Self::Verify => "verify",
            Self::Inflate => "inflate",
            Self::Decode => "decode",
            Self::Record => "record",
            Self::Store => "store",
            Self::Reply => "reply",
        }
    }
}

/// What a stage came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The request goes on, or is answered with success.
    Passed,
    /// It ends here, or a part of it does.
    Refused,
    /// Nothing followed from it.
    Noted,
}

impl Outcome {
    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Noted => "noted",
        }
    }
}
