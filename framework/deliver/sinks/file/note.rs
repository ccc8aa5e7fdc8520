//! What the file sink leaves with its cursor: which file, how far it is written, and since when.
//!
//! JSON, so that a person who looks into the store can read it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where the sink stands in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// The file's inode. The device is left out: its number may change over a restart.
    pub(super) inode: u64,
    /// Bytes of the file that the store knows of.
    pub(super) offset: u64,
    /// When the file was begun, in seconds since 1970; what rotation by time goes by.
    pub(super) since: i64,
}

impl Note {
    pub(super) fn new(inode: u64, offset: u64, now: Timestamp) -> Self {
        Self { inode, offset, since: now.as_second() }
    }

    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers are always JSON")
    }
}
