//! What a spec says of itself, held against its own examples and samples.

use serde_json::Value as Json;

use super::at::At;
use super::compiler::Compiler;
use crate::connector::layers::opened;
use crate::connector::model::{Otherwise, Output, Receiver};
use crate::connector::pick::{EventPick, Pointer};
use crate::connector::template::{Condition, Scope};
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::path::Path;

impl Compiler {
    /// Holds `healthy` against the examples of its resource, and rules against their samples.
    pub fn prove(&mut self, top: &At<'_>) {
        let resources = top.get("provision").and_then(|at| at.get("resources"));
        for (_, resource) in resources.iter().flat_map(At::entries) {
            self.prove_health(&resource);
        }
        self.prove_rules(top);
    }

    fn prove_health(&mut self, resource: &At<'_>) {
        let Some(at) = resource.get("check").and_then(|check| check.get("healthy")) else { return };
        let Some(condition) = about(&at, "current") else { return };
        let examples = resource.get("examples");
        let example = |key: &str| examples.as_ref().and_then(|at| at.get(key));
        let Some(healthy) = example("healthy") else { return };
        let mut current = resource.get("desired").map_or(Json::Null, |desired| desired.value.clone());
        merge(&mut current, healthy.value);
        if holds(&condition, "current", &current) == Some(false) {
            self.disproved(&at, &healthy, "does not hold for the healthy example");
        }
        let Some(unhealthy) = example("unhealthy") else { return };
        merge(&mut current, unhealthy.value);
        if holds(&condition, "current", &current) == Some(true) {
            self.disproved(&at, &unhealthy, "holds for the unhealthy example too");
        }
    }

    fn disproved(&mut self, condition: &At<'_>, example: &At<'_>, how: &str) {
        let source = condition.text().unwrap_or_default();
        self.report(
            Mistake::new(Code::Disproved, Place::value(&condition.path), format!("`{source}` {how}"))
                .help("an example has what the vendor adds to `desired`: mend the condition, or the example")
                .related(Place::key(&example.path), "the example"),
        );
    }

    /// Holds samples against the picks of the receiver and the schema of a record.
    pub fn prove_samples(&mut self, receiver: &Receiver, output: Option<&Output>, samples: &[(Place, Json)]) {
        let time: Vec<EventPick> = receiver.event.time.iter().map(|(pick, _)| pick.clone()).collect();
        let records = &receiver.records;
        for (place, item) in samples {
            let found = records.unwrap.iter().find_map(|pointer| pointer.resolve(item));
            let Some(found) = found else {
                if self.by_operator(&["records", "unwrap"]) {
                    continue;
                }
                self.bad_sample(
                    place,
                    "the sample has nothing where `unwrap` points",
                    &["records", "unwrap"],
                );
                continue;
            };
            let record = match (opened(&records.layers, found), records.otherwise) {
                (Ok(record), _) => record,
                (Err(_), Otherwise::Text) => found.clone(),
                (Err(_), Otherwise::DeadLetter) if self.by_operator(&["records", "layers"]) => continue,
                (Err(why), Otherwise::DeadLetter) => {
                    let message = format!("the layers of the sample's record do not open: {why}");
                    self.bad_sample(place, &message, &["records", "layers"]);
                    continue;
                }
            };
            for (key, picks) in [("id", &receiver.event.id), ("time", &time), ("type", &receiver.event.kind)]
            {
                self.prove_picks(place, (item, &record), key, picks);
            }
            if let Some(output) = output {
                let mut record = record;
                output.remove.remove_from(&mut record);
                self.prove_record(place, output, &record);
            }
        }
    }

    /// Holds picks against a sample and the record in it.
    fn prove_picks(&mut self, place: &Place, (item, record): (&Json, &Json), key: &str, picks: &[EventPick]) {
        let missing: Vec<&Pointer> = picks
            .iter()
            .filter_map(|pick| match pick {
                EventPick::Item(pointer) => pointer.resolve(item).is_none().then_some(pointer),
                EventPick::Record(pointer) | EventPick::Hash(pointer) => {
                    pointer.resolve(record).is_none().then_some(pointer)
                }
                EventPick::Outer(_) | EventPick::Headers(_) | EventPick::Request(_) => None,
            })
            .collect();
        if self.by_operator(&["event", key]) {
            return;
        }
        if let (true, Some(first)) = (missing.len() == picks.len(), missing.first()) {
            self.bad_sample(
                place,
                &format!("the sample has nothing at `{first}`, where `event.{key}` points"),
                &["event", key],
            );
        }
    }

    /// Whether an operator's setting says where something stands. The sample is an example of what a sender may send, and
    /// says nothing of what the operator's own sender does.
    pub(super) fn by_operator(&self, key: &[&str]) -> bool {
        let key = format!("receiver.{}", key.join("."));
        let within =
            |one: &str| one.strip_prefix(&key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.settled && self.by_settings.iter().any(|one| within(&one.key))
    }

    fn prove_record(&mut self, place: &Place, output: &Output, record: &Json) {
        let wrong = output.schema.faults(record, 3).into_iter().map(|(at, what)| {
            let at = if at.is_empty() { "the record".to_owned() } else { at };
            crate::error::escaped(&format!("{at}: {what}"), 200)
        });
        for wrong in wrong {
            self.bad_sample(place, &format!("the sample's record does not fit the schema: {wrong}"), &[]);
        }
    }

    /// `about` are the keys under `receiver` that the sample was held against.
    fn bad_sample(&mut self, place: &Place, message: &str, about: &[&str]) {
        let mistake = Mistake::new(Code::BadSample, place.clone(), message)
            .help("a sample is one item as the vendor sends it: with what is around the record");
        let path = about.iter().fold(Path(vec!["receiver".to_owned()]), |path, key| path.join(*key));
        self.report(match about {
            [] => mistake,
            _ => mistake.related(Place::value(&path), "it is looked for by this"),
        });
    }
}

/// A condition that is about one name alone, and so can be held against an example.
pub(super) fn about(at: &At<'_>, root: &str) -> Option<Condition> {
    let condition = Condition::compile(at.text()?).ok()?;
    let names = condition.names();
    names.iter().all(|name| name.split('.').next() == Some(root)).then_some(condition)
}

fn holds(condition: &Condition, root: &'static str, value: &Json) -> Option<bool> {
    condition.holds(&Scope::default().with(root, value.clone())).ok()
}

/// Puts an example over a value: maps key by key, anything else as a whole.
fn merge(value: &mut Json, example: &Json) {
    match (value, example) {
        (Json::Object(map), Json::Object(more)) => {
            for (key, example) in more {
                merge(map.entry(key.clone()).or_insert(Json::Null), example);
            }
        }
        (value, example) => *value = example.clone(),
    }
}
