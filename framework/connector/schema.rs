//! The schema of one record, compiled. The only file beside `spec` that imports jsonschema.

/// The compiled schema of one record.
#[derive(Debug)]
pub struct RecordSchema;
