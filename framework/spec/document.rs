//! A spec as written: its text, its values, and the place of every word of it.

use std::ops::Range;

use saphyr_parser::ScalarStyle;
use serde_json::Value as Json;

use super::load;
use super::mistake::{Code, Mistake, Part, Place};
use super::path::Path;
use super::source::{Source, Span};
use super::traps::UNQUOTED_BRACES;
use super::traps::quoted;
use super::tree::{Node, NodeId, NodeKind, Tree};

/// A spec as written.
#[derive(Debug)]
pub struct Document {
    /// The file.
    pub source: Source,
    /// Its values, anchors and merge keys resolved.
    pub values: Json,
    pub(super) tree: Option<Tree>,
}

impl Document {
    /// Parses a source. Mistakes of YAML itself come back beside a document that has no values.
    pub fn parse(source: Source) -> (Self, Vec<Mistake>) {
        match Tree::parse(&source.text) {
            Err(mistakes) => (Self { source, values: Json::Null, tree: None }, mistakes),
            Ok(tree) => {
                let (values, mistakes) = match load::values(&source.text) {
                    Ok(values) => (values, Vec::new()),
                    Err(mistake) => (Json::Null, vec![mistake]),
                };
                (Self { source, values, tree: Some(tree) }, mistakes)
            }
        }
    }

    /// Where a place of the spec stands in the file. A place that cannot be found is that of the nearest
    /// thing above it.
    pub fn span(&self, place: &Place) -> Span {
        if let Part::Bytes(bytes) = &place.part {
            return self.source.span(bytes.clone());
        }
        let Some(tree) = &self.tree else { return self.source.span(0..0) };
        let found = find(tree, &place.path);
        let bytes = match (&place.part, found.key, found.whole) {
            // The key of something that is not there: the nearest thing above it that is.
            (Part::Key, Some(key), _) | (Part::Value | Part::Within(_), Some(key), false) => {
                self.scalar(tree, key)
            }
            (Part::Within(bytes), _, true) => self.within(tree.follow(found.value), bytes.clone()),
            (Part::Key | Part::Value | Part::Within(_) | Part::Bytes(_), key, _) => {
                self.value(tree, key, found.value)
            }
        };
        self.source.span(bytes)
    }

    /// The bytes of a value: of a scalar itself, of a one-line map or list the whole of it, of a block the
    /// key that it stands under, since a block has no end of its own.
    fn value(&self, tree: &Tree, key: Option<NodeId>, value: NodeId) -> Range<usize> {
        let node = tree.follow(value);
        let flow = self.source.text[node.bytes.start..].starts_with(['{', '[']);
        match (&node.kind, key) {
            (NodeKind::Scalar { .. }, _) if !node.bytes.is_empty() => self.trimmed(node.bytes.clone()),
            (NodeKind::Map(_) | NodeKind::List(_), _) if flow => self.trimmed(node.bytes.clone()),
            (_, Some(key)) => self.scalar(tree, key),
            (_, None) => self.source.line_of(node.bytes.start),
        }
    }

    fn scalar(&self, tree: &Tree, id: NodeId) -> Range<usize> {
        self.trimmed(tree.nodes[id].bytes.clone())
    }

    /// Without blanks at the end, and one line only.
    pub(super) fn trimmed(&self, bytes: Range<usize>) -> Range<usize> {
        let text = self.source.text.get(bytes.clone()).unwrap_or_default();
        let first = text.split('\n').next().unwrap_or_default().trim_end();
        bytes.start..bytes.start + first.len()
    }

    /// Whether what stands at a path is written as an alias of something else.
    pub fn is_alias(&self, path: &Path) -> bool {
        let node = self.tree.as_ref().zip(self.find(path).filter(|found| found.whole));
        node.is_some_and(|(tree, found)| matches!(tree.nodes[found.value].kind, NodeKind::Alias(_)))
    }

    /// What a path leads to; nothing where the file has no values.
    pub(super) fn find(&self, path: &Path) -> Option<Found> {
        self.tree.as_ref().map(|tree| find(tree, path))
    }

    /// Bytes of a scalar's text as bytes of the file. Where the text is not written as it is read (escapes,
    /// folded lines) the whole scalar is meant.
    fn within(&self, node: &Node, bytes: Range<usize>) -> Range<usize> {
        self.exactly_within(node, bytes).unwrap_or_else(|| self.trimmed(node.bytes.clone()))
    }

    /// The same, where it can be told exactly.
    pub(super) fn exactly_within(&self, node: &Node, bytes: Range<usize>) -> Option<Range<usize>> {
        let NodeKind::Scalar { text, style } = &node.kind else { return None };
        let raw = self.source.text.get(node.bytes.clone()).unwrap_or_default();
        match style {
            ScalarStyle::Plain if raw.trim_end() == text => Some(shift(&node.bytes, 0, &bytes)),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted
                if raw.get(1..raw.len().saturating_sub(1)) == Some(text) =>
            {
                Some(shift(&node.bytes, 1, &bytes))
            }
            ScalarStyle::Literal => self.within_block(node, text, bytes),
            ScalarStyle::Plain
            | ScalarStyle::SingleQuoted
            | ScalarStyle::DoubleQuoted
            | ScalarStyle::Folded => None,
        }
    }

    /// Bytes of a `|` block: the same line below the bar, moved by the indentation.
    fn within_block(&self, node: &Node, text: &str, bytes: Range<usize>) -> Option<Range<usize>> {
        let before = text.get(..bytes.start)?;
        let wanted = text.lines().nth(before.matches('\n').count())?;
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let mut start = node.bytes.start;
        for line in self.source.text.get(node.bytes.clone())?.split_inclusive('\n') {
            let indent = line.len() - line.trim_start_matches(' ').len();
            if line.trim() == wanted.trim() {
                let at = start + indent + column;
                return Some(at..at + bytes.len().min(wanted.len().saturating_sub(column)));
            }
            start += line.len();
        }
        None
    }

    /// Whether a byte stands inside a text, a number or a flag: a `#` there begins no comment.
    pub(super) fn is_in_a_text(&self, byte: usize) -> bool {
        let scalars = |node: &&Node| matches!(node.kind, NodeKind::Scalar { .. });
        self.tree.iter().flat_map(|tree| &tree.nodes).filter(scalars).any(|node| node.bytes.contains(&byte))
    }

    /// The mistake that a scalar key of these bytes would be unknown YAML: used for keys that are maps.
    pub fn odd_keys(&self) -> Vec<Mistake> {
        let Some(tree) = &self.tree else { return Vec::new() };
        let mut mistakes = Vec::new();
        for node in &tree.nodes {
            let NodeKind::Map(pairs) = &node.kind else { continue };
            for (key, _) in pairs {
                let key = &tree.nodes[*key];
                if !matches!(key.kind, NodeKind::Scalar { .. } | NodeKind::Alias(_)) {
                    let place = Place::bytes(self.trimmed(node.bytes.start..node.bytes.end));
                    let fix = quoted(&self.source.text, node.bytes.start);
                    mistakes.push(
                        Mistake::new(Code::Foreign, place, "a map or a list cannot be a key")
                            .help(UNQUOTED_BRACES)
                            .fix(fix),
                    );
                }
            }
        }
        mistakes
    }
}

/// Bytes of a text as bytes of the file, where the text begins `by` bytes into the scalar.
fn shift(scalar: &Range<usize>, by: usize, bytes: &Range<usize>) -> Range<usize> {
    let start = (scalar.start + by + bytes.start).min(scalar.end);
    start..(scalar.start + by + bytes.end).clamp(start, scalar.end)
}

/// What a path leads to.
pub(super) struct Found {
    /// The key, where it is a pair of a map.
    pub key: Option<NodeId>,
    /// The value.
    pub value: NodeId,
    /// Whether the path leads there to its end.
    pub whole: bool,
}

/// Walks a path as far as it leads. Aliases lead to their anchors, and what a map does not have itself is
/// looked up in what it merges.
fn find(tree: &Tree, path: &Path) -> Found {
    let mut found = Found { key: None, value: tree.root, whole: true };
    for token in &path.0 {
        let next = match &tree.follow(found.value).kind {
            NodeKind::Map(_) => entry(tree, found.value, token, 0).map(|(key, value)| (Some(key), value)),
            NodeKind::List(items) => {
                token.parse().ok().and_then(|n: usize| items.get(n)).map(|id| (None, *id))
            }
            NodeKind::Scalar { .. } | NodeKind::Alias(_) => None,
        };
        match next {
            Some((key, value)) => found = Found { key, value, whole: true },
            None => return Found { whole: false, ..found },
        }
    }
    found
}

/// The pair of a map under a key: its own, or else one of the maps that it merges.
fn entry(tree: &Tree, map: NodeId, key: &str, depth: usize) -> Option<(NodeId, NodeId)> {
    let NodeKind::Map(pairs) = &tree.follow(map).kind else { return None };
    if let Some(pair) = pairs.iter().find(|(k, _)| tree.text(*k) == Some(key)) {
        return Some(*pair);
    }
    let (_, merged) = pairs.iter().find(|(k, _)| tree.text(*k) == Some("<<")).filter(|_| depth < 8)?;
    match &tree.follow(*merged).kind {
        NodeKind::List(items) => items.iter().find_map(|item| entry(tree, *item, key, depth + 1)),
        NodeKind::Map(_) => entry(tree, *merged, key, depth + 1),
        NodeKind::Scalar { .. } | NodeKind::Alias(_) => None,
    }
}
