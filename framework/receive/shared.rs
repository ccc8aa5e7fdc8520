//! One well-known path that several instances serve: whose rule answers, and how their answers become one.
//!
//! `router` asks whether two instances can share a path, `accept` hands requests over. Such a path is one of rules that
//! need no proof and look at the head of a request alone. The rules that hold for a request answer it: one alone with its own
//! answer; several with the lines of all, each once, in the order of the instances. What cannot be told apart is refused in
//! words: at the start where that can be known, else with 409.

use bytes::Bytes;
use http::Response;

use super::answer::{self, Answer};
use super::endpoint::Endpoint;
use super::refused::Refused;
use super::request::Head;
use super::rules::Asked;
use crate::connector::model::{End, Reply, ReplyBody, Rule};
use crate::error::{Error, Kind, Result};

/// Whether two instances can serve one path; the error says why not.
pub(super) fn can_share(one: &Endpoint, two: &Endpoint, path: &str) -> Result<()> {
    let refused = |why: &str| both(one, two, path).help(why.to_owned());
    if path == one.path || path == two.path {
        return Err(refused("Give each instance an id of its own, or a process of its own"));
    }
    let at = |endpoint: &Endpoint| -> Vec<Shape> {
        endpoint.rules().filter(|(_, at)| *at == path).map(|(rule, _)| Shape::of(rule)).collect()
    };
    let (ones, twos) = (at(one), at(two));
    if ones.iter().chain(&twos).any(|shape| !shape.echoes) {
        return Err(refused(
            "A path is shared by rules that answer the head of a request, without proof, `capture` and `run`; run these \
             instances in processes of their own",
        ));
    }
    for (a, b) in ones.iter().flat_map(|a| twos.iter().map(move |b| (a, b))) {
        let apart = a.conditional && b.conditional;
        if a.method == b.method && !apart && !(a.joins && b.joins && a.status == b.status) {
            return Err(refused(
                "Both would answer the same request, and only answers that are text can be put together: give the rules \
                 a `when` that tells the instances apart, or run them in processes of their own",
            ));
        }
    }
    Ok(())
}

/// Two instances that would receive at one path.
fn both(one: &Endpoint, two: &Endpoint, path: &str) -> Error {
    let (one, two) = (&one.instance.id, &two.instance.id);
    Error::new(Kind::Configuration, format!("instances {one} and {two} would both receive at {path}"))
}

/// What matters of a rule at a shared path.
struct Shape {
    method: http::Method,
    /// Whether it only answers what the head says.
    echoes: bool,
    /// Whether it holds for some requests only.
    conditional: bool,
    /// Whether its answer is text without headers, or nothing.
    joins: bool,
    status: u16,
}

impl Shape {
    fn of(rule: &Rule) -> Self {
        let reply = match &rule.end {
            Some(End::Reply(reply)) => Some(reply),
            Some(End::Ignored) | None => None,
        };
        let looks = rule.when.iter().flat_map(|when| when.names()).chain(reply.iter().flat_map(|r| names(r)));
        let by_head = !looks.map(|name| name.to_string()).any(|name| {
            ["request.body", "request.json", "request.form", "vars"].iter().any(|root| name.starts_with(root))
        });
        Self {
            method: rule.method.clone(),
            echoes: by_head
                && !rule.verified
                && rule.capture.is_empty()
                && rule.run.is_none()
                && reply.is_some(),
            conditional: rule.when.is_some(),
            joins: reply.is_some_and(|reply| {
                reply.headers.is_empty() && matches!(reply.body, ReplyBody::Text(_) | ReplyBody::Empty)
            }),
            status: reply.map_or(0, |reply| reply.status),
        }
    }
}

fn names(reply: &Reply) -> Vec<String> {
    let headers = reply.headers.iter().flat_map(|(_, text)| text.names());
    let body = match &reply.body {
        ReplyBody::Empty => Vec::new(),
        ReplyBody::Json(tree) => tree.names(),
        ReplyBody::Text(text) => text.names(),
    };
    headers.chain(body).collect()
}

/// Answers a request to a path that several instances serve.
pub(super) async fn answer(mut order: Vec<&Endpoint>, stopping: bool, head: &Head) -> Answer {
    order.sort_by_key(|endpoint| endpoint.instance.id.to_string());
    let mut answers: Vec<Answer> = Vec::new();
    let mut refused = if stopping { Refused::Stopping } else { Refused::Method };
    for endpoint in order {
        endpoint.meters.request();
        if stopping || !endpoint.takes(head) {
            continue;
        }
        let (known, body) = (endpoint.known(), Bytes::new());
        let asked = Asked { endpoint, known: &known, head, body: &body };
        let facts = || std::sync::Arc::new(endpoint.facts(head, Bytes::new()));
        match asked.apply(false, facts).await {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => refused = Refused::UnknownPath,
            Err(other) => refused = other,
        }
    }
    match together(answers) {
        Some(Ok(answer)) => answer,
        Some(Err(ours)) => answer::refused(&ours, None),
        None => answer::refused(&refused, None),
    }
}

/// Several answers as one: the lines of all, each once. `None`: there is none.
fn together(answers: Vec<Answer>) -> Option<std::result::Result<Answer, Refused>> {
    let mut answers = answers.into_iter();
    let first = answers.next()?;
    let (parts, body) = first.into_parts();
    let mut bodies = vec![body];
    for other in answers {
        if other.status() != parts.status || other.headers() != &parts.headers {
            return Some(Err(Refused::Ambiguous));
        }
        if !bodies.contains(other.body()) {
            bodies.push(other.into_body());
        }
    }
    let text = parts
        .headers
        .get(http::header::CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/"));
    if bodies.len() > 1 && !text {
        return Some(Err(Refused::Ambiguous));
    }
    Some(Ok(Response::from_parts(parts, Bytes::from(bodies.join(&b'\n')))))
}
