//! What becomes of requests that are no events, and what is answered to all of them.

use crate::connector::model::Call;
use crate::connector::pick::Pick;
use crate::connector::template::{Condition, Text, Tree};

/// What becomes of a request that is no event. What it says is done in the order of the fields: nothing is kept or
/// run unless the answer could be built.
#[derive(Debug)]
pub struct Rule {
    /// What it is called in logs.
    pub name: String,
    /// The method it is routed by.
    pub method: http::Method,
    /// The path it is served at, beside the receiver's; `None` is the receiver's own.
    pub path: Option<Text>,
    /// Whether it is asked about every item of a request, as `item`, instead of about the request.
    pub per_item: bool,
    /// When it applies.
    pub when: Option<Condition>,
    /// Whether the request must be verified first.
    pub verified: bool,
    /// What is kept of the request.
    pub capture: Vec<Capture>,
    /// What is done.
    pub run: Option<Run>,
    /// How the request ends; `None` lets it go on. Of a rule per item it is the item that is not delivered.
    pub end: Option<End>,
    /// A request it applies to.
    pub sample: Sample,
}

/// A value of the request that becomes `state.RESOURCE.NAME`.
#[derive(Debug)]
pub struct Capture {
    /// The resource.
    pub resource: String,
    /// The name.
    pub name: String,
    /// Where it stands.
    pub place: Pick,
}

/// What a rule does beside answering.
#[derive(Debug)]
pub enum Run {
    /// The vendor's side is looked at and put right, soon and not too often; the answer does not wait for it.
    Operation {
        /// Whose.
        resource: String,
        /// Which.
        operation: Lifecycle,
    },
    /// A call that is made before the answer. Where the request has a say in the URL, `only` says where it may
    /// lead: an expression for the whole URL.
    Call {
        /// The call.
        call: Box<Call>,
        /// What the URL must be.
        only: Option<regex::Regex>,
    },
}

/// An operation that a message can ask for. What is done is what a look at the vendor shows to be needed; only a
/// renewal is made because it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lifecycle {
    /// Looked at.
    Check,
    /// Made, where it is gone.
    Create,
    /// Brought to what is desired.
    Update,
    /// Made healthy.
    Repair,
    /// Given more time.
    Renew,
}

impl Lifecycle {
    /// As the spec calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Create => "create",
            Self::Update => "update",
            Self::Repair => "repair",
            Self::Renew => "renew",
        }
    }
}

/// How a rule ends a request.
#[derive(Debug)]
pub enum End {
    /// With this answer.
    Reply(Reply),
    /// Swallowed, with the answer that `respond.ignored` says.
    Ignored,
}

/// A request that a rule applies to, as the vendor sends it; its texts may name settings and secrets.
#[derive(Debug)]
pub struct Sample {
    /// Name and value.
    pub headers: Vec<(String, Text)>,
    /// Name and value.
    pub query: Vec<(String, Text)>,
    /// The body.
    pub body: SampleBody,
}

/// The body of a sample.
#[derive(Debug)]
pub enum SampleBody {
    /// None.
    Empty,
    /// JSON.
    Json(Tree),
    /// Fields of a form.
    Form(Vec<(String, Text)>),
    /// Text.
    Text(Text),
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
