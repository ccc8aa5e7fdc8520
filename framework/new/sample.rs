//! The sample event of a new connector, with everything where the answers say it stands, and the schema it fits.

use serde_json::{Map, Value as Json, json};

use super::questions::Answers;
use super::takes::NONE;
use crate::connector::pick::Pointer;
use crate::error::{Error, Kind, Result};

/// What the vendor sends once.
pub(super) struct Sample {
    /// The event.
    pub(super) item: Json,
    /// The schema of the record.
    pub(super) schema: Json,
    /// The body with that one event.
    pub(super) body: String,
    /// The headers that say something of the event.
    pub(super) headers: Vec<(String, String)>,
}

/// Makes it. `Err` where the answers put one value into another.
pub(super) fn make(answers: &Answers) -> Result<Sample> {
    let answer = |name: &str| answers.get(name).map(String::as_str).unwrap_or(NONE);
    let time = match answer("time-format") {
        "unix" => json!(1_767_225_600),
        "unix_ms" => json!(1_767_225_600_000_i64),
        _ => json!("2026-01-01T00:00:00Z"),
    };
    let values = [
        ("id", json!("evt-1"), "What tells this event from every other."),
        ("time", time, "When it happened."),
        ("type", json!("example.created"), "What happened."),
    ];
    let (mut item, mut headers) = (json!({}), Vec::new());
    let mut schema = json!({"type": "object", "required": [], "properties": {}});
    for (name, value, description) in values {
        let place = answer(name);
        if let Some(header) = place.strip_prefix("header:") {
            headers.push((header.to_owned(), value.as_str().unwrap_or_default().to_owned()));
        } else if let Ok(pointer) = Pointer::parse(place)
            && place != NONE
        {
            let inside = || {
                Error::new(Kind::Configuration, format!("--{name} {place} stands where something else does"))
                    .help("--id, --time and --type name three places, none inside another")
            };
            put(&mut item, &pointer.0, value.clone()).ok_or_else(inside)?;
            let mut leaf = json!({"type": "string", "minLength": 1});
            if value.is_i64() {
                leaf = json!({"type": "integer"});
            }
            leaf["description"] = json!(description);
            leaf["examples"] = json!([value]);
            describe(&mut schema, &pointer.0, leaf);
        }
    }
    if item.as_object().is_some_and(Map::is_empty) {
        item = json!({"message": "an example"});
        describe(
            &mut schema,
            &["message".to_owned()],
            json!({"type": "string", "description": "What it says."}),
        );
    }
    let title = answer("title");
    let mut whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("A record of {title}"),
        "description": "One event as the vendor sends it. What is not named here is let through.",
    });
    if let (Some(whole), Json::Object(schema)) = (whole.as_object_mut(), schema) {
        whole.extend(schema);
    }
    let body = match Pointer::parse(answer("each")) {
        Ok(each) if answer("each") != NONE => {
            let mut body = json!({});
            put(&mut body, &each.0, json!([item])).map(|()| body.to_string()).unwrap_or_default()
        }
        Ok(_) | Err(_) => item.to_string(),
    };
    Ok(Sample { item, schema: whole, body, headers })
}

/// Puts a value at a place that is free; `None` where it is not.
fn put(into: &mut Json, path: &[String], value: Json) -> Option<()> {
    let (last, before) = path.split_last()?;
    let mut at = into;
    for name in before {
        at = at.as_object_mut()?.entry(name.clone()).or_insert_with(|| json!({}));
    }
    let members = at.as_object_mut()?;
    if members.contains_key(last) {
        return None;
    }
    members.insert(last.clone(), value);
    Some(())
}

/// Says in the schema what stands at a place, and that it must.
fn describe(schema: &mut Json, path: &[String], leaf: Json) {
    let Some((first, rest)) = path.split_first() else { return };
    let here = &mut schema["properties"][first.as_str()];
    if rest.is_empty() {
        *here = leaf;
    } else {
        if here.is_null() {
            *here = json!({"type": "object", "required": [], "properties": {}});
        }
        describe(here, rest, leaf);
    }
    if let Some(required) = schema["required"].as_array_mut()
        && !required.iter().any(|name| name == first)
    {
        required.push(json!(first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(pairs: &[(&'static str, &str)]) -> Answers {
        let mut answers = Answers::from([("title", "Acme".to_owned())]);
        answers.extend(pairs.iter().map(|(name, text)| (*name, (*text).to_owned())));
        answers
    }

    #[test]
    fn everything_stands_where_the_answers_say() {
        let sample = make(&answers(&[
            ("id", "/about/id"),
            ("time", "/about/at"),
            ("time-format", "unix"),
            ("type", "header:X-Event"),
            ("each", "/data/events"),
        ]))
        .unwrap();
        assert_eq!(sample.item, json!({"about": {"id": "evt-1", "at": 1_767_225_600}}));
        assert_eq!(sample.body, r#"{"data":{"events":[{"about":{"id":"evt-1","at":1767225600}}]}}"#);
        assert_eq!(sample.headers, [("X-Event".to_owned(), "example.created".to_owned())]);
        assert_eq!(sample.schema["required"], json!(["about"]));
        assert_eq!(sample.schema["properties"]["about"]["required"], json!(["id", "at"]));
    }

    #[test]
    fn two_values_in_one_place_are_refused() {
        for (id, time) in [("/a", "/a"), ("/a", "/a/b"), ("/a/b", "/a")] {
            let error = make(&answers(&[("id", id), ("time", time)])).err().unwrap();
            assert!(error.to_string().contains("--time"), "{error}");
        }
    }
}
