//! Diagnostics as text: for people with the lines they are about, for CI as annotations.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::diagnostic::Diagnostic;
use super::mistake::Severity;
use super::source::{Source, Span};

/// Lines of the file above and below a place that the renderer gets: it shows fewer, and places far apart
/// are shown in parts.
const AROUND: usize = 3;

/// Diagnostics of one file for people, each with the lines it is about.
pub fn human(source: &Source, diagnostics: &[Diagnostic], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let texts: Vec<String> = diagnostics.iter().map(|d| renderer.render(&[group(source, d)])).collect();
    texts.join("\n\n")
}

fn group<'a>(source: &'a Source, diagnostic: &'a Diagnostic) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code.id())
        .elements([snippet(source, &diagnostic.file, &diagnostic.span, None)]);
    for (span, words) in diagnostic.related.iter().take(4) {
        group = group.element(snippet(source, &diagnostic.file, span, Some(words)));
    }
    match &diagnostic.help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
}

/// The lines around a place, with the place marked.
fn snippet<'a>(
    source: &'a Source,
    file: &'a str,
    span: &Span,
    words: Option<&'a str>,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let (start, first_line) = source.lines_before(span.start, AROUND);
    let end = source.lines_after(span.end, AROUND);
    let kind = if words.is_some() { AnnotationKind::Context } else { AnnotationKind::Primary };
    Snippet::source(&source.text[start..end])
        .line_start(first_line)
        .path(file)
        .annotation(kind.span(span.start - start..span.end - start).label(words))
}

/// One diagnostic as a workflow command of GitHub Actions, which shows it beside the line.
pub fn github(diagnostic: &Diagnostic) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| escape(text).replace(':', "%3A").replace(',', "%2C");
    let help = diagnostic.help.as_ref().map(|help| format!("\n{help}")).unwrap_or_default();
    let Span { line, column, end_line, end_column, .. } = diagnostic.span;
    format!(
        "::{} file={},line={line},col={column},endLine={end_line},endColumn={end_column},title={}::{}",
        diagnostic.severity.word(),
        property(&diagnostic.file),
        property(diagnostic.code.id()),
        escape(&format!("{}{help}", diagnostic.message)),
    )
}
