//! The schema of one record, compiled. The only file beside `spec` that imports jsonschema.

use serde_json::Value as Json;

/// The compiled schema of one record.
#[derive(Debug)]
pub struct RecordSchema(jsonschema::Validator);

impl RecordSchema {
    /// Compiles a JSON Schema (2020-12 where it does not say). The error says what is wrong with it.
    pub fn compile(schema: &Json) -> Result<Self, String> {
        // Without default features the crate resolves no reference that leaves the document.
        jsonschema::options()
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .build(schema)
            .map(Self)
            .map_err(|e| e.to_string())
    }
}
