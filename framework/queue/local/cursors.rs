//! Cursors: where each sink stands, and the records that all sinks have, which are trimmed.

use rusqlite::{Connection, OptionalExtension};

use super::block::crc;
use super::fault::Fault;
use super::keys::{key, position, position_of, stored};
use crate::points;
use crate::queue::{Cursor, Position};

/// A sink's cursor, for people.
#[derive(Debug, Clone)]
pub struct SinkState {
    /// The sink's name.
    pub sink: String,
    /// Whether the last `run` had it.
    pub registered: bool,
    /// Where it stands.
    pub cursor: Cursor,
    /// Records that it has not got.
    pub behind: u64,
}

/// The cursor of a sink. One whose checksum is wrong counts as standing at the oldest record: delivered twice is
/// better than lost.
pub(super) fn load(db: &Connection, number: i64, sink: &str) -> Result<Option<Cursor>, Fault> {
    let row: Option<(i64, Option<String>, i64)> = db
        .prepare_cached("SELECT position, note, checksum FROM cursors WHERE instance = ? AND sink = ?")?
        .query_row((number, sink), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((at, note, checksum)) = row else { return Ok(None) };
    if checksum == i64::from(check(number, sink, at, note.as_deref())) {
        return Ok(Some(Cursor { position: Position(position(at)?), note }));
    }
    tracing::error!(sink, "the cursor of this sink was damaged; it starts at the oldest record kept");
    Ok(Some(Cursor { position: Position(oldest(db, number)?), note: None }))
}

/// Puts a cursor where it is now.
pub(super) fn save(tx: &Connection, number: i64, sink: &str, cursor: &Cursor) -> rusqlite::Result<()> {
    let at = stored(cursor.position.0);
    let note = cursor.note.as_deref();
    tx.prepare_cached(
        "INSERT INTO cursors(instance, sink, position, note, registered, checksum) VALUES (?, ?, ?, ?, 1, ?)
         ON CONFLICT(instance, sink) DO UPDATE
         SET position = excluded.position, note = excluded.note, checksum = excluded.checksum, registered = 1",
    )?
    .execute((number, sink, at, note, check(number, sink, at, note)))
    .map(drop)
}

fn check(number: i64, sink: &str, at: i64, note: Option<&str>) -> u32 {
    crc(&[&number.to_le_bytes(), sink.as_bytes(), &at.to_le_bytes(), note.unwrap_or_default().as_bytes()])
}

/// The position of the oldest record kept; of the next one where none is.
pub(super) fn oldest(db: &Connection, number: i64) -> Result<u64, Fault> {
    first(db, number)?.map_or_else(|| next(db, number), Ok)
}

/// The position of the oldest record kept; `None` where none is.
pub(super) fn first(db: &Connection, number: i64) -> Result<Option<u64>, Fault> {
    let first: Option<i64> = db
        .prepare_cached("SELECT min(key) FROM blocks WHERE key >= ? AND key < ?")?
        .query_row((key(number, 0), key(number + 1, 0)), |row| row.get(0))?;
    Ok(first.map(position_of))
}

/// The position of the next record of an instance.
pub(super) fn next(db: &Connection, number: i64) -> Result<u64, Fault> {
    let next: Option<i64> = db
        .prepare_cached("SELECT next FROM instances WHERE number = ?")?
        .query_row([number], |row| row.get(0))
        .optional()?;
    position(next.unwrap_or(0))
}

/// The position behind everything that an instance is known to have had: its blocks, its cursors.
pub(super) fn end(db: &Connection, number: i64) -> Result<u64, Fault> {
    let last: Option<i64> = db
        .prepare_cached(
            "SELECT key + count FROM blocks WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT 1",
        )?
        .query_row((key(number, 0), key(number + 1, 0)), |row| row.get(0))
        .optional()?;
    let sinks = sound(db, number).into_iter().map(|(_, cursor)| cursor.position.0);
    Ok(sinks.max().unwrap_or(0).max(last.map_or(0, position_of)))
}

/// The cursors of an instance whose checksums are right; what cannot be read is left out.
pub(super) fn sound(db: &Connection, number: i64) -> Vec<(String, Cursor)> {
    let mut found = Vec::new();
    let Ok(mut statement) =
        db.prepare_cached("SELECT sink, position, note, checksum FROM cursors WHERE instance = ?")
    else {
        return found;
    };
    let Ok(mut rows) = statement.query([number]) else { return found };
    while let Ok(Some(row)) = rows.next() {
        let (Ok(sink), Ok(at), Ok(note), Ok(checksum)) = (
            row.get::<_, String>(0),
            row.get::<_, i64>(1),
            row.get::<_, Option<String>>(2),
            row.get::<_, i64>(3),
        ) else {
            continue;
        };
        if let (true, Ok(at)) =
            (checksum == i64::from(check(number, &sink, at, note.as_deref())), position(at))
        {
            found.push((sink, Cursor { position: Position(at), note }));
        }
    }
    found
}

/// All cursors of an instance.
pub(super) fn list(db: &Connection, number: i64) -> Result<Vec<SinkState>, Fault> {
    let mut statement = db.prepare_cached("SELECT sink, registered FROM cursors WHERE instance = ?")?;
    let names: Vec<(String, bool)> =
        statement.query_map([number], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let next = next(db, number)?;
    let mut found = Vec::with_capacity(names.len());
    for (sink, registered) in names {
        if let Some(cursor) = load(db, number, &sink)? {
            let behind = next.saturating_sub(cursor.position.0);
            found.push(SinkState { sink, registered, cursor, behind });
        }
    }
    Ok(found)
}

/// Sets which sinks this `run` has: new ones start at the oldest record kept.
pub(super) fn register(tx: &Connection, number: i64, sinks: &[String]) -> Result<Vec<SinkState>, Fault> {
    tx.execute("UPDATE cursors SET registered = 0 WHERE instance = ?", [number])?;
    for sink in sinks {
        let cursor = match load(tx, number, sink)? {
            Some(cursor) => cursor,
            None => Cursor { position: Position(oldest(tx, number)?), note: None },
        };
        save(tx, number, sink, &cursor)?;
    }
    list(tx, number)
}

/// Removes a cursor. `false`: there is none.
pub(super) fn remove(tx: &Connection, number: i64, sink: &str) -> rusqlite::Result<bool> {
    tx.execute("DELETE FROM cursors WHERE instance = ? AND sink = ?", (number, sink)).map(|n| n > 0)
}

/// Deletes the blocks that every sink of the instance has. An instance without any sink keeps all. Returns the position
/// before which nothing is kept.
pub(super) fn trim(tx: &Connection, number: i64) -> rusqlite::Result<Option<u64>> {
    let least: Option<i64> = tx
        .prepare_cached("SELECT min(position) FROM cursors WHERE instance = ?")?
        .query_row([number], |row| row.get(0))?;
    let Some(least) = least else { return Ok(None) };
    let base = key(number, 0);
    points::reached("trim.begin");
    tx.prepare_cached("DELETE FROM blocks WHERE key >= ?1 AND key < ?2 AND key + count <= ?2")?
        .execute((base, base + least))?;
    points::reached("trim.done");
    Ok(Some(least.max(0).unsigned_abs()))
}

/// Deletes every block of an instance.
pub(super) fn clear(tx: &Connection, number: i64) -> rusqlite::Result<usize> {
    tx.prepare_cached("DELETE FROM blocks WHERE key >= ? AND key < ?")?
        .execute((key(number, 0), key(number + 1, 0)))
}
