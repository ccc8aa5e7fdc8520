//! The names a template may use, and where each of them exists.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::At;

/// What the spec itself defines.
#[derive(Debug, Default)]
pub struct Defined {
    /// The names under `settings`.
    pub settings: BTreeSet<String>,
    /// The names under `secrets`.
    pub secrets: BTreeSet<String>,
    /// The names under `vars`, each with its text.
    pub vars: BTreeMap<String, String>,
    /// The names under `auth`.
    pub auths: BTreeSet<String>,
    /// The resources, each with the names that its operations and the receiver's rules save.
    pub saved: BTreeMap<String, BTreeSet<String>>,
}

impl Defined {
    /// Collects the names of a spec.
    pub fn of(top: &At<'_>) -> Self {
        let names = |key: &str| {
            top.get(key).map(|at| at.entries().map(|(name, _)| name.to_owned()).collect()).unwrap_or_default()
        };
        let vars = top.get("vars").map(|at| {
            at.entries()
                .map(|(name, at)| (name.to_owned(), at.text().unwrap_or_default().to_owned()))
                .collect()
        });
        Self {
            settings: names("settings"),
            secrets: names("secrets"),
            vars: vars.unwrap_or_default(),
            auths: names("auth"),
            saved: saved(top),
        }
    }
}

fn saved(top: &At<'_>) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let resources = top.get("provision").and_then(|at| at.get("resources"));
    for (name, resource) in resources.iter().flat_map(At::entries) {
        let names = found.entry(name.to_owned()).or_default();
        for (_, operation) in resource.entries() {
            for step in operation.one_or_many() {
                names.extend(step.get("save").iter().flat_map(At::entries).map(|(name, _)| name.to_owned()));
            }
        }
    }
    let rules = top.get("receiver").and_then(|at| at.get("rules"));
    for capture in rules.iter().flat_map(At::items).filter_map(|rule| rule.get("capture")) {
        for (name, _) in capture.entries() {
            if let Some((resource, saved)) = name.split_once('.') {
                found.entry(resource.to_owned()).or_default().insert(saved.to_owned());
            }
        }
    }
    found
}

/// A place of the life, told apart by the names that exist there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// `required_when` and `provision.when`: the settings alone.
    Settings,
    /// A var: what exists wherever it is used is checked there.
    Var,
    /// Inside an auth.
    Auth,
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
    /// A rule's `respond`.
    Reply,
    /// `receiver.respond`.
    Respond,
}
