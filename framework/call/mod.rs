//! Every outgoing HTTP call: rendered, signed, sent, retried and read in one place.
//!
//! `render` makes a request of a call, `signer` signs it by its `auth`, `transport` sends it, `retry` says when
//! it is sent again, `caller` is the order of these. What went wrong is told by `failure`, and never holds a secret.

pub mod address;
pub mod answer;
pub mod assertion;
pub mod auth;
pub mod caller;
pub mod curl;
pub mod exchange;
pub mod failure;
pub mod keep;
pub mod mask;
pub mod oauth;
pub mod pages;
pub mod render;
pub mod retry;
mod signer;
pub mod token;
pub mod transport;
pub mod trust;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

/// One request, ready to go.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: http::Method,
    /// The URL.
    pub url: url::Url,
    /// The headers; secret values are marked sensitive.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for Request {
    /// Method and host alone: the path, the headers and the body may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {})", self.method, self.url.host_str().unwrap_or_default())
    }
}

/// One answer, read whole and bounded.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: http::StatusCode,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for Response {
    /// Status and size alone: an answer of a token endpoint is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub struct TransportError {
    /// Whether the other side may have acted on the request: `false` only when nothing was sent.
    pub sent: bool,
    /// Whether trying again may help: an address that is refused stays refused.
    pub passing: bool,
    /// What happened, for people; no secret, no URL query.
    pub sentence: String,
}

/// How a request gets to the other side: reqwest, or the stand-in's map of hosts.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends one request once and reads the whole answer.
    async fn send(&self, request: Request) -> Result<Response, TransportError>;
}
