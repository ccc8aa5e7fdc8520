//! The schema of one record, compiled.
//!
//! What plain schemas ask is checked by [`quick`] on the values that were read from the request; everything else, and
//! every refusal, by jsonschema on a copy.

mod quick;

use forebay_json_schema::Validator;
use serde_json::Value as Json;

use self::quick::Quick;
use super::node::Node;
use super::record::{Checked, Record};
use crate::error::escaped;

/// The compiled schema of one record.
#[derive(Debug)]
pub struct RecordSchema {
    validator: Validator,
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
        let validator = forebay_json_schema::compile(schema).map_err(|error| {
            let place = error.instance_path().to_string();
            escaped(&format!("{place}{}{error}", if place.is_empty() { "" } else { ": " }), 400)
        })?;
        Ok(Self { validator, quick: Quick::compile(schema) })
    }

    /// Checks a record. Only what passes here can be stored.
    pub fn check(&self, record: Record<'_>) -> Result<Checked, Failure> {
        if !self.surely_passes(record.tree)
            && let Some(failure) = self.fault(&record.tree.to_json())
        {
            return Err(failure);
        }
        Ok(Checked { bytes: record.bytes, before: 0, id: record.id, time: record.time })
    }

    /// What is wrong with a record.
    pub fn fault(&self, record: &Json) -> Option<Failure> {
        let error = self.validator.validate(record).err()?;
        Some(Failure {
            pointer: escaped(&error.instance_path().to_string(), 200),
            sentence: escaped(&error.masked_with("the value").to_string(), 300),
        })
    }

    /// The whole schema, for what an author wrote: what it finds wrong may be shown.
    pub fn validator(&self) -> &Validator {
        &self.validator
    }

    fn surely_passes(&self, tree: Node<'_>) -> bool {
        self.quick.as_ref().is_some_and(|quick| quick.passes(tree))
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
