//! The schema of one record, compiled. The only file beside `spec` that imports jsonschema.
//!
//! It checks the tree that was read from the request, without building another one: what plain schemas ask by
//! [`quick`], everything else, and every refusal, by jsonschema. Patterns run in linear time, `format` asserts
//! nothing, and no `$ref` leads outside the schema.

mod quick;

use std::borrow::Cow;

use jsonschema::json::{Array as ArrayView, Json as Representation, JsonNumber, Node as NodeView};
use jsonschema::json::{NodeIdentity, Object as ObjectView};
use jsonschema::{JsonType, PatternOptions, Validator};
use serde_json::Value as Json;

use self::quick::Quick;
use super::node::{Elements, Members, Node, Number, Parsed, Shape};
use super::record::{Checked, Record};
use crate::error::escaped;

/// The compiled schema of one record.
#[derive(Debug)]
pub struct RecordSchema {
    validator: Validator<Read>,
    /// What is said of most records in a fraction of the time.
    quick: Option<Quick>,
}

/// Why a record is not what the schema says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The JSON Pointer of the value that is wrong; empty for the record itself.
    pub pointer: String,
    /// What is wrong with it: escaped, bounded, one line.
    pub sentence: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.pointer.is_empty() { "the record" } else { &self.pointer };
        write!(f, "{place}: {}", self.sentence)
    }
}

impl RecordSchema {
    /// Compiles a schema (draft 2020-12 unless it says otherwise); the error says what is wrong with it.
    pub fn compile(schema: &Json) -> Result<Self, String> {
        let options = jsonschema::options_for::<Read>()
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(false)
            .offline();
        let validator = options.build(schema).map_err(|error| {
            let place = error.instance_path().to_string();
            escaped(&format!("{place}{}{error}", if place.is_empty() { "" } else { ": " }), 400)
        })?;
        Ok(Self { validator, quick: Quick::compile(schema) })
    }

    /// Checks a record. Only what passes here can be stored.
    pub fn check(&self, record: Record<'_>) -> Result<Checked, Failure> {
        if self.is_valid(record.tree) {
            Ok(Checked { bytes: record.bytes, before: 0, id: record.id, time: record.time })
        } else {
            Err(self.failure(record.tree))
        }
    }

    /// What is wrong with a record that did not come in by a request: a sample, an example.
    pub fn fault(&self, record: &Json) -> Option<Failure> {
        match Parsed::read(&record.to_string()) {
            Ok(parsed) if self.is_valid(parsed.root()) => None,
            Ok(parsed) => Some(self.failure(parsed.root())),
            Err(unread) => Some(Failure { pointer: String::new(), sentence: unread.to_string() }),
        }
    }

    fn is_valid(&self, tree: Node<'_>) -> bool {
        self.quick.as_ref().is_some_and(|quick| quick.passes(tree)) || self.validator.is_valid(tree)
    }

    /// The first error, worked out again with its place: only records that fail pay for it.
    fn failure(&self, tree: Node<'_>) -> Failure {
        match self.validator.validate(tree) {
            Ok(()) => Failure { pointer: String::new(), sentence: "the schema refuses it".to_owned() },
            Err(error) => Failure {
                pointer: escaped(&error.instance_path().to_string(), 200),
                sentence: escaped(&error.masked_with("the value").to_string(), 300),
            },
        }
    }
}

/// The trees of `node.rs`, as jsonschema looks at them.
struct Read;

impl Representation for Read {
    type Node<'a> = Node<'a>;
    type PreparedKey = String;
    // An object is a list of members here: going over them once beats looking each name up.
    const KEYS_PER_LOOKUP: usize = 64;
    type StringBuffer = Option<Parsed<'static>>;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(
        buffer: &mut Option<Parsed<'static>>,
        string: &str,
        f: impl FnOnce(Self::Node<'_>) -> T,
    ) -> T {
        f(buffer.insert(Parsed::text(string)).root())
    }
}

impl<'a> NodeView<'a, Read> for Node<'a> {
    type Object = Members<'a>;
    type Array = Elements<'a>;
    type Number = Number;

    fn as_object(&self) -> Option<Members<'a>> {
        if let Shape::Map(members) = self.shape() { Some(members) } else { None }
    }
    fn as_array(&self) -> Option<Elements<'a>> {
        if let Shape::List(elements) = self.shape() { Some(elements) } else { None }
    }
    fn as_string(&self) -> Option<Cow<'a, str>> {
        self.text()
    }
    fn as_number(&self) -> Option<Number> {
        if let Shape::Number(number) = self.shape() { Some(number) } else { None }
    }
    fn as_boolean(&self) -> Option<bool> {
        if let Shape::Bool(value) = self.shape() { Some(value) } else { None }
    }
    fn is_null(&self) -> bool {
        Node::is_null(*self)
    }
    fn json_type(&self) -> JsonType {
        match self.shape() {
            Shape::Null => JsonType::Null,
            Shape::Bool(_) => JsonType::Boolean,
            Shape::Number(_) => JsonType::Number,
            Shape::Text(_) => JsonType::String,
            Shape::List(_) => JsonType::Array,
            Shape::Map(_) => JsonType::Object,
        }
    }
    fn to_value(&self) -> Cow<'a, Json> {
        Cow::Owned(self.to_json())
    }
    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(self.address()))
    }
}

impl<'a> ObjectView<'a, Read> for Members<'a> {
    type Node = Node<'a>;
    type MemberName = Cow<'a, str>;
    type MembersIter = Box<dyn Iterator<Item = (Cow<'a, str>, Node<'a>)> + 'a>;

    fn len(&self) -> usize {
        Members::len(*self)
    }
    fn get(&self, key: &String) -> Option<Node<'a>> {
        Members::get(*self, key)
    }
    fn members(&self) -> Self::MembersIter {
        Box::new(self.iter())
    }
}

impl<'a> ArrayView<'a, Read> for Elements<'a> {
    type Node = Node<'a>;
    type ElementsIter = Box<dyn Iterator<Item = Node<'a>> + 'a>;

    fn len(&self) -> usize {
        Elements::len(*self)
    }
    fn elements(&self) -> Self::ElementsIter {
        Box::new(self.iter())
    }
}

impl JsonNumber for Number {
    fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Unsigned(number) => Some(number),
            Self::Signed(number) => u64::try_from(number).ok(),
            Self::Float(_) => None,
        }
    }
    fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Unsigned(number) => i64::try_from(number).ok(),
            Self::Signed(number) => Some(number),
            Self::Float(_) => None,
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "the schema's arithmetic is that of doubles")]
    fn as_f64(&self) -> Option<f64> {
        Some(match *self {
            Self::Unsigned(number) => number as f64,
            Self::Signed(number) => number as f64,
            Self::Float(number) => number,
        })
    }
    fn as_str(&self) -> Cow<'_, str> {
        self.text()
    }
    fn to_number(&self) -> Cow<'_, serde_json::Number> {
        Cow::Owned(self.to_json().unwrap_or_else(|| 0.into()))
    }
    fn is_integer(&self) -> bool {
        match *self {
            Self::Unsigned(_) | Self::Signed(_) => true,
            Self::Float(number) => number.fract() == 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_that_leads_outside_or_is_none_is_refused() {
        for bad in [
            json!({"$ref": "https://example.com/other.json"}),
            json!({"$ref": "other.json"}),
            json!({"type": "strnig"}),
            json!({"pattern": "(?=look)ahead"}),
            json!({"required": "type"}),
        ] {
            assert!(RecordSchema::compile(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn formats_assert_nothing_and_patterns_take_no_time() {
        let schema = json!({"properties": {
            "date": {"type": "string", "format": "date-time"},
            "x": {"pattern": "^(a+)+$"},
        }});
        let schema = RecordSchema::compile(&schema).unwrap();
        assert_eq!(schema.fault(&json!({"date": "yesterday"})), None);
        assert!(schema.fault(&json!({"x": "a".repeat(50_000) + "b"})).is_some());
    }

    #[test]
    fn a_failure_names_the_place_and_shows_no_value() {
        let schema = json!({
            "required": ["type"],
            "properties": {"a": {"items": {"type": "integer"}}, "n": {"minimum": 3, "multipleOf": 0.5}},
            "propertyNames": {"maxLength": 10},
            "uniqueItems": true,
        });
        let schema = RecordSchema::compile(&schema).unwrap();
        let failure = |record: Json| schema.fault(&record).unwrap();
        let deep = failure(json!({"type": 1, "a": [1, 2.0, "top secret"]}));
        assert_eq!(deep.pointer, "/a/2");
        assert!(!deep.to_string().contains("secret"), "{deep}");
        assert!(failure(json!({})).to_string().starts_with("the record: "));
        assert_eq!(failure(json!({"type": 1, "n": 2.5})).pointer, "/n");
        assert!(schema.fault(&json!({"type": 1, "n": 18_446_744_073_709_551_615_u64})).is_none());
        assert!(schema.fault(&json!({"type": 1, "much too long a name": 1})).is_some());
    }
}
