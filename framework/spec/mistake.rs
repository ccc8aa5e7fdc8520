//! A mistake in a spec: a stable code, a place by path, what is wrong and how to mend it.
//!
//! Whoever finds one knows the path of the key; `document` turns paths into lines and columns, and `render`
//! writes them for people and for programs.

pub use super::code::{Code, Severity};
use super::fix::Fix;
pub use super::place::{Part, Place};

/// One mistake.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// What kind of mistake.
    pub code: Code,
    /// Where.
    pub place: Place,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    /// Other places that explain it, each with a few words.
    pub related: Vec<(Place, String)>,
    /// What would mend it, as a change of the file.
    pub fix: Option<Fix>,
}

impl Mistake {
    /// A mistake without help yet.
    pub fn new(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self { code, place, message: bounded(message.into()), help: None, related: Vec::new(), fix: None }
    }

    /// Says how to mend it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(bounded(help.into()));
        self
    }

    /// Says what would mend it, as a change of the file: what `help` says in words.
    pub fn fix(mut self, fix: impl Into<Option<Fix>>) -> Self {
        self.fix = fix.into();
        self
    }

    /// Points at another place that explains it.
    pub fn related(mut self, place: Place, words: impl Into<String>) -> Self {
        self.related.push((place, words.into()));
        self
    }
}

/// What is quoted of a spec may be as long as the spec: nobody reads on for so long.
fn bounded(text: String) -> String {
    const LONGEST: usize = 1000;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
