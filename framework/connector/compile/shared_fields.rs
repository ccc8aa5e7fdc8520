//! Fields that many events have with the same value: the type of an event, a field of few values, what an event is about.
//!
//! `identity` asks it about each part of an id, so that an id is judged with one sample too. It knows the spec, the
//! schema of a record and names, and never says so of a field that may be an event's own.

use serde_json::Value as Json;

use crate::connector::model::Receiver;
use crate::connector::pick::{EventPick, Pick, Pointer};

/// The most references that are followed to a field.
const REFERENCES: usize = 16;
/// Last words of names of fields whose values are few.
const FEW_VALUES: [&str; 13] = [
    "type", "kind", "status", "state", "action", "category", "severity", "level", "resource", "topic",
    "trigger", "version", "source",
];
/// What has events: its id is the same in all of them.
const SUBJECTS: [&str; 19] = [
    "subscription",
    "account",
    "tenant",
    "webhook",
    "hook",
    "channel",
    "project",
    "organization",
    "org",
    "app",
    "application",
    "team",
    "workspace",
    "client",
    "resource",
    "user",
    "customer",
    "site",
    "installation",
];

/// Returns why many events have the same value at a pick, in words; `None` if it may be an event's own.
pub(super) fn shared_by(pick: &EventPick, receiver: &Receiver, schema: Option<&Json>) -> Option<String> {
    let (shown, names) = match pick {
        EventPick::Item(at) | EventPick::Outer(at) | EventPick::Record(at) | EventPick::Hash(at) => {
            (at.to_string(), at.0.as_slice())
        }
        EventPick::Request(Pick::Item(at) | Pick::Body(at)) => (at.to_string(), at.0.as_slice()),
        EventPick::Headers(names) => (names.join("`, `"), names.get(..1).unwrap_or_default()),
        EventPick::Request(Pick::Header(name) | Pick::Query(name) | Pick::Form(name)) => {
            (name.clone(), std::slice::from_ref(name))
        }
    };
    if receiver.event.kind.contains(pick) {
        return Some(format!("`{shown}` is the type of the event"));
    }
    let field = schema.zip(in_record(pick, receiver)).and_then(|(schema, at)| field(schema, &at));
    if let Some(values) = field.and_then(few_values) {
        return Some(format!("`{shown}` is {values} by the schema"));
    }
    // What a header is the id of is a delivery, more often than not.
    let is_header = matches!(pick, EventPick::Headers(_) | EventPick::Request(Pick::Header(_)));
    by_name(names, is_header).map(|what| format!("`{shown}` is named like {what}"))
}

/// Where a pick looks in the record.
fn in_record(pick: &EventPick, receiver: &Receiver) -> Option<Vec<String>> {
    let records = &receiver.records;
    match pick {
        EventPick::Record(at) | EventPick::Hash(at) => Some(at.0.clone()),
        EventPick::Item(at) if records.layers.is_empty() => {
            let inside = |unwrap: &Pointer| at.0.strip_prefix(unwrap.0.as_slice()).map(<[String]>::to_vec);
            records.unwrap.iter().find_map(inside)
        }
        EventPick::Item(_) | EventPick::Outer(_) | EventPick::Headers(_) | EventPick::Request(_) => None,
    }
}

/// The schema of a field.
fn field<'a>(schema: &'a Json, at: &[String]) -> Option<&'a Json> {
    at.iter().try_fold(followed(schema, schema), |here, name| {
        let next = here.get("properties")?.get(name)?;
        Some(followed(schema, next))
    })
}

/// What references within the same file lead to.
fn followed<'a>(schema: &'a Json, mut here: &'a Json) -> &'a Json {
    for _ in 0..REFERENCES {
        let pointer = here.get("$ref").and_then(Json::as_str).and_then(|text| text.strip_prefix('#'));
        match pointer.and_then(|pointer| schema.pointer(pointer)) {
            Some(target) => here = target,
            None => break,
        }
    }
    here
}

/// The values of a field that can have few of them, in words.
fn few_values(field: &Json) -> Option<String> {
    if field.get("const").is_some() {
        return Some("always the same".to_owned());
    }
    if let Some(values) = field.get("enum").and_then(Json::as_array) {
        return Some(format!("one of {} values", values.len()));
    }
    let is_truth = |kind: &Json| kind == "boolean" || kind == "null";
    let kinds = match field.get("type")? {
        Json::Array(kinds) => kinds.as_slice(),
        kind => std::slice::from_ref(kind),
    };
    (!kinds.is_empty() && kinds.iter().all(is_truth)).then(|| "true or false".to_owned())
}

/// What a field is by its name: the last word says it, and before `id` the one before that.
fn by_name(names: &[String], is_header: bool) -> Option<String> {
    let words: Vec<String> = names.iter().rev().take(2).rev().flat_map(|name| words(name)).collect();
    let (last, before) = words.split_last()?;
    if last == "id" && is_header {
        return None;
    }
    if last == "id" {
        let subject = SUBJECTS.iter().find(|subject| Some(**subject) == before.last().map(String::as_str))?;
        return Some(format!("the id of something that has many events ({subject})"));
    }
    FEW_VALUES.contains(&last.as_str()).then(|| format!("a {last}, which many events share"))
}

/// The words of a name, in lower case: `changeType`, `change_type` and `X-Change-Type` have the same.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in name.chars() {
        if !letter.is_alphanumeric() || letter.is_uppercase() && was_lower {
            words.push(String::new());
        }
        was_lower = letter.is_lowercase() || letter.is_numeric();
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pointer: &str) -> Option<String> {
        by_name(&Pointer::parse(pointer).unwrap().0, false)
    }

    #[test]
    fn names_of_types_and_subjects_are_shared_and_ids_are_not() {
        for shared in [
            "/type",
            "/changeType",
            "/data/event_type",
            "/X-Event-Kind",
            "/resource",
            "/subscriptionId",
            "/subscription/id",
            "/accountID",
        ] {
            assert!(named(shared).is_some(), "{shared}");
        }
        for own in [
            "/id",
            "/event_id",
            "/message/messageId",
            "/data/id",
            "/uuid",
            "/number",
            "/payload/uri",
            "/log_id",
            "/typed",
            "/resourceData/@odata.etag",
            "/statement",
            "/user/0",
            "",
        ] {
            assert_eq!(named(own), None, "{own}");
        }
        assert_eq!(by_name(&["x-client-id".to_owned()], true), None);
        assert!(by_name(&["x-event-type".to_owned()], true).is_some());
    }

    #[test]
    fn fields_of_few_values_are_found_through_references() {
        let schema = serde_json::json!({
            "$ref": "#/$defs/record",
            "$defs": {
                "record": {"properties": {"where": {"$ref": "#/$defs/where"}, "up": {"type": ["boolean", "null"]}}},
                "where": {"properties": {"region": {"enum": ["eu", "us"]}, "plan": {"const": 1}, "n": {"type": "number"}}},
            },
        });
        let said = |at: &str| few_values(field(&schema, &Pointer::parse(at).unwrap().0)?);
        assert_eq!(said("/where/region").as_deref(), Some("one of 2 values"));
        assert_eq!(said("/where/plan").as_deref(), Some("always the same"));
        assert_eq!(said("/up").as_deref(), Some("true or false"));
        assert_eq!((said("/where/n"), said("/where/none"), said("")), (None, None, None));
    }
}
