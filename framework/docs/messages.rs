//! Requests that are no events, each in a sentence: handshakes, pings, messages about the stream's own life.

use super::markdown::{capital, code, joined, list};
use super::words;
use crate::connector::model::{Connector, End, Lifecycle, Reply, ReplyBody, Rule, Run};

/// The part of the page.
pub fn body(connector: &Connector) -> String {
    list(connector.receiver.rules.iter().map(|rule| sentence(connector, rule)))
}

fn sentence(connector: &Connector, rule: &Rule) -> String {
    let path = rule.path.as_ref().map(|path| format!(" at {}", code(path.source()))).unwrap_or_default();
    let when = rule.when.as_ref().map(|when| format!(" for which {} holds", code(when.source())));
    let proof =
        if rule.verified { "which must prove who sent it" } else { "which need not prove who sent it" };
    let mut deeds = Vec::new();
    for capture in &rule.capture {
        deeds.push(format!(
            "{} is kept as {}",
            words::pick(&capture.place),
            code(&format!("{}.{}", capture.resource, capture.name))
        ));
    }
    deeds.extend(rule.run.as_ref().map(|run| done(connector, run)));
    deeds.push(match &rule.end {
        Some(End::Reply(reply)) => format!("the answer is {}", answer(reply)),
        Some(End::Ignored) => "nothing of it is kept".to_owned(),
        None => "then it goes on like any other".to_owned(),
    });
    format!(
        "**{}**: a {} request{path}{}, {proof}. {}.",
        rule.name,
        rule.method,
        when.unwrap_or_default(),
        capital(&joined(&deeds, "and"))
    )
}

fn done(connector: &Connector, run: &Run) -> String {
    match run {
        Run::Operation { resource, operation } => {
            let provision = connector.provision.iter().flat_map(|provision| &provision.resources);
            let title =
                provision.filter(|known| known.name == *resource).map(|known| known.title.as_str()).next();
            let done = match operation {
                Lifecycle::Check => "looked at",
                Lifecycle::Create => "made anew where it is gone",
                Lifecycle::Update => "brought to what it should be",
                Lifecycle::Repair => "repaired where that is needed",
                Lifecycle::Renew => "renewed",
            };
            format!("the {} is {done} soon after", title.unwrap_or(resource))
        }
        Run::Call { call, only } => {
            let only = only.as_ref().map(|only| format!(", if the URL matches {}", code(only.as_str())));
            let line = code(&format!("{} {}", call.method, call.url.source()));
            format!("{line} is called{}", only.unwrap_or_default())
        }
    }
}

fn answer(reply: &Reply) -> String {
    let mut said = reply.status.to_string();
    for (name, value) in &reply.headers {
        said.push_str(&format!(", with the header {}: {}", code(name), code(value.source())));
    }
    match &reply.body {
        ReplyBody::Empty => {}
        ReplyBody::Json(_) => said.push_str(" with a JSON body"),
        ReplyBody::Text(text) => said.push_str(&format!(" with the text {}", code(text.source()))),
    }
    said
}
