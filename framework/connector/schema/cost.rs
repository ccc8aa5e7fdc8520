//! How much work a schema can make of one record, worked out before the record is evaluated.
//!
//! jsonschema evaluates a subschema as often as a path leads to it, and paths multiply: twelve definitions of ten
//! references each are 10^12 of them. [`RecordSchema`](super::RecordSchema) asks here first. The count takes every branch of
//! `anyOf` and its like for evaluated, so it is never below what evaluating takes; each pair of a subschema and a value is
//! looked at once, so that counting itself is short.
//!
//! Invariants: counting ends after [`MOST_PAIRS`] pairs and some for the record's length, and what is above the bound is not evaluated.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::connector::node::{Node, Shape};

/// Subschemas of one schema.
const MOST_NODES: usize = 20_000;
/// Evaluations of subschemas for one single value, at most.
const MOST_PATHS: u64 = 1_000_000;
/// Pairs of a subschema and a value that are looked at for one record, besides one for each eight bytes of it.
const MOST_PAIRS: u64 = 400_000;
/// Subschemas and values inside of each other.
const DEEPEST: usize = 400;
/// Subschemas, and values that `enum` lists, up to which a schema without references needs no counting.
const TAME: usize = 1_000;

/// The subschemas of a schema, by what they are applied to.
#[derive(Debug)]
pub(super) struct Cost {
    nodes: Vec<Part>,
}

/// One subschema.
#[derive(Debug, Default)]
struct Part {
    /// Work that it takes itself.
    own: u64,
    /// Applied to the same value.
    same: Vec<usize>,
    /// Applied to the members of these names.
    members: HashMap<String, Vec<usize>>,
    /// Patterns of names, and what is applied to members that they match: taken for all.
    patterns: u64,
    every_member: Vec<usize>,
    /// Applied to the elements of a list.
    elements: Vec<usize>,
    /// Whether names are matched with a pattern besides.
    pattern: bool,
    /// Whether elements are compared with each other.
    unique: bool,
}

/// Why a schema is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Explodes(pub String);

impl Cost {
    /// The cost of a schema; `None` where no record can make it take long. The error says what is too much in any case.
    pub(super) fn of(schema: &Json) -> Result<Option<Self>, Explodes> {
        let mut reader =
            Reader { root: schema, known: HashMap::new(), nodes: Vec::new(), named: Vec::new(), tame: true };
        names(schema, &mut reader.named, 0);
        reader.node(schema)?;
        let Reader { nodes, tame, .. } = reader;
        let own: u64 = nodes.iter().map(|node| node.own).sum();
        let cost = Self { nodes };
        let (paths, at) = cost.paths();
        if paths > MOST_PATHS {
            let shown = if paths == u64::MAX { "more than 10^19".to_owned() } else { paths.to_string() };
            return Err(Explodes(format!(
                "{shown} paths lead through the subschemas of one value ({at} of them), and {MOST_PATHS} is the bound"
            )));
        }
        Ok((!tame || cost.nodes.len() > TAME || own > TAME as u64 * 4).then_some(cost))
    }

    /// The most evaluations that one value takes, and how many subschemas there are.
    fn paths(&self) -> (u64, usize) {
        let mut known: Vec<Option<u64>> = vec![None; self.nodes.len()];
        let mut most = 0;
        for start in 0..self.nodes.len() {
            // Depth first with a stack of its own: references can be as many as the schema has subschemas.
            let mut stack = vec![(start, false)];
            while let Some((at, done)) = stack.pop() {
                if known[at].is_some() && !done {
                    continue;
                }
                let same = &self.nodes[at].same;
                if done {
                    let inner = same.iter().map(|next| known[*next].unwrap_or(0));
                    let sum = inner.fold(1u64, u64::saturating_add);
                    known[at] = Some(sum);
                    most = most.max(sum);
                } else {
                    // A subschema that leads to itself for the same value is not evaluated again.
                    known[at] = Some(1);
                    stack.push((at, true));
                    stack.extend(
                        same.iter().filter(|next| known[**next].is_none()).map(|next| (*next, false)),
                    );
                }
            }
        }
        (most, self.nodes.len())
    }

    /// The work that a record makes, where it is at most so much.
    pub(super) fn within(&self, record: Node<'_>, most: u64) -> Option<u64> {
        let most_pairs = most.min(MOST_PAIRS + record.raw().len() as u64 / 8);
        let mut count = Count { cost: self, known: HashMap::new(), most, most_pairs };
        count.of(0, record, 0).filter(|needed| *needed <= most)
    }
}

/// One count.
struct Count<'c> {
    cost: &'c Cost,
    known: HashMap<(usize, usize), u64>,
    most: u64,
    most_pairs: u64,
}

impl Count<'_> {
    /// `None`: it is more than the bound.
    fn of(&mut self, at: usize, value: Node<'_>, depth: usize) -> Option<u64> {
        let cost = self.cost;
        let part = cost.nodes.get(at)?;
        // Most values are texts and numbers with a plain schema: nothing comes of looking them up.
        if part.same.is_empty() && !matches!(value.first(), Some(b'{' | b'[' | b'"')) {
            return Some(1 + part.own);
        }
        if part.same.is_empty() && !part.pattern && value.first() == Some(b'"') {
            return Some(1 + part.own);
        }
        let pair = (at, value.row_number());
        if let Some(known) = self.known.get(&pair) {
            return Some(*known);
        }
        if depth > DEEPEST || self.known.len() as u64 >= self.most_pairs {
            return None;
        }
        // While it is counted it leads to nothing new: what leads to itself for the same value is not evaluated again.
        self.known.insert(pair, 0);
        let mut sum = 1 + part.own;
        for next in &part.same {
            let more = self.of(*next, value, depth + 1)?;
            sum = self.add(sum, more)?;
        }
        match value.shape() {
            Shape::Map(members) => {
                for (name, member) in members.iter() {
                    // Patterns are matched against the name, by `patternProperties` and again by `additionalProperties`.
                    let matching = part.patterns.saturating_mul(4 + name.len() as u64 / 2);
                    sum = self.add(sum, matching)?;
                    let named = part.members.get(name.as_ref()).into_iter().flatten();
                    for next in named.chain(&part.every_member) {
                        let more = self.of(*next, member, depth + 1)?;
                        sum = self.add(sum, more)?;
                    }
                }
            }
            Shape::List(elements) => {
                if part.unique {
                    sum = self.add(sum, value.raw().len() as u64 / 4)?;
                }
                for element in elements.iter() {
                    for next in &part.elements {
                        let more = self.of(*next, element, depth + 1)?;
                        sum = self.add(sum, more)?;
                    }
                }
            }
            Shape::Text(text) if part.pattern => sum = self.add(sum, text.len() as u64 / 4)?,
            Shape::Null | Shape::Bool(_) | Shape::Number(_) | Shape::Text(_) => {}
        }
        self.known.insert(pair, sum);
        Some(sum)
    }

    fn add(&self, sum: u64, more: u64) -> Option<u64> {
        sum.checked_add(more).filter(|sum| *sum <= self.most)
    }
}

/// Reads a schema into its parts.
struct Reader<'s> {
    root: &'s Json,
    /// The number of each subschema, by where it lies in memory.
    known: HashMap<*const Json, usize>,
    nodes: Vec<Part>,
    /// Subschemas that have an `$id`, an `$anchor` or a `$dynamicAnchor`.
    named: Vec<(&'s str, &'s Json)>,
    tame: bool,
}

/// Collects the subschemas that a reference can name otherwise than by a pointer.
fn names<'s>(value: &'s Json, found: &mut Vec<(&'s str, &'s Json)>, depth: usize) {
    if depth > DEEPEST {
        return;
    }
    match value {
        Json::Object(map) => {
            for key in ["$id", "$anchor", "$dynamicAnchor", "id"] {
                found.extend(map.get(key).and_then(Json::as_str).map(|name| (name, value)));
            }
            map.values().for_each(|value| names(value, found, depth + 1));
        }
        Json::Array(items) => items.iter().for_each(|value| names(value, found, depth + 1)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

impl<'s> Reader<'s> {
    /// The number of a subschema, which is read if it is new.
    fn node(&mut self, schema: &'s Json) -> Result<usize, Explodes> {
        let begin = self.number(schema)?;
        // The subschemas that were numbered and not read yet; reading one numbers more.
        let mut waiting: Vec<(usize, &'s Json)> = begin.1.into_iter().map(|()| (begin.0, schema)).collect();
        while let Some((number, schema)) = waiting.pop() {
            let part = self.part(schema, &mut waiting)?;
            self.nodes[number] = part;
        }
        Ok(begin.0)
    }

    /// A number for a subschema; `Some`: it is new.
    fn number(&mut self, schema: &'s Json) -> Result<(usize, Option<()>), Explodes> {
        let place: *const Json = schema;
        if let Some(known) = self.known.get(&place) {
            return Ok((*known, None));
        }
        if self.nodes.len() >= MOST_NODES {
            return Err(Explodes(format!("it has more than {MOST_NODES} subschemas")));
        }
        self.nodes.push(Part::default());
        self.known.insert(place, self.nodes.len() - 1);
        Ok((self.nodes.len() - 1, Some(())))
    }

    fn part(&mut self, schema: &'s Json, waiting: &mut Vec<(usize, &'s Json)>) -> Result<Part, Explodes> {
        let mut part = Part::default();
        let Json::Object(keywords) = schema else { return Ok(part) };
        part.own = 1 + keywords.len() as u64;
        let mut add = |reader: &mut Self, schema: &'s Json| -> Result<usize, Explodes> {
            let (number, new) = reader.number(schema)?;
            waiting.extend(new.map(|()| (number, schema)));
            Ok(number)
        };
        for (keyword, value) in keywords {
            match (keyword.as_str(), value) {
                ("$ref" | "$dynamicRef" | "$recursiveRef", Json::String(reference)) => {
                    self.tame = false;
                    for target in self.targets(reference) {
                        part.same.push(add(self, target)?);
                    }
                }
                ("allOf" | "anyOf" | "oneOf", Json::Array(list)) => {
                    for schema in list {
                        part.same.push(add(self, schema)?);
                    }
                }
                ("not" | "if" | "then" | "else", schema) => part.same.push(add(self, schema)?),
                ("dependentSchemas" | "dependencies", Json::Object(map)) => {
                    for schema in map.values().filter(|schema| schema.is_object()) {
                        part.same.push(add(self, schema)?);
                    }
                }
                ("properties", Json::Object(map)) => {
                    part.own += map.len() as u64 / 8;
                    for (name, schema) in map {
                        part.members.entry(name.clone()).or_default().push(add(self, schema)?);
                    }
                }
                ("patternProperties", Json::Object(map)) => {
                    self.tame = false;
                    part.patterns += map.len() as u64;
                    for schema in map.values() {
                        part.every_member.push(add(self, schema)?);
                    }
                }
                ("additionalProperties" | "unevaluatedProperties", schema) => {
                    part.every_member.push(add(self, schema)?);
                }
                // A name is a text: what is applied to it costs what it costs for the member, and more.
                ("propertyNames", schema) => part.every_member.push(add(self, schema)?),
                (
                    "items" | "additionalItems" | "unevaluatedItems" | "contains",
                    schema @ (Json::Object(_) | Json::Bool(_)),
                ) => {
                    part.elements.push(add(self, schema)?);
                }
                ("items" | "prefixItems", Json::Array(list)) => {
                    for schema in list {
                        part.elements.push(add(self, schema)?);
                    }
                }
                ("enum", Json::Array(values)) => part.own += values.len() as u64,
                ("required", Json::Array(names)) => part.own += names.len() as u64 / 4,
                ("pattern", _) => part.pattern = true,
                ("uniqueItems", Json::Bool(true)) => part.unique = true,
                _ => {}
            }
        }
        // What is not evaluated by others is asked of all of them once more.
        if keywords.contains_key("unevaluatedProperties") || keywords.contains_key("unevaluatedItems") {
            part.same.extend(part.same.clone());
        }
        Ok(part)
    }

    /// Where a reference leads. One that cannot be followed may lead to every subschema with a name.
    fn targets(&self, reference: &str) -> Vec<&'s Json> {
        let pointer = |root: &'s Json, text: &str| {
            let decoded = percent(text);
            root.pointer(&decoded)
        };
        match reference.strip_prefix('#') {
            Some("") => return vec![self.root],
            Some(inner) if inner.starts_with('/') => {
                if let Some(target) = pointer(self.root, inner) {
                    return vec![target];
                }
            }
            Some(anchor) => {
                let found: Vec<_> = self
                    .named
                    .iter()
                    .filter(|(name, _)| *name == anchor)
                    .map(|(_, schema)| *schema)
                    .collect();
                if !found.is_empty() {
                    return found;
                }
            }
            None => {}
        }
        let inner = reference.split_once('#').map(|(_, inner)| inner).filter(|inner| inner.starts_with('/'));
        let roots = std::iter::once(self.root).chain(self.named.iter().map(|(_, schema)| *schema));
        match inner {
            Some(inner) => roots.filter_map(|root| pointer(root, inner)).collect(),
            None => roots.collect(),
        }
    }
}

/// A pointer in a URL, `%25` and its like undone.
fn percent(text: &str) -> String {
    let pair = url::form_urlencoded::parse(
        text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D").as_bytes(),
    )
    .next()
    .map(|(name, _)| name.into_owned());
    pair.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::connector::node::Parsed;

    /// `deep` definitions of `wide` references each to the next.
    fn ladder(deep: usize, wide: usize) -> Json {
        let mut defs = Map::new();
        for n in 0..deep {
            let next = json!({"$ref": format!("#/$defs/a{}", n + 1)});
            defs.insert(format!("a{n}"), json!({"allOf": vec![next; wide]}));
        }
        defs.insert(format!("a{deep}"), json!({"type": "object"}));
        json!({"$defs": defs, "$ref": "#/$defs/a0"})
    }

    #[test]
    fn schema_of_many_paths_is_refused() {
        let refused = Cost::of(&ladder(12, 10)).unwrap_err();
        assert!(refused.0.contains("paths lead through the subschemas"), "{refused:?}");
        assert!(Cost::of(&ladder(5, 10)).unwrap().is_some());
        assert!(Cost::of(&json!({"allOf": [{"$ref": "#"}]})).unwrap().is_some());
        assert!(Cost::of(&json!({"properties": {"a": {"type": "string"}}})).unwrap().is_none());
    }

    fn counted(schema: &Json, record: &Json, most: u64) -> Option<u64> {
        let text = record.to_string();
        Cost::of(schema).unwrap().unwrap().within(Parsed::read(&text).unwrap().root(), most)
    }

    #[test]
    fn branches_of_a_recursive_schema_multiply_with_depth() {
        let twice = json!({"properties": {"c": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
        let nested = |depth: usize| (0..depth).fold(json!({}), |inner, _| json!({"c": inner}));
        let small = counted(&twice, &nested(5), u64::MAX).unwrap();
        assert!((1 << 5..1 << 14).contains(&small), "{small}");
        assert_eq!(counted(&twice, &nested(60), 10_000_000), None);
        // Once each is as much as there are values.
        let once = json!({"properties": {"c": {"$ref": "#"}}});
        assert!(counted(&once, &nested(60), 2_000).is_some());
    }

    #[test]
    fn patterns_of_names_count_by_names_and_their_length() {
        let patterns: Map<String, Json> = (0..300).map(|n| (format!("^x{n}.*y$"), json!({}))).collect();
        let schema = json!({"patternProperties": patterns});
        let wide = |keys: usize| -> Json {
            (0..keys).map(|n| (format!("x{n}{}", "z".repeat(190)), json!(1))).collect::<Map<_, _>>().into()
        };
        assert!(counted(&schema, &wide(3), 1_000_000).is_some());
        assert_eq!(counted(&schema, &wide(3_000), 11_000_000), None);
    }
}
