//! What would mend a mistake, as a change of the file: by path where it is found, in bytes where it is shown and
//! applied.
//!
//! Whoever finds a mistake knows the path and the new word; [`super::patch`] turns that into bytes. Nothing here
//! reads or writes a file.

use super::diagnostic::Diagnostic;
use super::mistake::{Part, Place};
use super::path::Path;
use super::source::Span;

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
    /// The pair, or the item of a list, goes away.
    Remove,
}

impl Fix {
    /// Another text for a key, a value or a part of one: a name that was misspelt.
    pub fn text(place: Place, text: impl Into<String>) -> Self {
        Self::of(place, Change::Text(text.into()))
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

    fn of(place: Place, change: Change) -> Self {
        Self { edits: vec![Edit { place, change }], safe: true }
    }

    /// One of several ways, or with words that a person has to fill in: it is shown and not applied by itself.
    pub fn suggested(mut self) -> Self {
        self.safe = false;
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

/// A fix in the bytes of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// What becomes what, in the order of the file.
    pub replacements: Vec<Replacement>,
    /// Whether it is surely what was meant.
    pub safe: bool,
}

/// A stretch of the file that becomes another text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replacement {
    /// The stretch; empty where something is put in.
    pub span: Span,
    /// What stands there afterwards.
    pub text: String,
}

/// A text with fixes applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Fixed {
    /// The text.
    pub text: String,
    /// Which of the diagnostics were applied, by their position.
    pub applied: Vec<usize>,
}

/// Applies the fixes of diagnostics to the text they were found in: the safe ones, or all. Of two that touch the
/// same bytes the first is applied.
pub fn apply(text: &str, diagnostics: &[Diagnostic], unsafe_too: bool) -> Fixed {
    let mut taken: Vec<&Replacement> = Vec::new();
    let mut applied = Vec::new();
    for (n, diagnostic) in diagnostics.iter().enumerate() {
        let Some(patch) = diagnostic.fix.as_ref().filter(|patch| patch.safe || unsafe_too) else { continue };
        if patch.replacements.iter().any(|new| taken.iter().any(|old| touch(old, new))) {
            continue;
        }
        taken.extend(&patch.replacements);
        applied.push(n);
    }
    taken.sort();
    let mut out = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for replacement in taken {
        out.push_str(text.get(at..replacement.span.start).unwrap_or_default());
        out.push_str(&replacement.text);
        at = replacement.span.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    Fixed { text: out, applied }
}

/// Whether two stretches share a byte, or a place where something is put in.
fn touch(a: &Replacement, b: &Replacement) -> bool {
    a.span.start <= b.span.end && b.span.start <= a.span.end
}

impl Edit {
    /// Whether the edit is about a part of a text.
    pub(super) fn is_within(&self) -> bool {
        matches!(self.place.part, Part::Within(_))
    }
}
