//! Diagnostics as SARIF 2.1.0 (OASIS), which code scanning reads: rules with their explanations, results with their
//! places and fixes, and what the spec allows as suppressed results with their reasons.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use crate::spec::allow::Allowed;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::mistake::Code;
use crate::spec::patch::Patch;
use crate::spec::source::Span;

/// Where the explanations of the codes are read.
const HELP: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/errors.md");

/// The root that relative paths are relative to: whoever reads the log knows it.
const ROOT: &str = "%SRCROOT%";

/// All of them as one log with one run.
pub fn sarif<'a>(
    diagnostics: impl IntoIterator<Item = &'a Diagnostic>,
    allowed: impl IntoIterator<Item = &'a Allowed>,
) -> String {
    let found = diagnostics.into_iter().map(|diagnostic| (diagnostic, None));
    let allowed = allowed.into_iter().map(|one| (&one.diagnostic, Some(one.reason.as_str())));
    let found: Vec<(&Diagnostic, Option<&str>)> = found.chain(allowed).collect();
    let rules: Vec<Code> =
        found.iter().map(|(diagnostic, _)| diagnostic.code).collect::<BTreeSet<_>>().into_iter().collect();
    let results: Vec<Json> =
        found.iter().map(|(diagnostic, reason)| result(diagnostic, *reason, &rules)).collect();
    let log = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "forebay",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules.into_iter().map(rule).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": {ROOT: {"description": {"text": "The folder that forebay ran in."}}},
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

fn rule(code: Code) -> Json {
    let explanation = code.explanation();
    let mut markdown = explanation.words.to_owned();
    for (word, example) in [("Wrong", explanation.bad), ("Right", explanation.good)] {
        if let Some(example) = example {
            markdown.push_str(&format!("\n\n{word}:\n\n```yaml\n{example}```"));
        }
    }
    json!({
        "id": code.id(),
        "name": format!("{code:?}"),
        "shortDescription": {"text": format!("{}.", code.title())},
        "help": {"text": explanation.words, "markdown": markdown},
        "helpUri": format!("{HELP}#{}", code.id().to_lowercase()),
        "defaultConfiguration": {"level": code.severity().word()},
    })
}

fn result(diagnostic: &Diagnostic, reason: Option<&str>, rules: &[Code]) -> Json {
    let mut text = format!("{}.", diagnostic.message);
    if let Some(help) = &diagnostic.help {
        text.push_str(&format!(" Help: {help}"));
    }
    let mut result = Map::from_iter([
        ("ruleId".to_owned(), json!(diagnostic.code.id())),
        ("ruleIndex".to_owned(), json!(rules.iter().position(|code| *code == diagnostic.code))),
        ("level".to_owned(), json!(diagnostic.severity.word())),
        ("message".to_owned(), json!({"text": text})),
        ("locations".to_owned(), json!([{"physicalLocation": place(&diagnostic.file, &diagnostic.span)}])),
    ]);
    let related: Vec<Json> = diagnostic
        .related
        .iter()
        .enumerate()
        .map(|(n, (span, words))| {
            json!({
                "id": n + 1,
                "physicalLocation": place(&diagnostic.file, span),
                "message": {"text": words},
            })
        })
        .collect();
    if !related.is_empty() {
        result.insert("relatedLocations".to_owned(), Json::Array(related));
    }
    if let Some(patch) = &diagnostic.fix {
        result.insert("fixes".to_owned(), json!([fix(diagnostic, patch)]));
    }
    if let Some(reason) = reason {
        let suppression = json!([{"kind": "inSource", "justification": reason}]);
        result.insert("suppressions".to_owned(), suppression);
    }
    Json::Object(result)
}

fn fix(diagnostic: &Diagnostic, patch: &Patch) -> Json {
    let replacements: Vec<Json> = patch
        .replacements
        .iter()
        .map(|one| {
            let mut replacement = json!({"deletedRegion": region(&one.span)});
            if !one.text.is_empty() {
                replacement["insertedContent"] = json!({"text": one.text});
            }
            replacement
        })
        .collect();
    let changes = json!([{"artifactLocation": artifact(&diagnostic.file), "replacements": replacements}]);
    let mut fix = json!({"artifactChanges": changes});
    if let Some(help) = &diagnostic.help {
        fix["description"] = json!({"text": help});
    }
    fix
}

fn place(file: &str, span: &Span) -> Json {
    json!({"artifactLocation": artifact(file), "region": region(span)})
}

fn region(span: &Span) -> Json {
    json!({
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    })
}

/// A file as a URI reference: relative to the root, or absolute as it was named.
fn artifact(file: &str) -> Json {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '/');
    let mut uri = String::with_capacity(file.len());
    for c in file.strip_prefix("./").unwrap_or(file).chars() {
        if plain(c) {
            uri.push(c);
        } else {
            uri.extend(c.to_string().bytes().map(|byte| format!("%{byte:02X}")));
        }
    }
    match uri.starts_with('/') {
        true => json!({"uri": format!("file://{uri}")}),
        false => json!({"uri": uri, "uriBaseId": ROOT}),
    }
}
