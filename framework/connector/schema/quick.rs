//! A quick way to see that a record is what its schema says, for schemas of the plain keywords that records need.
//!
//! [`RecordSchema`](super::RecordSchema) asks it first. `true` is a promise: jsonschema would say so too, which
//! tests hold for schemas and records of every shape. `false` promises nothing; jsonschema then has the word, and
//! says what is wrong. A schema with any other keyword is not for it, and is checked by jsonschema alone.

use std::cmp::Ordering;

use serde_json::{Map, Value as Json};

use crate::connector::node::{Members, Node, Number, Shape};

/// Names of one object that the schema says something about, at most: a bit each tells which of them are there.
const NAMES: usize = 64;
/// Schemas inside schemas, at most.
const DEEP: usize = 32;
/// Texts of any length.
const ANY_LENGTH: (usize, usize) = (0, usize::MAX);

/// One schema, compiled.
#[derive(Debug)]
pub(super) enum Quick {
    /// Everything is right.
    Any,
    /// Nothing is.
    Nothing,
    /// What these tests let pass.
    Tests(Box<Tests>),
}

/// What the keywords of one schema ask. A keyword says nothing of a value of another type.
#[derive(Debug)]
pub(super) struct Tests {
    types: Types,
    /// Characters of a text, least and most.
    length: (usize, usize),
    /// Names that are required or restricted, in [`order`].
    names: Vec<Name>,
    /// A bit for each of `names` that is required.
    required: u64,
    /// A bit for each length that one of `names` has, the last one for all from 63 on.
    lengths: u64,
    /// Members that `properties` does not name.
    others: Quick,
    /// Elements of a list.
    items: Quick,
}

#[derive(Debug)]
struct Name {
    name: String,
    /// Whether `properties` has it: it is none of the `others` then.
    listed: bool,
    value: Quick,
}

/// Types as bits; integers are those written as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Types(u8);

impl Types {
    const ALL: Self = Self(0b111_1111);
    const NULL: Self = Self(1);
    const BOOLEAN: Self = Self(1 << 1);
    const INTEGER: Self = Self(1 << 2);
    const FRACTION: Self = Self(1 << 3);
    const NUMBER: Self = Self(Self::INTEGER.0 | Self::FRACTION.0);
    const TEXT: Self = Self(1 << 4);
    const LIST: Self = Self(1 << 5);
    const OBJECT: Self = Self(1 << 6);

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "string" => Self::TEXT,
            "array" => Self::LIST,
            "object" => Self::OBJECT,
            _ => return None,
        })
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn has_all(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

impl Quick {
    /// Compiles a schema; `None` where it says more than this can check.
    pub(super) fn compile(schema: &Json) -> Option<Self> {
        match schema.get("$schema") {
            None => {}
            Some(Json::String(draft)) if draft == "https://json-schema.org/draft/2020-12/schema" => {}
            Some(_) => return None,
        }
        Self::inside(schema, 0)
    }

    fn inside(schema: &Json, depth: usize) -> Option<Self> {
        match schema {
            Json::Bool(true) => Some(Self::Any),
            Json::Bool(false) => Some(Self::Nothing),
            Json::Object(keywords) if depth < DEEP => Tests::compile(keywords, depth),
            _ => None,
        }
    }

    /// Whether the value certainly is what the schema says.
    pub(super) fn passes(&self, node: Node<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Nothing => false,
            Self::Tests(tests) => tests.pass(node),
        }
    }
}

impl Tests {
    fn compile(keywords: &Map<String, Json>, depth: usize) -> Option<Quick> {
        let mut tests = Self {
            types: Types::ALL,
            length: ANY_LENGTH,
            names: Vec::new(),
            required: 0,
            lengths: 0,
            others: Quick::Any,
            items: Quick::Any,
        };
        let mut any = true;
        for (keyword, value) in keywords {
            match keyword.as_str() {
                "$schema" if depth == 0 => continue,
                // They tell people something, and no value is wrong for them.
                "title" | "description" | "$comment" | "examples" | "default" | "deprecated" | "readOnly"
                | "writeOnly" | "format" => continue,
                "type" => tests.types = types(value)?,
                "minLength" => tests.length.0 = usize::try_from(value.as_u64()?).ok()?,
                "maxLength" => tests.length.1 = usize::try_from(value.as_u64()?).ok()?,
                "items" => tests.items = Quick::inside(value, depth + 1)?,
                "additionalProperties" => tests.others = Quick::inside(value, depth + 1)?,
                "required" | "properties" => continue,
                _ => return None,
            }
            any = false;
        }
        tests.name(keywords, depth)?;
        Some(if any && tests.names.is_empty() { Quick::Any } else { Quick::Tests(Box::new(tests)) })
    }

    /// Gathers what is said of names.
    fn name(&mut self, keywords: &Map<String, Json>, depth: usize) -> Option<()> {
        let free = matches!(self.others, Quick::Any);
        if let Some(properties) = keywords.get("properties") {
            for (name, schema) in properties.as_object()? {
                let value = Quick::inside(schema, depth + 1)?;
                // Where others are free, a name that is free needs no row of its own.
                if !(free && matches!(value, Quick::Any)) {
                    self.names.push(Name { name: name.clone(), listed: true, value });
                }
            }
        }
        let mut required = Vec::new();
        for name in keywords.get("required").map_or(Some(&Vec::new()), Json::as_array)? {
            let name = name.as_str()?;
            required.push(name.to_owned());
            if !self.names.iter().any(|known| known.name == name) {
                let listed =
                    keywords.get("properties").is_some_and(|properties| properties.get(name).is_some());
                self.names.push(Name { name: name.to_owned(), listed, value: Quick::Any });
            }
        }
        if self.names.len() > NAMES {
            return None;
        }
        self.names.sort_by(|a, b| order(&a.name, &b.name));
        for (index, known) in self.names.iter().enumerate() {
            if required.contains(&known.name) {
                self.required |= 1 << index;
            }
            self.lengths |= length_bit(known.name.len());
        }
        Some(())
    }

    fn pass(&self, node: Node<'_>) -> bool {
        // Mostly the first byte tells: a text of any length is not unescaped, a number of either kind is not read.
        match node.first() {
            Some(b'"') if self.length == ANY_LENGTH => return self.types.has(Types::TEXT),
            Some(b'-' | b'0'..=b'9') if self.types.has_all(Types::NUMBER) => return true,
            _ => {}
        }
        match node.shape() {
            Shape::Null => self.types.has(Types::NULL),
            Shape::Bool(_) => self.types.has(Types::BOOLEAN),
            Shape::Number(Number::Unsigned(_) | Number::Signed(_)) => self.types.has(Types::INTEGER),
            // A float without a fraction is an integer too: jsonschema decides where only that would do.
            Shape::Number(Number::Float(_)) => self.types.has(Types::FRACTION),
            Shape::Text(text) => self.types.has(Types::TEXT) && self.long_enough(&text),
            Shape::List(list) => {
                self.types.has(Types::LIST)
                    && (matches!(self.items, Quick::Any)
                        || list.iter().all(|element| self.items.passes(element)))
            }
            Shape::Map(map) => self.types.has(Types::OBJECT) && self.members_pass(map),
        }
    }

    fn long_enough(&self, text: &str) -> bool {
        let (least, most) = self.length;
        // A character takes one to four bytes: mostly the bytes alone tell.
        if text.len() / 4 >= least && text.len() <= most {
            return true;
        }
        (least..=most).contains(&text.chars().count())
    }

    fn members_pass(&self, members: Members<'_>) -> bool {
        let free = matches!(self.others, Quick::Any);
        if self.names.is_empty() && free {
            return true;
        }
        let mut seen = 0_u64;
        for (name, value) in members.nodes() {
            // Most names are nobody's, and their length tells.
            if free && name.plain_length().is_some_and(|length| self.lengths & length_bit(length) == 0) {
                continue;
            }
            let name = name.text().unwrap_or_default();
            let pass = match self.names.binary_search_by(|known| order(&known.name, &name)) {
                Ok(index) => {
                    seen |= 1 << index;
                    self.names.get(index).is_some_and(|known| {
                        known.value.passes(value) && (known.listed || self.others.passes(value))
                    })
                }
                Err(_) => self.others.passes(value),
            };
            if !pass {
                return false;
            }
        }
        seen & self.required == self.required
    }
}

fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// Names in an order that is quick to tell: mostly their lengths differ.
fn order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn types(value: &Json) -> Option<Types> {
    match value {
        Json::String(name) => Types::named(name),
        Json::Array(names) => {
            names.iter().try_fold(Types(0), |all, name| Some(Types(all.0 | Types::named(name.as_str()?)?.0)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::RecordSchema;
    use super::*;
    use crate::connector::node::Parsed;

    fn compiled(schema: &Json) -> Option<Quick> {
        Quick::compile(schema)
    }

    #[test]
    fn plain_schemas_are_for_it_and_others_are_not() {
        for plain in [
            json!(true),
            json!({"type": ["object", "null"], "required": ["a"], "properties": {"a": {"minLength": 1}}}),
            json!({"additionalProperties": false, "items": {"type": "string", "maxLength": 3}}),
        ] {
            assert!(compiled(&plain).is_some(), "{plain}");
        }
        for other in [
            json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
            json!({"enum": [1]}),
            json!({"properties": {"a": {"pattern": "x"}}}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": true}}),
            json!({"properties": {"a": {"$schema": "http://json-schema.org/draft-04/schema#"}}}),
        ] {
            assert!(compiled(&other).is_none(), "{other}");
        }
    }

    #[test]
    fn most_records_need_nobody_else() {
        let schema = json!({"type": "object", "required": ["a", "c"], "properties": {
            "a": {"type": "string", "minLength": 1}, "b": {"type": "integer"}, "n": {"type": "number"},
            "list": {"type": "array", "items": {"type": "boolean"}}}});
        let quick = compiled(&schema).unwrap();
        let passes = |text: &str| quick.passes(Parsed::read(text).unwrap().root());
        assert!(passes(r#"{"a":"x","c":null,"b":-3,"n":1.5,"list":[true,false],"other":{}}"#));
        for wrong in [
            r#"{"a":"x"}"#,
            r#"{"a":"","c":1}"#,
            r#"{"a":1,"c":1}"#,
            r#"{"a":"x","c":1,"b":1.5}"#,
            r#"{"a":"x","c":1,"list":[1]}"#,
            r#"{"a":1,"a":"x","c":1}"#,
            "[]",
        ] {
            assert!(!passes(wrong), "{wrong}");
        }
    }

    /// Names and values are few, so that schemas and records meet.
    fn schemas() -> impl Strategy<Value = Json> {
        let types =
            prop::sample::select(vec!["null", "boolean", "integer", "number", "string", "array", "object"]);
        let leaf = prop_oneof![
            Just(json!(true)),
            Just(json!(false)),
            types.clone().prop_map(|name| json!({"type": name})),
            prop::collection::vec(types, 1..3).prop_map(|mut names| {
                names.sort_unstable();
                names.dedup();
                json!({"type": names, "title": "t"})
            }),
            (0..3_u8, 0..4_u8).prop_map(|(least, most)| json!({"minLength": least, "maxLength": most})),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let properties = prop::collection::btree_map("[a-c]", inner.clone(), 0..3);
            let required = prop::collection::btree_set("[a-d]", 0..3);
            (properties, required, prop::option::of(inner.clone()), prop::option::of(inner)).prop_map(
                |(properties, required, others, items)| {
                    let mut schema = json!({"properties": properties, "required": required});
                    if let Some(others) = others {
                        schema["additionalProperties"] = others;
                    }
                    if let Some(items) = items {
                        schema["items"] = items;
                    }
                    schema
                },
            )
        })
    }

    fn records() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "null",
            "true",
            "0",
            "-0",
            "1.0",
            "1.5",
            "1e400",
            "18446744073709551616",
            "\"\"",
            "\"\u{e9}\u{e9}\"",
            "\"\\n\\\"\"",
            "\"\\u00e9\"",
            "\"\\ud83d\"",
            "\"abcd\"",
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(3, 24, 4, |inner| {
            let member = ("[a-d]", inner.clone()).prop_map(|(name, value)| format!("\"{name}\" : {value}"));
            prop_oneof![
                prop::collection::vec(member, 0..4).prop_map(|members| format!("{{{} }}", members.join(","))),
                prop::collection::vec(inner, 0..3).prop_map(|elements| format!("[ {}]", elements.join(" ,"))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_passes_here_passes_jsonschema_too(schema in schemas(), record in records()) {
            let quick = compiled(&schema).expect("a plain schema");
            let slow = RecordSchema::compile(&schema).expect("a schema");
            let parsed = Parsed::read(&record).expect("JSON");
            let passes = quick.passes(parsed.root());
            let valid = slow.fault(&parsed.root().to_json()).is_none();
            prop_assert!(!passes || valid, "{schema} {record}");
            // And it gives up only where it may: at floats (-0 is one), and where a name stands twice.
            if valid && !passes {
                prop_assert!(["-0", ".", "e", "616"].iter().any(|float| record.contains(float))
                    || has_twins(&record), "{schema} {record}");
            }
        }
    }

    fn has_twins(record: &str) -> bool {
        ["\"a\" :", "\"b\" :", "\"c\" :", "\"d\" :"].iter().any(|name| record.matches(name).count() > 1)
    }
}
