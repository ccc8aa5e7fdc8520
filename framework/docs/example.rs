//! The values that stand in a page where a person's own will be: defaults, placeholders, examples, and else the name
//! of what belongs there in braces.

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use crate::connector::model::{Connector, Provision, Required, Setting};
use crate::connector::template::Scope;
use crate::provision::plan::with_placeholders;

/// What a page calls the public host of a receiver.
const HOST: &str = "https://{publicHost}";
/// What stands where a fetched token would.
pub const TOKEN: &str = "{token}";
/// The moment of every page, so that the same spec always gives the same one.
const NOW: i64 = 1_767_225_600;

/// Values for a page.
#[derive(Debug)]
pub struct Example {
    /// The settings of an instance that provisions, where there is a choice.
    pub settings: Map<String, Json>,
    /// The names that calls can use.
    pub scope: Scope,
    /// The public address of the receiver.
    pub receiver_url: String,
}

impl Example {
    /// The values of a connector.
    pub fn of(connector: &Connector) -> Self {
        let settings = settings(connector);
        let secrets: Map<String, Json> = connector
            .secrets
            .iter()
            .map(|secret| {
                let own = || format!("{{{}}}", secret.name.to_ascii_uppercase());
                (secret.name.clone(), Json::from(secret.placeholder.clone().unwrap_or_else(own)))
            })
            .collect();
        let mut scope = Scope::default()
            .with("settings", Json::Object(settings.clone()))
            .with("instance", json!({"id": connector.name}))
            .with_vars(&connector.vars);
        let path = connector.receiver.path.render(&scope).unwrap_or_default();
        let path = format!("/{}", path.trim_start_matches('/'));
        let receiver_url = format!("{HOST}{path}");
        scope = scope
            .with("secrets", Json::Object(secrets))
            .with("receiver", json!({"url": receiver_url, "path": path}))
            .with_now(Timestamp::from_second(NOW).unwrap_or_default());
        if let Some(provision) = &connector.provision {
            scope = scope.with("state", state(connector, provision));
        }
        Self { settings, scope, receiver_url }
    }

    /// Whether something must be given, with these settings.
    pub fn demands(&self, required: &Required) -> bool {
        match required {
            Required::No => false,
            Required::Yes => true,
            Required::When(condition) => condition.holds(&self.scope).unwrap_or(true),
        }
    }
}

/// The saved values, those that messages bring included.
fn state(connector: &Connector, provision: &Provision) -> Json {
    let mut known = with_placeholders(json!({}), provision);
    for capture in connector.receiver.rules.iter().flat_map(|rule| &rule.capture) {
        let placeholder = format!("{{{}.{}}}", capture.resource, capture.name);
        known[&capture.resource][&capture.name] = json!(placeholder);
    }
    known
}

fn settings(connector: &Connector) -> Map<String, Json> {
    let wanted = connector.provision.as_ref().and_then(|provision| provision.when.as_ref());
    let wanted = wanted.and_then(|when| when.equalities()).unwrap_or_default();
    let value = |setting: &Setting| {
        let name = format!("settings.{}", setting.name);
        wanted.iter().find(|(wanted, _)| *wanted == name).map(|(_, value)| value.clone())
    };
    let all = connector.settings.iter();
    let mut settings: Map<String, Json> = all
        .filter_map(|setting| Some((setting.name.clone(), value(setting).or_else(|| stand_in(setting))?)))
        .collect();
    // One that others ask for, and these do not, stays away like one that is optional.
    let scope = Scope::default().with("settings", Json::Object(settings.clone()));
    for setting in &connector.settings {
        if let Required::When(condition) = &setting.required
            && own(setting).is_none()
            && matches!(condition.holds(&scope), Ok(false))
        {
            settings.remove(&setting.name);
        }
    }
    settings
}

/// What the spec itself says for a setting.
fn own(setting: &Setting) -> Option<Json> {
    let placeholder = setting.placeholder.clone().map(Json::from);
    setting.default.clone().or(placeholder).or_else(|| setting.example.clone())
}

/// What stands for a setting. One that is optional and has nothing of its own stays away.
fn stand_in(setting: &Setting) -> Option<Json> {
    let first = || setting.schema.get("enum").and_then(|values| values.get(0)).cloned();
    let own = own(setting);
    if own.is_some() || matches!(setting.required, Required::No) {
        return own;
    }
    let word = |key: &str| setting.schema.get(key).and_then(Json::as_str);
    first().or_else(|| match (word("type"), word("format")) {
        (Some("integer" | "number"), _) => Some(json!(1)),
        (Some("boolean"), _) => Some(json!(true)),
        (Some("array"), _) => Some(json!([])),
        (Some("object"), _) => Some(json!({})),
        (_, Some("uri")) => Some(json!(format!("https://{{{}}}", setting.name))),
        (_, Some("duration")) => Some(json!("1h")),
        (_, _) => Some(json!(format!("{{{}}}", setting.name))),
    })
}
