//! An answer that is a success, read: what the callers of a call get.

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value as Json};

use super::failure::{CallError, Failure};

/// An answer that is a success, read.
#[derive(Clone)]
pub struct Answer {
    /// The status, 2xx.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body where it is JSON; `None` where it is empty, or text was expected.
    pub json: Option<Json>,
    /// The body as text.
    pub text: String,
    /// What the call's `save` keeps, by name.
    pub saved: Map<String, Json>,
    /// What conditions call `response`.
    pub response: Json,
    /// The call, as a failure of it would say.
    pub(super) asked: Box<Failure>,
}

impl Answer {
    /// An answer in which something that is needed is not there.
    pub(super) fn unusable(&self, sentence: &str) -> CallError {
        CallError::Unreadable(Box::new(Failure { sentence: sentence.to_owned(), ..(*self.asked).clone() }))
    }
}
