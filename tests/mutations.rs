//! Good specs, spoiled mechanically: a key dropped, misspelt or doubled, a value of another type, a name misspelt, a
//! brace or a pointer broken, a definition removed or renamed, a line moved, the file cut, a secret made a setting.
//!
//! No mutation panics, none gives more than three messages, and none that breaks the connector passes in silence.
//! `FOREBAY_MUTATIONS_SEED=7` plays other ones, `FOREBAY_MUTATIONS=1000` so many of each kind and spec.

use std::path::PathBuf;

use forebay::connector::load::{Examined, examine_source};
use forebay::spec::document::Document;
use forebay::spec::mistake::Place;
use forebay::spec::path::Path;
use forebay::spec::source::Source;
use serde_json::Value as Json;

use crate::support::root;

/// A spec that is right.
struct Good {
    file: PathBuf,
    text: String,
    document: Document,
    /// Every key of it, with what stands there.
    places: Vec<(Path, Json)>,
}

impl Good {
    fn of(file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file).unwrap();
        let (document, mistakes) = Document::parse(Source::new("good", &text));
        assert!(mistakes.is_empty());
        let mut places = Vec::new();
        walk(&document.values, &Path::default(), &mut places);
        Self { file, text, document, places }
    }

    /// The bytes of a key or a value.
    fn bytes(&self, place: &Place) -> std::ops::Range<usize> {
        let span = self.document.span(place);
        span.start..span.end
    }

    /// Places with one property, that are written where they seem to be.
    fn keys(&self, wanted: impl Fn(&Path, &Json) -> bool) -> Vec<&(Path, Json)> {
        let written = |path: &Path| {
            let key = &self.text[self.bytes(&Place::key(path))];
            path.last().is_some_and(|last| last.parse::<usize>().is_err() && key == last)
        };
        self.places.iter().filter(|(path, value)| written(path) && wanted(path, value)).collect()
    }
}

fn walk(value: &Json, path: &Path, places: &mut Vec<(Path, Json)>) {
    let children: Vec<(String, &Json)> = match value {
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Json::Array(list) => list.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (key, value) in children {
        let path = path.join(key);
        places.push((path.clone(), value.clone()));
        walk(value, &path, places);
    }
}

fn goods() -> Vec<Good> {
    let entries = std::fs::read_dir(root().join("connectors")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path().join("connector.yaml")).collect();
    files.push(root().join("tests/specs/event-hook.yaml"));
    files.sort();
    files.into_iter().map(Good::of).collect()
}

/// Keys below which an author's own names, or a vendor's, stand.
const FREE: &[&str] = &[
    "settings",
    "secrets",
    "vars",
    "auth",
    "resources",
    "headers",
    "query",
    "form",
    "json",
    "desired",
    "save",
    "params",
    "claims",
    "known_types",
    "healthy",
    "unhealthy",
    "sample",
    "capture",
    "advice",
    "envelope",
    "simulate",
    "map",
    "use",
    "use_query",
    "record",
    "items",
    "samples",
    "default",
    "example",
    "header",
];
/// Of these only the names right below are free: the language goes on below those.
const NAMES: &[&str] = &["settings", "secrets", "auth", "resources"];

/// Whether a key is one of the language: it means nothing under another name.
fn is_of_the_language(path: &Path) -> bool {
    let above = &path.0[..path.0.len() - 1];
    let Some(free) = above.iter().position(|key| FREE.contains(&key.as_str())) else { return true };
    if !NAMES.contains(&above[free].as_str()) {
        return false;
    }
    let below = Path(path.0[free + 1..].to_vec());
    below.0.len() > 1 && is_of_the_language(&Path(below.0[1..].to_vec()))
}

/// Numbers that follow one another by chance, the same ones for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }
}

/// What became of a spec.
struct Mutant {
    text: String,
    what: String,
    /// Whether it is broken for sure.
    broken: bool,
}

type Mutation = fn(&Good, &mut Chance) -> Option<Mutant>;

/// Every kind of mutation, by name.
const MUTATIONS: &[(&str, Mutation)] = &[
    ("a key dropped", key_dropped),
    ("a key misspelt", key_misspelt),
    ("a key doubled", key_doubled),
    ("a value of another type", other_type),
    ("a name misspelt", name_misspelt),
    ("a brace lost", brace_lost),
    ("a pointer broken", pointer_broken),
    ("a definition removed", definition_removed),
    ("a definition renamed", definition_renamed),
    ("a line moved", line_moved),
    ("a file cut", file_cut),
    ("a secret made a setting", secret_made_a_setting),
    ("a character put in", character_put_in),
];

fn put(good: &Good, bytes: std::ops::Range<usize>, new: &str) -> String {
    format!("{}{new}{}", &good.text[..bytes.start], &good.text[bytes.end..])
}

/// A word with one letter less, more, or two of them in each other's place.
fn misspelt(word: &str, chance: &mut Chance) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let at = chance.below(letters.len());
    match chance.below(3) {
        0 if letters.len() > 3 => drop(letters.remove(at)),
        1 if at + 1 < letters.len() && letters[at] != letters[at + 1] => letters.swap(at, at + 1),
        _ => letters.insert(at, letters[at]),
    }
    letters.into_iter().collect()
}

/// The lines of a pair: from its key to where the next begins that stands no deeper.
fn block(good: &Good, path: &Path) -> Option<std::ops::Range<usize>> {
    let key = good.bytes(&Place::key(path));
    let start = good.text[..key.start].rfind('\n').map_or(0, |at| at + 1);
    let indent = key.start - start;
    if good.text[start..key.start].trim() != "" {
        return None;
    }
    let mut end = start;
    for (n, line) in good.text[start..].split_inclusive('\n').enumerate() {
        let deep = line.len() - line.trim_start().len();
        if n > 0
            && !line.trim().is_empty()
            && deep <= indent
            && !(deep == indent && line.trim_start().starts_with("- "))
        {
            break;
        }
        end += line.len();
    }
    Some(start..end)
}

fn key_dropped(good: &Good, chance: &mut Chance) -> Option<Mutant> {
    let keys = good.keys(|path, _| is_of_the_language(path));
    let (path, _) = chance.of(&keys)?;
    let lines = block(good, path)?;
    const NEEDED: &[&str] = &[
        "forebay", "name", "title", "vendor", "receiver", "output", "verify", "decode", "kind", "path",
        "delete", "find",
    ];
    let key = path.last().unwrap();
    // A resource that is never made is not removed either.
    let broken = NEEDED.contains(&key)
        && !(key == "delete" || key == "find" || key == "path" && path.0.len() > 2)
        && !(key == "verify" && path.0.len() > 2)
        && !(key == "title" && path.0.len() > 1)
        && !(key == "name" && path.0.len() > 1);
    Some(Mutant { text: put(good, lines, ""), what: path.to_string(), broken })
}

fn key_misspelt(good: &Good, chance: &mut Chance) -> Option<Mutant> {
    let keys = good.keys(|path, _| is_of_the_language(path) && !path.0[0].starts_with("x-"));
    let (path, _) = chance.of(&keys)?;
    let word = misspelt(path.last()?, chance);
    Some(Mutant {
        text: put(good, good.bytes(&Place::key(path)), &word),
        what: format!("{path} as {word}"),
        broken: true,
    })
}

fn key_doubled(good: &Good, chance: &mut Chance) -> Option<Mutant> {
    let keys = good.keys(|_, _| true);
    let (path, _) = chance.of(&keys)?;
    let lines = block(good, path)?;
    let again = good.text[lines.clone()].to_owned();
    Some(Mutant { text: put(good, lines.end..lines.end, &again), what: path.to_string(), broken: true })
}

/// A map where a text was, a list where a map was.
fn other_type(good: &Good, chance: &mut Chance) -> Option<Mutant> {
    let free = |path: &Path| {
        path.last().is_some_and(|key| {
            matches!(key, "json" | "desired" | "default" | "example" | "healthy" | "unhealthy")
        })
    };
    let keys = good.keys(|path, value| is_of_the_language(path) && !free(path) && !value.is_array());
    let (path, value) = chance.of(&keys)?;
    let key = good.bytes(&Place::key(path));
    let new = if value.is_object() { "[7]" } else { "{zzz: 7}" };
    let text = match block(good, path) {
        Some(lines) => put(good, key.end..lines.end, &format!(": {new}\n")),
        None if value.is_string() || value.is_number() || value.is_boolean() => {
            put(good, good.bytes(&Place::value(path)), new)
        }
        None => return None,
    };
    // An anchor that is gone is one more mistake, and a true one.
    if text.matches('&').count() != good.text.matches('&').count() {
        return None;
    }
    Some(Mutant { text, what: path.to_string(), broken: true })
}

/// The roots of names whose parts the spec itself defines.
const DEFINED: &[&str] = &["settings.", "secrets.", "vars.", "state."];

/// Names of the spec's own in its texts, comments aside.
fn names(good: &Good) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in good.text.split_inclusive('\n') {
        let code =
            if line.trim_start().starts_with('#') { "" } else { line.split(" #").next().unwrap_or(line) };
        for root in DEFINED {
            for (at, _) in code.match_indices(root) {
                let before = code[..at].chars().next_back();
                let name: String = code[at..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '.')
                    .collect();
                let text = code.contains("{{")
                    || code.contains("when:")
                    || code.contains("require")
                    || code.contains("where:");
                if text && !before.is_some_and(|c| c.is_alphanumeric() || c == '.' || c == '_') {
                    found.push((start + at, name));
                }
            }
        }
        start += line.len();
    }
    found
}

fn name_misspelt(good: &Good, chance: &mut Chance) -> Option<Mutant> {
    let names = names(good);
    let (at, name) = chance.of(&names)?;
    let (head, last) = name.rsplit_once('.')?;
    let new = format!("{head}.{}", misspelt(last, chance));
    // What is misspelt may be another name that there is.
    let broken = !good.places.iter().any(|(path, _)| path.0.join(".") == new);
    Some(Mutant { text: put(good, *at..at + name.len(), &new), what: format!("{name} as {new}"), broken })
}

fn brace_lost(good: &Good, chance: &mut Chance) -> Option<Mutant> {
    let names = names(good);
    let (at, name) = chance.of(&names)?;
    let line = good.text[..*at].rfind('\n').map_or(0, |at| at + 1);
    let open = good.text[line..*at].rfind("{{").map(|open| line + open)?;
    let close = at + good.text[*at..].find("}}")?;
    let whole = &good.text[open..close];
    if whole.contains('\n') || whole[2..].contains("}}") {
        return None;
    }
    let lost = if chance.below(2) == 0 { open } else { close };
    Some(Mutant { text: put(good, lost..lost + 1, ""), what: format!("around {name}"), broken: true })
}

fn pointer_broken(good: &Good, chance: &mut Chance) -> Option<Mutant> {
    let is_pointer = |path: &Path, value: &Json| {
        let picks = path
            .0
            .iter()
            .any(|key| matches!(key.as_str(), "save" | "event" | "records" | "current" | "items"));
        let data = path
            .0
            .iter()
            .any(|key| matches!(key.as_str(), "samples" | "json" | "desired" | "examples" | "sample"));
        picks && !data && value.as_str().is_some_and(|text| text.len() > 1 && text.starts_with('/'))
    };
    let keys = good.keys(is_pointer);
    let (path, value) = chance.of(&keys)?;
    let bytes = good.bytes(&Place::value(path));
    let (what, new) = match chance.below(2) {
        0 => ("no slash", value.as_str()?.trim_start_matches('/').to_owned()),
        _ => ("a bad escape", format!("{}~2", value.as_str()?)),
    };
    if good.text[bytes.clone()] != *value.as_str()? {
        return None;
    }
    Some(Mutant { text: put(good, bytes, &new), what: format!("{path}: {what}"), broken: true })
}

/// Settings, secrets, vars and auths by their definitions.
fn definitions(good: &Good) -> Vec<&(Path, Json)> {
    good.keys(|path, _| {
        path.0.len() == 2 && matches!(path.0[0].as_str(), "settings" | "secrets" | "vars" | "auth")
    })
}

fn definition_removed(good: &Good, chance: &mut Chance) -> Option<Mutant> {
    let all = definitions(good);
    let (path, _) = chance.of(&all)?;
    let lines = block(good, path)?;
    if good.text[lines.clone()].contains('&') {
        return None;
    }
    Some(Mutant { text: put(good, lines, ""), what: path.to_string(), broken: true })
}

fn definition_renamed(good: &Good, chance: &mut Chance) -> Option<Mutant> {
    let all = definitions(good);
    let (path, _) = chance.of(&all)?;
    let new = misspelt(path.last()?, chance);
    Some(Mutant {
        text: put(good, good.bytes(&Place::key(path)), &new),
        what: format!("{path} as {new}"),
        broken: true,
    })
}

fn line_moved(good: &Good, chance: &mut Chance) -> Option<Mutant> {
    let starts: Vec<usize> = good
        .text
        .match_indices('\n')
        .map(|(at, _)| at + 1)
        .filter(|at| good.text[*at..].starts_with(' '))
        .collect();
    let at = *chance.of(&starts)?;
    let line = good.text[at..].lines().next()?.trim();
    let (text, how) = match chance.below(2) {
        0 => (put(good, at..at, " "), "right"),
        _ => (put(good, at..at + 1, ""), "left"),
    };
    Some(Mutant { text, what: format!("`{line}` to the {how}"), broken: false })
}

fn file_cut(good: &Good, chance: &mut Chance) -> Option<Mutant> {
    let bytes = chance.below(good.text.len());
    let at = (0..=bytes).rev().find(|at| good.text.is_char_boundary(*at))?;
    // Behind the schema of a record there is nothing that has to be there.
    let needed = good.text.find("\noutput:")?;
    Some(Mutant { text: good.text[..at].to_owned(), what: format!("at byte {at}"), broken: at < needed })
}

fn secret_made_a_setting(good: &Good, chance: &mut Chance) -> Option<Mutant> {
    let names: Vec<(usize, String)> =
        names(good).into_iter().filter(|(_, name)| name.starts_with("secrets.")).collect();
    let (at, name) = chance.of(&names)?;
    let other = good.places.iter().find(|(path, _)| path.0.len() == 2 && path.0[0] == "settings");
    let setting = match (chance.below(2), other) {
        (0, Some((path, _))) => path.0[1].clone(),
        _ => name.trim_start_matches("secrets.").to_owned(),
    };
    let defined = other.is_some_and(|(path, _)| path.0[1] == setting);
    let new = format!("settings.{setting}");
    let text = put(good, *at..at + name.len(), &new);
    // Beside the same secret elsewhere a setting may stand.
    let broken = !defined || !text.contains(name.as_str());
    Some(Mutant { text, what: format!("{name} as {new}"), broken })
}

fn character_put_in(good: &Good, chance: &mut Chance) -> Option<Mutant> {
    const STONES: &[char] =
        &['{', '}', '[', ']', '"', '\'', ':', '-', '#', '&', '*', '!', '|', '%', '\t', ',', '\u{202e}'];
    let at = chance.below(good.text.len());
    let at = (0..=at).rev().find(|at| good.text.is_char_boundary(*at))?;
    let stone = *chance.of(STONES)?;
    Some(Mutant {
        text: put(good, at..at, &stone.to_string()),
        what: format!("{stone:?} at byte {at}"),
        broken: false,
    })
}

fn examined(good: &Good, text: &str) -> Examined {
    // Beside the spec, so that its other files are found and its folder's name is not held against it.
    examine_source(Source::new("mutant.yaml", text), &good.file.with_file_name("mutant.yaml"))
}

#[test]
fn no_mutation_passes_in_silence_or_gives_many_messages() {
    let count: usize = std::env::var("FOREBAY_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    // Not the seed of generated inputs: which mutation breaks a spec is judged by rules that each find some.
    let seed = std::env::var("FOREBAY_MUTATIONS_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut chance = Chance(seed);
    let (mut wrong, mut played) = (Vec::new(), 0);
    for good in &goods() {
        assert_eq!(examined(good, &good.text).diagnostics, [], "{}", good.file.display());
        for (kind, mutation) in MUTATIONS {
            for _ in 0..count {
                let Some(mutant) = mutation(good, &mut chance) else { continue };
                if mutant.text == good.text {
                    continue;
                }
                played += 1;
                let found = examined(good, &mutant.text).diagnostics;
                let said: Vec<String> = found
                    .iter()
                    .map(|d| format!("{} {}:{} {}", d.code.id(), d.span.line, d.span.column, d.message))
                    .collect();
                let name = good.document.values["name"].as_str().unwrap();
                if found.len() > 3 {
                    wrong.push(format!("{name}, {kind}, {}: {said:#?}", mutant.what));
                }
                if found.is_empty() && mutant.broken {
                    wrong.push(format!("{name}, {kind}, {}: nothing is said", mutant.what));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {played}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(played >= 1000, "only {played} mutations were played");
}
