//! What went wrong with a call: told apart by what the caller can do about it.
//!
//! A [`Failure`] holds method, host, path, status and the vendor's own words (escaped, cut, secrets masked).
//! It never holds a query, a header or a body in its `Debug` or its text.

use std::fmt;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value as Json;

use crate::error::{Error, Kind};

/// Why a call has no answer that can be used.
#[derive(Debug)]
pub enum CallError {
    /// 404 or 410: what the call names is not there.
    Gone(Box<Failure>),
    /// Trying again will not help: 400, 401, 403, 409 and the like, a redirect, an address or certificate
    /// that is refused, a 2xx answer whose `ok` does not hold.
    Refused(Box<Failure>),
    /// 408, 429, 5xx or a broken connection, still so after the retries.
    Passing(Box<Failure>),
    /// Only where the call must not be repeated: the other side may have acted on it or not, or has, and
    /// its answer could not be used. What follows is a look (`find`), never the same call again.
    Unclear(Box<Failure>),
    /// A 2xx answer that could not be used: no JSON, too large, or without a value that is to be saved.
    Unreadable(Box<Failure>),
    /// The request could not be made; nothing was sent.
    Render(Error),
}

/// One call that failed.
#[derive(Clone)]
pub struct Failure {
    /// The method.
    pub method: Method,
    /// Host and port.
    pub host: String,
    /// The path alone, secrets masked.
    pub path: String,
    /// The status; `None` where there was no answer.
    pub status: Option<StatusCode>,
    /// What happened, one sentence; for a status, the vendor's own message where it gave one.
    pub sentence: String,
    /// What to do next.
    pub help: Option<String>,
    /// How long the other side asked to wait before the next try.
    pub wait: Option<Duration>,
    /// What conditions call `response`, as it came: for `gone`. Outside text, not for messages.
    pub response: Option<Json>,
}

impl Failure {
    /// `METHOD host/path`.
    pub fn place(&self) -> String {
        format!("{} {}{}", self.method, self.host, self.path)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("place", &self.place())
            .field("status", &self.status)
            .field("sentence", &self.sentence)
            .field("help", &self.help)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

impl CallError {
    /// The call that failed; `None` where none was made.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Gone(f) | Self::Refused(f) | Self::Passing(f) | Self::Unclear(f) | Self::Unreadable(f) => {
                Some(f)
            }
            Self::Render(_) => None,
        }
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        let (kind, failure) = match error {
            CallError::Gone(f) | CallError::Refused(f) | CallError::Unreadable(f) => (Kind::Refused, f),
            CallError::Passing(f) | CallError::Unclear(f) => (Kind::Passing, f),
            CallError::Render(error) => return error,
        };
        let place = failure.place();
        let sentence = match failure.status {
            Some(status) => format!("{status}: {}", failure.sentence),
            None => failure.sentence,
        };
        let error = Self::new(kind, sentence).at(place);
        match failure.help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Render(error)
    }
}
