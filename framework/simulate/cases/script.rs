//! A transport that plays recorded exchanges: it checks each call against the case, and answers from it.
//!
//! Handed to the instance of a case in place of the real transport. A call that differs gets no answer; what
//! differed is kept for the report.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value as Json;

use super::compare::{differences, text_difference};
use super::receiver::Door;
use crate::call::{Request, Response, Transport, TransportError};
use crate::spec::case::{Answer, Exchange, OneOrMany, Receive, Wanted};

/// The exchanges that are still to come, and what went otherwise.
#[derive(Default)]
pub struct Script {
    play: Mutex<Play>,
    door: OnceLock<Door>,
}

#[derive(Debug, Default)]
struct Play {
    /// The key of the first exchange of the step: `steps[0].reconcile`.
    key: String,
    played: usize,
    coming: VecDeque<Exchange>,
    wrong: Vec<String>,
}

impl Script {
    /// The exchanges of the next step, whose key is `key`.
    pub fn begin(&self, key: &str, exchanges: &[Exchange]) {
        let mut play = self.play();
        play.key = key.to_owned();
        play.played = 0;
        play.coming = exchanges.iter().cloned().collect();
    }

    /// What went otherwise in this step; calls that were not made are named.
    pub fn end(&self) -> Vec<String> {
        let mut play = self.play();
        let mut wrong = std::mem::take(&mut play.wrong);
        // After a difference the rest of the calls is nobody's fault.
        if wrong.is_empty() {
            for exchange in &play.coming {
                wrong.push(format!(
                    "{}.exchanges: the call was not made: {}",
                    play.key, exchange.request.call
                ));
            }
        }
        play.coming.clear();
        wrong
    }

    /// What is sent while a call is open goes there.
    pub fn knocks_at(&self, door: Door) {
        let _ = self.door.set(door);
    }

    /// Sends what comes while a call is open, and notes what went otherwise.
    async fn meanwhile(&self, key: &str, requests: &[Receive]) {
        let Some(door) = self.door.get() else { return };
        for (n, request) in requests.iter().enumerate() {
            let key = format!("{key}.meanwhile[{n}]");
            {
                // The calls that it sets off come before those that follow.
                let mut play = self.play();
                for exchange in request.exchanges.iter().rev() {
                    play.coming.push_front(exchange.clone());
                }
            }
            let wrong = match door.send(&key, request).await {
                Ok(reply) => request
                    .reply
                    .as_ref()
                    .and_then(|wanted| reply.differences(&format!("{key}.reply"), wanted)),
                Err(error) => Some(error.to_string()),
            };
            self.play().wrong.extend(wrong);
        }
    }

    fn play(&self) -> std::sync::MutexGuard<'_, Play> {
        self.play.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let call = format!("{} {}", request.method, request.url);
        let (key, exchange) = {
            let mut play = self.play();
            let Some(exchange) = play.coming.pop_front() else {
                let sentence = format!("{}.exchanges: a call too many: {call}", play.key);
                return Err(fault(&mut play, sentence));
            };
            let key = format!("{}.exchanges[{}]", play.key, play.played);
            play.played += 1;
            (key, exchange)
        };
        let wrong = compare(&exchange.request, &request, &call);
        if !wrong.is_empty() {
            let wrong = wrong.join("\n      ");
            let sentence = format!("{key}.request differs (- expected, + made):\n      {wrong}");
            return Err(fault(&mut self.play(), sentence));
        }
        self.meanwhile(&key, &exchange.meanwhile).await;
        answer(&exchange.answer)
            .map_err(|sentence| fault(&mut self.play(), format!("{key}.answer: {sentence}")))
    }
}

fn fault(play: &mut Play, sentence: String) -> TransportError {
    play.wrong.push(sentence);
    TransportError { sent: false, passing: false, sentence: "the case has no answer to this call".to_owned() }
}

fn compare(wanted: &Wanted, made: &Request, call: &str) -> Vec<String> {
    let mut wrong = text_difference("call", &wanted.call, call).unwrap_or_default();
    for (name, value) in &wanted.headers {
        let came = made.headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        let difference = match (value, &came) {
            (None, None) => None,
            (Some(value), Some(came)) => text_difference(&format!("headers.{name}"), value, came),
            (Some(value), None) => Some(vec![format!("- headers.{name}: {value}")]),
            (None, Some(came)) => Some(vec![format!("+ headers.{name}: {came}")]),
        };
        wrong.extend(difference.unwrap_or_default());
    }
    wrong.extend(compare_body(wanted, made));
    wrong
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
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(&made.body) {
            fields.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        let expected: BTreeMap<&String, Vec<String>> =
            expected.iter().map(|(n, v)| (n, v.values())).collect();
        return differences(&serde_json::json!(expected), &serde_json::json!(fields));
    }
    text_difference("body", wanted.text.as_deref().unwrap_or_default(), &text).unwrap_or_default()
}

impl OneOrMany {
    fn values(&self) -> Vec<String> {
        match self {
            Self::One(value) => vec![value.clone()],
            Self::Many(values) => values.clone(),
        }
    }
}

fn answer(recorded: &Answer) -> Result<Response, String> {
    let mut headers = http::HeaderMap::new();
    let body = match (&recorded.json, &recorded.text) {
        (Some(json), _) => {
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Bytes::from(json.to_string())
        }
        (None, Some(text)) => Bytes::from(text.clone()),
        (None, None) => Bytes::new(),
    };
    for (name, value) in &recorded.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|e| format!("the answer's header: {e}"))?;
        headers.append(name, HeaderValue::try_from(value.as_str()).map_err(|e| e.to_string())?);
    }
    let status = StatusCode::from_u16(recorded.status).map_err(|e| e.to_string())?;
    Ok(Response { status, headers, body })
}
