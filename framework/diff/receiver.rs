//! What arrives: where it is posted to, requests that are no events, how a body becomes records, what is answered.

use super::finding::Findings;
use super::meant;
use crate::connector::model::{Connector, Decode, Each, End, Reply, ReplyBody, Rule, Sender};
use crate::connector::pick::Pointer;
use crate::connector::template::Vars;
use crate::docs::markdown::code;

/// Compares our side, but for who sent it and what tells events apart.
pub fn compare(old: &Connector, new: &Connector, found: &mut Findings) {
    path(old, new, found);
    methods(old, new, found);
    rules(old, new, found);
    bodies(old, new, found);
    answers(old, new, found);
    habits(&old.receiver.sender, &new.receiver.sender, found);
}

fn path(old: &Connector, new: &Connector, found: &mut Findings) {
    let (was, is) = (meant::text(&old.receiver.path, &old.vars), meant::text(&new.receiver.path, &new.vars));
    if was != is {
        found.breaks(
            "receiver.path",
            format!("the vendor posts to {}, and posted to {}", code(&is), code(&was)),
            "the old address answers 404: a stream that Forebay keeps is moved at its next look, one made by hand by hand",
        );
    }
}

/// The methods that events come by.
fn methods(old: &Connector, new: &Connector, found: &mut Findings) {
    let (was, is) = (&old.receiver.methods, &new.receiver.methods);
    let gone: Vec<String> = was.iter().filter(|m| !is.contains(m)).map(|m| code(m.as_str())).collect();
    if !gone.is_empty() {
        found.breaks(
            "receiver.methods",
            format!("events do not come by {} any more", gone.join(", ")),
            "answered with 405",
        );
    }
    let come: Vec<String> = is.iter().filter(|m| !was.contains(m)).map(|m| code(m.as_str())).collect();
    if !come.is_empty() {
        found.safe("receiver.methods", format!("events come by {} too", come.join(", ")));
    }
}

fn rules(old: &Connector, new: &Connector, found: &mut Findings) {
    let (before, after) = (&old.receiver.rules, &new.receiver.rules);
    for rule in before {
        let about = || format!("rule {}", code(&rule.name));
        match after.iter().find(|other| other.name == rule.name) {
            Some(other) => rule_changed(about(), (rule, &old.vars), (other, &new.vars), found),
            None => match rule.end {
                Some(End::Reply(_)) => found.breaks(
                    about(),
                    "these requests are not answered any more",
                    "a handshake fails, and such a request is taken for events",
                ),
                Some(End::Ignored) => found.breaks(
                    about(),
                    "these requests are not set aside any more",
                    "they are taken for events",
                ),
                None => found.look(about(), "what was done with these requests is not done any more", ""),
            },
        }
    }
    for rule in after.iter().filter(|rule| before.iter().all(|other| other.name != rule.name)) {
        found.look(
            format!("rule {}", code(&rule.name)),
            "requests for which it holds are set apart",
            "see that no event is among them",
        );
    }
}

fn rule_changed(about: String, (a, old): (&Rule, &Vars), (b, new): (&Rule, &Vars), found: &mut Findings) {
    if a.method != b.method || meant::part(&a.path, old) != meant::part(&b.path, new) {
        found.breaks(&about, "it is served at another method or path", "the vendor asks at the old one");
    }
    match (a.verified, b.verified) {
        (true, false) => {
            found.look(
                &about,
                "the request need not prove who sent it any more",
                "weaker: anybody can have it answered",
            );
        }
        (false, true) => found.breaks(
            &about,
            "the request must prove who sent it",
            "stronger: one that does not is refused (401)",
        ),
        (true, true) | (false, false) => {}
    }
    if a.per_item != b.per_item {
        let (what, advice) = match b.per_item {
            true => (
                "it is asked about every item, and ends no request any more",
                "the other items are delivered",
            ),
            false => (
                "it is asked about the request as a whole",
                "see that no event is among the items of such a request",
            ),
        };
        found.look(&about, what, advice);
    }
    if meant::part(&a.when, old) != meant::part(&b.when, new) {
        found.look(
            &about,
            "which requests it is for is decided otherwise",
            "see that no event is among them, and none missing",
        );
    }
    let deeds = |rule: &Rule, vars| (meant::part(&rule.capture, vars), meant::part(&rule.run, vars));
    if deeds(a, old) != deeds(b, new) {
        found.look(&about, "something else is done with them", "");
    }
    if meant::part(&a.end, old) != meant::part(&b.end, new) {
        found.look(&about, "they are answered otherwise", "");
    }
}

/// Body to items to records.
fn bodies(old: &Connector, new: &Connector, found: &mut Findings) {
    const OTHERWISE: &str = "what a sink gets is cut otherwise, and so are the ids made from it";
    let (a, b) = (&old.receiver, &new.receiver);
    let (was, is) = (meant::part(&a.decode, &old.vars), meant::part(&b.decode, &new.vars));
    match (&a.decode, &b.decode) {
        (Decode::JsonLines { also_json: false }, Decode::JsonLines { also_json: true }) => {
            found.safe("receiver.decode", "a body that is one document is taken too");
        }
        (_, _) if was != is => {
            found.breaks(
                "receiver.decode",
                "a body is read otherwise",
                "bodies of the old kind become dead letters",
            );
        }
        (_, _) => {}
    }
    match (&a.records.each, &b.records.each) {
        (Each::At(x), Each::At(y)) => places("receiver.records.each", "the items stand", x, y, found),
        (x, y) if meant::part(x, &old.vars) != meant::part(y, &new.vars) => {
            found.breaks("receiver.records.each", "the items stand elsewhere", OTHERWISE);
        }
        (_, _) => {}
    }
    places(
        "receiver.records.then_each",
        "the inner items stand",
        &a.records.then_each,
        &b.records.then_each,
        found,
    );
    places("receiver.records.unwrap", "the record stands", &a.records.unwrap, &b.records.unwrap, found);
    if a.records.layers != b.records.layers {
        found.breaks("receiver.records.layers", "a record is unpacked otherwise", OTHERWISE);
    }
    if a.records.otherwise != b.records.otherwise {
        found.look("receiver.records.otherwise", "what cannot be unpacked becomes something else", "");
    }
}

/// Places of which the first that is there counts: one more at the end is looked at where nothing was found before.
fn places(about: &str, what: &str, a: &[Pointer], b: &[Pointer], found: &mut Findings) {
    if a == b {
        return;
    }
    if !a.is_empty() && b.starts_with(a) {
        found.look(
            about,
            format!("{what} in one more place"),
            "bodies that had nothing before have records now",
        );
    } else {
        found.breaks(
            about,
            format!("{what} elsewhere"),
            "what a sink gets is cut otherwise, and so are the ids made from it",
        );
    }
}

/// The answers.
fn answers(old: &Connector, new: &Connector, found: &mut Findings) {
    let (a, b) = (&old.receiver.respond, &new.receiver.respond);
    let said = |reply: &Reply, vars: &Vars| {
        let body = match &reply.body {
            ReplyBody::Empty => serde_json::Value::Null,
            ReplyBody::Json(tree) => meant::tree(tree, vars),
            ReplyBody::Text(text) => meant::text(text, vars).into(),
        };
        (reply.status, meant::part(&reply.headers, vars), body)
    };
    if said(&a.accepted, &old.vars) != said(&b.accepted, &new.vars) {
        let change = if a.accepted.status == b.accepted.status {
            "the answer to what was stored says something else".to_owned()
        } else {
            format!("the answer to what was stored was {}, and is {}", a.accepted.status, b.accepted.status)
        };
        found.look("receiver.respond.accepted", change, "see that it is a success to the vendor");
    }
    for (about, x, y) in [("rejected", &a.rejected, &b.rejected), ("ignored", &a.ignored, &b.ignored)] {
        let said = |reply: &Option<Reply>, vars| reply.as_ref().map(|reply| said(reply, vars));
        if said(x, &old.vars) != said(y, &new.vars) {
            found.look(
                format!("receiver.respond.{about}"),
                "it is answered otherwise",
                "see what the vendor makes of it",
            );
        }
    }
}

/// What is known of the vendor: said on the page and played by the stand-in, and nothing runs by it.
fn habits(a: &Sender, b: &Sender, found: &mut Findings) {
    if meant::part(a, &Vars::default()) != meant::part(b, &Vars::default()) {
        found.safe("receiver.sender", "the vendor is said to deliver otherwise");
    }
}
