//! Answers: what the spec says where it says something, and a small JSON body for everything else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::endpoint::Endpoint;
use super::refused::Refused;
use crate::connector::model::{Proof, Reply, ReplyBody};
use crate::connector::template::{RequestFacts, Scope};
use crate::error::{Error, Kind, Result};
use crate::queue::Receipt;

/// Bytes that the body of an answer may have: a stranger may have asked for it.
const MOST_BODY: usize = 64 << 10;
/// Bytes that one of its headers may have.
const MOST_HEADER: usize = 8 << 10;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A whole answer.
pub(super) type Answer = Response<Bytes>;

/// The answer to a request whose records are safe.
pub(super) fn accepted(
    endpoint: &Endpoint,
    scope: &Scope,
    facts: impl FnOnce() -> Arc<RequestFacts>,
    receipt: Receipt,
) -> Answer {
    let all = u64::from(receipt.stored) + u64::from(receipt.duplicates) + u64::from(receipt.dead);
    let batch = json!({
        "accepted": all, "stored": receipt.stored, "duplicates": receipt.duplicates, "dead": receipt.dead,
    });
    let mut scope = scope.with("batch", batch);
    if endpoint.accepted.request {
        scope = scope.with_request(facts());
    }
    if endpoint.accepted.now {
        scope = scope.with_now(endpoint.clock.now());
    }
    let reply = &endpoint.instance.connector.receiver.respond.accepted;
    by_spec(reply, &scope).unwrap_or_else(|error| {
        // The records are safe: the sender must learn that, whatever is wrong with the template.
        endpoint.meters.unanswerable("accepted", &error, endpoint.clock.now());
        plain(
            StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK),
            json!({
                "status": "success",
                "accepted": receipt.stored,
                "duplicates": receipt.duplicates,
                "dead": receipt.dead,
            }),
        )
    })
}

/// The answer to a request that a rule swallowed.
pub(super) fn ignored(endpoint: &Endpoint, scope: &Scope) -> Answer {
    let Some(reply) = &endpoint.instance.connector.receiver.respond.ignored else {
        return Answer::default();
    };
    let nothing = json!({"accepted": 0, "stored": 0, "duplicates": 0, "dead": 0});
    by_spec(reply, &scope.with("batch", nothing)).unwrap_or_else(|error| {
        endpoint.meters.unanswerable("ignored", &error, endpoint.clock.now());
        let mut answer = Answer::default();
        *answer.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
        answer
    })
}

/// The answer that a spec describes. `Err` where a text cannot be built, where it grows past the bounds, and
/// where a value would break out of its header.
pub(super) fn by_spec(reply: &Reply, scope: &Scope) -> Result<Answer> {
    let (body, kind) = match &reply.body {
        ReplyBody::Empty => (Bytes::new(), None),
        ReplyBody::Json(tree) => (tree.json(scope)?.unwrap_or_else(|| "null".to_owned()).into(), Some(JSON)),
        ReplyBody::Text(text) => {
            let kind = HeaderValue::from_static("text/plain; charset=utf-8");
            (Bytes::from(text.render_bytes(scope)?), Some(kind))
        }
    };
    if body.len() > MOST_BODY {
        return Err(Error::new(Kind::Refused, "the body of the answer grows past 64 KiB"));
    }
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    if let Some(kind) = kind {
        // What is echoed is read as what it is said to be, in a browser too.
        answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer.headers_mut().insert(CONTENT_TYPE, kind);
    }
    for (name, text) in &reply.headers {
        let (name, value) = header(name, text.render_bytes(scope)?)?;
        answer.headers_mut().insert(name, value);
    }
    Ok(answer)
}

/// A header of an answer. What a request can put into it must not break out of it.
fn header(name: &str, value: Vec<u8>) -> Result<(HeaderName, HeaderValue)> {
    let wrong = |what: &str| Error::new(Kind::Refused, format!("the answer's header `{name}` {what}"));
    if value.len() > MOST_HEADER {
        return Err(wrong("grows past 8 KiB"));
    }
    let parsed = HeaderName::try_from(name).map_err(|_| wrong("is none"))?;
    let value = HeaderValue::try_from(value).map_err(|_| wrong("would hold what no header may hold"))?;
    Ok((parsed, value))
}

/// The answer to a request that is not accepted.
pub(super) fn refused(refused: &Refused, endpoint: Option<&Endpoint>) -> Answer {
    let mut answer = plain(refused.status(), json!({"status": "error", "message": refused.message()}));
    let headers = answer.headers_mut();
    if let Some(wait) = refused.retry_after() {
        headers.insert(RETRY_AFTER, seconds(wait));
    }
    if let (Refused::Method, Some(endpoint)) = (refused, endpoint)
        && let Ok(value) = HeaderValue::try_from(endpoint.methods.join(", "))
    {
        headers.insert(ALLOW, value);
    }
    if let (Refused::Rejected(_), Some(endpoint)) = (refused, endpoint)
        && endpoint
            .instance
            .connector
            .receiver
            .verify
            .checks()
            .iter()
            .any(|c| matches!(c.proof, Proof::Basic { .. }))
    {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"receiver\""));
    }
    answer
}

fn plain(status: StatusCode, body: serde_json::Value) -> Answer {
    let mut answer = Response::new(Bytes::from(body.to_string()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

/// The wait in whole seconds, up to twice as long: senders that were refused together do not come back together.
fn seconds(wait: Duration) -> HeaderValue {
    let seconds = wait.as_secs().max(1);
    let mut random = [0];
    // Without randomness all of them wait the same, which is right too.
    let _ = aws_lc_rs::rand::fill(&mut random);
    HeaderValue::from(seconds + (seconds * u64::from(random[0]) + 127) / 255)
}
