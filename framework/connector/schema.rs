//! The schema of one record, compiled.
//!
//! What plain schemas ask is checked by [`quick`] on the values that were read from the request; everything else, and
//! every refusal, by jsonschema on a copy.

mod cost;
mod quick;

use std::cell::Cell;

use forebay_json_schema::Validator;
use serde_json::Value as Json;

use self::cost::Cost;
use self::quick::Quick;
use super::node::{Node, Parsed};
use super::record::{Checked, Record};
use crate::error::escaped;

/// Steps that checking one record may take, beside those for its length: some tenths of a second on a slow machine.
const STEPS: u64 = 1_000_000;
/// Steps for each byte of a record, or of a body.
const STEPS_A_BYTE: u64 = 16;
/// Steps that checking all records of one body may take, beside those for its length.
const STEPS_OF_A_BODY: u64 = 16_000_000;

/// How many steps the records of one body may still take. One step is about the evaluation of one subschema.
#[derive(Debug)]
pub struct Steps {
    left: Cell<u64>,
    spent: Cell<bool>,
    few: bool,
}

impl Steps {
    /// The steps of a body of this many bytes.
    pub fn of_body(bytes: usize) -> Self {
        Self::of(STEPS_OF_A_BODY.saturating_add(STEPS_A_BYTE.saturating_mul(bytes as u64)))
    }

    /// So many.
    pub fn of(steps: u64) -> Self {
        Self { left: Cell::new(steps), spent: Cell::new(false), few: false }
    }

    /// So many for a first attempt: when they are used up, it is begun again with those of a body.
    pub fn few(steps: u64) -> Self {
        Self { few: true, ..Self::of(steps) }
    }

    /// Whether they are for a first attempt.
    pub fn are_few(&self) -> bool {
        self.few
    }

    /// Whether a record was refused because those of the body were used up.
    pub fn are_spent(&self) -> bool {
        self.spent.get()
    }
}

/// The compiled schema of one record.
#[derive(Debug)]
pub struct RecordSchema {
    validator: Validator,
    /// How much work it makes of a record; `None` where that is never much.
    cost: Option<Cost>,
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
        let cost = Cost::of(schema).map_err(|cost::Explodes(why)| format!("it takes too long: {why}"))?;
        let validator = forebay_json_schema::compile(schema).map_err(|error| {
            let place = error.instance_path().to_string();
            escaped(&format!("{place}{}{error}", if place.is_empty() { "" } else { ": " }), 400)
        })?;
        Ok(Self { validator, cost, quick: Quick::compile(schema) })
    }

    /// Takes the steps that evaluating a record needs; the error says that they are too many. Counting itself takes no
    /// more than it finds.
    fn take(&self, record: Node<'_>, steps: &Steps) -> Result<(), Failure> {
        let Some(cost) = &self.cost else { return Ok(()) };
        let most = STEPS.saturating_add(STEPS_A_BYTE.saturating_mul(record.raw().len() as u64));
        let left = steps.left.get();
        let bound = most.min(left);
        let needed = cost.within(record, bound);
        steps.left.set(left - needed.unwrap_or(bound));
        let too_many = |sentence: String| Err(Failure { pointer: String::new(), sentence });
        match needed {
            Some(_) => Ok(()),
            None if left < most => {
                steps.spent.set(true);
                too_many("the schema takes more steps for the records of one body than the bound".to_owned())
            }
            None => too_many(format!(
                "the schema takes more than {most} steps for it, which is the bound: it is not checked"
            )),
        }
    }

    /// Checks a record. Only what passes here can be stored.
    pub fn check(&self, record: Record<'_>) -> Result<Checked, Failure> {
        self.check_within(record, &Steps::of(u64::MAX))
    }

    /// The same, where the records of one body take so many steps together.
    pub fn check_within(&self, record: Record<'_>, steps: &Steps) -> Result<Checked, Failure> {
        if !self.surely_passes(record.tree) {
            self.take(record.tree, steps)?;
            if let Some(failure) = self.evaluated(&record.tree.to_json()) {
                return Err(failure);
            }
        }
        Ok(Checked {
            bytes: record.bytes,
            before: 0,
            id: record.id,
            remember: record.remember,
            time: record.time,
        })
    }

    /// What is wrong with a record.
    pub fn fault(&self, record: &Json) -> Option<Failure> {
        let text = record.to_string();
        if let Ok(parsed) = Parsed::read(&text)
            && let Err(failure) = self.take(parsed.root(), &Steps::of(u64::MAX))
        {
            return Some(failure);
        }
        self.evaluated(record)
    }

    /// What an author did wrong in a sample: at most so many sentences, which may show values.
    pub fn faults(&self, sample: &Json, most: usize) -> Vec<(String, String)> {
        let text = sample.to_string();
        if let Ok(parsed) = Parsed::read(&text)
            && let Err(failure) = self.take(parsed.root(), &Steps::of(u64::MAX))
        {
            return vec![(failure.pointer, failure.sentence)];
        }
        let errors = self.validator.iter_errors(sample).take(most);
        errors.map(|error| (error.instance_path().to_string(), error.to_string())).collect()
    }

    fn evaluated(&self, record: &Json) -> Option<Failure> {
        let error = self.validator.validate(record).err()?;
        Some(Failure {
            pointer: escaped(&error.instance_path().to_string(), 200),
            sentence: escaped(&error.masked_with("the value").to_string(), 300),
        })
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
