//! Why a text cannot be built or a condition not decided: names and kinds, never values.

use std::fmt;

use minijinja::{Error, ErrorKind};

/// Bytes that one rendered text may have, the raw body of a request not counted once.
pub(super) const MAX_TEXT: usize = 16 << 20;
/// What is said of a text that is too long.
pub(super) const TOO_LONG: &str = "the text grows past 16 MiB";

/// What is said of a value that has no text; whoever knows its name says that instead.
pub(super) const UNNAMED: &str = "a value is missing, null, a list or a map";

/// Why a text cannot be built or a condition not decided. Holds names and kinds, never values.
#[derive(Debug)]
pub(super) struct Fault {
    what: String,
    /// One of our own names lacks something, or the template is at fault: not the vendor.
    pub(super) ours: bool,
    /// The place that knows the name has yet to say it.
    pub(super) unnamed: bool,
    /// A bound on work or memory was reached: with less to work through it may succeed.
    pub(super) bound: bool,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ours: false, unnamed: false, bound: false }
    }

    /// A bound was reached.
    pub(super) fn bound(what: impl Into<String>) -> Self {
        Self { bound: true, ..Self::new(what) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let what = match error.kind() {
            ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
            ErrorKind::WriteFailure => TOO_LONG.to_owned(),
            _ => error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
        };
        Self {
            ours: matches!(error.kind(), ErrorKind::OutOfFuel | ErrorKind::UndefinedError),
            unnamed: what == UNNAMED,
            bound: matches!(error.kind(), ErrorKind::OutOfFuel | ErrorKind::WriteFailure),
            what,
        }
    }
}

/// An error of a filter or an operator: says kinds, never values.
pub(super) fn refused(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}
