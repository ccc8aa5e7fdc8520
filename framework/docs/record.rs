//! What a record looks like: its fields from the schema, the known types of event, and one record whole.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::allowed;
use super::markdown::{block, code, joined, table};
use super::words;
use crate::connector::believed;
use crate::connector::layers::opened;
use crate::connector::model::{Connector, Decode, Each, Envelope, OnReuse};
use crate::connector::record::{REMEMBERED, Remember};
use crate::connector::template::Scope;

/// How deep fields are listed.
const DEPTH: usize = 4;
/// The most fields that are listed.
const FIELDS: usize = 400;
/// The longest example that is shown beside a field.
const EXAMPLE: usize = 60;

/// How a record is cut out, and its fields.
pub fn fields(connector: &Connector) -> String {
    let schema = &connector.output.described;
    let mut text = String::new();
    if let Some(words) = described(schema) {
        text.push_str(&format!("{words}\n\n"));
    }
    text.push_str(&format!("{}\n\n", cut(connector)));
    let rows: Vec<[String; 4]> = listed(schema)
        .iter()
        .map(|field| {
            let needed = if field.required { "true" } else { "false" };
            [code(&field.path), kind(field.schema), needed.to_owned(), words_of(field.schema)]
        })
        .collect();
    text.push_str(&table(["Field", "Type", "Required", "Description"], &rows));
    if let Some(envelope) = &connector.output.envelope {
        text.push_str(&format!("\n{}\n", enclosed(envelope)));
    }
    text
}

/// How records are cut out of a body, and what tells one from another.
fn cut(connector: &Connector) -> String {
    let receiver = &connector.receiver;
    let mut sentences = vec![match &receiver.decode {
        Decode::Json => "A body is one JSON document.".to_owned(),
        Decode::JsonLines { also_json: false } => "A body is JSON, one document a line.".to_owned(),
        Decode::JsonLines { also_json: true } => {
            "A body is JSON, one document a line or one for all.".to_owned()
        }
        Decode::JsonConcat => "A body is JSON documents one after the other.".to_owned(),
        Decode::Form { field: None } => "A body is a form; its fields are the record.".to_owned(),
        Decode::Form { field: Some(field) } => {
            format!("A body is a form with JSON in its field {}.", code(field))
        }
        Decode::Nothing(_) => "No body is read: the record is built from the request.".to_owned(),
    }];
    match &receiver.records.each {
        Each::At(pointers) => {
            let places: Vec<String> = pointers.iter().filter(|p| !p.0.is_empty()).map(words::place).collect();
            if !places.is_empty() {
                sentences.push(format!("The items stand at {}.", joined(&places, "or")));
            }
        }
        Each::Built(text) => sentences.push(format!("The items are {}.", code(text.source()))),
    }
    let unwrap: Vec<String> =
        receiver.records.unwrap.iter().filter(|p| !p.0.is_empty()).map(words::place).collect();
    if !unwrap.is_empty() {
        sentences.push(format!("The record is {} of an item.", joined(&unwrap, "or")));
    }
    sentences.push(picked(connector));
    let removed: Vec<String> = connector.output.remove.0.iter().map(words::place).collect();
    sentences.push(match removed.as_slice() {
        [] => "It leaves byte for byte as it came; one that does not fit the schema becomes a dead letter.".to_owned(),
        removed => format!(
            "It leaves as it came but for {}, which is removed; one that does not fit the schema becomes a dead letter.",
            joined(removed, "and")
        ),
    });
    sentences.join(" ")
}

fn picked(connector: &Connector) -> String {
    let event = &connector.receiver.event;
    let said = |picks: &mut dyn Iterator<Item = String>, last: &str| joined(&picks.collect::<Vec<_>>(), last);
    let ids = believed::ids(connector, &Scope::default());
    if event.without_id == Remember::Never && (ids.is_empty() || event.with_id == Remember::Never) {
        return format!(
            "Every event is delivered: none is taken for a duplicate of another.{}",
            when_and_what(connector)
        );
    }
    let within = |remember| match remember {
        Remember::Window | Remember::Never => String::new(),
        Remember::For(window) => format!(" and comes within {}", words::duration(window)),
    };
    let mut text = match ids.as_slice() {
        [] => format!(
            "An event is a duplicate when it stands at the same place of a body with the same bytes{}",
            within(event.without_id)
        ),
        picks => format!(
            "Two are the same when {} is the same{}",
            said(&mut picks.iter().map(words::event_pick), "with"),
            within(event.with_id)
        ),
    };
    match event.on_reuse {
        OnReuse::DeadLetter => {
            text.push_str("; the second is dropped, and one with other content is kept as a dead letter.")
        }
        OnReuse::Drop => text.push_str("; the second is dropped, whatever its content."),
        OnReuse::Deliver => {
            text.push_str("; the second is dropped, and one with other content is delivered.")
        }
    }
    let by_default = if ids.is_empty() { event.without_id } else { event.with_id };
    if by_default == Remember::Window {
        let what = if ids.is_empty() { "Its bytes are" } else { "An id is" };
        text.push_str(&format!(" {what} remembered for {}.", window(connector)));
    }
    if !ids.is_empty() {
        let lacks = "One that lacks a part of that is";
        text.push_str(&match event.without_id {
            Remember::Never => format!(" {lacks} delivered each time."),
            Remember::Window => format!(
                " {lacks} a duplicate when it stands at the same place of a body with the same bytes, and comes within {}.",
                window(connector)
            ),
            Remember::For(window) => format!(
                " {lacks} a duplicate when it stands at the same place of a body with the same bytes and comes within {}.",
                words::duration(window)
            ),
        });
    }
    text.push_str(&when_and_what(connector));
    text
}

/// How long the queue remembers what tells an event apart, unless the configuration says otherwise.
fn window(connector: &Connector) -> String {
    match connector.receiver.sender.gives_up_after {
        Some(repeats) if repeats > REMEMBERED => format!(
            "{}, as long as the sender repeats a request, unless `queue.dedupe.age` is configured",
            words::duration(repeats)
        ),
        Some(_) | None => {
            format!("{}, unless `queue.dedupe.age` is configured", words::duration(REMEMBERED))
        }
    }
}

fn when_and_what(connector: &Connector) -> String {
    let event = &connector.receiver.event;
    let said = |picks: &mut dyn Iterator<Item = String>, last: &str| joined(&picks.collect::<Vec<_>>(), last);
    let mut text = String::new();
    if !event.time.is_empty() {
        let mut times = event
            .time
            .iter()
            .map(|(pick, format)| format!("{} ({})", words::event_pick(pick), words::time(*format)));
        text.push_str(&format!(" When it happened: {}.", said(&mut times, "or")));
    }
    if !event.kind.is_empty() {
        text.push_str(&format!(
            " What happened: {}.",
            said(&mut event.kind.iter().map(words::event_pick), "or")
        ));
    }
    text
}

fn enclosed(envelope: &Envelope) -> String {
    let mut more: Vec<String> = envelope.fields.iter().map(|(name, _)| code(name)).collect();
    if !envelope.headers.is_empty() {
        let names: Vec<String> = envelope.headers.iter().map(|name| code(name)).collect();
        more.push(format!("the headers {}", joined(&names, "and")));
    }
    let more = if more.is_empty() { String::new() } else { format!(", and {}", joined(&more, "and")) };
    format!(
        "Every record is delivered in an envelope, as its `record`, with `connector`, `instance`, `id` and \
         `received_at` around it{more}."
    )
}

/// A field of a record.
#[derive(Debug)]
pub struct Field<'a> {
    /// Where it stands: names with points between them, `[]` behind that of a list.
    pub path: String,
    /// What it may be.
    pub schema: &'a Json,
    /// Whether it must be there.
    pub required: bool,
}

/// The fields of a schema in its order, those of what it refers to and of its parts included, so deep and so many
/// as a page lists.
pub fn listed(schema: &Json) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    collect(schema, schema, "", 0, &mut fields);
    fields.truncate(FIELDS);
    fields
}

fn collect<'a>(root: &'a Json, schema: &'a Json, prefix: &str, depth: usize, fields: &mut Vec<Field<'a>>) {
    if depth > DEPTH {
        return;
    }
    let schema = resolved(root, schema);
    let required: BTreeSet<&str> = schema
        .get("required")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    for (name, field) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
        let path = format!("{prefix}{name}");
        if fields.iter().any(|known| known.path == path) {
            continue;
        }
        let field = resolved(root, field);
        let required = required.contains(name.as_str());
        fields.push(Field { path: path.clone(), schema: field, required });
        collect(root, field, &format!("{path}."), depth + 1, fields);
        if let Some(items) = field.get("items") {
            collect(root, items, &format!("{path}[]."), depth + 1, fields);
        }
    }
    for word in ["allOf", "anyOf", "oneOf"] {
        for part in schema.get(word).and_then(Json::as_array).into_iter().flatten() {
            collect(root, part, prefix, depth + 1, fields);
        }
    }
    for part in ["then", "else"].into_iter().filter_map(|word| schema.get(word)) {
        collect(root, part, prefix, depth + 1, fields);
    }
}

/// A schema that is nothing but a reference within the same file, followed.
fn resolved<'a>(root: &'a Json, mut schema: &'a Json) -> &'a Json {
    for _ in 0..DEPTH {
        let reference = schema.get("$ref").and_then(Json::as_str).and_then(|text| text.strip_prefix('#'));
        match reference.and_then(|pointer| root.pointer(pointer)) {
            Some(target) if schema.get("properties").is_none() => schema = target,
            Some(_) | None => break,
        }
    }
    schema
}

fn kind(field: &Json) -> String {
    let kind = allowed::kind(field);
    let values = allowed::values(field);
    match (kind.is_empty(), values.is_empty() || values.starts_with("each:")) {
        (true, true) => "any".to_owned(),
        (true, false) => values,
        (false, true) => kind,
        (false, false) => format!("{kind}: {values}"),
    }
}

fn described(schema: &Json) -> Option<&str> {
    schema.get("description").and_then(Json::as_str)
}

fn words_of(field: &Json) -> String {
    let words = described(field).unwrap_or_default();
    let example = field.get("examples").and_then(|list| list.get(0)).map(allowed::shown);
    match example.filter(|example| example.len() <= EXAMPLE) {
        Some(example) if words.is_empty() => format!("For example {example}"),
        Some(example) => format!("{words} For example {example}"),
        None => words.to_owned(),
    }
}

/// The known types of event.
pub fn types(connector: &Connector) -> String {
    let known = &connector.output.known_types;
    let rows: Vec<[String; 2]> = known.iter().map(|(name, meaning)| [code(name), meaning.clone()]).collect();
    if rows.is_empty() {
        return match connector.receiver.event.kind.as_slice() {
            [] => "The spec tells none apart.\n".to_owned(),
            kinds => format!(
                "The spec lists none: whatever stands in {} is one, and flows on.\n",
                joined(&kinds.iter().map(words::event_pick).collect::<Vec<_>>(), "or")
            ),
        };
    }
    format!("Others flow on like these, and are counted.\n\n{}", table(["Type", "Meaning"], &rows))
}

/// The record of the first sample, as it is delivered.
pub fn sample(connector: &Connector) -> String {
    let records = &connector.receiver.records;
    let found = connector.samples.first().and_then(|item| {
        let found = records.unwrap.iter().find_map(|pointer| pointer.resolve(item))?;
        Some(opened(&records.layers, found).unwrap_or_else(|_| found.clone()))
    });
    let Some(mut record) = found else { return String::new() };
    connector.output.remove.remove_from(&mut record);
    let shown = match &connector.output.envelope {
        Some(_) => {
            json!({"connector": connector.name, "instance": connector.name, "…": "…", "record": record})
        }
        None => record,
    };
    block("json", &format!("{shown:#}"))
}
