//! Every outgoing HTTP call: rendered, signed, sent, retried and read in one place.

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

/// One answer, read whole and bounded.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: http::StatusCode,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
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
