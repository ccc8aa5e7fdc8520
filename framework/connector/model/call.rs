//! One outgoing call.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::connector::pick::Pick;
use crate::connector::template::{Condition, Text, Tree};

/// One outgoing call, with what `provision` says for all of them folded in.
#[derive(Debug)]
pub struct Call {
    /// GET, POST and so on.
    pub method: http::Method,
    /// The whole URL.
    pub url: Text,
    /// The name of the auth; `None`, and the text `none`, sign nothing.
    pub auth: Option<Text>,
    /// The permission it takes.
    pub scope: Option<String>,
    /// Name and value.
    pub headers: Vec<(String, Text)>,
    /// Name and value, added to the URL's query.
    pub query: Vec<(String, Text)>,
    /// What is sent.
    pub body: Body,
    /// How the answer is read.
    pub response: ResponseFormat,
    /// Statuses outside 2xx that are answers like any other.
    pub accept: Vec<u16>,
    /// Whether an answer with a 2xx or accepted status is a success.
    pub ok: Option<Condition>,
    /// Whether `ok` is not the call's own, but what holds for every call.
    pub ok_is_shared: bool,
    /// What is kept of the answer.
    pub save: Vec<(String, Pick)>,
    /// Where the vendor says what went wrong.
    pub errors: Arc<Errors>,
    /// Whether the spec lets a secret into the URL.
    pub secret_in_url: bool,
}

/// The body of a call.
#[derive(Debug)]
pub enum Body {
    /// None.
    Empty,
    /// JSON, built as data.
    Json(Tree),
    /// application/x-www-form-urlencoded. A list is a repeated field; `{json: …}` is JSON text.
    Form(Vec<(String, FormField)>),
    /// Text as it stands.
    Text(Text),
}

/// A field of a form.
#[derive(Debug)]
pub enum FormField {
    /// A value, or a list of them.
    Value(Text),
    /// Values that are written out: the field is repeated.
    List(Vec<Text>),
    /// Data, sent as JSON text.
    Json(Tree),
}

/// How an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResponseFormat {
    /// JSON.
    #[default]
    Json,
    /// Text.
    Text,
}

/// Where the vendor says what went wrong.
#[derive(Debug, Default)]
pub struct Errors {
    /// Picks into the answer's body; the first that is there is the vendor's sentence.
    pub message: Vec<Pick>,
    /// What to do about a status.
    pub advice: BTreeMap<u16, String>,
}
