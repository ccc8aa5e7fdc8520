//! What a person gives: permissions, a way to sign in, settings, secrets, and the command that takes them.

use serde_json::Value as Json;

use super::example::Example;
use super::markdown::{block, capital, code, joined, list, table};
use super::words;
use crate::connector::model::{
    Auth, ClientProof, Connector, Generate, Grant, OAuth, Required, SecretSpec, Setting, TokenAuth,
    TokenSource,
};
use crate::provision::scopes::scopes;

/// What there must be before it runs: an address, and what has to be given.
pub fn prerequisites(connector: &Connector, example: &Example) -> String {
    let mut items = vec![format!(
        "A public `https` address that leads to Forebay: {} posts to {}",
        connector.vendor,
        code(&example.receiver_url)
    )];
    let settings = connector.settings.iter().map(|s| (format!("the setting *{}*", s.title), &s.required));
    let secrets = connector.secrets.iter().map(|s| (format!("the secret *{}*", s.title), &s.required));
    let mut needs: Vec<(String, Vec<String>)> = Vec::new();
    for (what, required) in settings.chain(secrets) {
        let when = match required {
            Required::No => continue,
            Required::Yes => "Always".to_owned(),
            Required::When(condition) => format!("When {}", words::condition(connector, condition)),
        };
        match needs.iter_mut().find(|(known, _)| *known == when) {
            Some((_, all)) => all.push(what),
            None => needs.push((when, vec![what])),
        }
    }
    items.extend(needs.into_iter().map(|(when, all)| format!("{when}: {}", joined(&all, "and"))));
    list(items)
}

/// The permissions that the calls take, each with what it is for: those that look first.
pub fn permissions(connector: &Connector) -> String {
    let resources = connector.provision.iter().flat_map(|provision| &provision.resources);
    let calls: Vec<_> = resources
        .flat_map(|resource| {
            resource.operations().into_iter().map(move |(name, call)| (resource, name, call))
        })
        .collect();
    let mut scopes = connector.provision.as_ref().map(scopes).unwrap_or_default();
    let looks = |scope: &str| {
        let mut uses = calls.iter().filter(|(_, _, call)| call.scope.as_deref() == Some(scope));
        uses.all(|(_, name, _)| ["find", "check"].contains(name))
    };
    scopes.sort_by_key(|scope| (!looks(scope), *scope));
    if scopes.is_empty() {
        return if calls.is_empty() {
            format!("None: Forebay changes nothing at {}.\n", connector.vendor)
        } else {
            "None by name: the credentials below must be allowed the calls that are listed under *What is stored and what \
             is sent*.\n"
                .to_owned()
        };
    }
    let item = |scope: &str| {
        let mut uses: Vec<(&str, Vec<String>)> = Vec::new();
        for (resource, name, _) in calls.iter().filter(|(_, _, call)| call.scope.as_deref() == Some(scope)) {
            match uses.iter_mut().find(|(title, _)| *title == resource.title) {
                Some((_, names)) if names.iter().any(|known| known == name) => {}
                Some((_, names)) => names.push((*name).to_owned()),
                None => uses.push((&resource.title, vec![(*name).to_owned()])),
            }
        }
        let uses: Vec<String> =
            uses.into_iter().map(|(title, names)| format!("{} the {title}", joined(&names, "and"))).collect();
        format!("{} to {}", code(scope), joined(&uses, "and"))
    };
    list(scopes.into_iter().map(item))
}

/// The ways to sign a call.
pub fn authentication(connector: &Connector, example: &Example) -> String {
    let rows: Vec<[String; 3]> = connector
        .auths
        .iter()
        .map(|(name, auth)| [code(name), signing(auth, example), joined(&takes(connector, auth), "and")])
        .collect();
    if rows.is_empty() {
        return "No call is signed.\n".to_owned();
    }
    table(["Name", "How calls are signed", "With"], &rows)
}

fn signing(auth: &Auth, example: &Example) -> String {
    match auth {
        Auth::Bearer { .. } => "A token that you give, as a bearer token".to_owned(),
        Auth::Basic { .. } => "HTTP Basic".to_owned(),
        Auth::Headers { headers } => {
            let names: Vec<String> = headers.iter().map(|(name, _)| code(name)).collect();
            let word = if names.len() == 1 { "The header" } else { "The headers" };
            format!("{word} {}", joined(&names, "and"))
        }
        Auth::Token(token) => match &token.source {
            TokenSource::OAuth(oauth) => {
                let url = oauth
                    .token_url
                    .render(&example.scope)
                    .unwrap_or_else(|_| oauth.token_url.source().to_owned());
                format!(
                    "{}; the token is fetched from {} and renewed before it expires",
                    grant(oauth),
                    code(&url)
                )
            }
            TokenSource::Signed(assertion) => {
                format!("A JSON Web Token that Forebay signs ({})", assertion.algorithm.name())
            }
            TokenSource::Exchange(exchange) => {
                let url = &exchange.call.url;
                let url = url.render(&example.scope).unwrap_or_else(|_| url.source().to_owned());
                format!("A token that {} gives", code(&format!("{} {url}", exchange.call.method)))
            }
        },
    }
}

fn grant(oauth: &OAuth) -> String {
    match (&oauth.grant, oauth.client.as_ref().map(|client| &client.proof)) {
        (Grant::ClientCredentials, Some(ClientProof::PrivateKey(assertion))) => {
            format!(
                "OAuth 2.0 client credentials, the client proven by an assertion ({})",
                assertion.algorithm.name()
            )
        }
        (Grant::ClientCredentials, _) => "OAuth 2.0 client credentials".to_owned(),
        (Grant::Refresh { .. }, _) => "OAuth 2.0 refresh token, kept up to date in the state".to_owned(),
        (Grant::JwtBearer(assertion), _) => {
            format!("OAuth 2.0 with a signed assertion ({})", assertion.algorithm.name())
        }
    }
}

/// The settings and secrets that a way to sign takes.
fn takes(connector: &Connector, auth: &Auth) -> Vec<String> {
    let texts: Vec<_> = match auth {
        Auth::Bearer { token } => vec![token],
        Auth::Basic { username, password } => vec![username, password],
        Auth::Headers { headers } => headers.iter().map(|(_, text)| text).collect(),
        Auth::Token(token) => {
            let TokenAuth { from, .. } = &**token;
            from.iter().collect()
        }
    };
    let names: Vec<String> = texts.into_iter().flat_map(|text| text.names()).collect();
    words::given(connector, &names)
}

/// The table of the settings, and what each is called and takes.
pub fn settings(connector: &Connector) -> String {
    let rows: Vec<[String; 4]> = connector
        .settings
        .iter()
        .map(|setting| {
            let required = required(connector, &setting.required, setting.required_note.as_deref());
            [setting.title.clone(), kind(setting), required, setting.description.clone()]
        })
        .collect();
    let values: Vec<[String; 5]> = connector
        .settings
        .iter()
        .map(|setting| {
            let default = setting.default.as_ref().map(value).unwrap_or_default();
            let example = setting.example.as_ref().map(value).unwrap_or_default();
            [
                code(&setting.name),
                setting.title.clone(),
                super::allowed::values(&setting.schema),
                default,
                example,
            ]
        })
        .collect();
    together(
        table(["Setting", "Type", "Required", "Description"], &rows),
        "In a configuration, and after `--set`:",
        table(["Name", "Setting", "Values", "Default", "Example"], &values),
    )
}

fn kind(setting: &Setting) -> String {
    setting.schema.get("type").and_then(Json::as_str).unwrap_or("string").to_owned()
}

/// The table of the secrets, and what each is called and where it comes from.
pub fn secrets(connector: &Connector) -> String {
    let rows: Vec<[String; 4]> = connector
        .secrets
        .iter()
        .map(|secret| {
            let required = required(connector, &secret.required, secret.required_note.as_deref());
            [secret.title.clone(), "string".to_owned(), required, secret.description.clone()]
        })
        .collect();
    let values: Vec<[String; 4]> = connector
        .secrets
        .iter()
        .map(|secret| {
            let variable = format!("FOREBAY_SECRET_{}", secret.name.to_ascii_uppercase());
            [code(&secret.name), secret.title.clone(), code(&variable), made(secret)]
        })
        .collect();
    together(
        table(["Secret", "Type", "Required", "Description"], &rows),
        "In a configuration, and after `--secret`, which takes `NAME=env:VARIABLE` or `NAME=file:PATH`:",
        table(["Name", "Secret", "Variable of the environment", "Where none is given"], &values),
    )
}

fn made(secret: &SecretSpec) -> String {
    match secret.generate {
        Some(Generate::Bytes { count, encoding }) => {
            format!("made once and kept: {count} random bytes, {}", words::encoding(encoding))
        }
        Some(Generate::Uuid) => "made once and kept: a UUID".to_owned(),
        None => String::new(),
    }
}

fn together(first: String, sentence: &str, second: String) -> String {
    if first.is_empty() { "There are none.\n".to_owned() } else { format!("{first}\n{sentence}\n\n{second}") }
}

/// What the column *Required* says.
fn required(connector: &Connector, required: &Required, note: Option<&str>) -> String {
    match (note, required) {
        (Some(note), _) => note.to_owned(),
        (None, Required::No) => "false".to_owned(),
        (None, Required::Yes) => "true".to_owned(),
        (None, Required::When(condition)) => format!("true if {}", words::condition(connector, condition)),
    }
}

/// A value as it is written on a command line.
fn value(value: &Json) -> String {
    code(&plain(value))
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The command that runs it, with what must be given.
pub fn run(connector: &Connector, example: &Example) -> String {
    let mut lines = vec![format!("forebay run connectors/{}", connector.name)];
    for setting in &connector.settings {
        let chosen = example.settings.get(&setting.name);
        let Some(chosen) = chosen.filter(|value| Some(*value) != setting.default.as_ref()) else { continue };
        if example.demands(&setting.required) {
            lines.push(format!("--set {}", quoted(&format!("{}={}", setting.name, plain(chosen)))));
        }
    }
    for secret in connector.secrets.iter().filter(|secret| example.demands(&secret.required)) {
        lines.push(format!("--secret {}=env:{}", secret.name, secret.name.to_ascii_uppercase()));
    }
    lines.push("--public-url 'https://{publicHost}'".to_owned());
    let dry = format!("forebay run connectors/{} --simulate", connector.name);
    format!(
        "{}\n{}\n\n{}",
        block("sh", &lines.join(" \\\n  ")),
        capital(&format!(
            "the vendor posts to {}: put a reverse proxy, a tunnel or a certificate of the receiver's own there. \
             Records go to stdout, or where `--to` says. The same without an account, against a stand-in of {}:",
            code(&example.receiver_url),
            connector.vendor
        )),
        block("sh", &dry)
    )
}

/// One word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "=._-/:@,".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
