//! A recording as the values of a case, and these as YAML that people read.
//!
//! `finish` calls it. Of headers it keeps those that the spec names, and what a body needs to be read: the rest is noise of
//! the road, and may tell more than is wanted.

use std::sync::Arc;

use data_encoding::BASE64;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::disguise::Disguise;
use super::{Event, Exchange, Incoming, PassKept};
use crate::connector::instance::Instance;
use crate::connector::model::Proof;
use crate::connector::pick::Pick;
use crate::error::Result;
use crate::provision::witness::Pass;
use crate::simulate::sign::{Unsigned, sign};
use crate::spec::rewrite::flow;

/// Bytes of one line of YAML; what is longer is broken up.
const WIDE: usize = 110;
/// Headers of calls that the way out adds by itself.
const BY_THE_WAY: &[&str] = &["user-agent", "content-length", "host", "accept-encoding", "connection"];

/// Headers that every request and answer has, and whose names are common words in a spec.
const OF_THE_ROAD: &[&str] =
    &["accept", "date", "host", "connection", "server", "via", "from", "cookie", "set-cookie"];

/// What is known while a draft is made.
pub struct Draft<'a> {
    /// The instance with invented secrets, as the case configures it.
    pub instance: &'a Arc<Instance>,
    /// What it saved, secrets replaced.
    pub state: &'a Json,
    /// What is replaced.
    pub disguise: &'a Disguise,
    /// The spec's text, in lower case.
    pub spec: &'a str,
    /// The receiver's path.
    pub path: &'a str,
}

impl Draft<'_> {
    /// The steps, with a clock before each that happened at another time than the one before.
    pub fn steps(&self, events: &[Event]) -> Result<Vec<Json>> {
        let (mut steps, mut now) = (Vec::new(), None);
        for event in events {
            let (at, step) = match event {
                // A look for which nothing was asked shows nothing.
                Event::Pass(pass) if pass.exchanges.is_empty() => continue,
                Event::Pass(pass) => (pass.at, self.pass(pass)?),
                Event::Request(incoming) => (incoming.at, json!({"receive": self.incoming(incoming)?})),
            };
            if now.replace(at).is_some_and(|before| before != at) {
                steps.push(json!({"clock": at.to_string()}));
            }
            steps.push(step);
        }
        Ok(steps)
    }

    fn pass(&self, pass: &PassKept) -> Result<Json> {
        let mut told = Map::new();
        told.insert("exchanges".to_owned(), self.exchanges(&pass.exchanges)?);
        match &pass.outcome {
            None => None,
            Some(Ok(did)) => told.insert("outcome".to_owned(), json!(did)),
            Some(Err(sentence)) => {
                let sentence: String = self.disguise.text(sentence).chars().take(80).collect();
                told.insert("error".to_owned(), json!([sentence]))
            }
        };
        Ok(match pass.pass {
            Pass::Reconcile => json!({"reconcile": told}),
            Pass::Destroy => json!({"destroy": told}),
        })
    }

    fn exchanges(&self, exchanges: &[Exchange]) -> Result<Json> {
        exchanges.iter().map(|exchange| self.exchange(exchange)).collect::<Result<Vec<_>>>().map(Json::Array)
    }

    fn exchange(&self, exchange: &Exchange) -> Result<Json> {
        let made = &exchange.request;
        let call = format!("{} {}", made.method, self.disguise.text(made.url.as_str()));
        let mut request = Map::new();
        request.insert("call".to_owned(), Json::from(call));
        let headers = self.headers(&made.headers, |name| !BY_THE_WAY.contains(&name));
        if !headers.is_empty() {
            request.insert("headers".to_owned(), Json::Object(headers));
        }
        request.extend(self.called_with(made));
        let mut told = Map::new();
        told.insert("request".to_owned(), Json::Object(request));
        if !exchange.meanwhile.is_empty() {
            let meanwhile = exchange.meanwhile.iter().map(|incoming| self.incoming(incoming));
            told.insert("meanwhile".to_owned(), Json::Array(meanwhile.collect::<Result<_>>()?));
        }
        let answer = &exchange.answer;
        let named = |name: &str| matches!(name, "link" | "location") || self.is_named(name);
        let mut headers = self.headers(&answer.headers, named);
        // Nobody waits in a case.
        if answer.headers.contains_key("retry-after") {
            headers.insert("retry-after".to_owned(), Json::from("0"));
        }
        told.insert("answer".to_owned(), self.answer(answer.status.as_u16(), headers, &answer.body));
        Ok(Json::Object(told))
    }

    /// The body of a call, in the notation that is read best.
    fn called_with(&self, made: &crate::call::Request) -> Option<(String, Json)> {
        let text = std::str::from_utf8(&made.body).ok().filter(|text| !text.is_empty())?;
        let kind = made.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if let Ok(value) = serde_json::from_str::<Json>(text) {
            return Some(("json".to_owned(), self.disguise.json(&value)));
        }
        if kind.starts_with("application/x-www-form-urlencoded") {
            let mut fields: Map<String, Json> = Map::new();
            for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
                let value = Json::from(self.disguise.text(&value));
                match fields.get_mut(&*name) {
                    Some(Json::Array(values)) => values.push(value),
                    Some(first) => *first = json!([first.take(), value]),
                    None => drop(fields.insert(name.into_owned(), value)),
                }
            }
            return Some(("form".to_owned(), Json::Object(fields)));
        }
        Some(("text".to_owned(), Json::from(self.disguise.text(text))))
    }

    /// A request of the vendor, signed anew where its signature was made with a secret.
    fn incoming(&self, incoming: &Incoming) -> Result<Json> {
        let named = |name: &str| {
            matches!(name, "content-type" | "content-encoding" | "authorization") || self.is_named(name)
        };
        let mut told = Map::new();
        let (headers, query, body) = self.signed(incoming)?;
        if incoming.method != http::Method::POST {
            told.insert("method".to_owned(), Json::from(incoming.method.as_str()));
        }
        if incoming.path != self.path || !query.is_empty() {
            let question = if query.is_empty() { "" } else { "?" };
            told.insert("path".to_owned(), Json::from(format!("{}{question}{query}", incoming.path)));
        }
        let headers = self.headers(&headers, named);
        if !headers.is_empty() {
            told.insert("headers".to_owned(), Json::Object(headers));
        }
        match String::from_utf8(body) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => drop(told.insert("text".to_owned(), Json::from(text))),
            Err(bytes) => drop(told.insert("base64".to_owned(), Json::from(BASE64.encode(bytes.as_bytes())))),
        }
        if !incoming.exchanges.is_empty() {
            told.insert("exchanges".to_owned(), self.exchanges(&incoming.exchanges)?);
        }
        let reply = &incoming.reply;
        let headers = self.headers(reply.headers(), |name| name != "content-type" && self.is_named(name));
        told.insert("reply".to_owned(), self.answer(reply.status().as_u16(), headers, reply.body()));
        Ok(Json::Object(told))
    }

    /// Headers, query and body with the secrets replaced, and the proof made anew by them.
    fn signed(&self, incoming: &Incoming) -> Result<(HeaderMap, String, Vec<u8>)> {
        let mut headers = HeaderMap::new();
        for (name, value) in &incoming.headers {
            let replaced = value.to_str().ok().map(|value| self.disguise.header(value));
            let value =
                replaced.and_then(|text| HeaderValue::try_from(text).ok()).unwrap_or_else(|| value.clone());
            headers.append(name.clone(), value);
        }
        let query = self.disguise.text(&incoming.query);
        let body = match std::str::from_utf8(&incoming.body) {
            Ok(text) => self.disguise.text(text).into_bytes(),
            Err(_) => incoming.body.to_vec(),
        };
        let Some(public) = self.instance.receiver_url.as_ref().filter(|_| self.is_signed_by_us(incoming))
        else {
            return Ok((headers, query, body));
        };
        let mut url = public.clone();
        url.set_path(&incoming.path);
        url.set_query((!query.is_empty()).then_some(query.as_str()));
        let mut push = Unsigned { method: incoming.method.clone(), url, headers, body };
        sign(self.instance, self.state, &mut push, incoming.at)?;
        Ok((push.headers, push.url.query().unwrap_or_default().to_owned(), push.body))
    }

    /// Whether a request carries a proof that was worked out with a secret of ours: a value that is sent as it is was
    /// replaced with everything else, and what the vendor's own private key made stays good.
    fn is_signed_by_us(&self, incoming: &Incoming) -> bool {
        let ours = |name: &String| ["secrets.", "state.", "vars."].iter().any(|root| name.starts_with(root));
        self.instance.connector.receiver.verify.checks().iter().any(|demand| {
            let keyed = demand.proof.key_texts().iter().any(|text| text.names().iter().any(ours));
            let there = |pick: &Pick| match pick {
                Pick::Header(name) => incoming.headers.contains_key(name),
                Pick::Query(_) | Pick::Form(_) | Pick::Body(_) | Pick::Item(_) => true,
            };
            match &demand.proof {
                Proof::Token { .. } | Proof::Basic { .. } => false,
                Proof::Jwt(jwt) => keyed && there(&jwt.place),
                Proof::Hmac { signed, .. } | Proof::PublicKey { signed, .. } => {
                    keyed && signed.signature.places.iter().any(there)
                }
                Proof::Digest { signed, .. } => signed.signature.places.iter().any(there),
            }
        })
    }

    fn headers(&self, headers: &HeaderMap, kept: impl Fn(&str) -> bool) -> Map<String, Json> {
        let mut told: Map<String, Json> = Map::new();
        for name in headers.keys().filter(|name| kept(name.as_str())) {
            let mut values: Vec<Json> = headers
                .get_all(name)
                .iter()
                .map(|value| Json::from(self.disguise.header(&String::from_utf8_lossy(value.as_bytes()))))
                .collect();
            let value = if values.len() == 1 { values.remove(0) } else { Json::Array(values) };
            told.insert(name.to_string(), value);
        }
        told
    }

    /// Whether the spec names a header, as a word of its own.
    fn is_named(&self, header: &str) -> bool {
        let part = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let named = |(at, _): (usize, &str)| {
            let (before, behind) = (self.spec.get(..at), self.spec.get(at + header.len()..));
            before.is_some_and(|text| !text.ends_with(part))
                && behind.is_some_and(|text| !text.starts_with(part))
        };
        !OF_THE_ROAD.contains(&header) && self.spec.match_indices(header).any(named)
    }

    fn answer(&self, status: u16, headers: Map<String, Json>, body: &[u8]) -> Json {
        let mut told = Map::new();
        told.insert("status".to_owned(), Json::from(status));
        let single = |(name, value): (String, Json)| match value {
            Json::Array(mut values) if !values.is_empty() => (name, values.swap_remove(0)),
            value => (name, value),
        };
        if !headers.is_empty() {
            told.insert("headers".to_owned(), Json::Object(headers.into_iter().map(single).collect()));
        }
        match (serde_json::from_slice::<Json>(body), std::str::from_utf8(body)) {
            (_, Ok("")) => {}
            (Ok(value), _) => drop(told.insert("json".to_owned(), self.disguise.json(&value))),
            (Err(_), Ok(text)) => drop(told.insert("text".to_owned(), Json::from(self.disguise.text(text)))),
            (Err(_), Err(_)) => drop(told.insert("base64".to_owned(), Json::from(BASE64.encode(body)))),
        }
        Json::Object(told)
    }
}

/// The time of the first event.
pub fn begin(events: &[Event]) -> Option<Timestamp> {
    events.iter().find_map(|event| match event {
        Event::Pass(pass) => (!pass.exchanges.is_empty()).then_some(pass.at),
        Event::Request(incoming) => Some(incoming.at),
    })
}

/// Values as YAML: what fits on a line stands on one.
pub fn yaml(values: &Map<String, Json>) -> String {
    let mut out = String::new();
    pairs(values, 0, &mut out);
    out
}

fn pairs(values: &Map<String, Json>, indent: usize, out: &mut String) {
    for (key, value) in values {
        out.push_str(&format!("{}{}:", " ".repeat(indent), flow(&Json::from(key.as_str()))));
        below(value, indent + 2, out);
    }
}

/// What stands under a key: behind it, or on lines of its own.
fn below(value: &Json, indent: usize, out: &mut String) {
    let line = flow(value);
    let top = indent == 2 && matches!(value, Json::Array(list) if !list.is_empty());
    match value {
        Json::Object(map) if line.len() > WIDE && !map.is_empty() => {
            out.push('\n');
            pairs(map, indent, out);
        }
        Json::Array(list) if (line.len() > WIDE || top) && !list.is_empty() => {
            out.push('\n');
            for item in list {
                out.push_str(&format!("{}-", " ".repeat(indent)));
                item_of(item, indent + 2, out);
            }
        }
        _ => out.push_str(&format!(" {line}\n")),
    }
}

/// An item: its first key stands behind the dash.
fn item_of(item: &Json, indent: usize, out: &mut String) {
    let line = flow(item);
    match item {
        Json::Object(map) if line.len() > WIDE && !map.is_empty() => {
            let mut block = String::new();
            pairs(map, indent, &mut block);
            out.push_str(&format!(" {}", block.trim_start()));
        }
        _ => out.push_str(&format!(" {line}\n")),
    }
}
