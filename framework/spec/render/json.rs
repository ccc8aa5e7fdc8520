//! Diagnostics for programs: one flat object each, as schemas/findings.json describes them.

use serde_json::{Value as Json, json};

use crate::spec::diagnostic::Diagnostic;

/// What describes it; shipped with the program.
pub const SCHEMA: &str = include_str!("../../../schemas/findings.json");

/// All of them as one JSON array. Lines and columns count from 1, columns in characters.
pub fn json<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> String {
    let all: Vec<Json> = diagnostics.into_iter().map(object).collect();
    format!("{:#}\n", Json::Array(all))
}

fn object(diagnostic: &Diagnostic) -> Json {
    json!({
        "file": diagnostic.file,
        "line": diagnostic.span.line,
        "column": diagnostic.span.column,
        "end_line": diagnostic.span.end_line,
        "end_column": diagnostic.span.end_column,
        "code": diagnostic.code.id(),
        "severity": diagnostic.severity.word(),
        "message": diagnostic.message,
        "help": diagnostic.help,
    })
}
