//! What `forebay test` found as JUnit XML, which CI systems read: a suite for each connector, a case for each case.
//!
//! There is no standard; this is what the common readers agree on. `test` writes the file.

use std::fmt::Write;
use std::time::Duration;

/// The cases of one connector.
#[derive(Debug, Default)]
pub(super) struct Suite {
    /// The connector's name.
    pub name: String,
    /// Its cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug)]
pub(super) struct Case {
    /// What it is called: its file without the ending, and what it shows.
    pub name: String,
    /// Its file; the life of a connector has the spec's.
    pub file: String,
    /// How long it took.
    pub took: Duration,
    /// What went otherwise; empty: it holds.
    pub wrong: Vec<String>,
    /// Whether it could not be played at all.
    pub is_error: bool,
}

/// The whole document.
pub(super) fn document(suites: &[Suite]) -> String {
    let all = || suites.iter().flat_map(|suite| &suite.cases);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    push(&mut out, format_args!("<testsuites name=\"forebay test\" {}>\n", counted(all())));
    for suite in suites {
        push(
            &mut out,
            format_args!("  <testsuite name=\"{}\" {}>\n", escaped(&suite.name), counted(suite.cases.iter())),
        );
        for case in &suite.cases {
            one(&mut out, &suite.name, case);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn one(out: &mut String, suite: &str, case: &Case) {
    push(
        out,
        format_args!(
            "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\" time=\"{}\"",
            escaped(suite),
            escaped(&case.name),
            escaped(&case.file),
            seconds(case.took)
        ),
    );
    let Some(first) = case.wrong.first() else { return out.push_str("/>\n") };
    let element = if case.is_error { "error" } else { "failure" };
    let message = first.lines().next().unwrap_or_default();
    push(
        out,
        format_args!(
            ">\n      <{element} message=\"{}\">{}</{element}>\n    </testcase>\n",
            escaped(message),
            escaped(&case.wrong.join("\n"))
        ),
    );
}

fn counted<'c>(cases: impl Iterator<Item = &'c Case>) -> String {
    let (mut tests, mut failures, mut errors, mut took) = (0, 0, 0, Duration::ZERO);
    for case in cases {
        tests += 1;
        took += case.took;
        match (case.wrong.is_empty(), case.is_error) {
            (true, _) => {}
            (false, true) => errors += 1,
            (false, false) => failures += 1,
        }
    }
    format!(
        "tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"0\" time=\"{}\"",
        seconds(took)
    )
}

fn seconds(took: Duration) -> String {
    format!("{:.3}", took.as_secs_f64())
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes whatever is written to it.
    let _ = out.write_fmt(text);
}

/// Text as XML 1.0 may hold it: what it must not hold at all is spelt out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}
