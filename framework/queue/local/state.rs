//! What instances learned: one JSON document each, in the same database and as safe as the log.

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value as Json;

use super::fault::Fault;
use super::known::ensure;
use crate::connector::instance::InstanceId;

/// The document of an instance.
pub(super) fn load(db: &Connection, instance: &InstanceId) -> Result<Option<Json>, Fault> {
    let text: Option<Option<String>> = db
        .prepare_cached("SELECT document FROM instances WHERE id = ?")?
        .query_row([instance.as_str()], |row| row.get(0))
        .optional()?;
    text.flatten()
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|_| Fault::damaged("the state of an instance is no JSON"))
}

/// Replaces the document if it still is what the caller loaded.
pub(super) fn save(
    tx: &Connection,
    instance: &InstanceId,
    was: Option<&Json>,
    document: &Json,
) -> Result<bool, Fault> {
    if load(tx, instance)?.as_ref() != was {
        return Ok(false);
    }
    let number = ensure(tx, instance)?.number;
    tx.prepare_cached("UPDATE instances SET document = ? WHERE number = ?")?
        .execute((document.to_string(), number))?;
    Ok(true)
}

/// The latest event time of an instance, in milliseconds.
pub(super) fn latest(db: &Connection, instance: &InstanceId) -> Result<Option<i64>, Fault> {
    let latest: Option<Option<i64>> = db
        .prepare_cached("SELECT latest FROM instances WHERE id = ?")?
        .query_row([instance.as_str()], |row| row.get(0))
        .optional()?;
    Ok(latest.flatten())
}
