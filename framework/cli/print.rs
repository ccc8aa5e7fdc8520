//! Results on standard output. What was written there and taken is there; nobody reading on is no failure of ours.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use crate::error::{Error, Kind, Result};

/// Prints a text as it is.
pub(super) fn print(text: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    taken(write!(out, "{text}").and_then(|()| out.flush()))
}

/// Prints a line.
pub(super) fn line(text: impl Display) -> Result<()> {
    print(format_args!("{text}\n"))
}

/// What a write to standard output comes to.
pub(super) fn taken(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::new(Kind::Io, "cannot write to standard output")
                .help("look whether its disk is full")
                .because(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
