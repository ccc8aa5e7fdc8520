//! Diagnostics, and what is only to be known, as workflow commands of GitHub Actions, which shows them beside the lines of
//! a pull request.
//!
//! A property of such a command ends at a comma, the properties at `::`, the command at the line's end, so that all of
//! them are escaped.

use crate::spec::diagnostic::Diagnostic;
use crate::spec::source::Span;

/// One diagnostic as a line. Other places that explain it, and the help, are lines of its message.
pub fn github(diagnostic: &Diagnostic) -> String {
    let Span { line, column, end_line, end_column, .. } = diagnostic.span;
    // Columns are shown where they are of one line.
    let place = match line == end_line {
        true => format!("line={line},col={column},endLine={end_line},endColumn={end_column}"),
        false => format!("line={line},endLine={end_line}"),
    };
    let mut message = diagnostic.message.clone();
    for (span, words) in &diagnostic.related {
        message.push_str(&format!("\n{}:{}:{}: {words}", diagnostic.file, span.line, span.column));
    }
    if let Some(help) = &diagnostic.help {
        message.push_str(&format!("\nhelp: {help}"));
    }
    format!(
        "::{} file={},{place},title={}::{}\n",
        diagnostic.severity.word(),
        property(&diagnostic.file),
        property(diagnostic.code.id()),
        data(&message),
    )
}

/// Something that is right and worth knowing, at the top of a file.
pub fn notice(file: &str, title: &str, message: &str) -> String {
    format!("::notice file={},line=1,title={}::{}\n", property(file), property(title), data(message))
}

/// Text behind the `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
