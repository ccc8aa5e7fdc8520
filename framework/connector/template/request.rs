//! What a request says, as the name `request` shows it to templates and conditions.
//!
//! The receiver fills [`RequestFacts`] once a request and puts them into a scope. Headers are found in any
//! case, the body's JSON and form are read when something asks for them, and only when the body is small.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use minijinja::Value;
use minijinja::value::Object;
use serde_json::Value as Json;

use super::document::document;
use super::{large, operators};

/// Bytes of a body up to which `request.json` and `request.form` exist for rules and answers: handshakes and pings are
/// small. What proves a sender sees them whatever the size: see [`RequestFacts::parsed`].
pub const MAX_PARSED: usize = 1 << 20;
/// Values up to which a document is read into a table, sixteen bytes each: 4 MiB, which each thread that proves senders
/// may keep. One with more is [`large`], and is looked up where it stands.
const MAX_VALUES: usize = 256 << 10;
/// Fields up to which a form or a query is read into values, which take fifty times the memory of their text. With more,
/// a form that proves a sender is [`large`], and any other does not exist.
const MAX_FIELDS: usize = 10_000;

/// What a request says.
#[derive(Debug, Clone)]
pub struct RequestFacts {
    /// POST and so on.
    pub method: http::Method,
    /// The public URL that the vendor was given, with the query as it was sent.
    pub url: String,
    /// The path.
    pub path: String,
    /// The query as it was sent, without `?`.
    pub query: String,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The raw body.
    pub body: Bytes,
    /// Bytes of a body up to which `json` and `form` exist.
    pub parsed: usize,
}

/// `request`.
#[derive(Debug)]
pub(super) struct RequestValue {
    facts: Arc<RequestFacts>,
    json: OnceLock<Option<Value>>,
    body: OnceLock<Value>,
    query: OnceLock<Option<Value>>,
    form: OnceLock<Option<Value>>,
}

impl RequestValue {
    pub(super) fn new(facts: Arc<RequestFacts>) -> Self {
        Self {
            facts,
            json: OnceLock::new(),
            body: OnceLock::new(),
            query: OnceLock::new(),
            form: OnceLock::new(),
        }
    }

    pub(super) fn facts(&self) -> &RequestFacts {
        &self.facts
    }

    fn json(&self) -> Option<Value> {
        let body = &self.facts.body;
        self.json.get_or_init(|| (body.len() <= self.facts.parsed).then(|| json(body)).flatten()).clone()
    }

    fn form(&self) -> Option<Value> {
        let body = &self.facts.body;
        let whatever_its_size = self.facts.parsed > MAX_PARSED;
        let form = || match fields(body) {
            None if whatever_its_size => Some(large::form(body)),
            form => form,
        };
        self.form.get_or_init(|| (body.len() <= self.facts.parsed).then(form).flatten()).clone()
    }
}

/// A JSON document; `None` where the bytes are none.
pub(super) fn json(bytes: &Bytes) -> Option<Value> {
    document(bytes, MAX_VALUES).or_else(|| large::json(bytes, MAX_VALUES))
}

impl Object for RequestValue {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let facts = &self.facts;
        match key.as_str()? {
            "method" => Some(Value::from(facts.method.as_str())),
            "url" => Some(Value::from(&facts.url)),
            "path" => Some(Value::from(&facts.path)),
            "query" => self.query.get_or_init(|| fields(facts.query.as_bytes())).clone(),
            "headers" => Some(Value::from_object(Headers(facts.clone()))),
            "body" => Some(self.body.get_or_init(|| body(&facts.body)).clone()),
            "json" => self.json(),
            "form" => self.form(),
            _ => None,
        }
    }
}

fn body(bytes: &Bytes) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => Value::from_bytes(bytes.to_vec()),
    }
}

/// The fields of a form or a query; `None` where there are too many. One that is repeated is a list, which equals no text.
fn fields(encoded: &[u8]) -> Option<Value> {
    if memchr::memchr_iter(b'&', encoded).count() >= MAX_FIELDS {
        return None;
    }
    let mut map = serde_json::Map::new();
    for (name, value) in url::form_urlencoded::parse(encoded) {
        let value = Json::from(value);
        match map.get_mut(name.as_ref()) {
            None => {
                map.insert(name.into_owned(), value);
            }
            Some(Json::Array(values)) => values.push(value),
            Some(first) => *first = Json::Array(vec![first.take(), value]),
        }
    }
    Some(operators::value(Json::Object(map)))
}

/// `request.headers`: a header that is repeated is joined by `, ` (RFC 9110 section 5.3); one that is no
/// UTF-8 is missing.
#[derive(Debug)]
struct Headers(Arc<RequestFacts>);

impl Object for Headers {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = http::HeaderName::try_from(key.as_str()?).ok()?;
        let values: Option<Vec<&str>> = self
            .0
            .headers
            .get_all(name)
            .iter()
            .map(|value| std::str::from_utf8(value.as_bytes()).ok())
            .collect();
        values.filter(|values| !values.is_empty()).map(|values| Value::from(values.join(", ")))
    }
}
