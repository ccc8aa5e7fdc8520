//! The configuration of a simulated instance: what a person would have filled in, where nobody did.
//!
//! Called by `run --simulate` and by the simulated life of `test`. What was given stands as it is; the rest
//! comes from defaults, enums, examples, placeholders and formats, and secrets are made up. Nothing here
//! reads the environment.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use data_encoding::HEXLOWER;
use serde_json::{Map, Value as Json};

use super::guard::given_for;
use super::sign::made_for;
use crate::connector::instance::{Instance, InstanceId};
use crate::connector::load::settled;
use crate::connector::model::{Connector, Proof, Required, SecretSpec, Setting};
use crate::connector::secret::Secret;
use crate::connector::settings::{Fault, Given, Values, check};
use crate::connector::template::Scope;
use crate::error::{Error, Kind, Result};

/// What an instance is configured with.
#[derive(Debug, Clone, Default)]
pub struct Filled {
    /// Settings, the given ones among them.
    pub settings: Map<String, Json>,
    /// Secrets, the given ones among them.
    pub secrets: BTreeMap<String, String>,
}

/// Fills in what was not given; choices are made so that provisioning runs, or so that it does not, where there
/// is such a choice.
pub fn fill(
    connector: &Connector,
    given: Map<String, Json>,
    given_secrets: BTreeMap<String, String>,
    provisioned: bool,
) -> Result<Filled> {
    let mut settings = given.clone();
    for setting in &connector.settings {
        if let (false, Some(default)) = (settings.contains_key(&setting.name), &setting.default) {
            settings.insert(setting.name.clone(), default.clone());
        }
    }
    choose(connector, &given, &mut settings, provisioned)?;
    for setting in &connector.settings {
        if !settings.contains_key(&setting.name) && is_required(&setting.required, &settings)? {
            let key = made_for(connector, &format!("settings.{}", setting.name))?;
            let value = key.map_or_else(|| invent(setting), |key| Ok(Json::String(key)))?;
            settings.insert(setting.name.clone(), value);
        }
    }
    let mut secrets = given_secrets;
    for secret in &connector.secrets {
        let wanted = secret.generate.is_some() || is_required(&secret.required, &settings)?;
        if wanted && !secrets.contains_key(&secret.name) {
            secrets.insert(secret.name.clone(), make_up(connector, secret)?);
        }
    }
    // A default is filled in by whoever checks the configuration; only what was chosen is handed on.
    settings.retain(|name, value| {
        given.contains_key(name)
            || connector.settings.iter().any(|s| s.name == *name && s.default.as_ref() != Some(value))
    });
    Ok(Filled { settings, secrets })
}

/// Makes the choices that nobody made.
fn choose(
    connector: &Connector,
    given: &Map<String, Json>,
    settings: &mut Map<String, Json>,
    provisioned: bool,
) -> Result<()> {
    let choices: Vec<(&Setting, &Vec<Json>)> = connector
        .settings
        .iter()
        .filter(|setting| !given.contains_key(&setting.name))
        .filter_map(|setting| Some((setting, setting.schema.get("enum")?.as_array()?)))
        .collect();
    for (setting, values) in &choices {
        if let (false, Some(first)) = (settings.contains_key(&setting.name), values.first()) {
            settings.insert(setting.name.clone(), first.clone());
        }
    }
    let Some(when) = connector.provision.as_ref().and_then(|provision| provision.when.as_ref()) else {
        return Ok(());
    };
    if when.holds(&scope(settings))? == provisioned {
        return Ok(());
    }
    for (setting, values) in &choices {
        for value in *values {
            let mut other = settings.clone();
            other.insert(setting.name.clone(), value.clone());
            if when.holds(&scope(&other))? == provisioned {
                *settings = other;
                return Ok(());
            }
        }
    }
    Ok(())
}

fn is_required(required: &Required, settings: &Map<String, Json>) -> Result<bool> {
    match required {
        Required::No => Ok(false),
        Required::Yes => Ok(true),
        Required::When(condition) => condition.holds(&scope(settings)),
    }
}

fn scope(settings: &Map<String, Json>) -> Scope {
    Scope::default().with("settings", Json::Object(settings.clone()))
}

/// A value that the setting's schema takes, as far as the spec shows one.
fn invent(setting: &Setting) -> Result<Json> {
    if let Some(example) = &setting.example {
        return Ok(example.clone());
    }
    let kind = setting.schema.get("type").and_then(Json::as_str).unwrap_or("string");
    let least = setting.schema.get("minimum").cloned();
    match kind {
        "boolean" => Ok(Json::Bool(false)),
        "integer" | "number" => Ok(least.unwrap_or_else(|| Json::from(1))),
        "array" => Ok(Json::Array(Vec::new())),
        "object" => Ok(Json::Object(Map::new())),
        _ if setting.schema.get("pattern").is_some() => Err(Error::new(
            Kind::Finding,
            format!(
                "the simulation needs a value for the setting `{}` that matches its pattern",
                setting.name
            ),
        )
        .help(format!("add `example:` to it in the spec, or give --set {}=VALUE", setting.name))),
        _ => Ok(Json::String(invent_text(setting))),
    }
}

fn invent_text(setting: &Setting) -> String {
    let name = setting.name.replace('_', "-");
    match setting.schema.get("format").and_then(Json::as_str) {
        Some("uri" | "url") => {
            setting.placeholder.as_deref().and_then(uri_like).unwrap_or(format!("https://{name}.example/"))
        }
        Some("hostname") => format!("{name}.example"),
        Some("email") => format!("{name}@simulated.example"),
        Some("duration") => "1h".to_owned(),
        Some(_) | None => match setting.placeholder.as_deref() {
            Some(text) if !text.contains(['{', '<']) => text.to_owned(),
            Some(_) | None => format!("simulated-{name}"),
        },
    }
}

/// A URL like the placeholder, with a host that can be nobody's (RFC 2606): `https://{tenantDomain}/` becomes
/// `https://tenantdomain.example/`.
fn uri_like(placeholder: &str) -> Option<String> {
    let plain: String = placeholder.chars().filter(|c| !matches!(c, '{' | '}' | '<' | '>')).collect();
    let mut url = url::Url::parse(&plain).ok().filter(|url| url.scheme() == "https")?;
    let host = url.host_str()?.to_owned();
    if !host.contains('.') {
        url.set_host(Some(&format!("{host}.example"))).ok()?;
    }
    Some(url.to_string())
}

/// A secret to stand for a real one in what others may read: by its name where any text will do.
pub fn invented(connector: &Connector, secret: &SecretSpec) -> Result<String> {
    let own = format!("secrets.{}", secret.name);
    let checks = connector.receiver.verify.checks();
    let is_key = checks.iter().any(|check| {
        let by_key = matches!(check.proof, Proof::Hmac { .. } | Proof::PublicKey { .. } | Proof::Jwt(_));
        by_key && check.proof.key_texts().iter().any(|key| key.names().contains(&own))
    });
    if is_key || secret.pattern.is_some() || given_for(connector, &own)?.is_some() {
        return make_up(connector, secret);
    }
    Ok(format!("invented-{}", secret.name.replace('_', "-")))
}

/// A secret of hexadecimal digits: it is text, hexadecimal and base64 all at once, whatever a key must be.
fn make_up(connector: &Connector, secret: &SecretSpec) -> Result<String> {
    let mut random = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Error::new(Kind::Io, "there is no randomness"))?;
    let own = format!("secrets.{}", secret.name);
    if let Some(key) = given_for(connector, &own)? {
        return Ok(key);
    }
    if let Some(key) = made_for(connector, &own)? {
        return Ok(key);
    }
    let checks = connector.receiver.verify.checks();
    let keys = checks.iter().find_map(|check| match &check.proof {
        Proof::Hmac { keys, .. } if keys.texts.iter().any(|key| key.names().contains(&own)) => Some(keys),
        Proof::Hmac { .. }
        | Proof::Token { .. }
        | Proof::Basic { .. }
        | Proof::Digest { .. }
        | Proof::PublicKey { .. }
        | Proof::Jwt(_) => None,
    });
    let prefix = keys.and_then(|keys| keys.prefix.as_deref()).unwrap_or_default();
    Ok(match (&secret.pattern, &secret.placeholder) {
        (Some(_), Some(placeholder)) => placeholder.clone(),
        (Some(_) | None, _) => format!("{prefix}{}", HEXLOWER.encode(&random)),
    })
}

/// An instance of a connector with these settings and secrets, checked as in production; `from` says where
/// they were given. It has no receiver's URL yet.
pub fn instance(connector: Arc<Connector>, id: InstanceId, filled: Filled, from: &str) -> Result<Instance> {
    let setting = |(name, value): (String, Json)| (name, (Given::Data(value), from.to_owned()));
    let secret = |(name, text): (String, String)| (name, (Secret::new(&text), from.to_owned()));
    let values = Values {
        settings: filled.settings.into_iter().map(setting).collect(),
        secrets: filled.secrets.into_iter().map(secret).collect(),
        ..Values::default()
    };
    let (checked, faults) = check(&connector, &values);
    if let Some(error) = Fault::together(faults) {
        return Err(error);
    }
    let secrets = RwLock::new(Arc::new(checked.secrets));
    let connector = settled(&connector, &checked.settings)?;
    Ok(Instance { id, connector, settings: checked.settings, secrets, receiver_url: None })
}
