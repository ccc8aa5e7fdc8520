//! Diagnostics for people: the lines they are about, the place underlined, and the change that would mend it.

use annotate_snippets::{AnnotationKind, Group, Level, Patch, Renderer, Snippet};

use crate::spec::diagnostic::Diagnostic;
use crate::spec::mistake::Severity;
use crate::spec::patch::Replacement;
use crate::spec::source::{Source, Span};

/// Lines of the file above and below a place that the renderer gets: it shows fewer, and places far apart
/// are shown in parts.
const AROUND: usize = 3;

/// Changes of one fix that are drawn: the others are of the same kind.
const MOST_CHANGES: usize = 4;

/// Diagnostics of one file for people, each with the lines it is about.
pub fn human(source: &Source, diagnostics: &[Diagnostic], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let texts: Vec<String> = diagnostics.iter().map(|d| renderer.render(&groups(source, d))).collect();
    texts.join("\n\n")
}

/// The mistake where it stands; and where a change of the file would mend it, that change under its help.
fn groups<'a>(source: &'a Source, diagnostic: &'a Diagnostic) -> Vec<Group<'a>> {
    let mut groups = vec![group(source, diagnostic)];
    if let Some(patch) = &diagnostic.fix {
        let help = diagnostic.help.as_deref().unwrap_or("this would mend it");
        let changes = patch.replacements.iter().take(MOST_CHANGES).map(|change| changed(source, change));
        groups.push(Level::HELP.secondary_title(help).elements(changes));
    }
    groups
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
    match diagnostic.help.as_ref().filter(|_| diagnostic.fix.is_none()) {
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

/// The lines of a change, as they are and as they would be.
fn changed<'a>(source: &'a Source, change: &'a Replacement) -> Snippet<'a, Patch<'a>> {
    let (start, first_line) = source.lines_before(change.span.start, 0);
    let end = source.lines_after(change.span.end, 0);
    let within = change.span.start - start..change.span.end - start;
    Snippet::source(&source.text[start..end]).line_start(first_line).patch(Patch::new(within, &*change.text))
}
