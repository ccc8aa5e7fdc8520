//! What rules say of themselves, held against their samples and against each other: whether each can be reached,
//! does something, and lets nobody do what the vendor alone may.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value as Json;

use super::rules::{is_per_item, is_verified, method};
use crate::connector::compile::at::At;
use crate::connector::compile::compiler::Compiler;
use crate::connector::compile::proof::about;
use crate::connector::template::{Condition, MAX_PARSED, RequestFacts, Scope, Text};
use crate::spec::mistake::{Code, Mistake, Place};

impl Compiler {
    /// Holds every rule against its sample, and against the rules before it.
    pub(in crate::connector::compile) fn prove_rules(&mut self, top: &At<'_>) {
        let Some(receiver) = top.get("receiver") else { return };
        let mut rules: Vec<At<'_>> = receiver.get("rules").iter().flat_map(At::items).collect();
        for rule in &rules {
            self.prove_rule(&receiver, rule);
            self.does_something(rule);
            self.is_used(top, rule);
            self.keeps_door_shut(&receiver, rule);
            self.ends_no_other_item(&receiver, rule);
        }
        // The order in which they are asked: those that need no proof first.
        rules.sort_by_key(is_verified);
        for (n, rule) in rules.iter().enumerate() {
            if let Some(first) = rules.iter().take(n).find(|first| takes(first, rule)) {
                self.never_reached(rule, first);
            }
        }
        if let Some(rejected) = receiver.get("respond").and_then(|at| at.get("rejected")) {
            self.echoes(&rejected);
        }
    }

    /// A rule per item holds for one item at least of its own sample.
    fn prove_rule_per_item(&mut self, receiver: &At<'_>, when: &At<'_>, sample: &At<'_>) {
        let Some(condition) = about(when, "item") else { return };
        let Some(items) = sample.get("json").and_then(|json| items_of(receiver, json.value)) else { return };
        let holds =
            |item: &Json| condition.holds(&Scope::default().with("item", item.clone())).unwrap_or(true);
        if items.iter().any(holds) {
            return;
        }
        let source = when.text().unwrap_or_default();
        self.report(
            Mistake::new(
                Code::Disproved,
                Place::value(&when.path),
                format!("`{source}` holds for no item of the rule's own sample"),
            )
            .help("with `per: item` the condition is about `item`, one of those at `records.each`")
            .related(Place::key(&sample.path), "the sample"),
        );
    }

    /// A request may bring other items beside the one that a rule is about: they must not end with it.
    fn ends_no_other_item(&mut self, receiver: &At<'_>, rule: &At<'_>) {
        let ends = rule.has("respond") || rule.flag("ignore");
        if !ends || !is_verified(rule) || is_per_item(rule) {
            return;
        }
        let by_head = rule.get("when").and_then(|at| about(&at, "request")).is_some_and(|condition| {
            let body = |name: &String| {
                ["request.json", "request.body", "request.form"].iter().any(|root| name.starts_with(root))
            };
            !condition.names().iter().any(body)
        });
        let sample = rule.get("sample").and_then(|sample| sample.get("json"));
        if by_head || sample.and_then(|json| items_of(receiver, json.value)).is_none() {
            return;
        }
        let ending = if rule.has("respond") { "respond" } else { "ignore" };
        self.report(
            Mistake::new(
                Code::EndsOthers,
                rule.get(ending).map_or_else(|| Place::value(&rule.path), |at| Place::key(&at.path)),
                "this ends a request that may hold other items, and they would be lost",
            )
            .help("write the rule `per: item`: its condition is then about `item`, and the other items are delivered"),
        );
    }

    fn prove_rule(&mut self, receiver: &At<'_>, rule: &At<'_>) {
        if let Some(at) = rule.get("sample").and_then(|sample| sample.get("method"))
            && at.text().is_some_and(|name| name != method(rule).as_str())
        {
            let message = format!("the rule is served at {}, and its sample is another method", method(rule));
            self.report(
                Mistake::new(Code::Disproved, Place::value(&at.path), message)
                    .help("say the rule's `method`; a sample has the same without saying it"),
            );
        }
        let (Some(at), Some(sample)) = (rule.get("when"), rule.get("sample")) else { return };
        if is_per_item(rule) {
            return self.prove_rule_per_item(receiver, &at, &sample);
        }
        let Some(condition) = about(&at, "request") else { return };
        if holds(&condition, rule) == Some(false) {
            let source = at.text().unwrap_or_default();
            self.report(
                Mistake::new(
                    Code::Disproved,
                    Place::value(&at.path),
                    format!("`{source}` does not hold for the rule's own sample"),
                )
                .help("header names are found in any case; what a request lacks equals nothing")
                .related(Place::key(&sample.path), "the sample"),
            );
        }
    }

    fn does_something(&mut self, rule: &At<'_>) {
        if ["respond", "ignore", "capture", "run"].iter().any(|key| rule.has(key)) {
            return;
        }
        let message = "this rule does nothing";
        self.report(
            Mistake::new(Code::Unreached, Place::value(&rule.path.join("name")), message)
                .help("say what it does: `respond`, `ignore: true`, `capture` or `run`"),
        );
    }

    /// What is captured is named somewhere: by the key of `verify`, by a step that waits for it, by a call.
    fn is_used(&mut self, top: &At<'_>, rule: &At<'_>) {
        for (name, at) in rule.get("capture").iter().flat_map(At::entries) {
            if !mentions(top.value, &format!("state.{name}")) {
                let message = format!("nothing uses `state.{name}`");
                self.report(Mistake::new(Code::Unused, Place::key(&at.path), message).help(
                    "name it where it is wanted, in `verify`, in a call or in `until`; else do not keep it",
                ));
            }
        }
    }

    /// A rule that anybody can set off keeps and tells nothing that is not theirs.
    fn keeps_door_shut(&mut self, receiver: &At<'_>, rule: &At<'_>) {
        if is_verified(rule) {
            return;
        }
        if let (Some(capture), None) = (rule.get("capture"), rule.get("when")) {
            self.report(
                Mistake::new(
                    Code::OpenDoor,
                    Place::key(&capture.path),
                    "this keeps a part of whatever anybody sends first",
                )
                .help("say in `when` what the vendor's own request looks like, and leave `verify: skip` out where it is signed"),
            );
        }
        if let Some(run @ At { value: Json::Object(_), .. }) = rule.get("run") {
            self.report(
                Mistake::new(Code::OpenDoor, Place::key(&run.path), "anybody can set off this call").help(
                    "a request that makes us call somebody proves who sent it: leave `verify: skip` out",
                ),
            );
        }
        let texts = rule.get("respond").map(|at| at.leaves()).unwrap_or_default();
        for at in texts {
            let Some(text) = at.text().and_then(|source| Text::compile(source).ok()) else { continue };
            let secrets = self.secrets_of(&text);
            if secrets.is_empty() {
                continue;
            }
            if !hashes(text.source()) {
                self.report(
                    Mistake::new(Code::OpenDoor, Place::value(&at.path), "anybody gets this secret for the asking")
                        .help("what is answered before `verify` echoes the request, or a hash of it with the secret: `| hmac('sha256', secrets.x) | hex`"),
                );
            } else if self.signs_for_anybody(receiver, rule, &text, &secrets) {
                self.report(
                    Mistake::new(
                        Code::OpenDoor,
                        Place::value(&at.path),
                        "anybody can have a body of their own signed with the key of `verify`",
                    )
                    .help("say in `when` what is signed at most: `request.query.token | regex_match('^[A-Za-z0-9_-]{1,100}$')`"),
                );
            }
        }
    }

    /// Whether a text signs what the request holds with a key of `verify`, and nothing bounds what that is.
    fn signs_for_anybody(&self, receiver: &At<'_>, rule: &At<'_>, text: &Text, secrets: &[String]) -> bool {
        let names = self.defined.through_vars(&text.names());
        let request = names.iter().any(|(name, _)| name.starts_with("request."));
        let bounded = rule.text_of("when").is_some_and(|when| when.contains("regex_match"));
        let same = receiver
            .get("verify")
            .is_some_and(|verify| secrets.iter().any(|name| mentions(verify.value, name)));
        request && same && !bounded
    }

    fn secrets_of(&self, text: &Text) -> Vec<String> {
        let names = self.defined.through_vars(&text.names()).into_iter().map(|(name, _)| name);
        names.filter(|name| name.starts_with("secrets.")).collect()
    }

    fn never_reached(&mut self, rule: &At<'_>, first: &At<'_>) {
        let name = first.text_of("name").unwrap_or_default();
        self.report(
            Mistake::new(
                Code::Unreached,
                Place::value(&rule.path.join("name")),
                format!("the rule `{name}` ends this rule's own sample first"),
            )
            .help("rules with `verify: skip` come first, then the others, each in order: change the order, or a `when`")
            .related(Place::value(&first.path.join("name")), "the rule that comes first"),
        );
    }

    /// A refusal tells a stranger nothing, not even what the stranger said.
    fn echoes(&mut self, rejected: &At<'_>) {
        for at in rejected.leaves() {
            let Some(text) = at.text().and_then(|source| Text::compile(source).ok()) else { continue };
            let names = self.defined.through_vars(&text.names());
            let theirs = |name: &String| name == "request" || name.starts_with("request.");
            let told = names
                .iter()
                .any(|(name, _)| theirs(name) || name.starts_with("secrets.") || name.starts_with("state."));
            if told {
                self.report(
                    Mistake::new(
                        Code::OpenDoor,
                        Place::value(&at.path),
                        "a refused request gets this to read",
                    )
                    .help("say a fixed text; what echoes a request is a rule, with a `when`"),
                );
            }
        }
    }
}

/// Whether a rule ends a request that another one is for.
fn takes(first: &At<'_>, rule: &At<'_>) -> bool {
    let ends = first.has("respond") || first.flag("ignore");
    // A rule per item is asked after all others, and ends no request.
    if !ends
        || is_per_item(first)
        || is_per_item(rule)
        || method(first) != method(rule)
        || first.text_of("path") != rule.text_of("path")
    {
        return false;
    }
    let Some(when) = first.get("when") else { return true };
    about(&when, "request").is_some_and(|condition| holds(&condition, rule) == Some(true))
}

/// The items of a body, where `records.each` leads to a list of them.
fn items_of<'j>(receiver: &At<'_>, body: &'j Json) -> Option<&'j Vec<Json>> {
    let each = receiver.get("records").and_then(|at| at.get("each"));
    let Some(each) = each else { return body.as_array() };
    each.one_or_many().iter().find_map(|at| body.pointer(at.text()?)).and_then(Json::as_array)
}

/// Whether a condition holds for a rule's sample; `None` where that cannot be told.
fn holds(condition: &Condition, rule: &At<'_>) -> Option<bool> {
    let sample = rule.get("sample")?;
    if mentions(sample.value, "{{") {
        return None;
    }
    condition.holds(&Scope::default().with_request(Arc::new(facts(rule, &sample)))).ok()
}

/// Whether a text is in one of the texts of a value. A name is not found at the beginning of a longer one.
fn mentions(value: &Json, wanted: &str) -> bool {
    match value {
        Json::String(text) => text.match_indices(wanted).any(|(at, _)| {
            let next = text[at + wanted.len()..].chars().next();
            !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
        }),
        Json::Array(items) => items.iter().any(|item| mentions(item, wanted)),
        Json::Object(map) => map.values().any(|value| mentions(value, wanted)),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

/// Whether what a text names goes through a hash with a key.
fn hashes(source: &str) -> bool {
    ["hmac(", "sha256", "sha512"].iter().any(|filter| source.contains(filter))
}

/// The request that a rule's sample describes.
fn facts(rule: &At<'_>, sample: &At<'_>) -> RequestFacts {
    let method = sample.text_of("method").or_else(|| rule.text_of("method")).unwrap_or("POST");
    let mut headers = HeaderMap::new();
    for (name, at) in sample.get("headers").iter().flat_map(At::entries) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&plain(at.value))) {
            headers.append(name, value);
        }
    }
    let pairs = |key: &str| {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        for (name, at) in sample.get(key).iter().flat_map(At::entries) {
            text.append_pair(name, &plain(at.value));
        }
        text.finish()
    };
    let body = match (sample.get("json"), sample.text_of("text")) {
        (Some(json), _) => json.value.to_string(),
        (None, Some(text)) => text.to_owned(),
        (None, None) => pairs("form"),
    };
    if sample.has("form") {
        headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
    }
    let query = pairs("query");
    RequestFacts {
        method: method.parse().unwrap_or(http::Method::POST),
        url: format!("https://receiver.invalid/?{query}"),
        path: "/".to_owned(),
        query,
        headers,
        body: Bytes::from(body),
        parsed: MAX_PARSED,
    }
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
