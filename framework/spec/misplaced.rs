//! One line that is missing above many: said once, instead of once for each line below it.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::definition::{LANGUAGE, collect_keys};
use super::mistake::{Code, Mistake, Place};
use super::nearest::listed;
use super::path::Path;

/// Maps whose keys are names that the author chooses, and the definition of what stands under each.
const NAMED: &[(&[&str], &str, &str)] = &[
    (&["settings"], "setting", "a setting"),
    (&["secrets"], "secret", "a secret"),
    (&["auth"], "auth", "an auth"),
    (&["provision", "resources"], "resource", "a resource"),
];

/// Maps where the line with a name is missing: what belongs under the name stands where names stand.
pub fn names_missing(spec: &Json) -> Vec<Mistake> {
    NAMED
        .iter()
        .filter_map(|(path, definition, what)| {
            let map = path.iter().try_fold(spec, |at, key| at.get(key))?.as_object()?;
            let mut words = BTreeSet::new();
            collect_keys(&LANGUAGE["$defs"][*definition], &mut words, 0);
            words.insert("kind".to_owned());
            let found: Vec<&str> = map.keys().map(String::as_str).filter(|key| words.contains(*key)).collect();
            (found.len() > 1).then(|| {
                let path = Path(path.iter().map(|key| (*key).to_owned()).collect());
                let message = format!("{} stand where the name of {what} belongs", listed(found));
                Mistake::new(Code::MissingKey, Place::value(&path), message)
                    .help(format!("is the line with the name missing above them? What is said of {what} stands one level below its name"))
            })
        })
        .collect()
}

/// Many keys in one map that are not known there, as one mistake; the key of the language that they belong
/// under, where one is missing that has them all.
pub fn many_unknown(
    path: &Path,
    unknown: &BTreeSet<String>,
    value: Option<&Json>,
) -> (Mistake, Option<&'static str>) {
    let mut keys: Vec<&str> = unknown.iter().map(String::as_str).collect();
    // In the order of the file, which is the order of the map.
    let order = |key: &str| value.and_then(Json::as_object).and_then(|map| map.keys().position(|k| k == key));
    keys.sort_by_key(|key| order(key));
    let place = Place::key(&path.join(keys[0]));
    let of = path.last().map_or_else(|| "the language".to_owned(), |_| format!("`{path}`"));
    let home = home(unknown);
    let help = match home {
        Some(home) => format!("they belong under `{home}`: is that line missing above them?"),
        None => "is a line missing above them, or are they indented too much or too little?".to_owned(),
    };
    let mut mistake = Mistake::new(
        Code::UnknownKey,
        place,
        format!("{} are no keys of {of}", listed(keys.iter().copied())),
    )
    .help(help);
    for key in &keys[1..] {
        mistake = mistake.related(Place::key(&path.join(*key)), "nor this");
    }
    (mistake, home)
}

/// The key at the top that knows all of these.
fn home(unknown: &BTreeSet<String>) -> Option<&'static str> {
    let top = LANGUAGE["properties"].as_object()?;
    top.iter().find_map(|(name, schema)| {
        let mut keys = BTreeSet::new();
        collect_keys(schema, &mut keys, 0);
        unknown.is_subset(&keys).then_some(name.as_str())
    })
}
