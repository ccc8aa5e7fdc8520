//! What a code means, at length: the pages in `codes/`, which `forebay explain` prints and docs/errors.md shows.
//!
//! A page says why it is a mistake and holds two examples, first a wrong one, then a right one. An example shows the
//! parts of a spec that it is about; all else stands in [`MINIMAL`].

use super::mistake::Code;

/// A whole spec, as small as one can be: what an example leaves out stands here.
pub const MINIMAL: &str = include_str!("codes/minimal.yaml");

/// The page of one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// Why it is a mistake, and what to do.
    pub words: &'static str,
    /// A spec, or a part of one, with the mistake; none where it does not lie in the spec.
    pub bad: Option<&'static str>,
    /// The same without it.
    pub good: Option<&'static str>,
}

impl Code {
    /// What it means.
    pub fn explanation(self) -> Explanation {
        let mut parts = self.page().split("```");
        let words = parts.next().unwrap_or_default().trim();
        let mut example = || parts.next().and_then(|part| part.strip_prefix("yaml\n"));
        let bad = example();
        parts.next();
        let mut example = || parts.next().and_then(|part| part.strip_prefix("yaml\n"));
        Explanation { words, bad, good: example() }
    }
}

/// An example as a whole spec: what it says stands in [`MINIMAL`] in the place of what that says, key by key, as far as
/// both are blocks.
pub fn whole(example: &str) -> String {
    merged(MINIMAL, example, 0)
}

/// A block with another one laid over it.
fn merged(below: &str, above: &str, indent: usize) -> String {
    let (below, above) = (sections(below, indent), sections(above, indent));
    let mut text = String::new();
    for (key, old) in &below {
        let new: Vec<&str> =
            above.iter().filter(|(other, _)| other == key).map(|(_, section)| *section).collect();
        match (new.as_slice(), block(old)) {
            ([], _) => text.push_str(old),
            ([new], Some((_, old, _))) if block(new).is_some() => {
                let (head, new, deeper) = block(new).unwrap_or_default();
                text.push_str(head);
                text.push_str(&merged(old, new, deeper));
            }
            (new, _) => text.push_str(&new.concat()),
        }
    }
    let added = above.iter().filter(|(key, _)| below.iter().all(|(other, _)| other != key));
    added.for_each(|(_, section)| text.push_str(section));
    text
}

/// The pairs of a block, each with its key; comments go with the pair above them, and with the first one those at
/// the top.
fn sections(text: &str, indent: usize) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let (mut begin, mut at, mut open) = (0, 0, None);
    for line in text.split_inclusive('\n') {
        let here = line.len() - line.trim_start_matches(' ').len() == indent;
        let key = line.split_once(':').filter(|_| here && !line[indent..].starts_with(['#', '-', '}', ']']));
        if let Some((key, _)) = key
            && let Some(before) = open.replace(key)
        {
            found.push((before, &text[begin..at]));
            begin = at;
        }
        at += line.len();
    }
    found.extend(open.map(|key| (key, &text[begin..])));
    found
}

/// A pair whose value is a block map: its first line, the block, and how far that is indented.
fn block(section: &str) -> Option<(&str, &str, usize)> {
    let (head, rest) = section.split_at(section.find('\n')? + 1);
    let indent = rest.len() - rest.trim_start_matches(' ').len();
    let map = head.trim_end().ends_with(':') && !sections(rest, indent).is_empty();
    map.then_some((head, rest, indent))
}
