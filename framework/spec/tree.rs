//! The YAML of a spec as it stands in the file: every key and value with its bytes, aliases not expanded.
//!
//! Built from the parser's events, so that a file whose aliases stand for billions of values is refused
//! before anything expands them. `serde_yaml` gives the values; this gives the places.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as Mark};

use super::mistake::{Code, Mistake, Place};
use super::nearest::listed;

/// How deep a spec may be nested, aliases expanded.
const MAX_DEPTH: usize = 64;
/// How many values a spec may have, aliases expanded.
const MAX_VALUES: usize = 100_000;

/// Where a node stands in [`Tree::nodes`].
pub type NodeId = usize;

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Its bytes in the file. Those of a block map or list reach to the next token.
    pub bytes: Range<usize>,
    /// What it is.
    pub kind: NodeKind,
}

/// What a node is.
#[derive(Debug)]
pub enum NodeKind {
    /// Text, a number, a flag, null.
    Scalar {
        /// As YAML reads it.
        text: String,
        /// How it is written.
        style: ScalarStyle,
    },
    /// A list.
    List(Vec<NodeId>),
    /// A map; its keys in the order of the file.
    Map(Vec<(NodeId, NodeId)>),
    /// Another node, by its anchor.
    Alias(NodeId),
}

/// All nodes of a file.
#[derive(Debug)]
pub struct Tree {
    /// The nodes, children after their parents.
    pub nodes: Vec<Node>,
    /// The top.
    pub root: NodeId,
}

impl Tree {
    /// Parses a text. Everything that YAML itself forbids comes back as mistakes: the first place that cannot
    /// be parsed, or every key that stands twice.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let mut builder = Builder::new(text);
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, mark) = event.map_err(|e| {
                let at = builder.byte(e.marker().index());
                vec![super::syntax::explain(text, at, e.info())]
            })?;
            builder.take(event, mark).map_err(|m| vec![m])?;
        }
        let tree = builder.finish()?;
        tree.measure().map_err(|m| vec![m])?;
        let twice = tree.duplicate_keys();
        if twice.is_empty() { Ok(tree) } else { Err(twice) }
    }

    /// A node, aliases followed.
    pub fn follow(&self, id: NodeId) -> &Node {
        match &self.nodes[id].kind {
            NodeKind::Alias(target) => self.follow(*target),
            NodeKind::Scalar { .. } | NodeKind::List(_) | NodeKind::Map(_) => &self.nodes[id],
        }
    }

    /// The text of a node that is a scalar.
    pub fn text(&self, id: NodeId) -> Option<&str> {
        match &self.follow(id).kind {
            NodeKind::Scalar { text, .. } => Some(text),
            NodeKind::List(_) | NodeKind::Map(_) | NodeKind::Alias(_) => None,
        }
    }

    /// Refuses what would be too much once aliases are expanded. Children come after their parents and
    /// anchors before their aliases, so every size is known when it is needed and nothing is expanded.
    fn measure(&self) -> Result<(), Mistake> {
        let mut known: HashMap<NodeId, (usize, usize)> = HashMap::new();
        let (_, depth) = self.size(self.root, &mut known, 0)?;
        if depth > MAX_DEPTH {
            return Err(Mistake::new(
                Code::TooLarge,
                Place::bytes(0..0),
                format!("the spec is nested deeper than {MAX_DEPTH}"),
            )
            .help("aliases count as what they stand for; a spec is one vendor's stream"));
        }
        Ok(())
    }

    /// Values and depth of a node, aliases expanded.
    fn size(
        &self,
        id: NodeId,
        known: &mut HashMap<NodeId, (usize, usize)>,
        above: usize,
    ) -> Result<(usize, usize), Mistake> {
        if let Some(size) = known.get(&id) {
            return Ok(*size);
        }
        if above > MAX_DEPTH {
            return Err(Mistake::new(
                Code::TooLarge,
                Place::bytes(self.nodes[id].bytes.clone()),
                format!("the spec is nested deeper than {MAX_DEPTH}"),
            )
            .help("aliases count as what they stand for; no spec needs this depth"));
        }
        let children: Vec<NodeId> = match &self.nodes[id].kind {
            NodeKind::Scalar { .. } => Vec::new(),
            NodeKind::List(items) => items.clone(),
            NodeKind::Map(pairs) => pairs.iter().flat_map(|(key, value)| [*key, *value]).collect(),
            NodeKind::Alias(target) => vec![*target],
        };
        let (mut values, mut depth) = (1usize, 0usize);
        for child in children {
            let (more, deeper) = self.size(child, known, above + 1)?;
            values = values.saturating_add(more);
            depth = depth.max(deeper + 1);
        }
        if values > MAX_VALUES {
            return Err(Mistake::new(
                Code::TooLarge,
                Place::bytes(self.nodes[id].bytes.clone()),
                format!("the spec has more than {MAX_VALUES} values once its aliases are expanded"),
            )
            .help("aliases count as what they stand for; a spec is one vendor's stream"));
        }
        known.insert(id, (values, depth));
        Ok((values, depth))
    }

    /// Keys that stand twice, one mistake for each map.
    fn duplicate_keys(&self) -> Vec<Mistake> {
        self.nodes.iter().filter_map(|node| self.twice(node)).collect()
    }

    fn twice(&self, node: &Node) -> Option<Mistake> {
        let NodeKind::Map(pairs) = &node.kind else { return None };
        let mut seen: HashMap<&str, NodeId> = HashMap::new();
        let twice: Vec<(&str, NodeId, NodeId)> = pairs
            .iter()
            .filter_map(|(key, _)| {
                let text = self.text(*key)?;
                seen.insert(text, *key).map(|first| (text, first, *key))
            })
            .collect();
        let place = |id: NodeId| Place::bytes(self.nodes[id].bytes.clone());
        let (first, earlier, key) = *twice.first()?;
        let message = match twice.len() {
            1 => format!("the key `{first}` stands twice in one map"),
            _ => format!("the keys {} stand twice in one map", listed(twice.iter().map(|(text, ..)| *text))),
        };
        let help = match (first, twice.len()) {
            ("<<", 1) => "merge several maps with one key: `<<: [*first, *second]`",
            (_, 1) => "YAML would keep one of them and drop the other: rename or remove one",
            _ => "is the line with a name missing above the second ones?",
        };
        Some(
            Mistake::new(Code::DuplicateKey, place(key), message)
                .help(help)
                .related(place(earlier), "it stands here first"),
        )
    }
}

/// A tree that is being built from events.
struct Builder {
    nodes: Vec<Node>,
    anchors: HashMap<usize, NodeId>,
    open: Vec<NodeId>,
    pending_key: Vec<Option<NodeId>>,
    root: Option<NodeId>,
    /// The byte of every character; empty where they are the same.
    bytes: Vec<usize>,
    len: usize,
}

impl Builder {
    fn new(text: &str) -> Self {
        let bytes =
            if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        Self {
            nodes: Vec::new(),
            anchors: HashMap::new(),
            open: Vec::new(),
            pending_key: Vec::new(),
            root: None,
            bytes,
            len: text.len(),
        }
    }

    /// The byte of a character.
    fn byte(&self, index: usize) -> usize {
        if self.bytes.is_empty() {
            index.min(self.len)
        } else {
            self.bytes.get(index).copied().unwrap_or(self.len)
        }
    }

    fn range(&self, mark: Mark) -> Range<usize> {
        let start = self.byte(mark.start.index());
        start..self.byte(mark.end.index()).max(start)
    }

    fn take(&mut self, event: Event<'_>, mark: Mark) -> Result<(), Mistake> {
        let bytes = self.range(mark);
        match event {
            Event::Scalar(text, style, anchor, _) => {
                self.add(Node { bytes, kind: NodeKind::Scalar { text: text.into_owned(), style } }, anchor)?;
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(target) if !self.open.contains(target) => {
                    let kind = NodeKind::Alias(*target);
                    self.add(Node { bytes, kind }, 0)?;
                }
                _ => {
                    return Err(Mistake::new(
                        Code::Syntax,
                        Place::bytes(bytes),
                        "this alias contains itself",
                    )
                    .help("an anchor can be used after the value that it names, not inside it"));
                }
            },
            Event::SequenceStart(anchor, _) => {
                self.begin(Node { bytes, kind: NodeKind::List(Vec::new()) }, anchor)?
            }
            Event::MappingStart(anchor, _) => {
                self.begin(Node { bytes, kind: NodeKind::Map(Vec::new()) }, anchor)?
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(id) = self.open.pop() {
                    self.pending_key.pop();
                    self.nodes[id].bytes.end = bytes.end.max(self.nodes[id].bytes.start);
                }
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin(&mut self, node: Node, anchor: usize) -> Result<(), Mistake> {
        let id = self.add(node, anchor)?;
        self.open.push(id);
        self.pending_key.push(None);
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<NodeId, Mistake> {
        let id = self.nodes.len();
        if self.open.is_empty() && self.root.is_some() {
            return Err(Mistake::new(
                Code::Foreign,
                Place::bytes(node.bytes),
                "a second YAML document begins here",
            )
            .help("one file holds one spec: remove the `---`"));
        }
        self.nodes.push(node);
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
        let Some(parent) = self.open.last().copied() else {
            self.root = Some(id);
            return Ok(id);
        };
        match &mut self.nodes[parent].kind {
            NodeKind::List(items) => items.push(id),
            NodeKind::Map(pairs) => {
                if let Some(pending) = self.pending_key.last_mut() {
                    match pending.take() {
                        Some(key) => pairs.push((key, id)),
                        None => *pending = Some(id),
                    }
                }
            }
            NodeKind::Scalar { .. } | NodeKind::Alias(_) => {}
        }
        Ok(id)
    }

    fn finish(self) -> Result<Tree, Vec<Mistake>> {
        match self.root {
            Some(root) => Ok(Tree { nodes: self.nodes, root }),
            None => Err(vec![
                Mistake::new(Code::Syntax, Place::bytes(0..0), "the file is empty")
                    .help("a spec begins with `forebay: 1`"),
            ]),
        }
    }
}
