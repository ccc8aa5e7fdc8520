//! Why a request is not accepted: what the caller learns, and what the log and the metric do.
//!
//! 4xx is the caller's doing, 5xx ours. A vendor tries a 503 again; a 4xx it may give up on.

use std::time::Duration;

use http::StatusCode;

use super::budget::Crowded;
use super::verify::Rejection;
use crate::queue;

/// Why a request is not accepted.
#[derive(Debug)]
pub(super) enum Refused {
    /// No instance receives at this path.
    UnknownPath,
    /// Several instances would answer it otherwise.
    Ambiguous,
    /// The path is known, the method is not one of its.
    Method,
    /// It comes from an address that the operator does not admit for this instance.
    Source(String),
    /// It did not prove who sent it.
    Rejected(Rejection),
    /// The key is not known yet; the reason is for the log.
    NotReady(String),
    /// Somebody wants to replace a value that is kept.
    Taken(String),
    /// It wants a call to a place where no call may go.
    Astray(String),
    /// What a rule does for it could not be done.
    Undone(String),
    /// More bytes than allowed, as sent or inflated.
    TooLarge,
    /// What is signed takes more work or memory to look at than one request may; which bound, for the log.
    TooMuch(String),
    /// It took too long.
    TooSlow,
    /// It broke off.
    BrokenOff,
    /// Requests of others take what there is, and a wait did not help.
    Crowded,
    /// A Content-Encoding that nobody here can undo.
    Coding,
    /// The process is shutting down.
    Stopping,
    /// The queue has no room.
    Full {
        /// When to come again.
        retry_after: Duration,
        /// The bound in words.
        detail: String,
    },
    /// The queue could not write, or something here went wrong.
    Broken(String),
}

impl Refused {
    /// The word for metrics and logs.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::UnknownPath => "unknown_path",
            Self::Ambiguous => "ambiguous",
            Self::Method => "method",
            Self::Source(_) => "source_not_allowed",
            Self::Rejected(rejection) => rejection.reason(),
            Self::NotReady(_) => "key_unknown",
            Self::Taken(_) => "capture_refused",
            Self::Astray(_) => "call_refused",
            Self::Undone(_) => "call_failed",
            Self::TooLarge => "too_large",
            Self::TooMuch(_) => "too_much_work",
            Self::TooSlow => "too_slow",
            Self::BrokenOff => "broken_off",
            Self::Crowded => "crowded",
            Self::Coding => "content_encoding",
            Self::Stopping => "stopping",
            Self::Full { .. } => "queue_full",
            Self::Broken(_) => "queue_broken",
        }
    }

    /// More of it, for the log alone.
    pub(super) fn detail(&self) -> &str {
        match self {
            Self::NotReady(detail)
            | Self::Taken(detail)
            | Self::Astray(detail)
            | Self::Undone(detail)
            | Self::Source(detail)
            | Self::TooMuch(detail)
            | Self::Broken(detail) => detail,
            Self::Full { detail, .. } => detail,
            Self::UnknownPath
            | Self::Ambiguous
            | Self::Method
            | Self::Rejected(_)
            | Self::TooLarge
            | Self::TooSlow
            | Self::BrokenOff
            | Self::Crowded
            | Self::Coding
            | Self::Stopping => "",
        }
    }

    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::Ambiguous => StatusCode::CONFLICT,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Rejected(_) => StatusCode::UNAUTHORIZED,
            Self::Source(_) | Self::Taken(_) | Self::Astray(_) => StatusCode::FORBIDDEN,
            Self::TooLarge | Self::TooMuch(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenOff => StatusCode::BAD_REQUEST,
            Self::Coding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotReady(_)
            | Self::Undone(_)
            | Self::Crowded
            | Self::Stopping
            | Self::Full { .. }
            | Self::Broken(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What the caller is told.
    pub(super) fn message(&self) -> &'static str {
        match self {
            Self::UnknownPath => "nothing is received at this path",
            Self::Ambiguous => "several receivers would answer this differently",
            Self::Method => "this method is not taken here",
            Self::Rejected(_) => "unauthorized",
            Self::Source(_) | Self::Taken(_) | Self::Astray(_) => "forbidden",
            Self::TooLarge => "the body is larger than what is taken here",
            Self::TooMuch(_) => "the body holds more values than can be checked here",
            Self::TooSlow => "the body took too long",
            Self::BrokenOff => "the body broke off",
            Self::Coding => "this Content-Encoding is not accepted: expected gzip, deflate, zstd or identity",
            Self::NotReady(_)
            | Self::Undone(_)
            | Self::Crowded
            | Self::Stopping
            | Self::Full { .. }
            | Self::Broken(_) => "not now, please try again",
        }
    }

    /// When to come again; `None` where coming again would not help.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full { retry_after, .. } => Some(*retry_after),
            Self::NotReady(_) | Self::Undone(_) | Self::Stopping | Self::Broken(_) => {
                Some(Duration::from_secs(5))
            }
            Self::Crowded => Some(Duration::from_secs(1)),
            Self::UnknownPath
            | Self::Ambiguous
            | Self::Method
            | Self::Source(_)
            | Self::Rejected(_)
            | Self::Taken(_)
            | Self::Astray(_)
            | Self::TooLarge
            | Self::TooMuch(_)
            | Self::TooSlow
            | Self::BrokenOff
            | Self::Coding => None,
        }
    }
}

impl From<Crowded> for Refused {
    fn from(_: Crowded) -> Self {
        Self::Crowded
    }
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<queue::Refusal> for Refused {
    fn from(refusal: queue::Refusal) -> Self {
        match refusal {
            queue::Refusal::Full { retry_after, detail, .. } => Self::Full { retry_after, detail },
            queue::Refusal::Broken(error) => Self::Broken(error.to_string()),
            queue::Refusal::Closing => Self::Stopping,
        }
    }
}
