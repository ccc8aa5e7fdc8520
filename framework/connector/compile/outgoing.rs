//! Where calls go and what they carry: every host by name, and the way of every secret to it.
//!
//! Called once, when everything else is compiled. Nothing is resolved here: a host that a setting names is known
//! by the setting's name, and one that an answer or a request names is nobody's.

use std::collections::BTreeSet;

use super::at::At;
use super::compiler::Compiler;
use crate::connector::template::Text;
use crate::spec::mistake::{Code, Mistake, Place};

/// Names whose values come from outside.
const FOREIGN: &[&str] = &["state", "response", "item", "current", "request", "claims", "signature"];

/// Who is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Host {
    /// What the spec or a setting names: `api.example.com`, `*.example.com`, `settings.base_url`.
    Named(String),
    /// What an answer or a request names: `request.json.url`.
    Foreign(String),
}

impl Host {
    fn name(&self) -> &str {
        match self {
            Self::Named(name) | Self::Foreign(name) => name,
        }
    }
}

/// One call as it is written.
struct Outgoing<'a> {
    /// The text with its URL.
    line: At<'a>,
    host: Host,
    /// What it carries itself.
    parts: Vec<At<'a>>,
    /// The auths that may sign it.
    signers: Vec<(&'a str, At<'a>)>,
}

/// A secret on its way to a host.
struct Flow<'a> {
    secret: String,
    /// The names that lead there, the secret first and the call last.
    way: String,
    place: Place,
    host: Host,
    line: At<'a>,
}

impl Compiler {
    /// Every host that the spec will call, by name; secrets that go astray are reported.
    pub fn hosts(&mut self, top: &At<'_>) -> Vec<String> {
        let calls = self.outgoing(top);
        let mut flows: Vec<Flow<'_>> = Vec::new();
        for call in &calls {
            for part in &call.parts {
                self.carries(call, part, None, &mut flows);
            }
            for (name, auth) in &call.signers {
                for part in shown_by(auth) {
                    self.carries(call, &part, Some(name), &mut flows);
                }
            }
        }
        for (name, at) in top.get("secrets").iter().flat_map(At::entries) {
            let name = format!("secrets.{name}");
            let own: Vec<&Flow<'_>> = flows.iter().filter(|flow| flow.secret == name).collect();
            self.goes_home(&at, &own);
        }
        let mut hosts: Vec<String> = Vec::new();
        for call in calls {
            let name = call.host.name().to_owned();
            if !hosts.contains(&name) {
                hosts.push(name);
            }
        }
        hosts
    }

    /// A secret goes to the hosts that are declared for it; where none is, to one alone.
    fn goes_home(&mut self, secret: &At<'_>, flows: &[&Flow<'_>]) {
        let declared: Option<Vec<&str>> =
            secret.get("hosts").map(|hosts| hosts.items().filter_map(|at| at.text()).collect());
        let first = flows.iter().find(|flow| matches!(flow.host, Host::Named(_)));
        let mut told = BTreeSet::new();
        for flow in flows {
            let fine = match (&declared, first) {
                (Some(declared), _) => declared.contains(&flow.host.name()),
                (None, Some(first)) => flow.host == first.host,
                (None, None) => false,
            };
            if fine || !told.insert(flow.host.clone()) {
                continue;
            }
            let host = flow.host.name();
            let message = match &flow.host {
                Host::Foreign(_) => {
                    format!("`{}` would go wherever `{host}` says: {}", flow.secret, flow.way)
                }
                Host::Named(_) => {
                    format!(
                        "`{}` would reach `{host}`, which is not declared for it: {}",
                        flow.secret, flow.way
                    )
                }
            };
            let mut all: Vec<String> = declared.iter().flatten().copied().map(quoted).collect();
            all.extend(first.map(|first| quoted(first.host.name())).filter(|_| declared.is_none()));
            all.push(quoted(host));
            let mut mistake = Mistake::new(Code::SecretAstray, Place::value(&flow.line.path), message)
                .help(format!("where it belongs there, the secret says so: `hosts: [{}]`", all.join(", ")))
                .related(flow.place.clone(), "it is carried from here");
            mistake = match (secret.get("hosts"), first.filter(|first| first.host != flow.host)) {
                (Some(hosts), _) => mistake.related(Place::key(&hosts.path), "the hosts that are declared"),
                (None, Some(first)) => {
                    let words = format!("it goes to `{}` here", first.host.name());
                    mistake.related(Place::value(&first.line.path), words)
                }
                (None, None) => mistake,
            };
            self.report(mistake);
        }
    }

    /// Notes the secrets in one part of a call, or of the auth that signs it. What leaves as a keyed hash stays secret.
    fn carries<'a>(&self, call: &Outgoing<'a>, part: &At<'_>, auth: Option<&str>, flows: &mut Vec<Flow<'a>>) {
        for leaf in part.leaves() {
            let Some(text) = leaf.text().and_then(|source| Text::compile(source).ok()) else { continue };
            if text.source().contains("hmac(") {
                continue;
            }
            let names = text.names();
            for (secret, by) in self.defined.through_vars(&names) {
                if !secret.starts_with("secrets.") {
                    continue;
                }
                let mut way = self.defined.way(&names, &secret);
                way.extend(auth.map(|name| format!("auth.{name}")));
                way.push(crate::error::escaped(call.line.text().unwrap_or_default(), 80));
                let shown = by.map_or_else(|| secret.clone(), |var| format!("vars.{var}"));
                let place = match text.source().find(&shown) {
                    Some(at) => Place::within(&leaf.path, at..at + shown.len()),
                    None => Place::value(&leaf.path),
                };
                flows.push(Flow {
                    secret,
                    way: way.join(" → "),
                    place,
                    host: call.host.clone(),
                    line: call.line.clone(),
                });
            }
        }
    }

    /// Every call of a spec, in its order.
    fn outgoing<'a>(&self, top: &At<'a>) -> Vec<Outgoing<'a>> {
        let mut found = Vec::new();
        for (_, auth) in top.get("auth").iter().flat_map(At::entries) {
            let url = if auth.has("call") { auth.get("call") } else { auth.get("token_url") };
            let own = if auth.has("call") { carried(&auth) } else { sent_for_a_token(&auth) };
            found.extend(url.and_then(|url| self.one(top, url, own, auth.get("auth"))));
        }
        let provision = top.get("provision");
        let shared = provision.as_ref().and_then(|at| at.get("auth"));
        let headers: Vec<At<'a>> = provision.iter().filter_map(|at| at.get("headers")).collect();
        let resources = provision.as_ref().and_then(|at| at.get("resources"));
        for (_, resource) in resources.iter().flat_map(At::entries) {
            for call in resource.entries().flat_map(|(_, at)| at.one_or_many()) {
                let own = carried(&call).into_iter().chain(headers.iter().cloned()).collect();
                let auth = call.get("auth").or_else(|| shared.clone());
                found.extend(call.get("call").and_then(|url| self.one(top, url, own, auth)));
            }
        }
        let receiver = top.get("receiver");
        for run in receiver.iter().filter_map(|at| at.get("rules")).flat_map(|at| at.items()) {
            let Some(run) = run.get("run") else { continue };
            let Some(mut call) =
                run.get("call").and_then(|url| self.one(top, url, carried(&run), run.get("auth")))
            else {
                continue;
            };
            if let Host::Foreign(_) = call.host {
                // Whom it may sign is asked where the rule is compiled.
                call.signers.clear();
                if let Some(host) = run.text_of("only").and_then(pinned) {
                    call.host = Host::Named(host);
                }
            }
            found.push(call);
        }
        found.extend(receiver.iter().filter_map(|at| at.get("verify")).flat_map(|at| self.keys(top, &at)));
        found
    }

    /// Where keys are fetched, by a verification and those in it.
    fn keys<'a>(&self, top: &At<'a>, verify: &At<'a>) -> Vec<Outgoing<'a>> {
        let inner = verify.get("of");
        let mut found: Vec<Outgoing<'a>> =
            inner.iter().flat_map(At::items).flat_map(|at| self.keys(top, &at)).collect();
        found.extend(verify.get("jwks_url").and_then(|url| self.one(top, url, Vec::new(), None)));
        if let Some(keys) = verify.get("key_url")
            && let Some(mut call) = keys.get("url").and_then(|url| self.one(top, url, Vec::new(), None))
        {
            if let Some(host) = keys.text_of("only").and_then(pinned) {
                call.host = Host::Named(host);
            }
            found.push(call);
        }
        found
    }

    fn one<'a>(
        &self,
        top: &At<'a>,
        line: At<'a>,
        parts: Vec<At<'a>>,
        auth: Option<At<'a>>,
    ) -> Option<Outgoing<'a>> {
        let text = line.text()?;
        let url = match text.split_once(' ') {
            Some((method, url)) if method.chars().all(|c| c.is_ascii_uppercase()) => url.trim_start(),
            _ => text,
        };
        let host = self.host(url)?;
        Some(Outgoing { line, host, parts, signers: auth.map(|at| signers(top, &at)).unwrap_or_default() })
    }

    /// Whom a URL calls: vars at its beginning are followed. `None` where that cannot be told.
    fn host(&self, url: &str) -> Option<Host> {
        let mut url = url.trim().to_owned();
        for _ in 0..8 {
            let Some((inner, after)) = url.strip_prefix("{{").and_then(|rest| rest.split_once("}}")) else {
                break;
            };
            let name = first_name(inner)?;
            let Some(var) = name.strip_prefix("vars.") else {
                let root = name.split('.').next().unwrap_or_default();
                return Some(if FOREIGN.contains(&root) { Host::Foreign(name) } else { Host::Named(name) });
            };
            url = format!("{}{after}", self.defined.var_texts.get(var)?);
        }
        let rest = url.split_once("://")?.1;
        let (host, fills) = authority(rest);
        let names: Vec<String> = fills.concat();
        // A name that only fills in the first part of a host leads to somebody else's machine of the same owner.
        let fixed = host.rsplit('*').next().unwrap_or_default();
        let owned = fixed.starts_with('.') && fixed.matches('.').count() >= 2;
        let foreign = self.defined.through_vars(&names).into_iter().map(|(name, _)| name);
        let foreign = foreign
            .filter(|name| FOREIGN.contains(&name.split('.').next().unwrap_or_default()))
            .find(|_| !owned);
        match foreign {
            Some(name) => Some(Host::Foreign(name)),
            None if host.contains('*') && !owned => Some(Host::Named(self.filled(&host, &fills))),
            None => (!host.is_empty()).then_some(Host::Named(host)),
        }
    }

    /// A host whose owner is not written out, by the names that fill it: two such hosts are two. `settings.shop` if it
    /// is a whole host, and `api.<settings.domain>` if it is a part of one.
    fn filled(&self, host: &str, fills: &[Vec<String>]) -> String {
        let mut fills = fills.iter().map(|names| {
            let through = self.defined.through_vars(names).into_iter().map(|(name, _)| name);
            let mut ends: Vec<String> = through.filter(|name| !name.starts_with("vars.")).collect();
            ends.dedup();
            // A var that is made of nothing is known by its own name.
            if ends.is_empty() { names.join("+") } else { ends.join("+") }
        });
        let (name, port) = host.split_once(':').map_or((host, ""), |(name, _)| (name, &host[name.len()..]));
        if name == "*" {
            return fills.next().unwrap_or_default() + port;
        }
        let parts = host.split('*').collect::<Vec<_>>();
        let mut filled = parts.first().copied().unwrap_or_default().to_owned();
        for part in parts.iter().skip(1) {
            filled.push_str(&format!("<{}>{part}", fills.next().unwrap_or_default()));
        }
        filled
    }
}

/// A host as it is written in a list: one that begins with `*` would be an alias in YAML.
fn quoted(host: &str) -> String {
    if host.starts_with('*') { format!("'{host}'") } else { host.to_owned() }
}

/// The first name in an expression.
fn first_name(inner: &str) -> Option<String> {
    Text::compile(&format!("{{{{{inner}}}}}")).ok()?.names().into_iter().next()
}

/// The host at the beginning of what stands behind `://`, with `*` for what is filled in, and the names of each fill.
fn authority(rest: &str) -> (String, Vec<Vec<String>>) {
    let (mut host, mut fills, mut rest) = (String::new(), Vec::new(), rest);
    while let Some(c) = rest.chars().next() {
        if let Some((inner, after)) = rest.strip_prefix("{{").and_then(|rest| rest.split_once("}}")) {
            fills.push(
                Text::compile(&format!("{{{{{inner}}}}}")).map(|text| text.names()).unwrap_or_default(),
            );
            host.push('*');
            rest = after;
            continue;
        }
        if matches!(c, '/' | '?' | '#') {
            break;
        }
        host.push(c);
        rest = &rest[c.len_utf8()..];
    }
    (host.to_lowercase(), fills)
}

/// The host that an expression over a URL writes out.
fn pinned(only: &str) -> Option<String> {
    let rest = only.trim_start_matches('^').strip_prefix("https://")?;
    Some(rest.split('/').next()?.replace("\\.", ".").replace("\\-", "-"))
}

/// What a call carries itself.
fn carried<'a>(call: &At<'a>) -> Vec<At<'a>> {
    ["headers", "query", "json", "form", "text"].iter().filter_map(|key| call.get(key)).collect()
}

/// What a token endpoint gets to see.
fn sent_for_a_token<'a>(auth: &At<'a>) -> Vec<At<'a>> {
    let keys = ["client_id", "client_secret", "refresh_token", "params", "header", "claims"];
    keys.iter().filter_map(|key| auth.get(key)).collect()
}

/// What whoever is called sees of the auth that signs the call.
fn shown_by<'a>(auth: &At<'a>) -> Vec<At<'a>> {
    let keys: &[&str] = match auth.text_of("kind") {
        Some("bearer") => &["token"],
        Some("basic") => &["username", "password"],
        Some("headers") => &["headers"],
        Some("exchange") => &["use", "use_query"],
        Some("jwt_bearer") if !auth.has("token_url") => &["header", "claims"],
        _ => &[],
    };
    keys.iter().filter_map(|key| auth.get(key)).collect()
}

/// The auths that may stand for the value of an `auth:`.
fn signers<'a>(top: &At<'a>, at: &At<'a>) -> Vec<(&'a str, At<'a>)> {
    let Some(text) = at.text().and_then(|source| Text::compile(source).ok()) else { return Vec::new() };
    let fixed = text.literal().map(str::to_owned);
    let auths = top.get("auth");
    let all = auths.iter().flat_map(At::entries);
    all.filter(|(name, _)| fixed.as_deref().is_none_or(|fixed| fixed == *name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_off_urls() {
        assert_eq!(authority("api.Example.com/v1"), ("api.example.com".to_owned(), vec![]));
        let (host, fills) = authority("{{ settings.a | replace('/', '') }}.example.com:8443?x");
        assert_eq!((host.as_str(), fills), ("*.example.com:8443", vec![vec!["settings.a".to_owned()]]));
        assert_eq!(
            pinned(r"https://sns\.[a-z0-9-]+\.example\.com/.*").as_deref(),
            Some("sns.[a-z0-9-]+.example.com")
        );
    }
}
