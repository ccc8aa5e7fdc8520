//! What reaches the stand-in and what it answers: a request read whole, and an answer as data.
//!
//! Used by the vendor, its guard and its shelf. Never touches a socket.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::Full;
use serde_json::{Map, Value as Json};

use super::routes::{Asked, calls};
use crate::connector::model::Connector;
use crate::connector::overlay::write;
use crate::connector::pick::Pick;

/// A request as the stand-in sees it: read whole, and read as far as its content type says.
#[derive(Debug)]
pub struct Incoming {
    /// The method.
    pub method: Method,
    /// The `Host` header.
    pub host: String,
    /// The path as sent.
    pub path: String,
    /// The parameters of the query; the last of a name counts.
    pub query: BTreeMap<String, String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The fields, where the body is a form; the first of a name counts.
    pub form: BTreeMap<String, String>,
    /// The document, where the body is JSON.
    pub json: Option<Json>,
    /// The body.
    pub body: Bytes,
}

/// What the stand-in answers.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Name and value.
    pub headers: Vec<(String, String)>,
    /// The body; `None` is an empty one.
    pub body: Option<Json>,
    /// What was asked for, for people who watch: `create hook`. Not sent.
    pub asked: Option<String>,
}

impl Incoming {
    /// Reads the body as far as its content type says.
    pub fn read(parts: &http::request::Parts, body: Bytes) -> Self {
        let host = parts.headers.get("host").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let query = parts.uri.query().unwrap_or_default();
        let mut incoming = Self {
            method: parts.method.clone(),
            host,
            path: parts.uri.path().to_owned(),
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers: parts.headers.clone(),
            form: BTreeMap::new(),
            json: None,
            body,
        };
        if incoming.is_of("application/x-www-form-urlencoded") {
            incoming.form = url::form_urlencoded::parse(&incoming.body).into_owned().collect();
        } else {
            incoming.json = serde_json::from_slice(&incoming.body).ok();
        }
        incoming
    }

    /// Whether the body is said to be of this type.
    pub fn is_of(&self, content_type: &str) -> bool {
        let given = self.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
        given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(content_type)
    }

    /// Whether a text stands in it: in a field of its form or its query, or a text of its document.
    pub fn tells(&self, text: &str) -> bool {
        fn holds(value: &Json, text: &str) -> bool {
            match value {
                Json::String(found) => found.contains(text),
                Json::Array(items) => items.iter().any(|item| holds(item, text)),
                Json::Object(map) => map.values().any(|value| holds(value, text)),
                Json::Null | Json::Bool(_) | Json::Number(_) => false,
            }
        }
        let mut fields = self.form.values().chain(self.query.values());
        let field = fields.any(|found| found.contains(text));
        !text.is_empty() && (field || self.json.as_ref().is_some_and(|json| holds(json, text)))
    }

    /// What tells which call it is.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: &self.query,
            form: &self.form,
        }
    }
}

impl Answer {
    /// An answer with a JSON body.
    pub fn json(status: u16, body: Json) -> Self {
        Self { status, headers: Vec::new(), body: Some(body), asked: None }
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: None, asked: None }
    }

    /// The same with one header more.
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The same, saying what was asked for.
    pub fn to(mut self, asked: String) -> Self {
        self.asked = Some(asked);
        self
    }

    /// The answer as hyper sends it.
    pub fn into_response(self) -> http::Response<Full<Bytes>> {
        let mut response = http::Response::builder().status(self.status);
        if self.body.is_some() {
            response = response.header("content-type", "application/json; charset=utf-8");
        }
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        let body = self.body.map(|json| Bytes::from(json.to_string())).unwrap_or_default();
        response.body(Full::new(body)).unwrap_or_default()
    }
}

/// A refusal whose sentence stands where the spec looks for it.
pub fn refusal(connector: &Connector, status: u16, sentence: &str) -> Answer {
    let mut body = Json::Object(Map::new());
    let resources = connector.provision.iter().flat_map(|provision| &provision.resources);
    let pick = resources.flat_map(calls).find_map(|(_, call)| call.errors.message.first());
    if let Some(Pick::Item(pointer) | Pick::Body(pointer)) = pick {
        write(&mut body, pointer, Json::String(sentence.to_owned()));
    }
    Answer::json(status, body)
}
