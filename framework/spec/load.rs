//! YAML text to values: merge keys applied, numeric keys as text. The only file that imports serde_yaml.

use serde_json::{Map, Number, Value as Json};
use serde_yaml::Value as Yaml;

use super::mistake::{Code, Mistake, Place};
use super::path::Path;
use crate::error::{Error, Kind};

/// The values of a YAML document, anchors and `<<` resolved.
pub fn values(text: &str) -> Result<Json, Mistake> {
    let syntax = |e: serde_yaml::Error| {
        let at = e.location().map_or(0, |location| location.index());
        Mistake::new(Code::Syntax, Place::bytes(at..at), format!("this is no YAML: {e}"))
            .help("look at the indentation, and at quotes and brackets that are opened and not closed")
    };
    let mut yaml: Yaml = serde_yaml::from_str(text).map_err(syntax)?;
    yaml.apply_merge().map_err(syntax)?;
    json(yaml, &Path::default())
}

fn json(yaml: Yaml, path: &Path) -> Result<Json, Mistake> {
    Ok(match yaml {
        Yaml::Null => Json::Null,
        Yaml::Bool(b) => Json::Bool(b),
        Yaml::String(text) => Json::String(text),
        Yaml::Number(number) => Json::Number(json_number(&number, path)?),
        Yaml::Sequence(list) => Json::Array(
            list.into_iter()
                .enumerate()
                .map(|(n, item)| json(item, &path.join(n.to_string())))
                .collect::<Result<_, _>>()?,
        ),
        Yaml::Mapping(map) => {
            let mut object = Map::with_capacity(map.len());
            for (key, value) in map {
                let key = json_key(key, path)?;
                let value = json(value, &path.join(&*key))?;
                object.insert(key, value);
            }
            Json::Object(object)
        }
        Yaml::Tagged(tagged) => {
            return Err(foreign(path, format!("the YAML tag `{}` means nothing here", tagged.tag))
                .help("leave the tag out; a text that begins with `!` wants quotes"));
        }
    })
}

fn json_number(number: &serde_yaml::Number, path: &Path) -> Result<Number, Mistake> {
    if let Some(n) = number.as_i64() {
        return Ok(n.into());
    }
    if let Some(n) = number.as_u64() {
        return Ok(n.into());
    }
    number
        .as_f64()
        .and_then(Number::from_f64)
        .ok_or_else(|| foreign(path, format!("`{number}` is a number that JSON does not have")))
}

/// A key as text: `409:` is the key "409".
fn json_key(key: Yaml, path: &Path) -> Result<String, Mistake> {
    match key {
        Yaml::String(text) => Ok(text),
        Yaml::Number(number) => Ok(number.to_string()),
        Yaml::Bool(b) => Ok(b.to_string()),
        Yaml::Null => Ok("null".to_owned()),
        Yaml::Sequence(_) | Yaml::Mapping(_) | Yaml::Tagged(_) => {
            Err(foreign(path, "a key here is a list or a map")
                .help("to YAML, `{{ name }}` without quotes is a map inside a map: write \"{{ name }}\""))
        }
    }
}

fn foreign(path: &Path, message: impl Into<String>) -> Mistake {
    Mistake::new(Code::Foreign, Place::value(path), message)
}

/// Typed data of a YAML file that is no spec: forebay.yaml, a case. What is wrong is said with its line and
/// column, and the nearest of the names that could stand there.
pub fn from_yaml<T: serde::de::DeserializeOwned>(text: &str, file: &str) -> Result<T, Error> {
    // Only the untyped form notices that a map has a key twice.
    serde_yaml::from_str::<Yaml>(text)
        .and_then(|_| serde_yaml::from_str(text))
        .map_err(|error| located(&error, file))
}

fn located(error: &serde_yaml::Error, file: &str) -> Error {
    let mut sentence = error.to_string();
    let mut place = file.to_owned();
    if let Some(location) = error.location() {
        let (line, column) = (location.line(), location.column());
        place = format!("{file}:{line}:{column}");
        sentence = sentence.replace(&format!(" at line {line} column {column}"), "");
    }
    let names: Vec<&str> = sentence.split('`').skip(1).step_by(2).collect();
    let near = match names.split_first() {
        Some((unknown, known)) if sentence.contains("unknown field") => known
            .iter()
            .map(|name| (strsim::damerau_levenshtein(name, unknown), *name))
            .min()
            .filter(|(distance, _)| *distance <= 2)
            .map(|(_, name)| format!("did you mean `{name}`?")),
        _ => None,
    };
    let error = Error::new(Kind::Configuration, sentence).at(place);
    match near {
        Some(help) => error.help(help),
        None => error,
    }
}
