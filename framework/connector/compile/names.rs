//! The names a template may use, and where each of them exists: the table of the language.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::at::At;
use crate::connector::template::Text;
use crate::spec::nearest::nearest;
use crate::spec::path::Path;

/// What the spec itself defines. `None`: it is malformed, which has been reported, and nothing can be said
/// about its names.
#[derive(Debug, Default)]
pub struct Defined {
    /// The names under `settings`.
    pub settings: Option<BTreeSet<String>>,
    /// What the settings say of themselves.
    pub kinds: BTreeMap<String, Json>,
    /// The names under `secrets`.
    pub secrets: Option<BTreeSet<String>>,
    /// The names under `vars`, each with the names that its text uses.
    pub vars: Option<BTreeMap<String, Vec<String>>>,
    /// The names under `auth`, each with the names that it saves.
    pub auths: Option<BTreeMap<String, BTreeSet<String>>>,
    /// The resources, each with the names that its operations and the receiver's rules save.
    pub saved: Option<BTreeMap<String, BTreeSet<String>>>,
    /// The resources, each with its operations.
    pub operations: Option<BTreeMap<String, BTreeSet<String>>>,
    /// What rules capture, as RESOURCE.NAME: it may be there at any time.
    pub captured: BTreeSet<String>,
    /// Where each of them stands, by its whole name: `settings.base_url`, `state.hook.id`.
    pub places: BTreeMap<String, Path>,
    /// The texts of vars that are a URL's beginning, by name.
    pub var_texts: BTreeMap<String, String>,
}

impl Defined {
    /// Collects the names of a spec.
    pub fn of(top: &At<'_>, malformed: &[Path]) -> Self {
        let captured = captured(top);
        let group = |key: &str| {
            let about = |path: &&Path| path.0.len() <= 2 && path.0.first().is_some_and(|first| first == key);
            if malformed.iter().any(|path| about(&path)) { None } else { group(top, key) }
        };
        Self {
            kinds: top
                .get("settings")
                .iter()
                .flat_map(At::entries)
                .map(|(name, at)| (name.to_owned(), at.value.clone()))
                .collect(),
            settings: group("settings").map(|at| at.iter().flat_map(At::entries).map(name).collect()),
            secrets: group("secrets").map(|at| at.iter().flat_map(At::entries).map(name).collect()),
            vars: group("vars").map(|at| at.iter().flat_map(At::entries).map(var).collect()),
            auths: group("auth").map(|at| at.iter().flat_map(At::entries).map(auth).collect()),
            saved: group("provision").map(|at| saved(at.as_ref(), &captured)),
            operations: group("provision").map(|at| operations(at.as_ref())),
            captured,
            places: places(top),
            var_texts: top
                .get("vars")
                .iter()
                .flat_map(At::entries)
                .filter_map(|(name, at)| Some((name.to_owned(), at.text()?.to_owned())))
                .collect(),
        }
    }

    /// Every name that these names stand for, each with the var that brings it in where it is one.
    pub fn through_vars(&self, names: &[String]) -> Vec<(String, Option<String>)> {
        let mut found: Vec<(String, Option<String>)> =
            names.iter().map(|name| (name.clone(), None)).collect();
        let mut seen = BTreeSet::new();
        let mut next = 0;
        while let Some((name, by)) = found.get(next).cloned() {
            next += 1;
            let Some(var) = name.strip_prefix("vars.").and_then(|rest| rest.split('.').next()) else {
                continue;
            };
            if !seen.insert(var.to_owned()) {
                continue;
            }
            let by = by.unwrap_or_else(|| var.to_owned());
            let inner = self.vars.as_ref().and_then(|vars| vars.get(var)).into_iter().flatten();
            found.extend(inner.map(|name| (name.clone(), Some(by.clone()))));
        }
        found
    }

    /// The way of a name to where these names stand, itself first: `secrets.key → vars.inner → vars.outer`.
    pub fn way(&self, names: &[String], wanted: &str) -> Vec<String> {
        self.way_within(names, wanted, &mut BTreeSet::new()).unwrap_or_else(|| vec![wanted.to_owned()])
    }

    fn way_within(&self, names: &[String], wanted: &str, seen: &mut BTreeSet<String>) -> Option<Vec<String>> {
        if names.iter().any(|name| name == wanted) {
            return Some(vec![wanted.to_owned()]);
        }
        let vars = self.vars.as_ref()?;
        names.iter().find_map(|name| {
            let var = name.strip_prefix("vars.")?.split('.').next()?;
            if !seen.insert(var.to_owned()) {
                return None;
            }
            let mut way = self.way_within(vars.get(var)?, wanted, seen)?;
            way.push(format!("vars.{var}"));
            Some(way)
        })
    }
}

/// Where every name is defined that a text may use.
fn places(top: &At<'_>) -> BTreeMap<String, Path> {
    let mut found = BTreeMap::new();
    for group in ["settings", "secrets", "vars", "auth"] {
        let names = top.get(group);
        found.extend(
            names.iter().flat_map(At::entries).map(|(name, at)| (format!("{group}.{name}"), at.path)),
        );
    }
    let resources = top.get("provision").and_then(|at| at.get("resources"));
    for (resource, at) in resources.iter().flat_map(At::entries) {
        for step in at.entries().flat_map(|(_, operation)| operation.one_or_many()) {
            for (name, at) in step.get("save").iter().flat_map(At::entries) {
                found.entry(format!("state.{resource}.{name}")).or_insert(at.path);
            }
        }
        found.insert(format!("state.{resource}"), at.path);
    }
    found
}

/// A group of names at the top. `Some(None)`: there is none, so nothing is defined. `None`: it is malformed,
/// or stands there under a name that is nearly its own.
fn group<'a>(top: &At<'a>, key: &str) -> Option<Option<At<'a>>> {
    match top.get(key) {
        Some(at) if at.value.is_object() => Some(Some(at)),
        Some(_) => None,
        None => {
            let slipped =
                top.entries().any(|(other, _)| !KNOWN.contains(&other) && nearest(other, [key]).is_some());
            (!slipped).then_some(None)
        }
    }
}

/// The keys at the top that are words of the language.
const KNOWN: &[&str] = &[
    "forebay",
    "name",
    "title",
    "vendor",
    "sync",
    "summary",
    "settings",
    "secrets",
    "vars",
    "auth",
    "provision",
    "receiver",
    "output",
    "samples",
    "simulate",
    "guide",
];

fn name((name, _): (&str, At<'_>)) -> String {
    name.to_owned()
}

fn var((name, at): (&str, At<'_>)) -> (String, Vec<String>) {
    let names = at.text().and_then(|text| Text::compile(text).ok()).map(|text| text.names());
    (name.to_owned(), names.unwrap_or_default())
}

fn auth((name, at): (&str, At<'_>)) -> (String, BTreeSet<String>) {
    let saved = at.get("save").iter().flat_map(At::entries).map(|(name, _)| name.to_owned()).collect();
    (name.to_owned(), saved)
}

fn saved(provision: Option<&At<'_>>, captured: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, resource) in provision.and_then(|at| at.get("resources")).iter().flat_map(At::entries) {
        found.entry(name.to_owned()).or_default().extend(saved_by(&resource));
    }
    for name in captured {
        if let Some((resource, name)) = name.split_once('.') {
            found.entry(resource.to_owned()).or_default().insert(name.to_owned());
        }
    }
    found
}

fn operations(provision: Option<&At<'_>>) -> BTreeMap<String, BTreeSet<String>> {
    let resources = provision.and_then(|at| at.get("resources"));
    let named = |at: At<'_>| {
        at.entries().map(|(key, _)| key.to_owned()).filter(|key| OPERATIONS.contains(&&**key)).collect()
    };
    resources.iter().flat_map(At::entries).map(|(name, at)| (name.to_owned(), named(at))).collect()
}

/// The keys of a resource that a rule can run.
const OPERATIONS: &[&str] = &["check", "create", "update", "repair", "renew"];

/// The names that the operations of a resource save.
pub fn saved_by(resource: &At<'_>) -> BTreeSet<String> {
    resource
        .entries()
        .flat_map(|(_, operation)| operation.one_or_many())
        .flat_map(|step| step_saves(&step))
        .collect()
}

/// The names that one step saves.
pub fn step_saves(step: &At<'_>) -> Vec<String> {
    step.get("save").iter().flat_map(At::entries).map(|(name, _)| name.to_owned()).collect()
}

fn captured(top: &At<'_>) -> BTreeSet<String> {
    let rules = top.get("receiver").and_then(|at| at.get("rules"));
    rules
        .iter()
        .flat_map(At::items)
        .filter_map(|rule| rule.get("capture"))
        .flat_map(|capture| capture.entries().map(|(name, _)| name.to_owned()).collect::<Vec<_>>())
        .collect()
}

/// A place of the life, told apart by the names that exist there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// `required_when` and `provision.when`: the settings alone.
    Settings,
    /// A var: what exists where it is used is checked there.
    Var,
    /// Inside an auth.
    Auth,
    /// Where an auth puts its token.
    Sign,
    /// What a person is told to do: neither state nor a moment.
    Manual,
    /// `desired`.
    Desired,
    /// A call of `find`.
    Find,
    /// `find.where`.
    Where,
    /// `create` and `adopt`.
    Create,
    /// `update`, `repair`, `renew`.
    Update,
    /// The call of `check`.
    Check,
    /// `healthy`.
    Current,
    /// `delete`.
    Delete,
    /// `ok`, `until`, `gone`: an answer.
    Answer,
    /// The receiver's path: no secrets.
    Path,
    /// `verify`, and a rule's `when`.
    Request,
    /// What is signed.
    Message,
    /// What `verify` requires besides.
    Proof,
    /// A rule's `respond`.
    Reply,
    /// `receiver.respond`.
    Respond,
    /// A rule's `sample`: what a person fills in, and nothing else.
    Sample,
    /// What is built of a request and ends up in records: no secrets.
    Record,
    /// What the stand-in sends.
    Simulate,
}

use Here::{
    Answer, Auth, Check, Create, Current, Delete, Desired, Find, Manual, Message, Proof, Record, Reply,
    Request, Respond, Sign, Simulate, Update, Var, Where,
};

/// One row of the table: a name, its parts (none: any), where it exists, and that in words.
pub struct Row {
    /// The name.
    pub root: &'static str,
    /// What may follow it; empty: anything.
    pub parts: &'static [&'static str],
    /// Where it exists; empty: everywhere but in `required_when`.
    pub places: &'static [Here],
    /// The same in words.
    pub words: &'static str,
}

/// Where the vendor's side is described.
const PROVISION: &[Here] = &[Desired, Find, Where, Create, Update, Check, Current, Delete, Answer, Var];
/// Where every value is worked out at one moment, once.
const LIVE: &[Here] =
    &[Auth, Desired, Find, Where, Create, Update, Check, Current, Delete, Answer, Var, Reply, Respond];
/// The same in words.
const LIVE_WORDS: &str = "in auths, in provision and in `respond`";
/// There, and where requests are answered.
const STATEFUL: &[Here] = &[
    Desired, Find, Where, Create, Update, Check, Current, Delete, Answer, Var, Request, Message, Proof,
    Reply, Respond,
];

/// The same, and where a person is told what to do.
const RECEIVER: &[Here] = &[
    Manual, Desired, Find, Where, Create, Update, Check, Current, Delete, Answer, Var, Request, Message,
    Proof, Reply, Respond,
];

/// Names, and where each exists.
pub const TABLE: &[Row] = &[
    Row { root: "settings", parts: &[], places: &[], words: "everywhere" },
    Row { root: "secrets", parts: &[], places: &[], words: "everywhere but in conditions on settings" },
    Row { root: "vars", parts: &[], places: &[], words: "everywhere but in conditions on settings" },
    Row {
        root: "instance",
        parts: &["id", "resume_from"],
        places: &[],
        words: "everywhere but in conditions on settings",
    },
    Row {
        root: "state",
        parts: &[],
        places: STATEFUL,
        words: "in provision after it was saved, and in the receiver",
    },
    Row {
        root: "receiver",
        parts: &["url", "path"],
        places: RECEIVER,
        words: "in provision and in the receiver",
    },
    Row { root: "auth", parts: &[], places: &[Auth, Sign, Var], words: "inside the auth that saved it" },
    Row {
        root: "response",
        parts: &["status", "headers", "json", "text"],
        places: &[Answer, Var],
        words: "in `ok`, `until` and `gone`",
    },
    Row {
        root: "item",
        parts: &[],
        places: &[Where, Request, Message, Proof, Var],
        words: "in `find.where`, and in `verify` under `each`",
    },
    Row {
        root: "current",
        parts: &[],
        places: &[Current, Update, Check, Create, Var],
        words: "in check, repair, update, renew and create",
    },
    Row {
        root: "desired",
        parts: &[],
        places: &[Current, Update, Check, Create, Var],
        words: "in create, adopt, check, repair, update and renew",
    },
    Row {
        root: "request",
        parts: &["method", "url", "path", "query", "headers", "body", "json", "form"],
        places: &[Request, Message, Proof, Reply, Respond, Record, Var],
        words: "in the receiver: verify, rules, respond and what records are built of",
    },
    Row {
        root: "signature",
        parts: &[],
        places: &[Message, Proof, Var],
        words: "in `message` and `require` of a verify whose signature is written in pairs",
    },
    Row {
        root: "timestamp",
        parts: &[],
        places: &[Message, Proof, Var],
        words: "in `message` and `require` of a verify that has a `timestamp`",
    },
    Row { root: "claims", parts: &[], places: &[Proof, Var], words: "in `require` of the verify kind `jwt`" },
    Row {
        root: "batch",
        parts: &["accepted", "stored", "duplicates", "dead"],
        places: &[Respond, Var],
        words: "in `respond`",
    },
    Row { root: "now", parts: &[], places: LIVE, words: LIVE_WORDS },
    Row { root: "uuid", parts: &[], places: LIVE, words: LIVE_WORDS },
    Row { root: "random", parts: &[], places: LIVE, words: LIVE_WORDS },
    Row {
        root: "items",
        parts: &[],
        places: &[Simulate],
        words: "in `simulate`: the items that a body holds",
    },
    Row { root: "omit", parts: &[], places: &[], words: "in data that is built" },
];

/// Whether a resource's operations are described here.
pub fn in_provision(here: Here) -> bool {
    PROVISION.contains(&here) && here != Var
}
