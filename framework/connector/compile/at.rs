//! A cursor over a spec's values.
//!
//! It gives `None` for what is not there and for what has the wrong shape alike: the language's schema has reported
//! the shape already, and one mistake is reported once.

use serde_json::Value as Json;

use crate::spec::path::Path;

/// One value of the spec and where it stands.
#[derive(Debug, Clone)]
pub struct At<'a> {
    /// The value.
    pub value: &'a Json,
    /// Where it stands.
    pub path: Path,
}

impl<'a> At<'a> {
    /// The value under a key, where this is a map that has it.
    pub fn get(&self, key: &str) -> Option<At<'a>> {
        let value = self.value.as_object()?.get(key)?;
        Some(At { value, path: self.path.join(key) })
    }

    /// Whether this is a map that has the key.
    pub fn has(&self, key: &str) -> bool {
        self.value.get(key).is_some()
    }

    /// The pairs of a map, in the order of the spec; none where this is no map.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'a> {
        let path = self.path.clone();
        let value: &'a Json = self.value;
        value
            .as_object()
            .into_iter()
            .flatten()
            .map(move |(key, value)| (key.as_str(), At { value, path: path.join(key.as_str()) }))
    }

    /// The items of a list; none where this is no list.
    pub fn items(&self) -> impl Iterator<Item = At<'a>> + use<'a> {
        let path = self.path.clone();
        let value: &'a Json = self.value;
        value
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .map(move |(n, value)| At { value, path: path.join(n.to_string()) })
    }

    /// The items of a list, or the value itself where it is no list.
    pub fn one_or_many(&self) -> Vec<At<'a>> {
        if self.value.is_array() { self.items().collect() } else { vec![self.clone()] }
    }

    /// Every text in it.
    pub fn leaves(&self) -> Vec<At<'a>> {
        match self.value {
            Json::String(_) => vec![self.clone()],
            Json::Array(_) => self.items().flat_map(|at| at.leaves()).collect(),
            Json::Object(_) => self.entries().flat_map(|(_, at)| at.leaves()).collect(),
            Json::Null | Json::Bool(_) | Json::Number(_) => Vec::new(),
        }
    }

    /// The text, where this is one.
    pub fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// The text under a key.
    pub fn text_of(&self, key: &str) -> Option<&'a str> {
        self.value.get(key)?.as_str()
    }

    /// Whether a flag stands under a key and is true.
    pub fn flag(&self, key: &str) -> bool {
        self.value.get(key).and_then(Json::as_bool).unwrap_or(false)
    }
}
