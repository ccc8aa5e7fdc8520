//! What would mend a mistake, as a change of the file: by path where it is found, in bytes where it is shown and
//! applied.
//!
//! Whoever finds a mistake knows the path and the new word; [`super::patch`] turns that into bytes. Nothing here
//! reads or writes a file.

use std::ops::Range;

use super::diagnostic::Diagnostic;
use super::mistake::{Part, Place};
use super::nearest::Meant;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::diagnostic::placed;
    use crate::spec::document::Document;
    use crate::spec::mistake::{Code, Mistake};
    use crate::spec::source::Source;

    /// The text after all of these fixes, and how many were applied.
    fn mended(text: &str, fixes: Vec<Fix>) -> (String, usize) {
        let (document, wrong) = Document::parse(Source::new("x.yaml", text));
        assert_eq!(wrong, []);
        let mistake = |(n, fix): (usize, Fix)| {
            let place = fix.edits[0].place.clone();
            Mistake::new(Code::MissingKey, place, format!("mistake {n}")).help("mend it").fix(fix)
        };
        let diagnostics = placed(&document, fixes.into_iter().enumerate().map(mistake).collect());
        let fixed = apply(text, &diagnostics, true);
        (fixed.text, fixed.applied.len())
    }

    fn one(text: &str, fix: Fix) -> String {
        let (text, applied) = mended(text, vec![fix]);
        assert_eq!(applied, 1, "the fix was not applied");
        text
    }

    fn path(pointer: &str) -> Path {
        Path::from_pointer(pointer)
    }

    #[test]
    fn a_text_stays_in_the_quotes_that_it_has() {
        let value = |text: &str, new: &str| one(text, Fix::text(Place::value(&path("/a")), new));
        assert_eq!(value("a: x # why\n", "y"), "a: y # why\n");
        assert_eq!(value("a: 'x'\n", "it's"), "a: 'it''s'\n");
        assert_eq!(value("a: \"x\"\n", "say \"y\""), "a: \"say \\\"y\\\"\"\n");
        // It gets some where it would be something else without: a flag, a list, a comment.
        assert_eq!(value("a: x\n", "true"), "a: \"true\"\n");
        assert_eq!(value("{a: x, b: 1}\n", "y, z"), "{a: \"y, z\", b: 1}\n");
        assert_eq!(one("a: 1\n", Fix::text(Place::key(&path("/a")), "b")), "b: 1\n");
        let within = Fix::text(Place::within(&path("/a"), 3..4), "why");
        assert_eq!(one("a: \"{{ x }}\"\n", within.clone()), "a: \"{{ why }}\"\n");
        assert_eq!(one("a: |\n  {{ x }}\n  more\n", within.clone()), "a: |\n  {{ why }}\n  more\n");
        // Where the bytes cannot be told, nothing is changed.
        assert_eq!(mended("a: \"\\u007b{ x }}\"\n", vec![within]).1, 0);
    }

    #[test]
    fn pairs_are_added_as_their_map_is_written() {
        let add = |text: &str, at: &str| one(text, Fix::add(&path(at), "new", "1"));
        assert_eq!(add("a:\n    b: 1 # why\nc: 2\n", "/a"), "a:\n    b: 1 # why\n    new: 1\nc: 2\n");
        assert_eq!(add("a: {b: 1} # why\n", "/a"), "a: {b: 1, new: 1} # why\n");
        assert_eq!(add("a: {}\n", "/a"), "a: {new: 1}\n");
        assert_eq!(add("a: 1", ""), "a: 1\nnew: 1");
        assert_eq!(
            add("- b:\n    c: [1,\n      2]\n\n# end\n", "/0"),
            "- b:\n    c: [1,\n      2]\n  new: 1\n\n# end\n"
        );
        assert_eq!(add("a: |\n  text\n\nb: &x {c: 1}\n", ""), "a: |\n  text\n\nb: &x {c: 1}\nnew: 1\n");
        assert_eq!(add("a: &x\n  b: 1\nc: *x\n", "/c"), "a: &x\n  b: 1\n  new: 1\nc: *x\n");
        assert_eq!(add("a:\r\n  b: 1\r\n", "/a"), "a:\r\n  b: 1\r\n  new: 1\r\n");
        let two = Fix::add(&path("/a"), "new", "\n  x: 1");
        assert_eq!(one("a:\n  b: 1\n", two), "a:\n  b: 1\n  new:\n    x: 1\n");
    }

    #[test]
    fn what_is_removed_goes_with_its_lines_or_its_comma() {
        let remove = |text: &str, at: &str| one(text, Fix::remove(&path(at)));
        assert_eq!(remove("a: 1\nb:\n  c: 1\n  d: |\n    x\ne: 2 # why\n", "/b"), "a: 1\ne: 2 # why\n");
        assert_eq!(remove("a: 1\nb: # why\n  - 1\n\n# about c\nc: 1\n", "/b"), "a: 1\n\n# about c\nc: 1\n");
        assert_eq!(remove("a: {b: 1, c: 2}\n", "/a/b"), "a: {c: 2}\n");
        assert_eq!(remove("a: {b: 1, c: 2}\n", "/a/c"), "a: {b: 1}\n");
        assert_eq!(remove("a: [x, y, z]\n", "/a/1"), "a: [x, z]\n");
        assert_eq!(remove("- a: 1\n  b: 2\n- c: 3\n", "/0/a"), "- b: 2\n- c: 3\n");
        assert_eq!(remove("- a: 1\n  b: 2\n- c: 3\n", "/0"), "- c: 3\n");
        assert_eq!(remove("a: 1\nb: 2", "/b"), "a: 1\n");
    }

    #[test]
    fn of_two_that_touch_one_is_applied() {
        let fix = |text: &str| Fix::text(Place::value(&path("/a")), text);
        let (text, applied) = mended("a: x\nb: x\n", vec![fix("first"), Fix::remove(&path("/a"))]);
        // That which stands first in the file.
        assert_eq!((text.as_str(), applied), ("b: x\n", 1));
        let both = fix("y").and(Fix::text(Place::value(&path("/b")), "z"));
        assert_eq!(mended("a: x\nb: x\n", vec![both.clone(), fix("other")]), ("a: y\nb: z\n".to_owned(), 1));
        // Through an alias it is one edit.
        let twice =
            Fix::text(Place::value(&path("/a/x")), "2").and(Fix::text(Place::value(&path("/b/x")), "2"));
        assert_eq!(one("a: &m {x: y}\nb: *m\n", twice), "a: &m {x: \"2\"}\nb: *m\n");
    }
}
