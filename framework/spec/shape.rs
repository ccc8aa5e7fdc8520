//! Whether a spec has the shape of the language, in words: the mistakes that the language's definition finds,
//! one for each thing that is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use forebay_json_schema::error::ValidationErrorKind;
use forebay_json_schema::{ValidationError, Validator, compile};
use serde_json::Value as Json;

use super::definition::{DEFINITION, at_pointer, description, known_keys};
use super::fix::Fix;
use super::misplaced::{many_unknown, names_missing};
use super::mistake::{Code, Mistake, Place};
use super::nearest::{Meant, listed, meant};
use super::path::Path;
use super::traps::ONE_LINE_MAP;
use super::unfit::in_words;

/// The validator, from the first spec that is checked on.
static VALIDATOR: Mutex<Option<Arc<Validator>>> = Mutex::new(None);

fn validator() -> Arc<Validator> {
    let made = || {
        // What jsonschema keeps for good is made at its first schema: not among what is given back below.
        drop(compile(&serde_json::json!({"type": "object"})));
        apart(|| {
            let language: Json = serde_json::from_str(DEFINITION).expect("a test parses it");
            Arc::new(compile(&language).expect("a test compiles it"))
        })
    };
    VALIDATOR.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(made).clone()
}

/// Gives back the memory that checking takes, two megabytes: what goes on to run for days has read its specs.
pub fn done() {
    apart(|| drop(VALIDATOR.lock().unwrap_or_else(PoisonError::into_inner).take()));
}

/// Works in a thread of its own. The allocator takes the memory of a thread from a heap of its own, so that what is
/// large for a moment and gone leaves no holes between what stays.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Every mistake in the shape of a spec.
pub fn check(spec: &Json) -> Vec<Mistake> {
    let mut findings = Findings::default();
    for error in validator().iter_errors(spec) {
        findings.take(&error);
    }
    findings.into_mistakes(spec)
}

/// What the validator found, before it is put into words.
#[derive(Default)]
struct Findings {
    mistakes: Vec<Mistake>,
    /// Maps with keys that the language does not know there, each with the keys that it does.
    unknown: BTreeMap<Path, (BTreeSet<String>, BTreeSet<String>)>,
    /// Maps that lack keys.
    missing: BTreeMap<Path, BTreeSet<String>>,
    /// Maps that lack one of several keys.
    choices: BTreeMap<Path, Mistake>,
    /// Keys that cannot stand together.
    exclusive: BTreeMap<Path, BTreeSet<String>>,
}

impl Findings {
    fn take(&mut self, error: &ValidationError<'_>) {
        let path = Path::from_pointer(error.instance_path().as_str());
        let schema = error.schema_path().as_str().to_owned();
        let value = error.instance();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let known = known_keys(&schema);
                let entry = self.unknown.entry(path).or_default();
                // A map whose `kind` is unknown has no keys that are: the kind is the mistake.
                entry.0.extend(unexpected.iter().filter(|key| !known.contains(*key)).cloned());
                entry.1.extend(known);
            }
            ValidationErrorKind::Required { property } => {
                if let Some(key) = property.as_str() {
                    self.missing.entry(path).or_default().insert(key.to_owned());
                }
            }
            ValidationErrorKind::FalseSchema => {
                self.exclusive.entry(path.parent()).or_default().extend(path.last().map(str::to_owned));
            }
            ValidationErrorKind::AnyOf { .. } => self.any_of(&path, &schema),
            ValidationErrorKind::PropertyNames { error } => self.bad_name(&path, error),
            kind => self.mistakes.push(in_words(kind, path, value)),
        }
    }

    /// `anyOf` holds keys of which one must be there.
    fn any_of(&mut self, path: &Path, schema: &str) {
        let branches = at_pointer(schema).and_then(Json::as_array).into_iter().flatten();
        let keys: Vec<&str> =
            branches.filter_map(|branch| branch.get("required")?.get(0)?.as_str()).collect();
        let mistake = Mistake::new(
            Code::MissingKey,
            Place::value(path),
            format!("one of {} must stand here", listed(keys)),
        )
        .help("each of them names a place, or a thing to do; one is enough");
        self.choices.entry(path.clone()).or_insert(mistake);
    }

    fn bad_name(&mut self, path: &Path, error: &ValidationError<'_>) {
        let name = error.instance().as_str().unwrap_or_default().to_owned();
        let (message, help) = if name == "none" {
            ("`none` is reserved: it means that nothing is signed".to_owned(), "choose another name")
        } else {
            let shown = crate::error::escaped(&name, 60);
            (
                format!("`{shown}` cannot be a name"),
                "small letters, digits and `_`, beginning with a letter: base_url",
            )
        };
        self.mistakes.push(Mistake::new(Code::Malformed, Place::key(&path.join(name)), message).help(help));
    }

    /// Forgets everything below a path.
    fn forget(&mut self, path: &Path) {
        self.mistakes.retain(|mistake| !mistake.place.path.within(path));
        self.unknown.retain(|at, _| !at.within(path));
        self.missing.retain(|at, _| !at.within(path));
        self.choices.retain(|at, _| !at.within(path));
        self.exclusive.retain(|at, _| !at.within(path));
    }

    /// Keys that are missing, and stand there under a name that is nearly theirs: without its `kind` nothing else says
    /// which keys a map may have.
    fn slips(&mut self, spec: &Json) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (path, missing) in &mut self.missing {
            let map = spec.pointer(&pointer(path)).and_then(Json::as_object);
            let reported = self.unknown.get(path).map(|(unknown, _)| unknown);
            for (key, value) in map.into_iter().flatten() {
                let new = reported.is_none_or(|unknown| !unknown.contains(key));
                if !new || description(path, key).is_some() {
                    continue;
                }
                let names: Vec<&str> = missing.iter().map(String::as_str).collect();
                if let (mistake, Some(meant)) = unknown_key(path, key, Some(value), &names) {
                    let meant = meant.to_owned();
                    missing.remove(&meant);
                    mistakes.push(mistake);
                }
            }
        }
        mistakes
    }

    /// Maps that lack keys. Where several items of a list lack the same, something that they share has lost it.
    fn lacking(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut alike: BTreeMap<(Path, &BTreeSet<String>), Vec<&Path>> = BTreeMap::new();
        for (path, keys) in self.missing.iter().filter(|(_, keys)| !keys.is_empty()) {
            let item = path.last().is_some_and(|last| last.parse::<usize>().is_ok());
            let shared = if item { path.parent() } else { path.clone() };
            alike.entry((shared, keys)).or_default().push(path);
        }
        for ((_, keys), paths) in alike {
            let (few, others) = if paths.len() > 2 { paths.split_at(1) } else { paths.split_at(paths.len()) };
            for path in few {
                let (special, plain): (Vec<&str>, Vec<&str>) =
                    keys.iter().map(String::as_str).partition(|key| danger(path, key).is_some());
                mistakes.extend(special.into_iter().filter_map(|key| danger(path, key)));
                if !plain.is_empty() {
                    let mistake = lacking(path, &plain);
                    mistakes.push(
                        others.iter().fold(mistake, |mistake, other| {
                            mistake.related(Place::key(other), "nor has this")
                        }),
                    );
                }
            }
        }
        mistakes
    }

    fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
            && self.unknown.is_empty()
            && self.missing.is_empty()
            && self.choices.is_empty()
            && self.exclusive.is_empty()
    }

    fn into_mistakes(mut self, spec: &Json) -> Vec<Mistake> {
        // What the definition says of each key is read for mistakes alone: a megabyte that a sound spec never needs.
        if self.is_empty() {
            return Vec::new();
        }
        let misplaced = names_missing(spec);
        for mistake in &misplaced {
            self.forget(&mistake.place.path);
        }
        let mut mistakes = std::mem::take(&mut self.mistakes);
        // What has another type is none of a list's values either.
        let other: Vec<Path> =
            mistakes.iter().filter(|m| m.code == Code::WrongType).map(|m| m.place.path.clone()).collect();
        mistakes.retain(|m| m.code == Code::WrongType || !other.contains(&m.place.path));
        // What is no singleton for sure may be one: whether it needs to be made and found is open.
        for path in other.iter().filter(|path| path.last() == Some("singleton")) {
            self.missing.remove(&path.parent());
        }
        // A key that is not known stands where the one that is missing belongs.
        self.choices.retain(|path, _| self.unknown.get(path).is_none_or(|(unknown, _)| unknown.is_empty()));
        mistakes.extend(std::mem::take(&mut self.choices).into_values());
        mistakes.extend(misplaced);
        for (path, (unknown, known)) in &self.unknown {
            let map = spec.pointer(&pointer(path));
            if unknown.len() > 2 {
                let (mistake, home) = many_unknown(path, unknown, map);
                mistakes.push(mistake);
                self.missing.remove(path);
                if let (Some(home), Some(missing)) = (home, self.missing.get_mut(&Path::default())) {
                    missing.remove(home);
                }
                continue;
            }
            for key in unknown {
                let free: Vec<&str> = known
                    .iter()
                    .map(String::as_str)
                    .filter(|k| map.is_none_or(|map| map.get(*k).is_none()))
                    .collect();
                let value = map.and_then(|map| map.get(key));
                let (mistake, meant) = unknown_key(path, key, value, &free);
                if let (Some(meant), Some(missing)) = (meant, self.missing.get_mut(path)) {
                    missing.remove(meant);
                    // A singleton need not be made, found or removed.
                    missing.retain(|_| meant != "singleton");
                }
                mistakes.push(mistake);
            }
        }
        mistakes.extend(self.slips(spec));
        mistakes.extend(self.lacking());
        for (path, keys) in &self.exclusive {
            mistakes.push(exclusive_keys(path, keys, spec));
        }
        mistakes
    }
}

/// A key that is not known here, and the one that was probably meant.
fn unknown_key<'a>(
    path: &Path,
    key: &str,
    value: Option<&Json>,
    known: &[&'a str],
) -> (Mistake, Option<&'a str>) {
    let shown = crate::error::escaped(key, 60);
    let place = Place::key(&path.join(key));
    let meant = renamed(key)
        .and_then(|now| known.iter().copied().find(|k| *k == now))
        .map(|name| Meant { name, sure: true })
        .or_else(|| meant(key, known.iter().copied()));
    if let Some((key, rest)) = key.split_once(':').filter(|_| value.is_some()) {
        // YAML takes a colon for part of the name where no blank is behind it.
        let fix = Fix::yaml(place.clone(), format!("{key}: {rest}"));
        let fix = if rest.starts_with(['{', '[']) { fix.suggested() } else { fix };
        let mistake = Mistake::new(
            Code::UnknownKey,
            place,
            format!("`{shown}` is no key: its colon has no blank behind it"),
        );
        let known = known.iter().copied().find(|known| *known == key);
        return (mistake.help("between a key and its value stand a colon and a blank").fix(fix), known);
    }
    let torn =
        value.is_some_and(Json::is_null) && key.contains(['(', ')', '[', ']', '\'', '"', '=', '|', ' ']);
    let help = match meant {
        _ if torn => ONE_LINE_MAP.to_owned(),
        Some(Meant { name, .. }) => format!("did you mean `{name}`?"),
        None if let Some(home) = home_above(path, key) => {
            format!("it is a key of {home}: is it indented too much?")
        }
        None if known.is_empty() => "no key can be added here".to_owned(),
        None => format!("known here: {}", listed(known.iter().copied())),
    };
    let message = match path.last() {
        None => format!("the language has no key `{shown}`"),
        Some(_) => format!("`{shown}` is no key of `{path}`"),
    };
    let fix = meant.filter(|_| !torn).map(|meant| Fix::meant(place.clone(), meant));
    (Mistake::new(Code::UnknownKey, place, message).help(help).fix(fix), meant.map(|meant| meant.name))
}

/// The nearest map around a path that knows a key.
fn home_above(path: &Path, key: &str) -> Option<String> {
    let mut at = path.clone();
    while !at.0.is_empty() {
        at = at.parent();
        if description(&at, key).is_some() {
            return Some(at.last().map_or_else(|| "the spec itself".to_owned(), |_| format!("`{at}`")));
        }
    }
    None
}

/// Words that other tools and earlier drafts use, and what they are called here.
fn renamed(key: &str) -> Option<&'static str> {
    Some(match key {
        "url" | "endpoint" | "request" => "call",
        "body" | "payload" | "data" => "json",
        "condition" | "if" | "filter" => "when",
        "webhook" | "source" | "input" => "receiver",
        "interval" | "schedule" | "poll" => "every",
        "timeout" | "max_wait" => "at_most",
        "remove" | "destroy" => "delete",
        "authentication" | "authenticator" => "auth",
        "parameters" | "config" | "inputs" => "settings",
        "variables" => "vars",
        "algorithm" => "hash",
        "secret" => "key",
        "version" => "forebay",
        _ => return None,
    })
}

/// A key whose absence is more than an omission.
fn danger(path: &Path, key: &str) -> Option<Mistake> {
    let resource = path.0.len() == 3 && path.0[0] == "provision" && path.0[1] == "resources";
    if resource && matches!(key, "find" | "delete") {
        let (what, help) = if key == "find" {
            (
                "found again",
                "without `find` every lost state would make another one: say how it is listed, and `where` ours is",
            )
        } else {
            ("removed again", "say how the vendor deletes it: `delete: {call: \"DELETE …\"}`")
        };
        let message =
            format!("`{}` can be made and not {what}: it has no `{key}`", path.last().unwrap_or_default());
        return Some(Mistake::new(Code::Orphan, Place::key(path), message).help(help));
    }
    if path.0 == ["receiver"] && key == "verify" {
        let message = "the receiver has no `verify`: it would take anything from anybody";
        return Some(Mistake::new(Code::OpenDoor, Place::key(path), message).help(
            "say how a request proves who sent it: \
             verify: {kind: token, header: x-api-key, equals: \"{{ secrets.key }}\"}",
        ));
    }
    None
}

/// A map without keys that must be there.
fn lacking(path: &Path, keys: &[&str]) -> Mistake {
    let names = listed(keys.iter().copied());
    let message = match path.last() {
        None => format!("the spec has no {names}"),
        Some(_) => format!("`{path}` has no {names}"),
    };
    let words = keys.first().and_then(|key| description(path, key)).filter(|_| keys.len() == 1);
    let help = words.map_or_else(|| format!("add {names}"), |words| format!("add {names}. {words}"));
    Mistake::new(Code::MissingKey, Place::key(path), message).help(help)
}

fn exclusive_keys(path: &Path, keys: &BTreeSet<String>, spec: &Json) -> Mistake {
    let single = spec.pointer(&pointer(path)).and_then(|map| map.get("singleton")) == Some(&Json::Bool(true));
    let last = keys.iter().next_back().cloned().unwrap_or_default();
    if single && keys.iter().all(|key| key == "create" || key == "find") {
        let names = keys.iter().map(|key| format!("no `{key}`")).collect::<Vec<_>>().join(" and ");
        let message = format!("a singleton is always there: it has {names}");
        return Mistake::new(Code::Exclusive, Place::key(&path.join(last)), message)
            .help("remove the key, or `singleton: true`")
            .related(Place::key(&path.join("singleton")), "it says here that there is always one");
    }
    let names = listed(keys.iter().map(String::as_str));
    let first = keys.iter().next().cloned().unwrap_or_default();
    Mistake::new(Code::Exclusive, Place::key(&path.join(last)), format!("{names} cannot stand together"))
        .help("keep one of them")
        .related(Place::key(&path.join(first)), "the other one")
}

fn pointer(path: &Path) -> String {
    path.0.iter().map(|token| format!("/{}", token.replace('~', "~0").replace('/', "~1"))).collect()
}
