//! The one shape of an error: a kind for programs, a sentence for people, a place, a help, a source.
//!
//! Every floor returns it. The sentence and the help never hold a secret; text that came from outside is
//! escaped by [`escaped`] before it is put into one.

use std::fmt;

/// What a program does about an error; `cli` turns it into the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The spec, a case or a page is wrong (exit 1).
    Finding,
    /// The flags or the instance's configuration are wrong (exit 2).
    Configuration,
    /// The other side refused for good: trying again will not help (exit 3).
    Refused,
    /// The other side or the network failed in a way that may pass (exit 3).
    Passing,
    /// This machine failed: disk, file, socket (exit 3).
    Io,
    /// It would take more work or memory than one evaluation may (exit 3).
    Bound,
}

/// An error that a person can act on.
#[derive(Debug)]
pub struct Error {
    /// What a program does about it.
    pub kind: Kind,
    /// What is wrong, one sentence without a full stop.
    pub sentence: String,
    /// What to do next.
    pub help: Option<String>,
    /// Where: a file, a key, a call.
    pub place: Option<String>,
    /// The error below, printed after the sentence.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind with its sentence.
    pub fn new(kind: Kind, sentence: impl Into<String>) -> Self {
        Self { kind, sentence: sentence.into(), help: None, place: None, source: None }
    }

    /// Says what to do next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says where.
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Keeps the error below.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.sentence)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

/// Text from outside, made safe for a terminal and a log: control characters are escaped, and it is cut
/// at `max` characters.
pub fn escaped(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for (n, c) in text.chars().enumerate() {
        if n == max {
            out.push('…');
            break;
        }
        match c {
            ' '..='~' => out.push(c),
            // Bidirectional overrides and other format characters can rewrite what a terminal shows.
            c if c.is_alphanumeric() => out.push(c),
            c => out.extend(c.escape_default()),
        }
    }
    out
}
