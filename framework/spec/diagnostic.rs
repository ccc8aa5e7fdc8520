//! Mistakes with their places in the file: what `validate` prints and every other command shows.

use super::document::Document;
use super::mistake::{Code, Mistake, Part, Severity};
use super::patch::Patch;
use super::source::Span;

/// One mistake, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// What kind of mistake.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    /// The file.
    pub file: String,
    /// Where in it.
    pub span: Span,
    /// Other places that explain it, each with a few words.
    pub related: Vec<(Span, String)>,
    /// What would mend it.
    pub fix: Option<Patch>,
}

impl Severity {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Mistakes that are reported at once: whoever has more mends these first. Each costs a look at the whole file, and at
/// all others.
const MOST: usize = 500;

/// The words beside a further place of the same mistake.
pub const AGAIN: &str = "and here";

/// Puts mistakes in the order of the file. What stands in an anchor is reported once, wherever it is used.
pub fn placed(document: &Document, mut mistakes: Vec<Mistake>) -> Vec<Diagnostic> {
    if mistakes.len() > MOST {
        // Where some are left out, none of the errors is for a warning.
        mistakes.sort_by_key(|mistake| mistake.code.severity() != Severity::Error);
        mistakes.truncate(MOST);
    }
    let mut found: Vec<(Mistake, Diagnostic)> = Vec::new();
    for mistake in mistakes {
        let mut span = document.span(&mistake.place);
        let twin = found.iter().any(|(known, diagnostic)| {
            let same = known.message == mistake.message || known.place.path != mistake.place.path;
            diagnostic.span == span && same && is_about_a_value(&mistake)
        });
        if twin {
            continue;
        }
        let mut related: Vec<(Span, String)> = mistake
            .related
            .iter()
            .map(|(place, words)| (document.span(place), words.clone()))
            .filter(|(other, _)| *other != span)
            .collect();
        // A mistake that stands at several places is reported at the first of them.
        for (other, _) in related.iter_mut().filter(|(_, words)| words == AGAIN) {
            if other.start < span.start {
                std::mem::swap(other, &mut span);
            }
        }
        related.dedup();
        let diagnostic = Diagnostic {
            code: mistake.code,
            severity: mistake.code.severity(),
            message: printable(&mistake.message),
            help: mistake.help.as_deref().filter(|help| !help.is_empty()).map(printable),
            file: document.source.name.clone(),
            span,
            related,
            fix: mistake.fix.as_ref().and_then(|fix| document.patch(fix)),
        };
        found.push((mistake, diagnostic));
    }
    let mut diagnostics: Vec<Diagnostic> = found.into_iter().map(|(_, diagnostic)| diagnostic).collect();
    in_order(&mut diagnostics);
    diagnostics
}

/// Puts diagnostics in the order of the file.
pub fn in_order(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| (a.span.start, a.code, &a.message).cmp(&(b.span.start, b.code, &b.message)));
}

/// A spec's own words in a message cannot move the cursor or turn the line around.
fn printable(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if hidden(c) {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    })
}

/// Several keys can be missing at one place; a value is wrong once.
fn is_about_a_value(mistake: &Mistake) -> bool {
    let of_a_key = mistake.place.part == Part::Key;
    !matches!(mistake.code, Code::MissingKey | Code::Orphan) && (mistake.code != Code::OpenDoor || !of_a_key)
}
