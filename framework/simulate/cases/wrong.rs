//! What went otherwise than a case expects: where in the case, what differs, and what would have to stand there.
//!
//! The player, its script and its receiver make them; the report shows them, and `update` writes what would have to
//! stand there.

use serde_json::Value as Json;

use crate::spec::case::key;
use crate::spec::path::Path;

/// One thing that went otherwise.
#[derive(Debug, Clone)]
pub struct Wrong {
    /// The place in the case.
    pub at: Path,
    /// What is wrong, to be read behind the place.
    pub says: String,
    /// What differs, line by line: `-` expected, `+` came.
    pub lines: Vec<String>,
    /// What would have to stand in the case instead; empty where a person must look.
    pub fixes: Vec<Fix>,
}

/// Another value for a place of the case; none: it goes away.
#[derive(Debug, Clone)]
pub struct Fix {
    /// The place.
    pub at: Path,
    /// The value.
    pub to: Option<Json>,
}

impl Wrong {
    /// Something that a sentence says.
    pub fn says(at: &Path, sentence: impl AsRef<str>) -> Self {
        Self {
            at: at.clone(),
            says: format!(": {}", sentence.as_ref()),
            lines: Vec::new(),
            fixes: Vec::new(),
        }
    }

    /// Something that differs; `None` where no line does.
    pub fn differs(at: &Path, lines: Vec<String>) -> Option<Self> {
        let says = " differs (- expected, + came):".to_owned();
        (!lines.is_empty()).then(|| Self { at: at.clone(), says, lines, fixes: Vec::new() })
    }

    /// With a value that would have to stand at a place.
    pub fn fixed(mut self, at: Path, to: impl Into<Option<Json>>) -> Self {
        self.fixes.push(Fix { at, to: to.into() });
        self
    }

    /// As it is reported: the place by its key, what is wrong, and the lines below it.
    pub fn report(&self) -> String {
        let lines: String = self.lines.iter().map(|line| format!("\n  {line}")).collect();
        format!("{}{}{lines}", key(&self.at), self.says)
    }
}
