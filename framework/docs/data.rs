//! What leaves this machine and what stays on it: every call, and everything that is kept.

use super::example::Example;
use super::markdown::{code, joined, list, table};
use super::words;
use crate::connector::model::{Auth, Call, Connector, KeySource, Proof, Resource, Run, TokenSource};

/// The part of the page.
pub fn body(connector: &Connector, example: &Example) -> String {
    let rows = sent(connector, example);
    let mut text = format!("Stored in the data folder:\n\n{}\n", list(stored(connector)));
    if rows.is_empty() {
        text.push_str(&format!("Nothing is sent to {}.\n", connector.vendor));
    } else {
        text.push_str(&format!(
            "Sent to {} (records go to the sinks alone):\n\n{}",
            connector.vendor,
            table(["Call", "When", "Permission"], &rows)
        ));
    }
    text
}

fn stored(connector: &Connector) -> Vec<String> {
    let mut items = vec![
        "records, as they came, until every sink has them; whatever personal data the vendor sends is in them"
            .to_owned(),
        "dead letters, whole, with the reason".to_owned(),
        "a keyed hash of every event's id, for as long as copies are removed".to_owned(),
    ];
    let resources = connector.provision.iter().flat_map(|provision| &provision.resources);
    for resource in resources {
        let mut names: Vec<String> = Vec::new();
        let found = resource.find.iter().flat_map(|find| &find.save);
        let saved = resource.operations().into_iter().flat_map(|(_, call)| &call.save).chain(found);
        for (name, _) in saved {
            if !names.contains(&code(name)) {
                names.push(code(name));
            }
        }
        if !names.is_empty() {
            items.push(format!(
                "of the {}: {}, and how it was last seen",
                resource.title,
                joined(&names, "and")
            ));
        }
    }
    let made: Vec<String> =
        connector.secrets.iter().filter(|s| s.generate.is_some()).map(|s| format!("*{}*", s.title)).collect();
    if !made.is_empty() {
        items.push(format!("{}, where Forebay made it", joined(&made, "and")));
    }
    if connector.auths.values().any(|auth| matches!(auth, Auth::Token(token) if token.source.keeps())) {
        items.push("what must be known to get the next token".to_owned());
    }
    items
}

fn sent(connector: &Connector, example: &Example) -> Vec<[String; 3]> {
    let shown = |call: &Call| {
        let url = call.url.render(&example.scope).unwrap_or_else(|_| call.url.source().to_owned());
        code(&format!("{} {url}", call.method))
    };
    let row =
        |call: &Call, when: String| [shown(call), when, call.scope.as_deref().map(code).unwrap_or_default()];
    let mut rows = Vec::new();
    for (name, auth) in &connector.auths {
        let Auth::Token(token) = auth else { continue };
        let when = format!("a token is needed ({})", code(name));
        match &token.source {
            TokenSource::OAuth(oauth) => {
                let url = &oauth.token_url;
                let url = url.render(&example.scope).unwrap_or_else(|_| url.source().to_owned());
                rows.push([code(&format!("POST {url}")), when, String::new()]);
            }
            TokenSource::Exchange(exchange) => rows.push(row(&exchange.call, when)),
            TokenSource::Signed(_) => {}
        }
    }
    for resource in connector.provision.iter().flat_map(|provision| &provision.resources) {
        for (operation, call) in resource.operations() {
            rows.push(row(call, moment(resource, operation)));
        }
    }
    for rule in &connector.receiver.rules {
        if let Some(Run::Call { call, .. }) = &rule.run {
            rows.push(row(call, format!("{} came", code(&rule.name))));
        }
    }
    for check in connector.receiver.verify.checks() {
        let (Proof::PublicKey { keys, .. } | Proof::Jwt(crate::connector::model::Jwt { keys, .. })) =
            &check.proof
        else {
            continue;
        };
        if let KeySource::Fetched(fetched) = keys {
            let when = format!("a key is needed, at most once in {}", words::duration(fetched.cache));
            rows.push([code(&format!("GET {}", fetched.url.source())), when, String::new()]);
        }
    }
    rows
}

/// When an operation is done.
fn moment(resource: &Resource, operation: &str) -> String {
    let title = &resource.title;
    match operation {
        "find" => format!("no {title} is known yet"),
        "create" => "there is none".to_owned(),
        "adopt" => "one was found".to_owned(),
        "update" => "it differs from what it should be".to_owned(),
        "check" => match &resource.check {
            Some(check) => format!("every {}", words::duration(check.every)),
            None => String::new(),
        },
        "repair" => "it is not healthy".to_owned(),
        "renew" => "before it runs out".to_owned(),
        _ => "`forebay destroy`".to_owned(),
    }
}
