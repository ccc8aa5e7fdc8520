//! Why a text of a spec does not compile.

use std::fmt;

use crate::spec::nearest::Meant;

/// Why a text of a spec does not compile, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
    /// Bytes before the place; what is meant begins there.
    pub offset: usize,
    /// Line in the text, from 1.
    pub line: usize,
    /// Column in the line, in characters, from 1.
    pub column: usize,
    /// The word that was meant in place of the one there.
    pub meant: Option<Meant<'static>>,
}

impl SyntaxError {
    pub(super) fn new(source: &str, offset: usize, message: impl Into<String>) -> Self {
        let mut offset = offset.min(source.len());
        while !source.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = source.get(..offset).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            message: message.into(),
            help: None,
            offset,
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            meant: None,
        }
    }

    pub(super) fn help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    pub(super) fn from_parser(source: &str, error: &minijinja::Error) -> Self {
        let line_start = error
            .line()
            .and_then(|line| source.match_indices('\n').nth(line.checked_sub(2)?))
            .map_or(0, |(at, _)| at + 1);
        let offset = error.range().map_or(line_start, |range| range.start);
        let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        Self::new(source, offset, message)
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

impl std::error::Error for SyntaxError {}
