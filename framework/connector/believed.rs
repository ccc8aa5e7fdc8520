//! Which parts of an event's id can be believed: those that the sender's signature covers.
//!
//! A header that is not signed can be changed by anybody who captured a request, so that the copy would pass for a new
//! event. Where a signature covers the body and not the header, the header is no part of the id: what is left of the
//! spec's picks is, or the hash of the body. Called by `receive` for each instance, and by what describes it.

use super::model::{Connector, Demand, Verify};
use super::pick::{EventPick, Pick};
use super::template::{Scope, Vars};

/// Returns the picks of `event.id` that can be believed. `scope` has the settings, which may rule checks out.
pub fn ids(connector: &Connector, scope: &Scope) -> Vec<EventPick> {
    let verify = &connector.receiver.verify;
    let believed = |pick: &&EventPick| match pick {
        EventPick::Headers(names) => {
            names.iter().all(|name| covers(verify, &connector.vars, scope, "headers", name) != Some(false))
        }
        EventPick::Request(Pick::Header(name)) => {
            covers(verify, &connector.vars, scope, "headers", name) != Some(false)
        }
        EventPick::Request(Pick::Query(name)) => {
            covers(verify, &connector.vars, scope, "query", name) != Some(false)
        }
        EventPick::Request(Pick::Form(_) | Pick::Body(_) | Pick::Item(_))
        | EventPick::Item(_)
        | EventPick::Outer(_)
        | EventPick::Record(_)
        | EventPick::Hash(_) => true,
    };
    connector.receiver.event.id.iter().filter(believed).cloned().collect()
}

/// Whether what is signed covers a place of the head; `None` where nothing signs the request.
fn covers(verify: &Verify, vars: &Vars, scope: &Scope, kind: &str, name: &str) -> Option<bool> {
    match verify {
        Verify::One(check) => signs(check, vars, scope, kind, name),
        Verify::AllOf(all) => {
            let found: Vec<bool> =
                all.iter().filter_map(|one| covers(one, vars, scope, kind, name)).collect();
            (!found.is_empty()).then(|| found.contains(&true))
        }
        // An attacker takes the one that covers least.
        Verify::AnyOf(any) => {
            let found: Vec<bool> =
                any.iter().filter_map(|one| covers(one, vars, scope, kind, name)).collect();
            (!found.is_empty()).then(|| !found.contains(&false))
        }
    }
}

fn signs(check: &Demand, vars: &Vars, scope: &Scope, kind: &str, name: &str) -> Option<bool> {
    if check.require.iter().any(|condition| condition.is_ruled_out(scope)) {
        return None;
    }
    let signed = check.proof.signed()?;
    let covered = signed.messages.iter().all(|message| {
        let mut names = message.names();
        if names.iter().any(|name| name.starts_with("vars")) {
            // A var may use any other.
            names.extend(vars.iter().flat_map(|(_, text)| text.names()));
        }
        let (whole, own) = (format!("request.{kind}"), format!("request.{kind}.{name}").to_lowercase());
        names.iter().any(|known| {
            *known == whole || known.to_lowercase() == own || kind == "query" && known == "request.url"
        })
    });
    Some(covered)
}
