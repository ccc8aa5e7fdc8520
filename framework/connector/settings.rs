//! Settings and secrets as they are given, checked against what a connector asks for.
//!
//! `cli` calls [`check`] once for every instance, before anything starts. Every fault is reported, each once,
//! and none of them shows a secret. Nothing here reads the environment or a file.

mod fault;
mod names;
mod value;

use std::collections::BTreeMap;

use aws_lc_rs::rand;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Map, Value as Json};

use super::model::{Connector, Encoding, Generate, Required, SecretSpec};
use super::secret::{LiveSecret, Secret};
use super::template::{Condition, Scope};
use crate::error::{Error, Kind, Result, escaped};

pub use fault::Fault;
pub use names::{nearest, shouted};
pub use value::{Given, value};

/// What one instance was given. The second of each pair says where it was given: `--set`, a variable, a file.
#[derive(Debug, Clone, Default)]
pub struct Values {
    /// By name.
    pub settings: BTreeMap<String, (Given, String)>,
    /// By name. `None` where a source was given that could not be read: that fault is reported already.
    pub secrets: BTreeMap<String, (Option<Secret>, String)>,
    /// Further values of a secret, by its name.
    pub also: BTreeMap<String, Vec<Secret>>,
    /// The instance's id as variables have it, where there are several instances and flags are for none.
    pub among_others: Option<String>,
}

/// What an instance runs with.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// Given and defaults.
    pub settings: Map<String, Json>,
    /// Given.
    pub secrets: BTreeMap<String, LiveSecret>,
}

/// Checks what was given against what the connector asks for, and fills in defaults. Only without faults is
/// what is checked to be run; with some it is what is left, for finding more of them.
pub fn check(connector: &Connector, values: &Values) -> (Checked, Vec<Fault>) {
    let mut faults = Vec::new();
    let mut checked = Checked::default();
    unknown(connector, values, &mut faults);
    for setting in &connector.settings {
        match values.settings.get(&setting.name) {
            None => {
                if let Some(default) = &setting.default {
                    checked.settings.insert(setting.name.clone(), default.clone());
                }
            }
            Some((given, from)) => match value(setting, given) {
                Ok(value) => {
                    checked.settings.insert(setting.name.clone(), value);
                }
                Err(fault) => faults.push(Fault {
                    sentence: format!("the setting `{}` {} (from {from})", setting.name, fault.sentence),
                    help: fault.help,
                }),
            },
        }
    }
    for spec in &connector.secrets {
        if let Some((given, from)) = values.secrets.get(&spec.name) {
            let also = values.also.get(&spec.name).map(Vec::as_slice).unwrap_or_default();
            let given: Vec<Secret> = given.iter().chain(also).cloned().collect();
            secret(spec, given, from, &mut checked, &mut faults);
        }
    }
    missing(connector, values, &checked, &mut faults);
    (checked, faults)
}

/// The secrets that are to be made: those with `generate` that were not given.
pub fn to_generate<'a>(
    connector: &'a Connector,
    given: &'a BTreeMap<String, LiveSecret>,
) -> impl Iterator<Item = (&'a str, Generate)> {
    let lacking = connector.secrets.iter().filter(|spec| !given.contains_key(&spec.name));
    lacking.filter_map(|spec| Some((spec.name.as_str(), spec.generate?)))
}

/// Makes a secret.
pub fn generate(how: Generate) -> Result<Secret> {
    let (count, encoding) = match how {
        Generate::Bytes { count, encoding } => (count, Some(encoding)),
        Generate::Uuid => (16, None),
    };
    let mut bytes = vec![0; count];
    rand::fill(&mut bytes).map_err(|_| Error::new(Kind::Io, "the system gives no randomness"))?;
    let text = match encoding {
        Some(Encoding::Hex) => HEXLOWER.encode(&bytes),
        Some(Encoding::Base64) => BASE64.encode(&bytes),
        Some(Encoding::Base64Url) => BASE64URL_NOPAD.encode(&bytes),
        None => uuid(&bytes),
    };
    Secret::new(&text).ok_or_else(|| Error::new(Kind::Finding, "`generate` makes a secret of no bytes"))
}

/// A UUID of version 4, made of 16 random bytes (RFC 9562 section 5.4).
fn uuid(bytes: &[u8]) -> String {
    let mut text = HEXLOWER.encode(bytes);
    let variant = bytes.get(8).map_or(0, |byte| usize::from(byte >> 6));
    text.replace_range(12..13, "4");
    text.replace_range(16..17, ["8", "9", "a", "b"][variant % 4]);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

fn secret(spec: &SecretSpec, given: Vec<Secret>, from: &str, checked: &mut Checked, faults: &mut Vec<Fault>) {
    match given.iter().find_map(|given| pattern_fault(spec, given)) {
        Some(why) => faults.push(Fault::new(format!("the secret `{}` {why} (from {from})", spec.name))),
        None => checked.secrets.extend(LiveSecret::given(given).map(|live| (spec.name.clone(), live))),
    }
}

/// Whether a secret has the shape its spec asks for; says what is wrong without showing it.
pub fn pattern_fault(spec: &SecretSpec, given: &Secret) -> Option<String> {
    let pattern = spec.pattern.as_deref()?;
    match regex::RegexBuilder::new(pattern).size_limit(1 << 20).build() {
        Ok(regex) if regex.is_match(given.expose()) => None,
        Ok(_) => Some(format!("does not match `{pattern}`")),
        Err(_) => Some(format!("has a pattern that is none: `{pattern}`")),
    }
}

fn unknown(connector: &Connector, values: &Values, faults: &mut Vec<Fault>) {
    let settings: Vec<&str> = connector.settings.iter().map(|s| s.name.as_str()).collect();
    let secrets: Vec<&str> = connector.secrets.iter().map(|s| s.name.as_str()).collect();
    let given = values.settings.iter().map(|(name, (_, from))| (name, from));
    for (name, from) in given.filter(|(name, _)| !settings.contains(&name.as_str())) {
        faults.push(unknown_name("setting", name, from, &settings, &secrets));
    }
    let given = values.secrets.iter().map(|(name, (_, from))| (name, from));
    for (name, from) in given.filter(|(name, _)| !secrets.contains(&name.as_str())) {
        faults.push(unknown_name("secret", name, from, &secrets, &settings));
    }
}

fn unknown_name(what: &str, name: &str, from: &str, known: &[&str], others: &[&str]) -> Fault {
    let name = escaped(name, 80);
    let fault = Fault::new(format!("there is no {what} `{name}` (from {from})"));
    let other = if what == "setting" { "secret" } else { "setting" };
    match nearest(&name, known.iter().copied()) {
        _ if others.contains(&name.as_str()) => fault.help(format!("`{name}` is a {other}")),
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None if known.is_empty() => fault.help(format!("this connector has no {what}s")),
        None => fault.help(format!("there are: {}", known.join(", "))),
    }
}

fn missing(connector: &Connector, values: &Values, checked: &Checked, faults: &mut Vec<Fault>) {
    let scope = Scope::default().with("settings", Json::Object(checked.settings.clone()));
    for setting in &connector.settings {
        let name = &setting.name;
        let there = checked.settings.contains_key(name) || values.settings.contains_key(name);
        if let (false, Some(why)) = (there, demanded(&setting.required, &scope)) {
            let variable = shouted(name);
            let help = match &values.among_others {
                None => format!("give --set {name}=VALUE or FOREBAY_SETTING_{variable}"),
                Some(id) => format!("write it under `settings:`, or give FOREBAY_SETTING_{id}_{variable}"),
            };
            faults.push(Fault::new(format!("the setting `{name}` is missing{why}")).help(help));
        }
    }
    for spec in &connector.secrets {
        let name = &spec.name;
        let there = values.secrets.contains_key(name);
        if let (false, Some(why)) = (there, demanded(&spec.required, &scope)) {
            let variable = shouted(name);
            let help = match &values.among_others {
                None => format!(
                    "give --secret {name}=env:VAR, --secret {name}=file:PATH or FOREBAY_SECRET_{variable}"
                ),
                Some(id) => {
                    format!("say where it is under `secrets:`, or give FOREBAY_SECRET_{id}_{variable}")
                }
            };
            faults.push(Fault::new(format!("the secret `{name}` is missing{why}")).help(help));
        }
    }
}

/// Whether something must be given, and why.
fn demanded(required: &Required, scope: &Scope) -> Option<String> {
    match required {
        Required::No => None,
        Required::Yes => Some(String::new()),
        Required::When(condition) => {
            let holds = Condition::holds(condition, scope).unwrap_or(false);
            holds.then(|| format!(", and is required when {}", condition.source()))
        }
    }
}
