//! One request and its answer, tried again within bounds: what calls and token fetches share.
//!
//! Logs method, host, path, status and duration at debug level; never a query, a header or a body.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value as Json};

use super::failure::{CallError, Failure};
use super::mask::Mask;
use super::retry::{Pace, Repeat, asked_wait, chance, is_passing};
use super::{Request, Response, Transport, TransportError};
use crate::condition::{Code, Conditions, Subject};
use crate::connector::clock::Clock;
use crate::connector::instance::InstanceId;
use crate::connector::model::Errors;
use crate::connector::pick::Pick;
use crate::error::escaped;

/// The longest vendor's message that is shown, in characters.
const MESSAGE: usize = 500;

/// For whom a request is sent, and which answers end it.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// The instance that calls.
    pub instance: &'a InstanceId,
    /// Whether it may be sent again in doubt.
    pub repeat: Repeat,
    /// Statuses outside 2xx that are answers like any other: they are never retried.
    pub accept: &'a [u16],
}

/// The way out, the time, and the bounds of retries.
#[derive(Clone)]
pub struct Exchange {
    /// Where calls that have no answer are listed until one has.
    pub conditions: Arc<Conditions>,
    /// How requests get out.
    pub transport: Arc<dyn Transport>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The bounds of retries.
    pub pace: Pace,
}

impl Exchange {
    /// Sends a request until there is an answer that waiting will not change, or the bounds are reached: then
    /// the last answer is returned as it is. An error is a [`CallError`] other than `Gone` and `Unreadable`.
    pub async fn send(
        &self,
        request: &Request,
        terms: Terms<'_>,
        mask: &Mask,
    ) -> Result<Response, CallError> {
        let mut waited = Duration::ZERO;
        let mut attempt = 1;
        loop {
            let answer = self.once(request, mask).await;
            let wait = if may_repeat(&answer, terms) {
                let asked = answer.as_ref().ok().and_then(|answer| self.asked(answer));
                self.pace.wait(attempt, waited, asked, chance())
            } else {
                None
            };
            self.report(request, &answer, terms, (attempt, wait), mask);
            let Some(wait) = wait else {
                return answer.map_err(|error| unanswered(request, terms.repeat, error, mask));
            };
            tracing::debug!(
                attempt,
                wait_ms = wait.as_millis() as u64,
                "the call is sent again after a wait"
            );
            tokio::time::sleep(wait).await;
            waited = waited.saturating_add(wait);
            attempt += 1;
        }
    }

    /// Raises the condition of a host that does not answer, at the first try, and clears it once the host does. To be
    /// asked to slow down (429) is an answer.
    fn report(
        &self,
        request: &Request,
        answer: &Result<Response, TransportError>,
        terms: Terms<'_>,
        (attempt, wait): (u32, Option<Duration>),
        mask: &Mask,
    ) {
        let host = mask.hide(&host(request));
        let subject = Subject::instance(terms.instance).item(&host);
        let why = match answer {
            Err(error) => mask.hide(&error.sentence),
            Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS || !fails(answer, terms) => {
                return self.conditions.clear(Code::VendorUnreachable, &subject);
            }
            Ok(answer) => format!("answered {}", answer.status),
        };
        let next = match wait {
            Some(wait) => format!("next try in {:.0} s", wait.as_secs_f64().max(1.0)),
            None => "no further try of this call".to_owned(),
        };
        let path = escaped(&mask.hide(request.url.path()), 300);
        let message = format!("{} {host}{path}: {why} (try {attempt}, {next})", request.method);
        self.conditions.raise(Code::VendorUnreachable, subject, message);
    }

    /// How long an answer asks to wait.
    pub fn asked(&self, answer: &Response) -> Option<Duration> {
        asked_wait(answer.status, &answer.headers, self.clock.now())
    }

    async fn once(&self, request: &Request, mask: &Mask) -> Result<Response, TransportError> {
        let begun = self.clock.now();
        let answer = self.transport.send(request.clone()).await;
        let took = self.clock.now().duration_since(begun).as_millis() as i64;
        let method = request.method.as_str();
        let (host, path) = (mask.hide(&host(request)), mask.hide(request.url.path()));
        match &answer {
            Ok(answer) => {
                tracing::debug!(
                    method,
                    host,
                    path,
                    status = answer.status.as_u16(),
                    took_ms = took,
                    "called"
                );
            }
            Err(error) => {
                tracing::debug!(method, host, path, error = error.sentence, took_ms = took, "called in vain");
            }
        }
        answer
    }
}

/// Whether an answer says that the call failed and may succeed later.
fn fails(answer: &Response, terms: Terms<'_>) -> bool {
    is_passing(answer.status) && !terms.accept.contains(&answer.status.as_u16())
}

/// Whether the same request may be sent again after this.
fn may_repeat(answer: &Result<Response, TransportError>, terms: Terms<'_>) -> bool {
    match (answer, terms.repeat) {
        (Ok(answer), Repeat::Safe) => fails(answer, terms),
        // A server error may come after the work was done; 429 is a refusal to begin it.
        (Ok(answer), Repeat::Never) => answer.status == StatusCode::TOO_MANY_REQUESTS && fails(answer, terms),
        (Err(error), Repeat::Safe) => error.passing,
        (Err(error), Repeat::Never) => error.passing && !error.sent,
    }
}

fn unanswered(request: &Request, repeat: Repeat, error: TransportError, mask: &Mask) -> CallError {
    let failure = failure(request, None, mask.hide(&error.sentence), mask);
    match (repeat, error.sent, error.passing) {
        (Repeat::Never, true, _) => CallError::Unclear(failure),
        (Repeat::Never, false, true) | (Repeat::Safe, _, true) => CallError::Passing(failure),
        (Repeat::Never, false, false) | (Repeat::Safe, _, false) => CallError::Refused(failure),
    }
}

/// A failure of this request.
pub fn failure(request: &Request, status: Option<StatusCode>, sentence: String, mask: &Mask) -> Box<Failure> {
    Box::new(Failure {
        method: request.method.clone(),
        host: mask.hide(&host(request)),
        path: escaped(&mask.hide(request.url.path()), 300),
        status,
        sentence,
        help: None,
        wait: None,
        response: None,
    })
}

fn host(request: &Request) -> String {
    let host = request.url.host_str().unwrap_or_default();
    request.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The vendor's own words about a refusal: the first pick that is there, else the text of the body. They are
/// masked first (a vendor may repeat what it was sent), then escaped and cut.
pub fn message(errors: &Errors, answer: &Response, json: Option<&Json>, mask: &Mask) -> Option<String> {
    let picked = errors.message.iter().find_map(|pick| said(pick, answer, json));
    let text = picked.or_else(|| {
        let text = String::from_utf8_lossy(&answer.body);
        let text = text.trim();
        // A page is no message, and of JSON without one the picks know better what is worth showing.
        (json.is_none() && !text.is_empty() && !text.starts_with('<')).then(|| text.to_owned())
    })?;
    Some(escaped(&mask.hide(&text), MESSAGE))
}

fn said(pick: &Pick, answer: &Response, json: Option<&Json>) -> Option<String> {
    match picked(pick, answer, json)? {
        Json::Null => None,
        Json::String(text) if text.trim().is_empty() => None,
        Json::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

/// What a pick finds in an answer; an answer has neither query nor form.
pub fn picked(pick: &Pick, answer: &Response, json: Option<&Json>) -> Option<Json> {
    match pick {
        Pick::Item(pointer) | Pick::Body(pointer) => pointer.resolve(json?).cloned(),
        Pick::Header(name) => header_text(&answer.headers, name).map(Json::String),
        Pick::Query(_) | Pick::Form(_) => None,
    }
}

/// What conditions call `response`.
pub fn response_scope(answer: &Response, json: Option<&Json>) -> Json {
    let mut headers = Map::new();
    for name in answer.headers.keys() {
        if let Some(text) = header_text(&answer.headers, name.as_str()) {
            headers.insert(name.as_str().to_owned(), Json::String(text));
        }
    }
    let mut response = Map::new();
    response.insert("status".to_owned(), answer.status.as_u16().into());
    response.insert("headers".to_owned(), Json::Object(headers));
    response.insert("text".to_owned(), String::from_utf8_lossy(&answer.body).into());
    if let Some(json) = json {
        response.insert("json".to_owned(), json.clone());
    }
    Json::Object(response)
}

/// A header's values, joined as RFC 9110 section 5.3 allows.
fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Whether a value is none that can be saved: an empty id would name the whole collection.
pub fn is_nothing(value: &Json) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}
