//! What the tenant takes in a body and what it refuses: the fields of Auth0's log streams of type http, and
//! no other. Called by the tenant alone.

use serde_json::{Map, Value as Json};

use super::Asked;

const FILTERS: [&str; 20] = [
    "auth.login.fail",
    "auth.login.notification",
    "auth.login.success",
    "auth.logout.fail",
    "auth.logout.success",
    "auth.signup.fail",
    "auth.signup.success",
    "auth.silent_auth.fail",
    "auth.silent_auth.success",
    "auth.token_exchange.fail",
    "auth.token_exchange.success",
    "management.fail",
    "management.success",
    "scim.event",
    "system.notification",
    "user.fail",
    "user.notification",
    "user.success",
    "actions",
    "other",
];
const FORMATS: [&str; 3] = ["JSONARRAY", "JSONLINES", "JSONOBJECT"];
const PII_FIELDS: [&str; 6] = ["first_name", "last_name", "username", "email", "phone", "address"];
/// What Auth0 says of most mistakes, as unhelpful as it is.
const ONE_OF: &str = "Data does not match any schemas from 'oneOf'";

type Checked = Result<(), String>;

/// The body of a create.
pub fn create(asked: &Asked) -> Checked {
    let body = object(asked)?;
    known(body, &["name", "type", "isPriority", "filters", "pii_config", "sink", "startFrom"])?;
    wants(body.get("type") == Some(&Json::from("http")))?;
    wants(body.contains_key("sink"))?;
    if let Some(from) = body.get("startFrom") {
        wants(from.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()))?;
    }
    common(body)
}

/// The body of an update.
pub fn update(asked: &Asked) -> Checked {
    let body = object(asked)?;
    known(body, &["name", "status", "isPriority", "filters", "pii_config", "sink"])?;
    if let Some(status) = body.get("status") {
        wants(status == "active" || status == "paused")?;
    }
    common(body)
}

/// Merges at the top level, as Auth0 does; what becomes an empty list of filters vanishes.
pub fn merge(stream: &mut Json, body: &Json) {
    let stream = stream.as_object_mut().expect("a stream is an object");
    for (name, value) in body.as_object().expect("checked") {
        stream.insert(name.clone(), value.clone());
    }
    if stream.get("filters").is_some_and(|filters| filters == &Json::Array(Vec::new())) {
        stream.remove("filters");
    }
    if let Some(pii) = stream.get_mut("pii_config").and_then(Json::as_object_mut) {
        pii.entry("method").or_insert("hash".into());
        pii.entry("algorithm").or_insert("xxhash".into());
    }
}

fn object(asked: &Asked) -> Result<&Map<String, Json>, String> {
    let json =
        asked.headers.get("content-type").is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
    wants(json)?;
    asked.body.as_object().ok_or_else(|| ONE_OF.to_owned())
}

fn common(body: &Map<String, Json>) -> Checked {
    if let Some(name) = body.get("name") {
        let name = name.as_str().ok_or(ONE_OF)?;
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let inside = name.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ' || c == '-');
        if !(inside && edge(name.chars().next()) && edge(name.chars().last())) {
            return Err("String does not match pattern: only alphanumeric characters, spaces and '-'".into());
        }
    }
    if let Some(priority) = body.get("isPriority") {
        wants(priority.is_boolean())?;
    }
    if let Some(filters) = body.get("filters") {
        list(filters)?.iter().try_for_each(filter)?;
    }
    body.get("pii_config").map_or(Ok(()), pii)?;
    body.get("sink").map_or(Ok(()), sink)
}

fn filter(filter: &Json) -> Checked {
    let filter = filter.as_object().ok_or(ONE_OF)?;
    known(filter, &["type", "name"])?;
    wants(filter.get("type") == Some(&Json::from("category")))?;
    one_of(filter.get("name"), &FILTERS)
}

fn pii(pii: &Json) -> Checked {
    let pii = pii.as_object().ok_or(ONE_OF)?;
    known(pii, &["log_fields", "method", "algorithm"])?;
    let fields = list(pii.get("log_fields").ok_or(ONE_OF)?)?;
    wants(!fields.is_empty())?;
    fields.iter().try_for_each(|field| one_of(Some(field), &PII_FIELDS))?;
    for (name, values) in [("method", &["mask", "hash"][..]), ("algorithm", &["xxhash"][..])] {
        if let Some(value) = pii.get(name) {
            one_of(Some(value), values)?;
        }
    }
    Ok(())
}

fn sink(sink: &Json) -> Checked {
    let sink = sink.as_object().ok_or(ONE_OF)?;
    let fields =
        ["httpEndpoint", "httpContentType", "httpContentFormat", "httpAuthorization", "httpCustomHeaders"];
    known(sink, &fields)?;
    wants(sink.get("httpEndpoint").and_then(Json::as_str).is_some_and(|url| url.starts_with("https://")))?;
    for name in ["httpContentType", "httpAuthorization"] {
        wants(sink.get(name).is_none_or(Json::is_string))?;
    }
    if let Some(format) = sink.get("httpContentFormat") {
        one_of(Some(format), &FORMATS)?;
    }
    for header in sink.get("httpCustomHeaders").map_or(Ok(&[][..]), list)? {
        let header = header.as_object().ok_or(ONE_OF)?;
        known(header, &["header", "value"])?;
        wants(header.len() == 2 && header.values().all(Json::is_string))?;
    }
    Ok(())
}

fn known(map: &Map<String, Json>, names: &[&str]) -> Checked {
    match map.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(format!("Additional properties not allowed: {name}")),
        None => Ok(()),
    }
}

fn one_of(value: Option<&Json>, values: &[&str]) -> Checked {
    wants(value.and_then(Json::as_str).is_some_and(|value| values.contains(&value)))
}

fn list(value: &Json) -> Result<&[Json], String> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| ONE_OF.to_owned())
}

fn wants(holds: bool) -> Checked {
    if holds { Ok(()) } else { Err(ONE_OF.to_owned()) }
}
