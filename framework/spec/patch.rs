//! From a fix by path to the bytes of the file that it changes. `diagnostic` calls it; what cannot be changed
//! without touching anything else has no patch, and is then only said in words.

use std::ops::Range;

use saphyr_parser::ScalarStyle;
use serde_json::Value as Json;

use super::document::{Document, Found};
use super::fix::{Change, Edit, Fix};
use super::load;
use super::place::Part;
use super::source::Span;
use super::tree::{NodeId, NodeKind, Tree};

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

impl Document {
    /// The fix in bytes: all of it or none.
    pub fn patch(&self, fix: &Fix) -> Option<Patch> {
        let mut replacements: Vec<Replacement> = Vec::new();
        for edit in &fix.edits {
            let (bytes, text) = self.replacement(edit)?;
            let new = Replacement { span: self.source.span(bytes), text };
            // What stands in an anchor is changed once, wherever it is used.
            if !replacements.contains(&new) {
                replacements.push(new);
            }
        }
        replacements.sort();
        let apart = replacements.windows(2).all(|pair| pair[0].span.end <= pair[1].span.start);
        (apart && !replacements.is_empty()).then_some(Patch { replacements, safe: fix.safe })
    }

    fn replacement(&self, edit: &Edit) -> Option<(Range<usize>, String)> {
        if let Part::Bytes(bytes) = &edit.place.part {
            let new = match &edit.change {
                Change::Text(text) | Change::Yaml(text) => text.clone(),
                Change::Remove => String::new(),
                Change::Add { .. } | Change::Append(_) => return None,
            };
            return Some((bytes.clone(), new));
        }
        let tree = self.tree.as_ref()?;
        let found = self.find(&edit.place.path).filter(|found| found.whole)?;
        match &edit.change {
            Change::Text(text) => self.text(tree, edit, &found, text),
            Change::Yaml(yaml) => {
                let id = if edit.place.part == Part::Key { found.key? } else { found.value };
                let bytes = match &edit.place.part {
                    Part::Within(within) => self.exactly_within(tree.follow(id), within.clone())?,
                    Part::Key | Part::Value | Part::Bytes(_) => self.written(tree, id),
                };
                Some((bytes, yaml.clone()))
            }
            Change::Add { key, yaml } => self.added(tree, found.value, key, yaml),
            Change::Append(more) => self.appended(tree, found.value, more),
            Change::Remove => self.removed(tree, &edit.place.path, &found),
        }
    }

    /// Another text for a scalar or a part of it, written as the scalar is.
    fn text(&self, tree: &Tree, edit: &Edit, found: &Found, text: &str) -> Option<(Range<usize>, String)> {
        let node = tree.follow(if edit.place.part == Part::Key { found.key? } else { found.value });
        let NodeKind::Scalar { text: before, style } = &node.kind else { return None };
        let whole = edit.place.clone();
        let (bytes, after) = match &whole.part {
            Part::Within(within) => {
                let after = [before.get(..within.start)?, text, before.get(within.end..)?].concat();
                (self.exactly_within(node, within.clone())?, after)
            }
            Part::Key | Part::Value | Part::Bytes(_) => (self.trimmed(node.bytes.clone()), text.to_owned()),
        };
        let quoted = |text: &str| Json::from(text).to_string();
        Some(match style {
            ScalarStyle::Plain if is_plain(&after) && edit.is_within() => (bytes, text.to_owned()),
            ScalarStyle::Plain if is_plain(&after) => (bytes, after),
            ScalarStyle::Plain => (self.trimmed(node.bytes.clone()), quoted(&after)),
            ScalarStyle::DoubleQuoted if edit.is_within() => {
                (bytes, quoted(text).trim_matches('"').to_owned())
            }
            ScalarStyle::DoubleQuoted => (bytes, quoted(text)),
            ScalarStyle::SingleQuoted if edit.is_within() => (bytes, text.replace('\'', "''")),
            ScalarStyle::SingleQuoted => (bytes, format!("'{}'", text.replace('\'', "''"))),
            ScalarStyle::Literal if edit.is_within() && !text.contains('\n') => (bytes, text.to_owned()),
            ScalarStyle::Literal | ScalarStyle::Folded => return None,
        })
    }

    /// All bytes of a key or a value, without the blanks and comments behind it.
    fn written(&self, tree: &Tree, id: NodeId) -> Range<usize> {
        let start = tree.nodes[id].bytes.start;
        start..self.end(tree, id).max(start)
    }

    /// The byte behind the last one of a node. A block has no end of its own: its last child's.
    fn end(&self, tree: &Tree, id: NodeId) -> usize {
        let node = &tree.nodes[id];
        let text = self.source.text.get(node.bytes.clone()).unwrap_or_default();
        let own = node.bytes.start + text.trim_end().len();
        if text.starts_with(['{', '[']) {
            return own;
        }
        match &node.kind {
            NodeKind::Scalar { .. } | NodeKind::Alias(_) => own,
            NodeKind::List(items) => items.last().map_or(own, |item| self.end(tree, *item)),
            // A key without a value has an empty one, which can stand anywhere behind it.
            NodeKind::Map(pairs) => pairs.last().map_or(own, |(key, value)| {
                self.end(tree, *key).max(if tree.nodes[*value].bytes.is_empty() {
                    0
                } else {
                    self.end(tree, *value)
                })
            }),
        }
    }

    /// A pair behind the last one of a map.
    fn added(&self, tree: &Tree, map: NodeId, key: &str, yaml: &str) -> Option<(Range<usize>, String)> {
        let node = tree.follow(map);
        let NodeKind::Map(pairs) = &node.kind else { return None };
        let flow = self.source.text[node.bytes.start..].starts_with('{');
        let Some((first, _)) = pairs.first() else {
            let inside = node.bytes.start + 1;
            return flow.then(|| (inside..inside, format!("{key}: {yaml}")));
        };
        let (last_key, last) = pairs.last()?;
        let end = self.end(tree, *last_key).max(self.end(tree, *last));
        if flow {
            return (!yaml.contains('\n')).then(|| (end..end, format!(", {key}: {yaml}")));
        }
        let line = self.source.line_of(end);
        let first = tree.nodes[*first].bytes.start;
        let indent = " ".repeat(first - self.source.line_of(first).start);
        let blank = if yaml.starts_with('\n') { "" } else { " " };
        let newline = if self.source.text.contains("\r\n") { "\r\n" } else { "\n" };
        let lines = format!("\n{key}:{blank}{yaml}").replace('\n', &format!("{newline}{indent}"));
        Some((line.end..line.end, lines))
    }

    /// Items behind the last one of a list.
    fn appended(&self, tree: &Tree, list: NodeId, more: &[String]) -> Option<(Range<usize>, String)> {
        let node = tree.follow(list);
        let NodeKind::List(items) = &node.kind else { return None };
        let last = *items.last()?;
        let end = self.end(tree, last);
        if self.source.text[node.bytes.start..].starts_with('[') {
            return Some((end..end, more.iter().map(|yaml| format!(", {yaml}")).collect()));
        }
        let start = tree.nodes[last].bytes.start;
        let dash = self.source.text.get(self.source.line_of(start).start..start)?.rfind('-')?;
        let line = self.source.line_of(end);
        let indent = " ".repeat(dash);
        Some((line.end..line.end, more.iter().map(|yaml| format!("\n{indent}- {yaml}")).collect()))
    }

    /// A pair or an item less: in a block with its lines, in one line with its comma.
    fn removed(
        &self,
        tree: &Tree,
        path: &super::path::Path,
        found: &Found,
    ) -> Option<(Range<usize>, String)> {
        let start = tree.nodes[found.key.unwrap_or(found.value)].bytes.start;
        let end = match found.key {
            Some(key) if tree.nodes[found.value].bytes.is_empty() => self.end(tree, key),
            Some(_) | None => self.end(tree, found.value),
        };
        let parent = tree.follow(self.find(&path.parent())?.value);
        let text = &self.source.text;
        if text[parent.bytes.start..].starts_with(['{', '[']) {
            return Some((self.with_its_comma(start, end), String::new()));
        }
        let line = self.source.line_of(start);
        let before = &text[line.start..start];
        let starts = |id: &NodeId| tree.nodes[*id].bytes.start;
        let next = match &parent.kind {
            NodeKind::Map(pairs) => pairs.iter().map(|(key, _)| starts(key)).find(|at| *at > start),
            NodeKind::List(items) => items.iter().map(starts).find(|at| *at > start),
            NodeKind::Scalar { .. } | NodeKind::Alias(_) => None,
        };
        match (&parent.kind, next) {
            // The first pair of an item stands behind its dash, and the next one takes its place.
            (NodeKind::Map(_), Some(next)) if !before.trim().is_empty() => Some((start..next, String::new())),
            (NodeKind::Map(_), _) if !before.trim().is_empty() => None,
            (_, _) => {
                let last = self.source.line_of(end);
                let behind = text[last.end..].find('\n').map_or(text.len(), |at| last.end + at + 1);
                Some((line.start..behind, String::new()))
            }
        }
    }

    /// These bytes of a one-line map or list, and the comma that goes with them.
    fn with_its_comma(&self, start: usize, end: usize) -> Range<usize> {
        let text = &self.source.text;
        let behind = &text[end..];
        if let Some(rest) = behind.trim_start().strip_prefix(',') {
            return start..text.len() - rest.trim_start().len();
        }
        match text[..start].trim_end().strip_suffix(',') {
            Some(before) => before.len()..end,
            None => start..end,
        }
    }
}

/// Whether YAML reads a text back as itself without quotes, in a one-line list too.
pub(super) fn is_plain(text: &str) -> bool {
    load::values(&format!("[{text}]")) == Ok(serde_json::json!([text]))
}
