//! The text of a spec and of the files that it names, bounded, and the way from bytes to lines and columns.
//!
//! A connector may come from anybody (a pull request, the internet), and what it names ends up on its page and in
//! findings. Therefore a file is read only if it lies, links resolved, in the connector's folder or in a `schemas`
//! folder next to it or to the folder of connectors: see [`inside`].

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The most that a spec may hold.
pub const MAX_BYTES: u64 = 1 << 20;

/// The text of one file.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file's name, as it was given.
    pub name: String,
    /// Its text, without a byte order mark.
    pub text: String,
}

/// A stretch of a file. Lines and columns are counted from 1, columns in characters; the end is where the
/// first character after it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
    /// The line of the first character.
    pub line: usize,
    /// The column of the first character.
    pub column: usize,
    /// The line of the end.
    pub end_line: usize,
    /// The column of the end.
    pub end_column: usize,
}

impl Source {
    /// Reads a file that stands in its folder and is no link out of it; the error says why it cannot be read.
    pub fn read(path: &Path) -> Result<Self, String> {
        let file = inside(path.parent().unwrap_or(Path::new("")), path)?;
        Ok(Self::new(path.display().to_string(), &read_bounded(&file, MAX_BYTES)?))
    }

    /// A source from text that is at hand.
    pub fn new(name: impl Into<String>, text: &str) -> Self {
        Self { name: name.into(), text: text.strip_prefix('\u{feff}').unwrap_or(text).to_owned() }
    }

    /// The stretch that these bytes are. Bytes outside the text are moved to its end.
    pub fn span(&self, bytes: Range<usize>) -> Span {
        let start = floor(&self.text, bytes.start);
        let end = floor(&self.text, bytes.end.max(start));
        let (line, column) = self.position(start);
        let (end_line, end_column) = self.position(end);
        Span { start, end, line, column, end_line, end_column }
    }

    fn position(&self, byte: usize) -> (usize, usize) {
        let before = &self.text[..byte];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The byte where the line `count` lines above a byte begins, and that line's number.
    pub fn lines_before(&self, byte: usize, count: usize) -> (usize, usize) {
        let before = &self.text[..floor(&self.text, byte)];
        let start = before.rmatch_indices('\n').nth(count).map_or(0, |(at, _)| at + 1);
        (start, before[..start].matches('\n').count() + 1)
    }

    /// The byte where the line `count` lines below a byte ends.
    pub fn lines_after(&self, byte: usize, count: usize) -> usize {
        let byte = floor(&self.text, byte);
        self.text[byte..].match_indices('\n').nth(count).map_or(self.text.len(), |(at, _)| byte + at)
    }

    /// The bytes of the line that a byte stands in, without its end.
    pub fn line_of(&self, byte: usize) -> Range<usize> {
        let byte = floor(&self.text, byte);
        let start = self.text[..byte].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[byte..].find(['\n', '\r']).map_or(self.text.len(), |at| byte + at);
        start..end.max(start)
    }
}

/// How many folders above a connector's own a `schemas` folder may stand in: next to it, or to the folder of connectors.
const LEVELS: usize = 2;

/// Resolves the links of a file that a connector names, and returns where it is. The error says why it may not be
/// read: what lies outside the folder and the `schemas` folders above it is not the connector's, whether a path, a link
/// or a pseudo file such as /proc/self/environ leads there.
pub fn inside(folder: &Path, file: &Path) -> Result<PathBuf, String> {
    let resolved = |path: &Path| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        path.canonicalize().map_err(|e| e.to_string())
    };
    let (folder, file) = (resolved(folder)?, resolved(file)?);
    let schemas = folder.ancestors().skip(1).take(LEVELS).map(|above| above.join("schemas"));
    // A `schemas` that is a link itself leads anywhere.
    let mut allowed = schemas.filter(|schemas| schemas.canonicalize().is_ok_and(|real| real == *schemas));
    if file.starts_with(&folder) || allowed.any(|schemas| file.starts_with(schemas)) {
        return Ok(file);
    }
    Err("it leads out of the connector's folder".to_owned())
}

/// The text of a file that holds at most so many bytes; the error says why it cannot be read.
pub fn read_bounded(path: &Path, max: u64) -> Result<String, String> {
    // Before it is opened: a pipe would wait for somebody to write into it.
    if !std::fs::metadata(path).map_err(|e| e.to_string())?.is_file() {
        return Err("it is no file".to_owned());
    }
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > max {
        return Err(format!("it has more than {max} bytes"));
    }
    String::from_utf8(bytes).map_err(|e| format!("byte {} is no UTF-8", e.utf8_error().valid_up_to()))
}

/// The nearest boundary of a character at or before a byte.
fn floor(text: &str, byte: usize) -> usize {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}
