//! What a sink gets: what tells an event from another, the fields of a record, what is put around it.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::finding::Findings;
use super::ranges;
use crate::connector::model::{Connector, Envelope, OnReuse};
use crate::connector::pick::EventPick;
use crate::connector::record::Remember;
use crate::docs::markdown::{code, joined};
use crate::docs::record::{Field, listed};
use crate::docs::words;

/// Words of a schema that only people read.
const WORDS: [&str; 6] = ["title", "description", "examples", "$comment", "$id", "default"];

const LETTERS: &str = "records that are otherwise become dead letters";

/// Compares what a sink gets.
pub fn compare(old: &Connector, new: &Connector, found: &mut Findings) {
    events(old, new, found);
    fields(&old.output.described, &new.output.described, found);
    envelope(old.output.envelope.as_ref(), new.output.envelope.as_ref(), found);
    removed(old, new, found);
    types(&old.output.known_types, &new.output.known_types, found);
}

/// What tells one event from another, when it happened and what it is.
fn events(old: &Connector, new: &Connector, found: &mut Findings) {
    let (a, b) = (&old.receiver.event, &new.receiver.event);
    let said = |picks: &[EventPick]| match picks {
        [] => "its place in its body".to_owned(),
        picks => joined(&picks.iter().map(words::event_pick).collect::<Vec<_>>(), "with"),
    };
    if a.id != b.id {
        found.breaks(
            "receiver.event.id",
            format!("two events are the same by {}, and were by {}", said(&b.id), said(&a.id)),
            "an event that came before the upgrade and is sent again after it is delivered twice; events that were told \
             apart may be taken for one, and dropped",
        );
    }
    if a.on_reuse != b.on_reuse {
        let done = |on_reuse| match on_reuse {
            OnReuse::DeadLetter => "a dead letter",
            OnReuse::Drop => "dropped",
            OnReuse::Deliver => "delivered",
        };
        found.look(
            "receiver.event.on_reuse",
            format!("other content under a known id was {}, and is {}", done(a.on_reuse), done(b.on_reuse)),
            "",
        );
    }
    if (a.with_id, a.without_id) != (b.with_id, b.without_id) {
        let done = |remember| match remember {
            Remember::Window => "within the queue's window".to_owned(),
            Remember::For(window) => format!("within {}", words::duration(window)),
            Remember::Never => "never".to_owned(),
        };
        let said = |with, without| format!("{} (without an id {})", done(with), done(without));
        found.look(
            "receiver.event.dedupe",
            format!(
                "an event that comes again is a duplicate {}, and was {}",
                said(b.with_id, b.without_id),
                said(a.with_id, a.without_id)
            ),
            "a shorter time delivers some events twice, a longer one may drop events that look alike",
        );
    }
    if a.time != b.time {
        found.look("receiver.event.time", "when an event happened is read elsewhere", "");
    }
    if a.kind != b.kind {
        found.look(
            "receiver.event.type",
            "what an event is called is read elsewhere",
            "metrics count it by that",
        );
    }
}

/// The fields of a record: what must be there, what may be, and of which type.
fn fields(old: &Json, new: &Json, found: &mut Findings) {
    let before = found.0.len();
    let root = ranges::compare(old, new);
    changed("output.schema", root, found);
    let (was, is) = (listed(old), listed(new));
    for field in &was {
        let about = code(&field.path);
        match is.iter().find(|other| other.path == field.path) {
            Some(other) => field_changed(about, field, other, found),
            None => found.breaks(
                about,
                "the field is gone from the record's schema",
                "who reads it cannot rely on it any more; a record that has it still leaves as it came",
            ),
        }
    }
    for field in is.iter().filter(|field| was.iter().all(|other| other.path != field.path)) {
        if field.required {
            found.breaks(code(&field.path), "a field that must be there", LETTERS);
        } else {
            found.safe(code(&field.path), format!("a field more: {}", kind(field.schema)));
        }
    }
    for (word, closed) in [
        ("additionalProperties", "fields that the schema does not know"),
        ("unevaluatedProperties", "fields that the schema does not know"),
    ] {
        let shut = |schema: &Json| schema.get(word) == Some(&Json::Bool(false));
        match (shut(old), shut(new)) {
            (false, true) => {
                found.breaks("output.schema", format!("{closed} are not taken any more"), LETTERS)
            }
            (true, false) => {
                found.look("output.schema", format!("{closed} are taken"), "who reads has to expect them")
            }
            (true, true) | (false, false) => {}
        }
    }
    if found.0.len() == before && bare(old) != bare(new) {
        found.look(
            "output.schema",
            "what a record must be is said otherwise",
            "play what was recorded: `forebay test`",
        );
    }
}

fn field_changed(about: String, a: &Field<'_>, b: &Field<'_>, found: &mut Findings) {
    match (a.required, b.required) {
        (false, true) => found.breaks(&about, "it must be there now", LETTERS),
        (true, false) => found.look(&about, "it may be missing now", "who reads it has to expect that"),
        (true, true) | (false, false) => {}
    }
    changed(&about, ranges::compare(a.schema, b.schema), found);
}

fn changed(about: &str, change: ranges::Change, found: &mut Findings) {
    for less in change.less {
        found.breaks(about, less, LETTERS);
    }
    for more in change.more {
        found.look(about, more, "who reads it has to expect that");
    }
}

fn kind(schema: &Json) -> String {
    let kind = crate::docs::allowed::kind(schema);
    if kind.is_empty() { "any".to_owned() } else { kind }
}

/// A schema without what only people read, but for properties that are called so.
fn bare(schema: &Json) -> Json {
    match schema {
        Json::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !WORDS.contains(&key.as_str()));
            let inner = |(key, value): (&String, &Json)| {
                let named = ["properties", "$defs", "patternProperties"].contains(&key.as_str());
                let value = match value {
                    Json::Object(names) if named => {
                        names.iter().map(|(name, schema)| (name.clone(), bare(schema))).collect()
                    }
                    other => bare(other),
                };
                (key.clone(), value)
            };
            Json::Object(kept.map(inner).collect())
        }
        Json::Array(items) => items.iter().map(bare).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => schema.clone(),
    }
}

/// What is put around a record.
fn envelope(old: Option<&Envelope>, new: Option<&Envelope>, found: &mut Findings) {
    const ABOUT: &str = "output.envelope";
    const READERS: &str = "who reads the records has to follow";
    match (old, new) {
        (None, None) => {}
        (None, Some(_)) => found.breaks(ABOUT, "a record is put into an envelope, as its `record`", READERS),
        (Some(_), None) => found.breaks(ABOUT, "a record stands alone, without its envelope", READERS),
        (Some(a), Some(b)) => {
            for header in a.headers.iter().filter(|header| !b.headers.contains(header)) {
                found.breaks(ABOUT, format!("the header {} is not in it any more", code(header)), READERS);
            }
            for header in b.headers.iter().filter(|header| !a.headers.contains(header)) {
                found.safe(ABOUT, format!("the header {} is in it too", code(header)));
            }
            for (name, pick) in &a.fields {
                match b.fields.iter().find(|(other, _)| other == name) {
                    None => found.breaks(ABOUT, format!("{} is not in it any more", code(name)), READERS),
                    Some((_, other)) if other != pick => {
                        found.look(ABOUT, format!("{} comes from elsewhere", code(name)), "");
                    }
                    Some(_) => {}
                }
            }
            for (name, _) in
                b.fields.iter().filter(|(name, _)| a.fields.iter().all(|(other, _)| other != name))
            {
                found.safe(ABOUT, format!("{} is in it too", code(name)));
            }
        }
    }
}

/// What is removed from records.
fn removed(old: &Connector, new: &Connector, found: &mut Findings) {
    const ABOUT: &str = "output.remove";
    let (was, is) = (&old.output.remove.0, &new.output.remove.0);
    for pointer in is.iter().filter(|pointer| !was.contains(pointer)) {
        found.breaks(
            ABOUT,
            format!("{} is removed from records", code(&pointer.to_string())),
            "see that no reader of the records uses it",
        );
    }
    for pointer in was.iter().filter(|pointer| !is.contains(pointer)) {
        found.look(
            ABOUT,
            format!("{} is not removed from records any more", code(&pointer.to_string())),
            "see that it is no secret",
        );
    }
}

/// The types of event that are known: others flow on too.
fn types(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>, found: &mut Findings) {
    let only = |these: &BTreeMap<String, String>, those: &BTreeMap<String, String>| -> Vec<String> {
        these.keys().filter(|name| !those.contains_key(*name)).map(|name| code(name)).collect()
    };
    let (gone, come) = (only(old, new), only(new, old));
    if !gone.is_empty() {
        found.look(
            "output.known_types",
            format!("{} no longer known", are(&gone)),
            "they flow on, and are counted as unknown",
        );
    }
    if !come.is_empty() {
        found.safe("output.known_types", format!("{} known too", are(&come)));
    }
}

fn are(names: &[String]) -> String {
    format!("{} {}", joined(names, "and"), if names.len() == 1 { "is" } else { "are" })
}
