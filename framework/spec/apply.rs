//! Fixes applied to the text that their diagnostics were found in. No file is read or written.

use super::diagnostic::Diagnostic;
use super::patch::Replacement;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::diagnostic::placed;
    use crate::spec::document::Document;
    use crate::spec::fix::Fix;
    use crate::spec::mistake::{Code, Mistake, Place};
    use crate::spec::path::Path;
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
