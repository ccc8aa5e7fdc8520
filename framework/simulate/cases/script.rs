//! A transport that plays recorded exchanges: it checks each call against the case, and answers from it.
//!
//! Handed to the instance of a case in place of the real transport. A call that differs is answered all the same where it is
//! surely the one that the case means, so that everything that differs is told at once; another call gets no answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value as Json, json};

use super::compare::{differences, text_difference};
use super::receiver::Door;
use super::wrong::Wrong;
use crate::call::{Request, Response, Transport, TransportError};
use crate::spec::case::{Answer, Exchange, Receive, Wanted};
use crate::spec::path::Path;

/// What a call is told that the case has no answer to.
pub const NO_ANSWER: &str = "the case has no answer to this call";

/// The exchanges that are still to come, and what went otherwise.
#[derive(Default)]
pub struct Script {
    play: Mutex<Play>,
    door: OnceLock<Door>,
}

#[derive(Debug, Default)]
struct Play {
    /// The place of the exchanges of the step: `steps[0].reconcile.exchanges`.
    at: Path,
    /// Exchanges, each with its place.
    coming: VecDeque<(Path, Exchange)>,
    /// Those that were passed over.
    unmade: Vec<(Path, Exchange)>,
    wrong: Vec<Wrong>,
    /// Whether a call got no answer: what comes after that is nobody's fault.
    broken: bool,
}

/// What became of the exchanges of a step.
#[derive(Debug, Default)]
pub struct Played {
    /// What went otherwise.
    pub wrong: Vec<Wrong>,
    /// Whether a call got no answer.
    pub broken: bool,
}

impl Script {
    /// The exchanges of the next step, which stands at `step`.
    pub fn begin(&self, step: &Path, exchanges: &[Exchange]) {
        let at = step.join("exchanges");
        let coming = placed(&at, exchanges).collect();
        *self.play() = Play { at, coming, ..Play::default() };
    }

    /// What went otherwise in this step; calls that were not made are named. `well`: the step came to a good end, so
    /// that it needs no more calls than it made.
    pub fn end(&self, well: bool) -> Played {
        let play = std::mem::take(&mut *self.play());
        let Play { at, coming, unmade, mut wrong, broken } = play;
        if broken {
            return Played { wrong, broken };
        }
        for (place, exchange) in unmade.into_iter().chain(coming) {
            let one = Wrong::says(&at, format!("the call was not made: {}", exchange.request.call));
            wrong.push(if well { one.fixed(place, None) } else { one });
        }
        Played { wrong, broken }
    }

    /// What is sent while a call is open goes there.
    pub fn knocks_at(&self, door: Door) {
        let _ = self.door.set(door);
    }

    /// Sends what comes while a call is open, and notes what went otherwise.
    async fn meanwhile(&self, at: &Path, requests: &[Receive]) {
        let Some(door) = self.door.get() else { return };
        for (n, request) in requests.iter().enumerate() {
            let at = at.join("meanwhile").join(n.to_string());
            {
                // The calls that it sets off come before those that follow.
                let mut play = self.play();
                let own: Vec<_> = placed(&at.join("exchanges"), &request.exchanges).collect();
                own.into_iter().rev().for_each(|one| play.coming.push_front(one));
            }
            let wrong = match door.send(&at, request).await {
                Ok(reply) => reply.differences(&at.join("reply"), request.reply.as_ref()),
                Err(error) => Some(Wrong::says(&at, error.to_string())),
            };
            self.play().wrong.extend(wrong);
        }
    }

    fn play(&self) -> std::sync::MutexGuard<'_, Play> {
        self.play.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Exchanges with their places.
fn placed<'e>(at: &'e Path, exchanges: &'e [Exchange]) -> impl Iterator<Item = (Path, Exchange)> + 'e {
    exchanges.iter().enumerate().map(|(n, exchange)| (at.join(n.to_string()), exchange.clone()))
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let call = format!("{} {}", request.method, request.url);
        let (at, exchange) = self.play().next(&call)?;
        let place = at.join("request");
        let wrong = compare(&exchange.request, &request, &call, &place);
        self.play().wrong.extend(wrong);
        self.meanwhile(&at, &exchange.meanwhile).await;
        answer(&exchange.answer)
            .map_err(|sentence| self.play().fault(Some(Wrong::says(&at.join("answer"), sentence))))
    }
}

impl Play {
    /// The exchange that a call is: the next one of the same method and URL, or else the next one if its method is the
    /// same.
    fn next(&mut self, call: &str) -> Result<(Path, Exchange), TransportError> {
        let method = |call: &str| call.split(' ').next().unwrap_or_default().to_owned();
        let same = self.coming.iter().position(|(_, exchange)| exchange.request.call == call);
        let next = self.coming.front().cloned();
        match (same, next) {
            (Some(skipped), _) => self.unmade.extend(self.coming.drain(..skipped)),
            (None, Some((_, next))) if method(&next.request.call) == method(call) => {}
            (None, Some((at, next))) => {
                let lines = text_difference("call", &next.request.call, call).unwrap_or_default();
                return Err(self.fault(Wrong::differs(&at.join("request"), lines)));
            }
            (None, None) => {}
        }
        let none = Wrong::says(&self.at, format!("a call too many: {call}"));
        self.coming.pop_front().ok_or_else(|| self.fault(Some(none)))
    }

    fn fault(&mut self, wrong: Option<Wrong>) -> TransportError {
        self.broken = true;
        self.wrong.extend(wrong);
        TransportError { sent: false, passing: false, sentence: NO_ANSWER.to_owned() }
    }
}

/// What differs between the call that was meant and the one that was made.
fn compare(wanted: &Wanted, made: &Request, call: &str, at: &Path) -> Option<Wrong> {
    let (mut lines, mut fixes) = (Vec::new(), Vec::new());
    if let Some(found) = text_difference("call", &wanted.call, call) {
        lines.extend(found);
        fixes.push((at.join("call"), Some(Json::from(call))));
    }
    for (name, value) in &wanted.headers {
        let came = made.headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        if *value == came {
            continue;
        }
        lines.extend(match (value, &came) {
            (Some(value), Some(came)) => {
                text_difference(&format!("headers.{name}"), value, came).unwrap_or_default()
            }
            (Some(value), None) => vec![format!("- headers.{name}: {value}")],
            (None, Some(came)) => vec![format!("+ headers.{name}: {came}")],
            (None, None) => Vec::new(),
        });
        fixes.push((at.join("headers").join(name.as_str()), Some(came.map_or(Json::Null, Json::from))));
    }
    let found = compare_body(wanted, made);
    if !found.is_empty() {
        lines.extend(found);
        fixes.extend(body_fixes(wanted, made, at));
    }
    let wrong = Wrong::differs(at, lines)?;
    let wrong = Wrong { says: " differs (- expected, + made):".to_owned(), ..wrong };
    Some(fixes.into_iter().fold(wrong, |wrong, (at, to)| wrong.fixed(at, to)))
}

fn fields(body: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        fields.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    fields
}

fn compare_body(wanted: &Wanted, made: &Request) -> Vec<String> {
    let text = String::from_utf8_lossy(&made.body);
    if let Some(expected) = &wanted.json {
        return match serde_json::from_slice::<Json>(&made.body) {
            Ok(came) => differences(expected, &came),
            Err(_) => text_difference("json", &expected.to_string(), &text).unwrap_or_default(),
        };
    }
    if let Some(expected) = &wanted.form {
        let expected: BTreeMap<&String, Vec<String>> =
            expected.iter().map(|(n, v)| (n, v.values())).collect();
        return differences(&json!(expected), &json!(fields(&made.body)));
    }
    text_difference("body", wanted.text.as_deref().unwrap_or_default(), &text).unwrap_or_default()
}

/// The body that was made, in the notation of the one that was meant, or else as it is read best.
fn body_fixes(wanted: &Wanted, made: &Request, at: &Path) -> Vec<(Path, Option<Json>)> {
    let json: Option<Json> = serde_json::from_slice(&made.body).ok();
    let text = String::from_utf8_lossy(&made.body).into_owned();
    let (notation, value) = match (json, &wanted.form) {
        (_, Some(_)) => {
            let one = |(name, values): (String, Vec<String>)| {
                (name, if values.len() == 1 { json!(values[0]) } else { json!(values) })
            };
            ("form", Json::Object(fields(&made.body).into_iter().map(one).collect::<Map<_, _>>()))
        }
        (Some(json), None) if wanted.text.is_none() => ("json", json),
        (_, None) => ("text", Json::from(text)),
    };
    let there =
        [("json", wanted.json.is_some()), ("form", wanted.form.is_some()), ("text", wanted.text.is_some())];
    let others = there.into_iter().filter(|(name, there)| *there && *name != notation);
    let mut fixes: Vec<_> = others.map(|(name, _)| (at.join(name), None)).collect();
    let empty = made.body.is_empty();
    if !empty {
        fixes.push((at.join(notation), Some(value)));
    } else if there.iter().any(|(name, there)| *there && *name == notation) {
        fixes.push((at.join(notation), None));
    }
    fixes
}

fn answer(recorded: &Answer) -> Result<Response, String> {
    let mut headers = http::HeaderMap::new();
    let body = match (&recorded.json, &recorded.text, &recorded.base64) {
        (Some(json), ..) => {
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Bytes::from(json.to_string())
        }
        (None, Some(text), _) => Bytes::from(text.clone()),
        (None, None, Some(bytes)) => Bytes::from(bytes.0.clone()),
        (None, None, None) => Bytes::new(),
    };
    for (name, value) in &recorded.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|e| format!("the answer's header: {e}"))?;
        headers.append(name, HeaderValue::try_from(value.as_str()).map_err(|e| e.to_string())?);
    }
    let status = StatusCode::from_u16(recorded.status).map_err(|e| e.to_string())?;
    Ok(Response { status, headers, body })
}
