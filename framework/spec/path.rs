//! A place inside a document: the keys and indexes that lead to it from the top.

use std::fmt;

/// Keys and indexes (as decimal text) from the top of the document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Path(pub Vec<String>);

impl Path {
    /// The place of a key or an index below this one.
    pub fn join(&self, token: impl Into<String>) -> Self {
        let mut tokens = self.0.clone();
        tokens.push(token.into());
        Self(tokens)
    }

    /// The path of a JSON Pointer (RFC 6901), as validators report it.
    pub fn from_pointer(pointer: &str) -> Self {
        Self(pointer.split('/').skip(1).map(|t| t.replace("~1", "/").replace("~0", "~")).collect())
    }

    /// The place above this one; the top is above itself.
    pub fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// The last key or index; the top has none.
    pub fn last(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    /// Whether this is `other` or lies below it.
    pub fn within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, token) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(".")?;
            }
            f.write_str(token)?;
        }
        Ok(())
    }
}
