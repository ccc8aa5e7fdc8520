//! What went wrong with the store, told apart by what is done about it, with a sentence for people.

use rusqlite::ErrorCode;

use crate::error::{Error, Kind};

/// A failure of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    /// What SQLite or the system said.
    pub(super) said: String,
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The disk or the file's limit is full.
    Full,
    /// The database's content makes no sense: it is set aside.
    Damaged,
    /// Another process holds it too long.
    Busy,
    /// Another version of the program wrote it.
    Version,
    /// Reading, writing or syncing failed.
    Broken,
    /// The files at the path are not the open ones.
    Replaced,
    /// Another program wrote into the open files.
    Overwritten,
    /// What stands at the path is no regular file.
    Special,
}

impl Fault {
    pub(super) fn damaged(said: impl Into<String>) -> Self {
        Self { kind: FaultKind::Damaged, said: said.into() }
    }

    pub(super) fn version(found: i64, ours: i64) -> Self {
        let said = format!("it has format version {found}, and this one reads {ours}");
        Self { kind: FaultKind::Version, said }
    }

    pub(super) fn broken(said: impl Into<String>) -> Self {
        Self { kind: FaultKind::Broken, said: said.into() }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => FaultKind::Full,
            // Its folder is ours to write in: a database that says it is read-only has a wrong header.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ReadOnly) => {
                FaultKind::Damaged
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => FaultKind::Busy,
            Some(_) => FaultKind::Broken,
            // No code: a row that is missing, or a column of another type than we wrote.
            None => FaultKind::Damaged,
        };
        Self { kind, said: error.to_string() }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => FaultKind::Full,
            _ => FaultKind::Broken,
        };
        Self { kind, said: error.to_string() }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let (kind, sentence, help) = match fault.kind {
            FaultKind::Full => (Kind::Io, "the disk is full", "make room where the data folder is"),
            FaultKind::Damaged => (
                Kind::Io,
                "the store is damaged",
                "start `forebay run`: it sets the damaged file aside and keeps what is readable",
            ),
            FaultKind::Busy => {
                (Kind::Passing, "another process holds the store", "try again when it has finished")
            }
            FaultKind::Version => (
                Kind::Configuration,
                "another version of forebay wrote this store",
                "use that version, or another --data-dir",
            ),
            FaultKind::Replaced => (
                Kind::Io,
                "the files of the store are not at their path",
                "put the files back, or restart Forebay on the ones that are there now",
            ),
            FaultKind::Overwritten => (
                Kind::Io,
                "another program wrote into the files of the store",
                "stop Forebay before you restore a backup",
            ),
            FaultKind::Special => (
                Kind::Configuration,
                "a file of the store cannot be used",
                "remove it, or give another --data-dir",
            ),
            FaultKind::Broken => {
                (Kind::Io, "the store cannot be read or written", "look at the disk and at the system's log")
            }
        };
        Error::new(kind, sentence).because(fault.said).help(help)
    }
}
