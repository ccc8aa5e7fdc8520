//! What would mend a mistake, as a change of the file by path.
//!
//! Whoever finds a mistake knows the path and the new word; [`super::patch`] turns that into bytes, which
//! [`super::apply`] puts into the text.

use std::ops::Range;

use super::nearest::Meant;
use super::path::Path;
use super::place::{Part, Place};

/// What would mend a mistake: all of its edits together.
#[derive(Debug, Clone, PartialEq)]
pub struct Fix {
    /// The edits; they do not overlap.
    pub edits: Vec<Edit>,
    /// Whether it is surely what was meant: then `--fix` applies it. Otherwise it is shown.
    pub safe: bool,
}

/// One edit.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Where.
    pub place: Place,
    /// What becomes of it.
    pub change: Change,
}

/// What becomes of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The text of a key or value, or a part of it, becomes this. It stays in the quotes that it has, and gets
    /// some where it needs them.
    Text(String),
    /// What is written there becomes this YAML, byte for byte.
    Yaml(String),
    /// The map there gets another pair behind its last one. Further lines of the YAML are indented as it is.
    Add {
        /// The key.
        key: String,
        /// What stands under it.
        yaml: String,
    },
    /// The list there gets these items, each on one line of YAML, behind its last one.
    Append(Vec<String>),
    /// The pair, or the item of a list, goes away.
    Remove,
}

impl Fix {
    /// Another text for a key, a value or a part of one: a name that was misspelt.
    pub fn text(place: Place, text: impl Into<String>) -> Self {
        Self::of(place, Change::Text(text.into()))
    }

    /// The name that was meant in place of one that does not exist. The one rule of when that is safe.
    pub fn meant(place: Place, meant: Meant<'_>) -> Self {
        Self::text(place, meant.name).safe_if(meant.sure)
    }

    /// Other YAML for what stands at a place.
    pub fn yaml(place: Place, yaml: impl Into<String>) -> Self {
        Self::of(place, Change::Yaml(yaml.into()))
    }

    /// Another pair for a map.
    pub fn add(map: &Path, key: impl Into<String>, yaml: impl Into<String>) -> Self {
        Self::of(Place::value(map), Change::Add { key: key.into(), yaml: yaml.into() })
    }

    /// A pair or an item less.
    pub fn remove(path: &Path) -> Self {
        Self::of(Place::key(path), Change::Remove)
    }

    /// Bytes of the file less.
    pub fn remove_bytes(bytes: Range<usize>) -> Self {
        Self::of(Place::bytes(bytes), Change::Remove)
    }

    fn of(place: Place, change: Change) -> Self {
        Self { edits: vec![Edit { place, change }], safe: true }
    }

    /// One of several ways, or with words that a person has to fill in: it is shown and not applied by itself.
    pub fn suggested(self) -> Self {
        self.safe_if(false)
    }

    /// Whether it is surely what was meant.
    pub fn safe_if(mut self, sure: bool) -> Self {
        self.safe = sure;
        self
    }

    /// Both together, or neither.
    pub fn and(mut self, other: Self) -> Self {
        let new = other.edits.into_iter().filter(|edit| !self.edits.contains(edit)).collect::<Vec<_>>();
        self.edits.extend(new);
        self.safe &= other.safe;
        self
    }
}

impl Edit {
    /// Whether the edit is about a part of a text.
    pub(super) fn is_within(&self) -> bool {
        matches!(self.place.part, Part::Within(_))
    }
}
