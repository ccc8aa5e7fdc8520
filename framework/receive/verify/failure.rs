//! Why a check did not pass: the sender's fault, or something that is not known yet.

use jiff::Timestamp;
use url::Url;

use super::rejection::Rejection;
use crate::connector::model::KeyFormat;

/// Why a check did not pass.
#[derive(Debug)]
pub(in crate::receive) enum Failure {
    /// It is not who it should be.
    Rejected(Rejection),
    /// What it takes to tell is not known yet; the reason is for the log.
    NotReady(String),
    /// It takes a key that has to be fetched first.
    Wants(Want),
    /// What is signed takes more work or memory to look at than one request may; the reason is for the log.
    TooMuch(String),
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// A key that has to be fetched.
#[derive(Debug, Clone)]
pub(in crate::receive) struct Want {
    pub(super) url: Url,
    pub(super) format: Option<KeyFormat>,
    /// What is known came then, and is not enough.
    pub(super) newer_than: Option<Timestamp>,
}
