//! What a record looks like, and the samples: the other files of a connector.

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use serde_json::Value as Json;

use super::at::At;
use super::compiler::Compiler;
use crate::connector::model::{Each, Envelope, Output, Proof, Receiver, Verify};
use crate::connector::pick::{EventPick, Pick, Pointer};
use crate::connector::removal::Removal;
use crate::connector::schema::RecordSchema;
use crate::spec::fix::Fix;
use crate::spec::load;
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::nearest::{Meant, meant};
use crate::spec::source::{inside, read_bounded};

/// The most that another file of a connector may hold.
const MAX_FILE: u64 = 16 << 20;

impl Compiler {
    /// The schema of a record and the known types.
    pub fn output(&mut self, top: &At<'_>) -> Option<Output> {
        let at = top.get("output")?;
        self.not_built_keys(&at, &["map"]);
        let schema = at.get("schema").and_then(|at| self.record_schema(&at));
        let (schema, described) = schema.unzip();
        let known_types = at.get("known_types").map(|at| self.known_types(&at)).unwrap_or_default();
        let envelope = self.envelope(&at);
        let remove =
            Removal(at.get("remove").iter().flat_map(At::items).filter_map(|at| self.removed(&at)).collect());
        Some(Output { schema: schema?, described: described?, known_types, envelope, remove })
    }

    /// One place that is removed from records.
    fn removed(&mut self, at: &At<'_>) -> Option<Pointer> {
        let pointer = self.pointer(at)?;
        if pointer.0.is_empty() {
            self.report(
                Mistake::new(Code::Contradiction, Place::value(&at.path), "this removes the whole record")
                    .help("name a value in the record: `/token`"),
            );
            return None;
        }
        Some(pointer)
    }

    /// What is put around a record. Naming headers asks for it, and so does `envelope`, which may name more.
    fn envelope(&mut self, at: &At<'_>) -> Option<Envelope> {
        let asked = at.get("envelope");
        let fields = asked.iter().flat_map(At::entries);
        let fields: Vec<_> = fields.filter_map(|(name, at)| self.field(name, &at)).collect();
        let headers = at.get("headers");
        let headers = headers.iter().flat_map(At::items);
        let headers: Vec<_> =
            headers.filter_map(|at| self.header_name(&at).map(|name| name.to_ascii_lowercase())).collect();
        let wanted = asked.is_some_and(|at| at.value.as_bool() != Some(false));
        (wanted || !headers.is_empty() || !fields.is_empty()).then_some(Envelope { headers, fields })
    }

    /// One field of an envelope, under a name that is free.
    fn field(&mut self, name: &str, at: &At<'_>) -> Option<(String, EventPick)> {
        if ["connector", "instance", "id", "received_at", "headers", "record"].contains(&name) {
            self.report(
                Mistake::new(
                    Code::Contradiction,
                    Place::key(&at.path),
                    format!("`{name}` stands in every envelope already"),
                )
                .help("take another name for what you add"),
            );
        }
        Some((name.to_owned(), self.event_pick(at)?))
    }

    /// What proves the sender is a secret, and no event is known by one: ids and types are logged and counted.
    pub fn known_by_no_secret(&mut self, top: &At<'_>, receiver: &Receiver) {
        let event = &receiver.event;
        let picks = [("id", &event.id), ("type", &event.kind)];
        for (key, picks) in picks {
            let secret = |pick: &EventPick| match pick {
                EventPick::Request(pick) => is_proof(&receiver.verify, pick),
                EventPick::Headers(names) => {
                    names.iter().any(|name| is_proof(&receiver.verify, &Pick::Header(name.clone())))
                }
                EventPick::Item(_) | EventPick::Outer(_) | EventPick::Record(_) | EventPick::Hash(_) => false,
            };
            let at = top.get("receiver").and_then(|at| at.get("event")).and_then(|at| at.get(key));
            if let (true, Some(at)) = (picks.iter().any(secret), at) {
                self.report(
                    Mistake::new(
                        Code::SecretAstray,
                        Place::value(&at.path),
                        format!(
                            "what proves the sender would be the {key} of every event: request → event.{key}"
                        ),
                    )
                    .help("ids and types stand in logs and metrics: pick what tells one event from another"),
                );
            }
        }
    }

    /// What proves the sender and stands in the body is a secret too: it is removed from records.
    pub fn removes_secrets(&mut self, top: &At<'_>, receiver: &Receiver, output: &Output) {
        for leak in leaks(receiver) {
            if output.remove.covers(&leak) {
                continue;
            }
            let at = top.get("output");
            let place = at.map_or_else(|| Place::value(&top.path), |at| Place::key(&at.path));
            self.report(
                Mistake::new(
                    Code::SecretAstray,
                    place,
                    format!(
                        "what proves the sender would stand in every record: verify → `{leak}` of the record"
                    ),
                )
                .help(format!("remove it from records: `remove: [{leak}]` under `output`")),
            );
        }
    }

    /// What proves the sender is a secret, and no secret is delivered.
    pub fn delivers_no_secret(&mut self, top: &At<'_>, verify: &Verify, output: &Output) {
        let Some(envelope) = &output.envelope else { return };
        let secret = |pick: &Pick| is_proof(verify, pick);
        let headers = envelope.headers.iter().map(|name| Pick::Header(name.clone()));
        let fields = envelope.fields.iter().filter_map(|(_, pick)| match pick {
            EventPick::Request(pick) => Some(pick.clone()),
            EventPick::Item(_)
            | EventPick::Outer(_)
            | EventPick::Record(_)
            | EventPick::Hash(_)
            | EventPick::Headers(_) => None,
        });
        let several = envelope.fields.iter().filter_map(|(_, pick)| match pick {
            EventPick::Headers(names) => Some(names.iter().map(|name| Pick::Header(name.clone()))),
            EventPick::Item(_)
            | EventPick::Outer(_)
            | EventPick::Record(_)
            | EventPick::Hash(_)
            | EventPick::Request(_) => None,
        });
        if headers.chain(fields).chain(several.flatten()).any(|pick| secret(&pick)) {
            let at = top.get("output");
            let place = at.as_ref().and_then(|at| at.get("headers").or(at.get("envelope")));
            let place = place.map_or_else(|| Place::value(&top.path), |at| Place::value(&at.path));
            self.report(
                Mistake::new(
                    Code::Contradiction,
                    place,
                    "what proves the sender would stand in every record",
                )
                .help("records go to sinks, and no secret does: leave out what `verify` compares"),
            );
        }
    }

    fn record_schema(&mut self, at: &At<'_>) -> Option<(RecordSchema, Json)> {
        let json = self.json_file(at)?;
        match RecordSchema::compile(&json) {
            Ok(schema) => Some((schema, json)),
            Err(wrong) => {
                let message = format!("the schema of a record is no JSON Schema that can be used: {wrong}");
                self.report(
                    Mistake::new(Code::BadSchema, Place::value(&at.path), message)
                        .help("JSON Schema 2020-12; every $ref stays inside the file"),
                );
                None
            }
        }
    }

    fn known_types(&mut self, at: &At<'_>) -> BTreeMap<String, String> {
        let read = match at.text() {
            Some(_) => self.yaml_file(at),
            None => Some(at.value.clone()),
        };
        match read {
            Some(Json::Object(map)) => map
                .into_iter()
                .map(|(code, name)| (code, name.as_str().unwrap_or_default().to_owned()))
                .collect(),
            _ => BTreeMap::new(),
        }
    }

    /// The samples: items as the vendor sends them.
    pub fn samples(&mut self, top: &At<'_>) -> Vec<(Place, Json)> {
        let places = top.get("samples");
        places
            .iter()
            .flat_map(At::items)
            .filter_map(|at| Some((Place::value(&at.path), self.json_file(&at)?)))
            .collect()
    }

    fn json_file(&mut self, at: &At<'_>) -> Option<Json> {
        let text = self.file(at)?;
        serde_json::from_str(&text).map_err(|e| self.bad_file(at, &format!("it is no JSON: {e}"))).ok()
    }

    fn yaml_file(&mut self, at: &At<'_>) -> Option<Json> {
        let text = self.file(at)?;
        load::values(&text).map_err(|e| self.bad_file(at, &e.message)).ok()
    }

    /// The text of another file of the connector.
    pub fn file(&mut self, at: &At<'_>) -> Option<String> {
        let name = FilePath::new(at.text()?);
        if name.is_absolute() {
            self.bad_file(at, "its path begins at the root of the machine");
            return None;
        }
        let path = inside(&self.folder, &self.folder.join(name));
        path.and_then(|path| read_bounded(&path, MAX_FILE)).map_err(|e| self.bad_file(at, &e)).ok()
    }

    /// Reports that another file of the connector cannot be used.
    pub(super) fn bad_file(&mut self, at: &At<'_>, why: &str) {
        let name = at.text().unwrap_or_default();
        let place = Place::value(&at.path);
        let (folder, file) = name.rsplit_once('/').map_or(("", name), |(folder, file)| (folder, file));
        // The names in a folder that is not the connector's are none of its business either.
        let there =
            inside(&self.folder, &self.folder.join(folder)).map(|folder| files(&folder)).unwrap_or_default();
        // Of another kind of file nobody makes a slip.
        let kind = |name: &str| FilePath::new(name).extension().map(std::ffi::OsStr::to_owned);
        let alike =
            there.iter().map(String::as_str).filter(|other| *other != file && kind(other) == kind(file));
        let near = meant(file, alike);
        let help = match near {
            Some(Meant { name, .. }) => format!("did you mean `{name}`?"),
            None => {
                "name files from the spec's folder; they stay in it, or in a `schemas` folder next to it or one above"
                    .to_owned()
            }
        };
        let fix = near.map(|Meant { name: near, sure }| {
            let path = &name[..name.len() - file.len()];
            Fix::text(place.clone(), format!("{path}{near}")).safe_if(sure)
        });
        let message = format!("`{name}` cannot be used: {why}");
        self.report(Mistake::new(Code::BadFile, place, message).help(help).fix(fix));
    }
}

/// The names of the files in a folder.
fn files(folder: &FilePath) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(std::result::Result::ok);
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut names: Vec<String> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Where secrets that prove the sender stand in records, as pointers into the record.
fn leaks(receiver: &Receiver) -> Vec<Pointer> {
    const ANY: &str = "*";
    let any = || Pointer(vec![ANY.to_owned()]);
    let records = &receiver.records;
    let (Each::At(each), true) = (&records.each, records.layers.is_empty()) else { return Vec::new() };
    // A list at a place brings its members, and what is no list is an item itself.
    let lists = each.iter().flat_map(|each| [each.clone(), each.clone().join(&any())]);
    let items: Vec<Pointer> = match records.then_each.as_slice() {
        [] => lists.collect(),
        then => lists
            .flat_map(|list| then.iter().map(move |inner| list.clone().join(inner)))
            .flat_map(|inner| [inner.clone(), inner.join(&any())])
            .collect(),
    };
    let roots: Vec<Pointer> =
        items.iter().flat_map(|item| records.unwrap.iter().map(|inner| item.clone().join(inner))).collect();
    let mut found: Vec<Pointer> = Vec::new();
    for check in receiver.verify.checks() {
        let place = match &check.proof {
            Proof::Token { place, .. } => place,
            Proof::Jwt(jwt) => &jwt.place,
            Proof::Basic { .. } | Proof::Hmac { .. } | Proof::Digest { .. } | Proof::PublicKey { .. } => {
                continue;
            }
        };
        let secret = match (place, &check.each) {
            (Pick::Item(inner), Some(list)) => list.clone().join(&any()).join(inner),
            (Pick::Body(pointer) | Pick::Item(pointer), _) => pointer.clone(),
            (Pick::Header(_) | Pick::Query(_) | Pick::Form(_), _) => continue,
        };
        for root in &roots {
            let same = |(a, b): (&String, &String)| {
                let index = |text: &str| text.parse::<usize>().is_ok();
                a == b || a == ANY && index(b) || b == ANY && index(a)
            };
            if root.0.len() < secret.0.len() && root.0.iter().zip(&secret.0).all(same) {
                let inside = Pointer(secret.0.iter().skip(root.0.len()).cloned().collect());
                // A list that is taken for a record names its members by any position: that is the other root.
                if !inside.0.iter().any(|token| token == ANY) && !found.contains(&inside) {
                    found.push(inside);
                }
            }
        }
    }
    found
}

/// Whether a place of a request holds what proves the sender.
fn is_proof(verify: &Verify, pick: &Pick) -> bool {
    verify.checks().iter().any(|check| match &check.proof {
        Proof::Token { place, .. } => place == pick,
        Proof::Jwt(jwt) => jwt.place == *pick,
        Proof::Basic { .. } => *pick == Pick::Header("authorization".to_owned()),
        Proof::Hmac { .. } | Proof::Digest { .. } | Proof::PublicKey { .. } => false,
    })
}
