//! The first case of a new connector: what is asked of the vendor, one event that proves its sender, and one that does
//! not. The request is signed by what signs for the stand-in, with secrets that are invented.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::BASE64;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};
use url::Url;

use super::questions::Answers;
use super::sample::Sample;
use super::takes::NONE;
use super::template::{CASE, fill, scalar};
use crate::connector::instance::{Instance, InstanceId};
use crate::connector::model::Connector;
use crate::error::{Error, Kind, Result};
use crate::simulate::configure::{Filled, instance};
use crate::simulate::sign::{Unsigned, made_for, published, sign};

/// When the case plays.
const CLOCK: &str = "2026-01-01T00:00:00Z";
/// The key that sender and receiver share.
const KEY: &str = "key-of-the-case";

/// The case as it is written. `names` are those of the spec's template.
pub(super) fn write(
    connector: Connector,
    answers: &Answers,
    sample: &Sample,
    mut names: Map<String, Json>,
) -> Result<String> {
    let answer = |name: &str| answers.get(name).map(String::as_str).unwrap_or(NONE);
    let has_api = answer("api") != NONE;
    let filled = invented(&connector, answers)?;
    let instance = configured(connector, filled.clone())?;
    let saved = json!({"webhook": {"id": "webhook-1", "secret": KEY}});
    let push = signed(&instance, if has_api { &saved } else { &Json::Null }, sample)?;

    let mut desired = json!({"url": "https://hooks.example.com/hooks/example", "events": ["*"]});
    let mut created = json!({"id": "webhook-1"});
    // HTTP Basic has a password of ours, which nobody was asked about.
    match names.get("key").and_then(Json::as_str).unwrap_or_default() {
        "forebay" if answer("verify") != "public_key" && answer("verify") != "jwt" => {
            desired["secret"] = json!(KEY)
        }
        "vendor" => created["secret"] = json!(KEY),
        _ => {}
    }
    let bare: Map<String, Json> = sample.headers.iter().map(|(n, v)| (n.clone(), json!(v))).collect();
    let title = if has_api {
        "The webhook is made, an event is taken, a forged one is refused, and the webhook is removed"
    } else {
        "An event is taken, a forged one is refused"
    };
    let enveloped = answer("type").starts_with("header:");
    let keys = match answer("keys-url") {
        NONE => Json::Null,
        url => keys_at(&instance, url)?,
    };
    for (name, value) in [
        ("case_title", json!(scalar(title))),
        ("clock", json!(CLOCK)),
        ("settings", json!(Json::Object(filled.settings).to_string())),
        ("secrets", json!(json!(filled.secrets).to_string())),
        ("authorization", json!(authorization(answers))),
        ("desired", json!(desired.to_string())),
        ("created", json!(created.to_string())),
        ("headers", json!(Json::Object(shown(&push.headers)).to_string())),
        ("bare", json!(Json::Object(bare).to_string())),
        ("text", json!(format!("'{}'", sample.body))),
        ("forged", json!(format!("'{} '", sample.body))),
        ("jwks", json!(keys.to_string())),
        ("records", if enveloped { json!("1") } else { json!(format!("['{}']", sample.item)) }),
    ] {
        names.insert(name.to_owned(), value);
    }
    fill(CASE, &names)
}

/// Settings and secrets of the case.
fn invented(connector: &Connector, answers: &Answers) -> Result<Filled> {
    let mut settings = Map::new();
    for setting in &connector.settings {
        let value = match setting.name.as_str() {
            "api_user" => Some("user-of-the-case".to_owned()),
            "client_id" => Some("client-of-the-case".to_owned()),
            "public_key" => made_for(connector, "settings.public_key")?,
            _ => None,
        };
        settings.extend(value.map(|value| (setting.name.clone(), json!(value))));
    }
    // The answer to the call that makes the webhook has it.
    let vendor_says = answers.get("api").is_some_and(|api| api != NONE)
        && answers.get("key").is_some_and(|key| key == "vendor");
    let mut secrets = BTreeMap::new();
    for secret in &connector.secrets {
        let value = match secret.name.as_str() {
            "webhook_key" if vendor_says => continue,
            "webhook_key" => KEY,
            "api_token" => "token-of-the-case",
            "client_secret" | "api_key" | "api_password" => "secret-of-the-case",
            _ => continue,
        };
        secrets.insert(secret.name.clone(), value.to_owned());
    }
    Ok(Filled { settings, secrets })
}

fn configured(connector: Connector, filled: Filled) -> Result<Instance> {
    let id = InstanceId::parse("example").expect("the id of the case is an id");
    let base = Url::parse("https://hooks.example.com").expect("the base of the case is a URL");
    instance(Arc::new(connector), id, filled, "forebay new")?.at_base(&base)
}

/// The request of the case, signed.
fn signed(instance: &Instance, saved: &Json, sample: &Sample) -> Result<Unsigned> {
    let ours = |e: String| Error::new(Kind::Io, format!("the request of the case cannot be made: {e}"));
    let now: Timestamp = CLOCK.parse().expect("the clock of the case is a time");
    let mut headers = HeaderMap::new();
    for (name, value) in &sample.headers {
        let name = http::HeaderName::try_from(name.as_str()).map_err(|e| ours(e.to_string()))?;
        headers.insert(name, HeaderValue::try_from(value.as_str()).map_err(|e| ours(e.to_string()))?);
    }
    let url = instance.receiver_url.clone().ok_or_else(|| ours("it has no URL".to_owned()))?;
    let mut push = Unsigned { method: Method::POST, url, headers, body: sample.body.clone().into_bytes() };
    sign(instance, saved, &mut push, now)?;
    Ok(push)
}

/// Headers as people write them: `x-signature` is `X-Signature`.
fn shown(headers: &HeaderMap) -> Map<String, Json> {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    };
    let written = |name: &str| name.split('-').map(capital).collect::<Vec<_>>().join("-");
    headers
        .iter()
        .map(|(name, value)| (written(name.as_str()), json!(String::from_utf8_lossy(value.as_bytes()))))
        .collect()
}

/// What the first call must carry, as it stands in the exchange.
fn authorization(answers: &Answers) -> String {
    let answer = |name: &str| answers.get(name).map(String::as_str).unwrap_or(NONE);
    let (header, value) = match answer("auth") {
        "bearer" | "oauth2_client_credentials" => ("authorization", "Bearer token-of-the-case".to_owned()),
        "basic" => {
            ("authorization", format!("Basic {}", BASE64.encode(b"user-of-the-case:secret-of-the-case")))
        }
        "headers" => (answer("auth-header"), "secret-of-the-case".to_owned()),
        _ => return String::new(),
    };
    format!(", headers: {{{header}: {value}}}")
}

/// The keys that the stand-in publishes at a URL.
fn keys_at(instance: &Instance, url: &str) -> Result<Json> {
    let ours = |what: &str| Error::new(Kind::Io, format!("the keys of the case cannot be made: {what}"));
    let parsed = Url::parse(url).map_err(|e| ours(&e.to_string()))?;
    let host = parsed.host_str().unwrap_or_default();
    let host = parsed.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let text = published(instance, &Method::GET, &host, parsed.path())?
        .ok_or_else(|| ours("nobody publishes them"))?;
    serde_json::from_str(&text).map_err(|e| ours(&e.to_string()))
}
