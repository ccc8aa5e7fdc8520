//! Settings and secrets of a connector as a JSON Schema: what an instance of it may be configured with.
//!
//! For editors, for pages and for programs that fill in forms; what a person gave is checked by
//! [`super::settings::check`], which says the same and knows conditions that a schema cannot.

use serde_json::{Map, Value as Json, json};

use super::model::{Connector, Required, SecretSpec, Setting};

/// The schema (draft 2020-12) of one instance: `settings` and `secrets` as forebay.yaml has them.
pub fn schema(connector: &Connector) -> Json {
    let settings: Map<String, Json> =
        connector.settings.iter().map(|one| (one.name.clone(), setting(one))).collect();
    let secrets: Map<String, Json> =
        connector.secrets.iter().map(|one| (one.name.clone(), secret(one))).collect();
    let always = |required: &Required| matches!(required, Required::Yes);
    let settings_needed: Vec<&str> =
        connector.settings.iter().filter(|s| always(&s.required)).map(|s| s.name.as_str()).collect();
    let secrets_needed: Vec<&str> =
        connector.secrets.iter().filter(|s| always(&s.required)).map(|s| s.name.as_str()).collect();
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": connector.title,
        "type": "object",
        "properties": {
            "settings": {
                "type": "object",
                "properties": settings,
                "required": settings_needed,
                "additionalProperties": false,
            },
            "secrets": {
                "type": "object",
                "properties": secrets,
                "required": secrets_needed,
                "additionalProperties": false,
            },
        },
    });
    let rules = rules(connector);
    if let (Some(words), false) = (schema.as_object_mut(), rules.is_empty()) {
        words.insert("allOf".to_owned(), Json::Array(rules));
    }
    schema
}

fn setting(setting: &Setting) -> Json {
    let mut words = setting.schema.as_object().cloned().unwrap_or_default();
    words.insert("title".to_owned(), json!(setting.title));
    words.insert("description".to_owned(), json!(described(&setting.description, &setting.required)));
    if let Some(default) = &setting.default {
        words.insert("default".to_owned(), default.clone());
    }
    let example = setting.example.clone().or_else(|| setting.placeholder.clone().map(Json::String));
    if let Some(example) = example {
        words.insert("examples".to_owned(), json!([example]));
    }
    Json::Object(words)
}

/// Where a secret is to be found; the secret itself stands in no file.
fn secret(secret: &SecretSpec) -> Json {
    let mut description = described(&secret.description, &secret.required);
    if secret.generate.is_some() {
        description.push_str(" Made once and kept where it is neither required nor given.");
    }
    json!({
        "title": secret.title,
        "description": description,
        "type": "object",
        "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    })
}

fn described(description: &str, required: &Required) -> String {
    match required {
        Required::When(condition) => format!("{description} Required when {}.", condition.source()),
        Required::Yes | Required::No => description.to_owned(),
    }
}

/// What is required only under conditions, as far as these say no more than that settings equal constants.
fn rules(connector: &Connector) -> Vec<Json> {
    let settings = connector.settings.iter().map(|one| ("settings", &one.name, &one.required));
    let secrets = connector.secrets.iter().map(|one| ("secrets", &one.name, &one.required));
    settings
        .chain(secrets)
        .filter_map(|(part, name, required)| {
            let Required::When(condition) = required else { return None };
            let when = premise(connector, &condition.equalities()?)?;
            let then = json!({"required": [part], "properties": {part: {"required": [name]}}});
            Some(json!({"if": when, "then": then}))
        })
        .collect()
}

fn premise(connector: &Connector, equalities: &[(String, Json)]) -> Option<Json> {
    let mut constants = Map::new();
    let mut given = Vec::new();
    for (name, constant) in equalities {
        let name = name.strip_prefix("settings.")?;
        let setting = connector.settings.iter().find(|setting| setting.name == name)?;
        constants.insert(name.to_owned(), json!({"const": constant}));
        // What was not given has its default.
        if setting.default.as_ref() != Some(constant) {
            given.push(name);
        }
    }
    let mut premise = json!({"properties": {"settings": {"properties": constants, "required": given}}});
    if let (Some(words), false) = (premise.as_object_mut(), given.is_empty()) {
        words.insert("required".to_owned(), json!(["settings"]));
    }
    Some(premise)
}
