//! The handshakes of a spec, as the vendor performs them: unsigned ones while a call that told it the receiver's URL
//! is open, signed ones after. What the receiver answers is held against what the rule promises.
//!
//! The vendor and the life of a simulation call it. A rule that lets its request go on is no handshake, and is not
//! performed: its request would be an event.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value as Json;

use super::routes::authority;
use super::sign::{Unsigned, facts, set_header, sign};
use super::wire::{self, Wire};
use crate::call::Response;
use crate::call::render::{checked_url, draft};
use crate::connector::model::{Call, Each, End, Receiver, Reply, ReplyBody, Rule, Run, SampleBody};
use crate::connector::pick::{Pick, Pointer};
use crate::connector::template::{Scope, Text};
use crate::error::{Error, Kind, Result, escaped};

/// How long the vendor tries one that gets no answer yet: a key may not be known to the receiver.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it tries meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// The vendor's side of the handshakes.
pub struct Handshakes {
    /// What they are performed over.
    pub wire: Arc<Wire>,
    /// What became of each rule's, by the rule's place in the spec.
    pub outcomes: Mutex<BTreeMap<usize, Outcome>>,
    /// Calls that the receiver makes for one that is under way, and whether each came.
    pub expected: Mutex<Vec<(Method, url::Url, bool)>>,
}

/// What became of a handshake: the error says what is wrong with the answer.
pub type Outcome = std::result::Result<(), String>;

impl Handshakes {
    /// Performs the unsigned ones; the vendor makes nothing for a receiver that does not answer as it should.
    pub async fn unsigned(&self) -> Outcome {
        self.perform(false).await
    }

    /// Performs the signed ones.
    pub async fn signed(&self) -> Outcome {
        self.perform(true).await
    }

    async fn perform(&self, verified: bool) -> Outcome {
        let mut outcome = Ok(());
        for (n, rule) in self.rules().filter(|(_, rule)| rule.verified == verified) {
            let one = self.one(rule).await.map_err(|error| error.to_string()).and_then(|answered| answered);
            let one = one.map_err(|why| format!("the rule `{}`: {why}", rule.name));
            outcome = outcome.and(one.clone());
            self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(n, one);
        }
        outcome
    }

    /// The rules that are handshakes, each with its place in the spec.
    fn rules(&self) -> impl Iterator<Item = (usize, &Rule)> {
        self.wire.instance.connector.receiver.rules.iter().enumerate().filter(|(_, rule)| rule.end.is_some())
    }

    /// Whether each has been performed.
    pub fn are_done(&self) -> bool {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).len() == self.rules().count()
    }

    /// How many were answered as they should be, and what was wrong with the others.
    pub fn told(&self) -> (usize, Vec<String>) {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong: Vec<String> = outcomes.values().filter_map(|outcome| outcome.clone().err()).collect();
        (outcomes.len() - wrong.len(), wrong)
    }

    /// Whether a call is one that a handshake under way is to set off; it is noted.
    pub fn expects(&self, method: &Method, host: &str, target: &str) -> bool {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let meant = expected.iter_mut().find(|(wanted, url, _)| {
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            wanted == method && authority(url) == host && format!("{}{query}", url.path()) == target
        });
        meant.is_some_and(|(_, _, came)| {
            *came = true;
            true
        })
    }

    /// One handshake, until it is answered or the vendor gives up.
    async fn one(&self, rule: &Rule) -> Result<Outcome> {
        let begun = tokio::time::Instant::now();
        loop {
            let outcome = match self.attempt(rule).await {
                Ok((StatusCode::SERVICE_UNAVAILABLE, outcome)) if outcome.is_err() => Ok(outcome),
                Ok((_, outcome)) => return Ok(outcome),
                // What signing takes may not be saved yet.
                Err(error) => Err(error),
            };
            if begun.elapsed() > PATIENCE {
                return outcome;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn attempt(&self, rule: &Rule) -> Result<(StatusCode, Outcome)> {
        let now = self.wire.clock.now();
        let state = self.wire.memory.read().await?.names();
        let mut unsigned = self.sample(rule)?;
        if rule.verified {
            sign(&self.wire.instance, &state, &mut unsigned, now)?;
        }
        let scope = self.wire.instance.scope().with("state", state).with_request(Arc::new(facts(&unsigned)));
        // A template that tells the time, or makes something up, is held against its status alone.
        let later = now.checked_add(jiff::SignedDuration::from_hours(1)).unwrap_or(now);
        let receiver = &self.wire.instance.connector.receiver;
        let promised = (
            promise(receiver, rule, &scope.with_now(now))?,
            promise(receiver, rule, &scope.with_now(later))?,
        );
        let call = match &rule.run {
            Some(Run::Call { call, .. }) => Some(self.expect(call, &scope.with_now(now))?),
            Some(Run::Operation { .. }) | None => None,
        };
        let sent = self.wire.send(wire::to(self.wire.receiver, unsigned.clone())?).await;
        let answer = sent.map_err(|why| Error::new(Kind::Passing, why))?;
        let whole = promised.0 == promised.1;
        let mut outcome = promised.0.held_against(&answer, whole, rule.method != Method::HEAD);
        if outcome.is_ok() {
            outcome = self.kept(rule, &unsigned).await?;
        }
        if let (Some(url), true) = (call, outcome.is_ok()) {
            outcome = self.came(&url);
        }
        Ok((answer.status, outcome))
    }

    /// A rule's sample as a request.
    fn sample(&self, rule: &Rule) -> Result<Unsigned> {
        let scope = self.wire.instance.scope();
        let mut url = self.wire.public_url.clone();
        if let Some(path) = &rule.path {
            url.set_path(&path.render(&scope)?);
        }
        let pairs = |fields: &[(String, Text)]| -> Result<String> {
            let mut text = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in fields {
                text.append_pair(name, &value.render(&scope)?);
            }
            Ok(text.finish())
        };
        let query = pairs(&rule.sample.query)?;
        url.set_query((!query.is_empty()).then_some(query.as_str()));
        let (kind, body) = match &rule.sample.body {
            SampleBody::Empty => (None, String::new()),
            SampleBody::Json(tree) => {
                (Some("application/json"), tree.render(&scope)?.unwrap_or_default().to_string())
            }
            SampleBody::Form(fields) => (Some("application/x-www-form-urlencoded"), pairs(fields)?),
            SampleBody::Text(text) => (Some("text/plain"), text.render(&scope)?),
        };
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        for (name, value) in &rule.sample.headers {
            set_header(&mut headers, name, &value.render(&scope)?)?;
        }
        Ok(Unsigned { method: rule.method.clone(), url, headers, body: body.into_bytes() })
    }

    /// Notes where a rule's call will go.
    fn expect(&self, call: &Call, scope: &Scope) -> Result<url::Url> {
        let url = checked_url(&draft(call, scope)?.url, None)?;
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.retain(|(_, other, _)| *other != url);
        expected.push((call.method.clone(), url.clone(), false));
        Ok(url)
    }

    fn came(&self, url: &url::Url) -> Outcome {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        match expected.iter().any(|(_, other, came)| other == url && *came) {
            true => Ok(()),
            false => Err(format!("the call to {} was not made", authority(url))),
        }
    }

    /// Whether the instance keeps what the rule captures: it is safe before the answer is out.
    async fn kept(&self, rule: &Rule, sent: &Unsigned) -> Result<Outcome> {
        let state = self.wire.memory.read().await?.names();
        for capture in &rule.capture {
            let kept = state.get(&capture.resource).and_then(|saved| saved.get(&capture.name));
            let receiver = &self.wire.instance.connector.receiver;
            let wanted = match (&capture.place, rule.per_item) {
                (Pick::Item(pointer), true) => item_value(receiver, pointer, sent),
                (place, _) => value_at(place, sent),
            };
            if kept.and_then(Json::as_str).map(str::to_owned) != wanted || wanted.is_none() {
                return Ok(Err(format!("`{}.{}` was not kept", capture.resource, capture.name)));
            }
        }
        Ok(Ok(()))
    }
}

/// A value of an item of a request, as text: of the first that has it.
fn item_value(receiver: &Receiver, pointer: &Pointer, sent: &Unsigned) -> Option<String> {
    let body: Json = serde_json::from_slice(&sent.body).ok()?;
    let list = match &receiver.records.each {
        Each::At(each) => each.iter().find_map(|each| each.resolve(&body))?,
        Each::Built(_) => return None,
    };
    let mut items = list.as_array().map_or(std::slice::from_ref(list), Vec::as_slice).iter();
    items.find_map(|item| pointer.resolve(item)).map(as_text)
}

fn as_text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value of a request, as text.
fn value_at(place: &Pick, sent: &Unsigned) -> Option<String> {
    let field = |encoded: &[u8], name: &str| {
        let mut fields = url::form_urlencoded::parse(encoded);
        fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    match place {
        Pick::Header(name) => sent.headers.get(name)?.to_str().ok().map(str::to_owned),
        Pick::Query(name) => field(sent.url.query()?.as_bytes(), name),
        Pick::Form(name) => field(&sent.body, name),
        Pick::Body(pointer) | Pick::Item(pointer) => {
            let body: Json = serde_json::from_slice(&sent.body).ok()?;
            pointer.resolve(&body).map(as_text)
        }
    }
}

/// What a rule promises to answer.
#[derive(Debug, PartialEq)]
struct Promise {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    json: Option<Json>,
    text: Option<Vec<u8>>,
}

fn promise(receiver: &Receiver, rule: &Rule, scope: &Scope) -> Result<Promise> {
    let nothing = serde_json::json!({"accepted": 0, "duplicates": 0, "dead": 0});
    let (reply, scope): (&Reply, _) = match (&rule.end, &receiver.respond.ignored) {
        // The request is one of events, of which none is left.
        (_, _) if rule.per_item => (&receiver.respond.accepted, scope.with("batch", nothing)),
        (Some(End::Reply(reply)), _) => (reply, scope.clone()),
        (Some(End::Ignored), Some(reply)) => (reply, scope.with("batch", nothing)),
        (Some(End::Ignored) | None, _) => {
            return Ok(Promise { status: 200, headers: Vec::new(), json: None, text: None });
        }
    };
    let scope = &scope;
    let headers = reply.headers.iter().map(|(name, text)| Ok((name.clone(), text.render_bytes(scope)?)));
    let headers = headers.collect::<Result<_>>()?;
    let (json, text) = match &reply.body {
        ReplyBody::Empty => (None, None),
        ReplyBody::Json(tree) => (tree.render(scope)?, None),
        ReplyBody::Text(text) => (None, Some(text.render_bytes(scope)?)),
    };
    Ok(Promise { status: reply.status, headers, json, text })
}

impl Promise {
    /// What differs in an answer; the status alone where the rest is another each time.
    fn held_against(&self, answer: &Response, whole: bool, body: bool) -> Outcome {
        let said = || escaped(&String::from_utf8_lossy(&answer.body), 200);
        if answer.status.as_u16() != self.status {
            return Err(format!("{} was promised, and {} came: {}", self.status, answer.status, said()));
        }
        if !whole {
            return Ok(());
        }
        for (name, value) in &self.headers {
            if answer.headers.get(name).map(HeaderValue::as_bytes) != Some(value) {
                return Err(format!("the header `{name}` is not what was promised"));
            }
        }
        let json = || serde_json::from_slice::<Json>(&answer.body).ok();
        let same = match (&self.json, &self.text) {
            (Some(wanted), _) => json().as_ref() == Some(wanted),
            (None, Some(wanted)) => answer.body == *wanted,
            (None, None) => answer.body.is_empty(),
        };
        // No body comes with these, whatever is promised.
        let bare = !body || answer.status == StatusCode::NO_CONTENT;
        if same || bare && answer.body.is_empty() {
            Ok(())
        } else {
            Err(format!("another body came: {}", said()))
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answer(status: u16, header: Option<(&'static str, &'static str)>, body: &'static str) -> Response {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        Response { status, headers, body: Bytes::from_static(body.as_bytes()) }
    }

    /// A stand-in that takes any answer proves nothing.
    #[test]
    fn only_the_answer_that_was_promised_is_taken() {
        let promise = Promise {
            status: 200,
            headers: vec![("x-echo".to_owned(), b"a".to_vec())],
            json: Some(serde_json::json!({"token": "a"})),
            text: None,
        };
        let echo = Some(("x-echo", "a"));
        let good = answer(200, echo, r#"{ "token": "a" }"#);
        assert_eq!(promise.held_against(&good, true, true), Ok(()));
        for bad in [
            answer(202, echo, r#"{"token":"a"}"#),
            answer(200, None, r#"{"token":"a"}"#),
            answer(200, Some(("x-echo", "b")), r#"{"token":"a"}"#),
            answer(200, echo, r#"{"token":"b"}"#),
            answer(200, echo, r#"{"token":"a","more":1}"#),
            answer(200, echo, ""),
        ] {
            assert!(promise.held_against(&bad, true, true).is_err(), "{bad:?}");
        }
        // What tells the time is held against its status alone; a HEAD has no body.
        assert_eq!(promise.held_against(&answer(200, None, "{}"), false, true), Ok(()));
        assert!(promise.held_against(&answer(500, None, "{}"), false, true).is_err());
        assert_eq!(promise.held_against(&answer(200, echo, ""), true, false), Ok(()));
        assert!(promise.held_against(&answer(200, echo, "x"), true, false).is_err());
    }
}
