//! What is sent: calls, the permissions that they take, the hosts that they go to, and the ways they are signed.

use super::finding::Findings;
use super::meant;
use crate::connector::model::{
    Auth, Body, Call, Connector, FormField, Jwt, KeySource, Proof, Run, TokenSource,
};
use crate::connector::template::{Text, Vars};
use crate::docs::markdown::{code, joined};
use crate::provision::scopes::scopes;

/// One call with what it is made for.
#[derive(Debug)]
struct Called<'a> {
    /// `log_stream.create`, `rule confirm`, `a token (client)`.
    by: String,
    method: String,
    url: &'a Text,
    /// The rest, where the call is the spec's own.
    call: Option<&'a Call>,
}

impl Called<'_> {
    /// Method and URL as they are told from others.
    fn line(&self, vars: &Vars) -> String {
        format!("{} {}", self.method, meant::text(self.url, vars))
    }
}

/// Compares what is sent.
pub fn compare(old: &Connector, new: &Connector, found: &mut Findings) {
    lines(old, new, found);
    permissions(old, new, found);
    hosts(old, new, found);
    auths(old, new, found);
}

/// Calls by what they are made for: some are gone, some are new, and some say something else.
fn lines(old: &Connector, new: &Connector, found: &mut Findings) {
    let (before, after) = (calls(old), calls(new));
    let mut purposes: Vec<&str> = Vec::new();
    for called in before.iter().chain(&after) {
        if !purposes.contains(&called.by.as_str()) {
            purposes.push(&called.by);
        }
    }
    for by in purposes {
        let of = |all: &'_ [Called<'_>], vars: &Vars| -> Vec<String> {
            all.iter().filter(|called| called.by == by).map(|called| called.line(vars)).collect()
        };
        let (was, is) = (of(&before, &old.vars), of(&after, &new.vars));
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|line| !those.contains(line)).map(|line| code(line)).collect()
        };
        let (gone, come) = (only(&was, &is), only(&is, &was));
        match (gone.as_slice(), come.as_slice()) {
            ([], []) if was != is => found.look(by, "its calls are made in another order", ""),
            ([], []) => {}
            (_, []) => found.safe(by, format!("{} is called no more", joined(&gone, "and"))),
            ([], _) => found.look(
                by,
                format!("{} is called", joined(&come, "and")),
                "the vendor sees a call that it did not see before",
            ),
            (_, _) => found.look(
                by,
                format!("{} is called, and not {}", joined(&come, "and"), joined(&gone, "and")),
                "the vendor sees another call than before",
            ),
        }
    }
    for called in &after {
        let line = called.line(&new.vars);
        let same = |other: &&Called<'_>| other.by == called.by && other.line(&old.vars) == line;
        if let Some(was) = before.iter().find(same)
            && let (Some(a), Some(b)) = (was.call, called.call)
        {
            said(&called.by, (a, &old.vars), (b, &new.vars), found);
        }
    }
}

/// What one call says, and what is kept of its answer.
fn said(by: &str, (a, old): (&Call, &Vars), (b, new): (&Call, &Vars), found: &mut Findings) {
    let mut parts = Vec::new();
    let mut part = |what: &'static str, differs: bool| {
        if differs {
            parts.push(what.to_owned());
        }
    };
    part("how it is signed", meant::part(&a.auth, old) != meant::part(&b.auth, new));
    part("its headers", meant::part(&a.headers, old) != meant::part(&b.headers, new));
    part("its query", meant::part(&a.query, old) != meant::part(&b.query, new));
    part("its body", body(&a.body, old) != body(&b.body, new));
    part("how its answer is read", a.response != b.response || a.accept != b.accept);
    part("what is a success", meant::part(&a.ok, old) != meant::part(&b.ok, new));
    part("what is kept of its answer", a.save != b.save);
    if !parts.is_empty() {
        let change = format!(
            "of {} another: {}",
            code(&format!("{} {}", b.method, b.url.source())),
            joined(&parts, "and")
        );
        found.look(by, change, "");
    }
    if !a.secret_in_url && b.secret_in_url {
        found.look(by, "a secret may stand in its URL", "proxies and the vendor's logs can hold it then");
    }
}

fn body(body: &Body, vars: &Vars) -> serde_json::Value {
    let field = |field: &FormField| match field {
        FormField::Value(text) => meant::text(text, vars).into(),
        FormField::List(texts) => texts.iter().map(|text| meant::text(text, vars)).collect(),
        FormField::Json(tree) => meant::tree(tree, vars),
    };
    match body {
        Body::Empty => serde_json::Value::Null,
        Body::Json(tree) => serde_json::json!({"json": meant::tree(tree, vars)}),
        Body::Form(fields) => {
            fields.iter().map(|(name, value)| serde_json::json!([name, field(value)])).collect()
        }
        Body::Text(text) => meant::text(text, vars).into(),
    }
}

/// The permissions that all calls together take.
fn permissions(old: &Connector, new: &Connector, found: &mut Findings) {
    let all = |connector: &'_ Connector| -> Vec<String> {
        let taken = connector.provision.as_ref().map(scopes).unwrap_or_default();
        taken.into_iter().map(str::to_owned).collect()
    };
    let (before, after) = (all(old), all(new));
    for scope in after.iter().filter(|scope| !before.contains(scope)) {
        found.breaks(
            format!("permission {}", code(scope)),
            "it is needed now",
            "grant it before the upgrade: without it the vendor refuses the calls",
        );
    }
    for scope in before.iter().filter(|scope| !after.contains(scope)) {
        found.safe(format!("permission {}", code(scope)), "it is not needed any more, and can be taken back");
    }
}

/// The hosts that calls go to, by their names or by the settings that name them.
fn hosts(old: &Connector, new: &Connector, found: &mut Findings) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|host| !those.contains(host)).cloned().collect()
    };
    for host in only(&new.hosts, &old.hosts) {
        found.look(
            format!("host {}", code(&host)),
            "calls go there now",
            "let it through where what leaves the machine is filtered, and see whether it should have the secrets",
        );
    }
    for host in only(&old.hosts, &new.hosts) {
        found.safe(format!("host {}", code(&host)), "nothing goes there any more");
    }
}

/// Ways to sign a call.
fn auths(old: &Connector, new: &Connector, found: &mut Findings) {
    for (name, auth) in &old.auths {
        let about = format!("auth.{name}");
        match new.auths.get(name) {
            None => found.look(about, "this way to sign calls is gone", ""),
            Some(other) if meant::part(auth, &old.vars) != meant::part(other, &new.vars) => {
                let change = if kind(auth) == kind(other) {
                    "calls are signed otherwise".to_owned()
                } else {
                    format!("calls were signed by {}, and are by {}", kind(auth), kind(other))
                };
                found.look(about, change, "see whether the credentials that instances have are good for it");
            }
            Some(_) => {}
        }
    }
    for name in new.auths.keys().filter(|name| !old.auths.contains_key(*name)) {
        found.safe(format!("auth.{name}"), "another way to sign calls");
    }
}

fn kind(auth: &Auth) -> &'static str {
    match auth {
        Auth::Bearer { .. } => "a bearer token",
        Auth::Basic { .. } => "HTTP Basic",
        Auth::Headers { .. } => "headers",
        Auth::Token(token) => match token.source {
            TokenSource::OAuth(_) => "a token of OAuth 2.0",
            TokenSource::Signed(_) => "a token that Forebay signs",
            TokenSource::Exchange(_) => "a token that a call gives",
        },
    }
}

/// Every call of a connector, in the order of the spec.
fn calls(connector: &Connector) -> Vec<Called<'_>> {
    let mut all = Vec::new();
    for (name, auth) in &connector.auths {
        let Auth::Token(token) = auth else { continue };
        let by = format!("auth.{name}");
        match &token.source {
            TokenSource::OAuth(oauth) => {
                all.push(Called { by, method: "POST".to_owned(), url: &oauth.token_url, call: None });
            }
            TokenSource::Exchange(exchange) => all.push(own(by, &exchange.call)),
            TokenSource::Signed(_) => {}
        }
    }
    for resource in connector.provision.iter().flat_map(|provision| &provision.resources) {
        let calls = resource.operations().into_iter();
        all.extend(calls.map(|(operation, call)| own(format!("{}.{operation}", resource.name), call)));
    }
    for rule in &connector.receiver.rules {
        if let Some(Run::Call { call, .. }) = &rule.run {
            all.push(own(format!("rule {}", code(&rule.name)), call));
        }
    }
    for check in connector.receiver.verify.checks() {
        if let Proof::PublicKey { keys: KeySource::Fetched(fetched), .. }
        | Proof::Jwt(Jwt { keys: KeySource::Fetched(fetched), .. }) = &check.proof
        {
            let by = "receiver.verify".to_owned();
            all.push(Called { by, method: "GET".to_owned(), url: &fetched.url, call: None });
        }
    }
    all
}

fn own(by: String, call: &Call) -> Called<'_> {
    Called { by, method: call.method.to_string(), url: &call.url, call: Some(call) }
}
