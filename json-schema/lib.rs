//! JSON Schema as Forebay uses it: the one place that says how a schema is compiled.
//!
//! It is a package of its own for the size of the product. What is optimised for speed makes every generic function
//! that it calls again for itself; what is optimised for size, as this is, takes those that jsonschema's own crate
//! has made already. Called from here, a compiler of schemas is in the program once and not twice: a megabyte.

pub use jsonschema::error;
pub use jsonschema::{ValidationError, Validator};
use serde_json::Value as Json;

/// Compiles a schema, draft 2020-12 unless it says otherwise. Its patterns run in linear time, `format` asserts
/// nothing, and no `$ref` leads outside.
///
/// # Errors
/// What is wrong with the schema, and where in it.
pub fn compile(schema: &Json) -> Result<Validator, ValidationError<'static>> {
    jsonschema::options()
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .should_validate_formats(false)
        .offline()
        .build(schema)
}
