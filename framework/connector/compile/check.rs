//! Whether the names of a text exist where it stands.

use std::collections::BTreeSet;
use std::ops::Range;

use super::at::At;
use super::compiler::Compiler;
use super::names::{Here, Row, TABLE, in_provision};
use crate::spec::fix::Fix;
use crate::spec::mistake::{Code, Mistake, Part, Place};
use crate::spec::nearest::{Meant, listed, meant};

/// A text whose names are checked, and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Checked<'a, 'b> {
    /// The value in the spec.
    pub at: &'b At<'a>,
    /// Bytes of the value before the text.
    pub start: usize,
    /// The names that exist there.
    pub here: Here,
}

/// A name that does not exist, and the one that was probably meant, from its root on.
struct Undefined {
    mistake: Mistake,
    meant: Option<(String, bool)>,
}

impl From<Mistake> for Undefined {
    fn from(mistake: Mistake) -> Self {
        Self { mistake, meant: None }
    }
}

impl Compiler {
    /// Reports every name that does not exist here, and what vars bring here that does not.
    pub fn check_names(&mut self, text: Checked<'_, '_>, names: &[String]) {
        // `state.hook.list.0.id` uses `state.hook.list`.
        self.named.extend(names.iter().map(|name| name.split('.').take(3).collect::<Vec<_>>().join(".")));
        for name in names {
            let place = self.place_of_name(text, name);
            let undefined =
                self.undefined(name, place.clone()).map(|undefined| self.with_definition(undefined, name));
            if let Some(mistake) = undefined.or_else(|| self.not_here(name, text.here, place)) {
                self.report(mistake);
            }
        }
        if text.here == Here::Var {
            return;
        }
        for (name, by) in self.defined.through_vars(names) {
            let Some(var) = by else { continue };
            let place = self.place_of_name(text, &format!("vars.{var}"));
            if let Some(mut mistake) = self.not_here(&name, text.here, place) {
                mistake.message = format!("`vars.{var}` uses `{name}`: {}", mistake.message);
                self.report(mistake);
            }
        }
    }

    /// A name that does not exist, with the definition of the one that was probably meant: either may be misspelt.
    fn with_definition(&self, undefined: Undefined, name: &str) -> Mistake {
        let Undefined { mut mistake, meant } = undefined;
        let Some((meant, sure)) = meant else { return mistake };
        if let Part::Within(bytes) = &mistake.place.part
            && bytes.len() == name.len()
        {
            let behind = name.split('.').skip(meant.split('.').count());
            let whole = std::iter::once(meant.as_str()).chain(behind).collect::<Vec<_>>().join(".");
            mistake.fix = Some(Fix::text(mistake.place.clone(), whole).safe_if(sure));
        }
        match self.defined.places.get(&meant) {
            Some(path) => mistake.related(Place::key(path), "this is defined"),
            None => mistake,
        }
    }

    /// Where a name stands in a text: the name itself where it is written out, else the whole.
    pub fn place_of_name(&self, text: Checked<'_, '_>, name: &str) -> Place {
        let whole = || Place::value(&text.at.path);
        let Some(source) = text.at.text() else { return whole() };
        let parts: Vec<&str> = name.split('.').collect();
        (1..=parts.len())
            .rev()
            .find_map(|n| word(source, text.start, &parts[..n].join(".")))
            .map_or_else(whole, |bytes| Place::within(&text.at.path, bytes))
    }

    /// A name that exists nowhere.
    fn undefined(&self, name: &str, place: Place) -> Option<Undefined> {
        let mut parts = name.split('.');
        let root = parts.next().unwrap_or_default();
        let Some(row) = TABLE.iter().find(|row| row.root == root) else {
            return Some(unknown_root(root, place));
        };
        let part = parts.next();
        match root {
            "settings" => {
                self.missing(row, part, place, self.defined.settings.as_ref().map(|s| s.iter().collect())?)
            }
            "secrets" => {
                self.missing(row, part, place, self.defined.secrets.as_ref().map(|s| s.iter().collect())?)
            }
            "vars" => self.missing(row, part, place, self.defined.vars.as_ref().map(|v| v.keys().collect())?),
            "state" => self.missing_state(row, part, parts.next(), place),
            "auth" => {
                let auths = self.defined.auths.as_ref()?;
                let here =
                    |(name, _): &(&String, _)| self.auth_here.as_ref().is_none_or(|here| here == *name);
                let saved = auths.iter().filter(here).flat_map(|(_, saved)| saved);
                let mut known: Vec<&str> = saved.map(String::as_str).collect();
                known.push("token");
                match part {
                    None => Some(whole_map(root, place).into()),
                    Some(part) if known.contains(&part) => None,
                    Some(part) => {
                        let mut undefined = undefined_part(root, part, place, known);
                        if let Some((other, _)) = auths.iter().find(|(_, saved)| saved.contains(part)) {
                            undefined.mistake.help = Some(format!(
                                "the auth `{other}` saves it, and it exists inside that one alone"
                            ));
                            undefined.meant = None;
                        }
                        Some(undefined)
                    }
                }
            }
            _ if row.parts.is_empty() => None,
            _ => match part {
                Some(part) if !row.parts.contains(&part) => {
                    Some(undefined_part(row.root, part, place, row.parts.to_vec()))
                }
                Some(_) | None => None,
            },
        }
    }

    fn missing(&self, row: &Row, part: Option<&str>, place: Place, known: Vec<&String>) -> Option<Undefined> {
        match part {
            None => Some(whole_map(row.root, place).into()),
            Some(part) if known.iter().any(|name| *name == part) => None,
            Some(_) if known.is_empty() && self.defines_none(row.root) => {
                let root = row.root;
                let message = format!("the spec has no `{root}`");
                let help =
                    format!("add it at the top: `{root}:`, with the names that are used here below it");
                Some(Mistake::new(Code::Undefined, place, message).help(help).into())
            }
            Some(part) => {
                let known = known.iter().map(|s| s.as_str()).collect();
                let mut undefined = undefined_part(row.root, part, place, known);
                if let [group, others @ ..] = self.elsewhere(row.root, part).as_slice() {
                    undefined.mistake.help =
                        Some(format!("`{part}` stands under `{group}`: did you mean `{group}.{part}`?"));
                    undefined.meant = Some((format!("{group}.{part}"), others.is_empty()));
                }
                Some(undefined)
            }
        }
    }

    /// Whether a group of names is not there at all.
    fn defines_none(&self, group: &str) -> bool {
        let prefix = format!("{group}.");
        matches!(group, "settings" | "secrets" | "vars")
            && !self.defined.places.keys().any(|name| name.starts_with(&prefix))
    }

    /// The other groups that define a name.
    fn elsewhere(&self, group: &str, name: &str) -> Vec<&'static str> {
        let defined =
            |names: &Option<BTreeSet<String>>| names.as_ref().is_some_and(|names| names.contains(name));
        let groups = [
            ("settings", defined(&self.defined.settings)),
            ("secrets", defined(&self.defined.secrets)),
            ("vars", self.defined.var_texts.contains_key(name)),
        ];
        groups.into_iter().filter(|(other, has)| *other != group && *has).map(|(other, _)| other).collect()
    }

    fn missing_state(
        &self,
        row: &Row,
        resource: Option<&str>,
        name: Option<&str>,
        place: Place,
    ) -> Option<Undefined> {
        let saved = self.defined.saved.as_ref()?;
        let undefined = self.missing(row, resource, place.clone(), saved.keys().collect());
        if undefined.is_some() {
            return undefined;
        }
        let resource = resource?;
        let names = saved.get(resource)?;
        let root = format!("state.{resource}");
        match name {
            None => Some(whole_map(&root, place).into()),
            Some(name) if names.contains(name) => None,
            Some(name) => {
                let known = names.iter().map(String::as_str).collect();
                let help = format!(
                    "`{resource}` saves nothing under `{name}`: a call that gets it says `save: {{{name}: /pointer}}`"
                );
                let mut undefined = undefined_part(&root, name, place, known);
                if undefined.meant.is_none() {
                    undefined.mistake.help = Some(help);
                }
                Some(undefined)
            }
        }
    }

    /// A name that exists, but not here.
    fn not_here(&self, name: &str, here: Here, place: Place) -> Option<Mistake> {
        let root = name.split('.').next().unwrap_or_default();
        let row = TABLE.iter().find(|row| row.root == root)?;
        if here == Here::Settings && root != "settings" {
            return Some(Mistake::new(Code::NotHere, place, format!("`{name}` does not exist here")).help(
                "a condition on settings is decided before anything else is known: name settings alone",
            ));
        }
        if here == Here::Path && root == "secrets" {
            return Some(secret_in_url(name, place, "the receiver's path"));
        }
        if here == Here::Record && root == "secrets" {
            return Some(
                Mistake::new(Code::NotHere, place, format!("`{name}` would stand in every record"))
                    .help("records go to sinks, and no secret does: build them from the request alone"),
            );
        }
        if name == "instance.resume_from" && !matches!(here, Here::Create | Here::Var) {
            return Some(absent(name, place, "in create"));
        }
        if name == "auth.token" && here == Here::Auth {
            return Some(absent(name, place, "where the token is put: in `use`"));
        }
        if !row.places.is_empty() && !row.places.contains(&here) {
            return Some(absent(name, place, row.words));
        }
        if root == "state" && in_provision(here) {
            return self.not_yet(name, place);
        }
        None
    }

    /// A saved value that no step before this one has saved.
    fn not_yet(&self, name: &str, place: Place) -> Option<Mistake> {
        let saved = self.saved_so_far.as_ref()?;
        let mut parts = name.split('.').skip(1);
        let name = format!("{}.{}", parts.next()?, parts.next()?);
        let (resource, key) = name.split_once('.')?;
        let known = self.defined.saved.as_ref()?.get(resource)?.contains(key);
        (known && !saved.contains(&name) && !self.defined.captured.contains(&name)).then(|| {
            Mistake::new(Code::NotHere, place, format!("`state.{name}` is not saved yet here"))
                .help("resources are made in order, and the steps of an operation one after the other")
        })
    }
}

/// A secret that would stand in a URL.
pub fn secret_in_url(name: &str, place: Place, what: &str) -> Mistake {
    Mistake::new(Code::SecretInUrl, place, format!("`{name}` would stand in {what}")).help(
        "URLs end up in logs: send secrets in a header or in the body; where the vendor knows no other way, \
         the call says `secret_in_url: true`",
    )
}

fn absent(name: &str, place: Place, words: &str) -> Mistake {
    let root = name.split('.').next().unwrap_or(name);
    let shown = if matches!(name, "instance.resume_from" | "auth.token") { name } else { root };
    Mistake::new(Code::NotHere, place, format!("`{name}` does not exist here"))
        .help(format!("`{shown}` exists {words}"))
}

fn unknown_root(root: &str, place: Place) -> Undefined {
    let known = TABLE.iter().map(|row| row.root);
    let near = meant(root, known.clone());
    let help = match near {
        Some(Meant { name, .. }) => format!("did you mean `{name}`?"),
        None => {
            format!("a text begins and ends with quotes, 'like this'; names begin with {}", listed(known))
        }
    };
    let mistake = Mistake::new(Code::UnknownName, place, format!("there is no name `{root}`")).help(help);
    Undefined { mistake, meant: near.map(|near| (near.name.to_owned(), near.sure)) }
}

fn undefined_part(root: &str, part: &str, place: Place, known: Vec<&str>) -> Undefined {
    let near = meant(part, known.iter().copied());
    let help = match near {
        Some(Meant { name, .. }) => format!("did you mean `{root}.{name}`?"),
        None if known.is_empty() => format!("`{root}` has nothing in it"),
        None => format!("`{root}` has {}", listed(known)),
    };
    let mistake = Mistake::new(Code::Undefined, place, format!("there is no `{root}.{part}`")).help(help);
    Undefined { mistake, meant: near.map(|near| (format!("{root}.{}", near.name), near.sure)) }
}

fn whole_map(root: &str, place: Place) -> Mistake {
    Mistake::new(Code::Undefined, place, format!("`{root}` as a whole is no value"))
        .help(format!("name what you mean: `{root}.NAME`"))
}

/// The bytes of a word in a text, at or after a byte: not part of a longer word.
fn word(text: &str, start: usize, word: &str) -> Option<Range<usize>> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let rest = text.get(start..)?;
    rest.match_indices(word).map(|(at, _)| start + at).find_map(|at| {
        let before = text[..at].chars().next_back().is_some_and(|c| part(c) || c == '.');
        let after = text[at + word.len()..].chars().next().is_some_and(part);
        (!before && !after).then_some(at..at + word.len())
    })
}
