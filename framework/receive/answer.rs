//! Answers: what the spec says where it says something, and a small JSON body for everything else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::endpoint::Endpoint;
use super::refused::Refused;
use crate::connector::model::{Proof, Reply, ReplyBody};
use crate::connector::template::{RequestFacts, Scope};
use crate::error::Result;
use crate::queue::Receipt;

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
    let batch = json!({"accepted": all, "duplicates": receipt.duplicates, "dead": receipt.dead});
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
        tracing::error!(instance = %endpoint.instance.id, %error, "the answer could not be built");
        plain(
            StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK),
            json!({"status": "success", "count": all}),
        )
    })
}

/// The answer that a spec describes.
pub(super) fn by_spec(reply: &Reply, scope: &Scope) -> Result<Answer> {
    let (body, kind) = match &reply.body {
        ReplyBody::Empty => (Bytes::new(), None),
        ReplyBody::Json(tree) => (tree.render(scope)?.unwrap_or_default().to_string().into(), Some(JSON)),
        ReplyBody::Text(text) => {
            let kind = HeaderValue::from_static("text/plain; charset=utf-8");
            (Bytes::from(text.render_bytes(scope)?), Some(kind))
        }
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    if let Some(kind) = kind {
        answer.headers_mut().insert(CONTENT_TYPE, kind);
    }
    for (name, text) in &reply.headers {
        let value = text.render_bytes(scope)?;
        // What a request can put into a header must not break out of it.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value)) {
            answer.headers_mut().insert(name, value);
        }
    }
    Ok(answer)
}

/// The answer to a request that is not accepted.
pub(super) fn refused(refused: &Refused, endpoint: Option<&Endpoint>) -> Answer {
    let mut answer = plain(refused.status(), json!({"status": "error", "message": refused.message()}));
    let headers = answer.headers_mut();
    if let Some(wait) = refused.retry_after() {
        headers.insert(RETRY_AFTER, seconds(wait));
    }
    if let (Refused::Method, Some(endpoint)) = (refused, endpoint) {
        let allowed: Vec<_> = endpoint.methods.iter().map(http::Method::as_str).collect();
        if let Ok(value) = HeaderValue::try_from(allowed.join(", ")) {
            headers.insert(ALLOW, value);
        }
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

fn seconds(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_secs().max(1))
}
