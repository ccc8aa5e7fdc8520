//! A place in a spec: a path, and which part of what stands there.

use std::ops::Range;

use super::path::Path;

/// Which part of a pair is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// The key.
    Key,
    /// The whole value.
    Value,
    /// These bytes of the value's text, counted in the text itself (not in the file).
    Within(Range<usize>),
    /// These bytes of the file itself, where there is no path yet.
    Bytes(Range<usize>),
}

/// A place in a spec.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The keys that lead there.
    pub path: Path,
    /// Which part of it.
    pub part: Part,
}

impl Place {
    /// The key at a path.
    pub fn key(path: &Path) -> Self {
        Self { path: path.clone(), part: Part::Key }
    }
    /// The value at a path.
    pub fn value(path: &Path) -> Self {
        Self { path: path.clone(), part: Part::Value }
    }
    /// Bytes of the text at a path.
    pub fn within(path: &Path, bytes: Range<usize>) -> Self {
        Self { path: path.clone(), part: Part::Within(bytes) }
    }
    /// Bytes of the file.
    pub fn bytes(bytes: Range<usize>) -> Self {
        Self { path: Path::default(), part: Part::Bytes(bytes) }
    }
}
