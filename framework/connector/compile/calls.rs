//! Outgoing calls: method, URL, headers, body, and what is kept of the answer.

use std::sync::Arc;

use super::at::At;
use super::compiler::Compiler;
use super::names::{Here, step_saves};
use crate::connector::model::{Body, Call, Errors, FormField, ResponseFormat, Step, Until};
use crate::connector::template::Text;

/// What `provision` says for every call below it.
#[derive(Debug, Clone, Default)]
pub struct Shared<'a> {
    /// The `provision` of the spec.
    pub at: Option<At<'a>>,
    /// Where the vendor says what went wrong.
    pub errors: Arc<Errors>,
}

impl<'a> Shared<'a> {
    /// The value that a call has under a key, or else the one that `provision` has.
    fn or(&self, call: &At<'a>, key: &str) -> Option<At<'a>> {
        call.get(key).or_else(|| self.at.as_ref()?.get(key))
    }
}

impl Compiler {
    /// An operation: one call, or a list of steps.
    pub fn steps<'a>(&mut self, resource: &str, at: &At<'a>, shared: &Shared<'a>, here: Here) -> Vec<Step> {
        let mut steps = Vec::new();
        for at in at.one_or_many() {
            steps.push(self.step(&at, shared, here));
            self.save_so_far(resource, step_saves(&at));
        }
        steps
    }

    fn step<'a>(&mut self, at: &At<'a>, shared: &Shared<'a>, here: Here) -> Step {
        let name = at.text_of("name").map(str::to_owned);
        let when = at.get("when").and_then(|at| self.condition(&at, here));
        let call = at.has("call").then(|| self.call(at, shared, here)).flatten();
        let until = at.get("until").and_then(|until| {
            let condition = self.condition(&until, Here::Answer);
            let every = at.get("every").and_then(|at| self.pause(&at));
            let at_most = at.get("at_most").and_then(|at| self.duration(&at));
            Some(Until { condition: condition?, every: every?, at_most: at_most? })
        });
        Step { name, when, call, until }
    }

    /// One call, with what `provision` says for all of them folded in.
    pub fn call<'a>(&mut self, at: &At<'a>, shared: &Shared<'a>, here: Here) -> Option<Call> {
        self.not_built_keys(at, &["xml", "graphql"]);
        if here != Here::Reply {
            // Where nothing that came in has a say, the spec itself is the list.
            self.not_built_keys(at, &["only"]);
        }
        let secret_in_url = at.flag("secret_in_url");
        let line = at.get("call").and_then(|at| self.call_line(&at, here, secret_in_url));
        let auth = shared.or(at, "auth").and_then(|at| self.auth_name(&at, here));
        let mut headers = shared
            .at
            .as_ref()
            .and_then(|at| at.get("headers"))
            .map(|at| self.headers(&at, here))
            .unwrap_or_default();
        for (name, value) in at.get("headers").map(|at| self.headers(&at, here)).unwrap_or_default() {
            headers.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
            headers.push((name, value));
        }
        let query = at.get("query").map(|at| self.query(&at, here, secret_in_url)).unwrap_or_default();
        let body = self.body(at, here);
        let response = shared.or(at, "response").map(|at| self.response(&at)).unwrap_or_default();
        let ok = shared.or(at, "ok").and_then(|at| self.condition(&at, Here::Answer));
        let save = at.get("save").map(|at| self.saves(&at)).unwrap_or_default();
        let accept = at.get("accept").iter().flat_map(At::items).filter_map(|at| self.status(&at)).collect();
        let (method, url) = line?;
        Some(Call {
            method,
            url,
            auth,
            scope: at.text_of("scope").map(str::to_owned),
            headers,
            query,
            body: body?,
            response,
            accept,
            ok,
            ok_is_shared: !at.has("ok"),
            save,
            errors: Arc::clone(&shared.errors),
            secret_in_url,
        })
    }

    fn call_line(&mut self, at: &At<'_>, here: Here, secret_in_url: bool) -> Option<(http::Method, Text)> {
        let line = at.text()?;
        let (method, url) = line.split_once(' ')?;
        let method = method.parse().ok()?;
        let start = line.len() - url.trim_start().len();
        Some((method, self.url_within(at, start, here, secret_in_url)?))
    }

    fn response(&mut self, at: &At<'_>) -> ResponseFormat {
        match at.text() {
            Some("text") => ResponseFormat::Text,
            Some("xml") => {
                self.not_built(crate::spec::mistake::Place::value(&at.path), "reading XML answers");
                ResponseFormat::Text
            }
            _ => ResponseFormat::Json,
        }
    }

    /// The body; `None` only where it was reported as wrong.
    fn body(&mut self, at: &At<'_>, here: Here) -> Option<Body> {
        if let Some(at) = at.get("json") {
            return self.tree(&at, here).map(Body::Json);
        }
        if let Some(at) = at.get("form") {
            return Some(Body::Form(self.form(&at, here)));
        }
        if let Some(at) = at.get("text") {
            return self.text(&at, here).map(Body::Text);
        }
        Some(Body::Empty)
    }

    fn form(&mut self, at: &At<'_>, here: Here) -> Vec<(String, FormField)> {
        at.entries()
            .filter_map(|(name, at)| {
                let field = match at.get("json") {
                    Some(json) => FormField::Json(self.tree(&json, here)?),
                    None if at.value.is_array() => {
                        FormField::List(at.items().map(|at| self.text(&at, here)).collect::<Option<_>>()?)
                    }
                    None => FormField::Value(self.text(&at, here)?),
                };
                Some((name.to_owned(), field))
            })
            .collect()
    }
}
