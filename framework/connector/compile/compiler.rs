//! What is known while a spec is being compiled, and the list of mistakes that everything in `compile` adds to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Map, Value as Json};

use super::at::At;
use super::names::Defined;
use crate::connector::model::BySetting;
use crate::spec::diagnostic::AGAIN;
use crate::spec::mistake::{Code, Mistake, Place, Severity};
use crate::spec::path::Path;

/// What is known while a spec is being compiled, and what was found wrong.
#[derive(Debug)]
pub struct Compiler {
    /// The folder that other files of the connector are named from.
    pub folder: PathBuf,
    /// The names that the spec defines.
    pub defined: Defined,
    /// What was saved by the steps before the one that is compiled, as RESOURCE.NAME; `None` where all of it
    /// may be there.
    pub saved_so_far: Option<BTreeSet<String>>,
    /// The auth that is compiled: what it saves exists inside it alone.
    pub auth_here: Option<String>,
    /// Every name that a text or condition uses.
    pub named: BTreeSet<String>,
    /// The settings that are known: the instance's, or the spec's own defaults.
    pub given: Map<String, Json>,
    /// Whether an operator's settings are known, and not the spec's own defaults alone.
    pub settled: bool,
    /// Where a setting says where something stands.
    pub by_settings: Vec<BySetting>,
    mistakes: Vec<Mistake>,
    not_built: BTreeSet<Path>,
}

impl Compiler {
    /// A compiler that has found nothing wrong yet.
    pub fn new(folder: PathBuf, defined: Defined) -> Self {
        Self {
            folder,
            defined,
            saved_so_far: None,
            auth_here: None,
            named: BTreeSet::new(),
            given: Map::new(),
            settled: false,
            by_settings: Vec::new(),
            mistakes: Vec::new(),
            not_built: BTreeSet::new(),
        }
    }

    /// Adds a mistake. A name that is undefined, or that is never where it is used, is one mistake.
    pub fn report(&mut self, mistake: Mistake) {
        let name = matches!(
            mistake.code,
            Code::Undefined | Code::UnknownName | Code::SecretInUrl | Code::NotHere | Code::BadSample
        );
        let known = self.mistakes.iter_mut().find(|known| {
            known.code == mistake.code
                && known.message == mistake.message
                && (name || known.place == mistake.place)
        });
        match known {
            None => self.mistakes.push(mistake),
            Some(known) if known.place != mistake.place => {
                if !known.related.iter().any(|(place, _)| *place == mistake.place) {
                    known.fix = known.fix.take().zip(mistake.fix).map(|(here, there)| here.and(there));
                    known.related.push((mistake.place, AGAIN.to_owned()));
                }
            }
            Some(_) => {}
        }
    }

    /// Says that a key or a value is part of the language, and of no version that is built.
    pub fn not_built(&mut self, place: Place, what: &str) {
        if self.not_built.insert(place.path.clone()) {
            self.report(
                Mistake::new(Code::NotBuilt, place, format!("{what} is not built yet in this version"))
                    .help("the language has room for it; this version cannot run it"),
            );
        }
    }

    /// Reports every one of these keys that stands here as not built.
    pub fn not_built_keys(&mut self, at: &At<'_>, keys: &[&str]) {
        for key in keys {
            if at.has(key) {
                self.not_built(Place::key(&at.path.join(*key)), &format!("`{key}`"));
            }
        }
    }

    /// Whether nothing that was found keeps the spec from running.
    pub fn is_sound(&self) -> bool {
        self.mistakes.iter().all(|m| m.code.severity() != Severity::Error)
    }

    /// Whether something was found wrong with the value at a path.
    pub fn has_mistake_at(&self, path: &Path) -> bool {
        self.mistakes.iter().any(|known| known.place.path == *path)
    }

    /// What was found.
    pub fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
    }
}
