//! A request as it came: its head, who is at the other end, and a body that nobody has read yet.
//!
//! `server` makes it, `accept` uses it up. Order is enforced by types: [`Raw`] → `Verified` → `Record` →
//! `Checked`.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

use super::budget::Ticket;
use super::client::Client;
use super::connections::Peer;
use crate::connector::pick::{Pick, Pointer};
use crate::connector::scan;
use crate::connector::template::{MAX_PARSED, RequestFacts};

/// A body that is still coming.
pub type Incoming = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The head of a request.
#[derive(Debug)]
pub struct Head {
    /// GET, POST and so on.
    pub method: http::Method,
    /// The path as it came, never decoded; may lack its slash.
    pub path: String,
    /// The query as it came, without the question mark.
    pub query: String,
    /// The headers.
    pub headers: http::HeaderMap,
}

/// A request before anything is known about it.
pub struct Raw {
    /// Its head.
    pub head: Arc<Head>,
    /// Its connection.
    pub peer: Arc<Peer>,
    /// Who sent it, as far as addresses tell.
    pub client: Client,
    /// Bytes of its body that the connection may read before anybody asks for them.
    pub ahead: usize,
    /// Its body.
    pub body: Incoming,
    /// The body once it was read, where somebody looks on.
    pub read: Option<Bytes>,
    /// What it takes of the listener, from its head to the end of its answer.
    pub ticket: Option<Ticket>,
}

/// What a pick found in a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Nothing stands there.
    Nothing,
    /// One value.
    One(Cow<'a, [u8]>),
    /// More than one, where there may be one only: nobody can tell which one the sender meant.
    Several,
}

impl From<http::request::Parts> for Head {
    fn from(parts: http::request::Parts) -> Self {
        Self {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
        }
    }
}

/// Bytes that a header takes in memory beside its name and its value.
const HEADER: usize = 150;

impl Head {
    /// About the bytes that it takes in memory.
    pub(super) fn weight(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER);
        self.path.len() + self.query.len() + headers.sum::<usize>()
    }

    /// The same request at the path without its first bytes.
    pub(super) fn below(&self, prefix: usize) -> Self {
        let path = self.path.get(prefix..).unwrap_or(&self.path).to_owned();
        let (method, query, headers) = (self.method.clone(), self.query.clone(), self.headers.clone());
        Self { method, path, query, headers }
    }

    /// The head of no request: what a template sees where a dead letter is decoded again.
    pub(super) fn nobody() -> Self {
        let (method, headers) = (http::Method::POST, http::HeaderMap::new());
        Self { method, path: String::new(), query: String::new(), headers }
    }

    /// What templates see of the request. `url` is what the vendor was given.
    pub(super) fn facts(&self, url: Option<&url::Url>, body: Bytes) -> RequestFacts {
        let url = url.map(ToString::to_string).unwrap_or_default();
        let url = if self.query.is_empty() { url } else { format!("{url}?{}", self.query) };
        RequestFacts {
            method: self.method.clone(),
            url,
            path: self.path.clone(),
            query: self.query.clone(),
            headers: self.headers.clone(),
            body,
            parsed: MAX_PARSED,
        }
    }

    /// What stands at a place of the request. Places in the body are looked for in `body`; they are absent
    /// where it has not been read yet, or is not what the pick takes it for.
    pub(super) fn pick<'a>(&'a self, pick: &Pick, body: &'a [u8]) -> Found<'a> {
        match pick {
            Pick::Header(name) => {
                let mut all = self.headers.get_all(name.as_str()).iter();
                single(std::iter::from_fn(|| all.next().map(|value| Cow::Borrowed(value.as_bytes()))))
            }
            Pick::Query(name) => parameters(self.query.as_bytes(), name),
            Pick::Form(name) => parameters(body, name),
            Pick::Body(pointer) | Pick::Item(pointer) => in_body(body, pointer),
        }
    }
}

/// Whether a place stands in the head of a request, so that it is known before the body is read.
pub(super) fn in_head(pick: &Pick) -> bool {
    match pick {
        Pick::Header(_) | Pick::Query(_) => true,
        Pick::Form(_) | Pick::Body(_) | Pick::Item(_) => false,
    }
}

fn single<'a>(mut all: impl Iterator<Item = Cow<'a, [u8]>>) -> Found<'a> {
    match (all.next(), all.next()) {
        (None, _) => Found::Nothing,
        (Some(one), None) => Found::One(one),
        (Some(_), Some(_)) => Found::Several,
    }
}

fn parameters<'a>(encoded: &'a [u8], name: &str) -> Found<'a> {
    let values = url::form_urlencoded::parse(encoded).filter(|(key, _)| key == name);
    single(values.map(|(_, value)| match value {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }))
}

fn in_body<'a>(body: &'a [u8], pointer: &Pointer) -> Found<'a> {
    let span = std::str::from_utf8(body).ok().and_then(|text| scan::find(text, pointer).ok().flatten());
    match span.and_then(|span| scan::scalar(span.text)) {
        Some(Cow::Borrowed(text)) => Found::One(Cow::Borrowed(text.as_bytes())),
        Some(Cow::Owned(text)) => Found::One(Cow::Owned(text.into_bytes())),
        None => Found::Nothing,
    }
}
