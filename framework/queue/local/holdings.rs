//! What each instance has in the store: its records, dead letters, ids, cursors and state; and freeing or renaming it.
//!
//! `forebay instances` and `run` call it. Large deletions go in small transactions, so that a running process is never
//! kept from committing for long; one that is cut off is ended by asking for it again.

use rusqlite::{Connection, TransactionBehavior};

use super::fault::Fault;
use super::keys::key;
use super::windows::HEAD;
use super::{cursors, known, letters, names};
use crate::connector::instance::InstanceId;

/// Blocks that one transaction deletes at most.
const STEP: i64 = 32;

/// What one instance has in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The instance.
    pub instance: InstanceId,
    /// Records that some sink has not got; without any sink, all that are kept.
    pub undelivered: u64,
    /// Dead letters.
    pub letters: u64,
    /// Whether it has a state: what was learned of the vendor's side, and generated secrets.
    pub state: bool,
    /// Cursors of sinks.
    pub sinks: u64,
    /// Whether the last `run` had one of its sinks.
    pub registered: bool,
    /// Whether it ever had a record.
    pub received: bool,
}

impl Holding {
    /// Whether there is something that nobody gets and somebody may miss.
    pub fn is_missed(&self) -> bool {
        self.undelivered > 0 || self.letters > 0
    }
}

/// What every instance has, by id.
pub(super) fn list(db: &Connection) -> Result<Vec<Holding>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT id, number, next, document IS NOT NULL, coalesce(letter_totals.letters, 0),
             (SELECT count(*) FROM cursors WHERE instance = number),
             (SELECT min(position) FROM cursors WHERE instance = number),
             (SELECT max(registered) FROM cursors WHERE instance = number)
         FROM instances LEFT JOIN letter_totals ON instance = number ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let Some(instance) = InstanceId::parse(&id) else { continue };
        let (number, next): (i64, i64) = (row.get(1)?, row.get(2)?);
        let least: Option<i64> = row.get(6)?;
        let undelivered = match least {
            Some(least) => next.saturating_sub(least).max(0).unsigned_abs(),
            None => {
                let next = next.max(0).unsigned_abs();
                cursors::first(db, number)?.map_or(0, |first| next.saturating_sub(first))
            }
        };
        found.push(Holding {
            instance,
            undelivered,
            letters: row.get::<_, i64>(4)?.max(0).unsigned_abs(),
            state: row.get(3)?,
            sinks: row.get::<_, i64>(5)?.max(0).unsigned_abs(),
            registered: row.get::<_, Option<bool>>(7)?.unwrap_or(false),
            received: next > 0,
        });
    }
    Ok(found)
}

/// Records that a sink has not got, for every sink of every instance.
pub(super) fn lags(db: &Connection) -> Result<Vec<(InstanceId, String, u64)>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT id, sink, next - position FROM cursors JOIN instances ON instance = number",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        if let Some(id) = InstanceId::parse(&id) {
            found.push((id, row.get(1)?, row.get::<_, i64>(2)?.max(0).unsigned_abs()));
        }
    }
    Ok(found)
}

/// Bytes that the records of an instance take, compressed.
pub(super) fn bytes(db: &Connection, number: i64) -> Result<u64, Fault> {
    let sum: Option<i64> = db
        .prepare_cached("SELECT sum(length(body)) FROM blocks WHERE key >= ? AND key < ?")?
        .query_row((key(number, 0), key(number + 1, 0)), |row| row.get(0))?;
    Ok(sum.unwrap_or(0).max(0).unsigned_abs())
}

/// Deletes the blocks of an instance before a position, some at a time.
pub(super) fn free(db: &mut Connection, number: i64, to: u64) -> Result<(), Fault> {
    loop {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let freed = tx
            .prepare_cached(
                "DELETE FROM blocks WHERE key IN
                 (SELECT key FROM blocks WHERE key >= ?1 AND key < ?2 AND key + count <= ?2 ORDER BY key LIMIT ?3)",
            )?
            .execute((key(number, 0), key(number, 0) + super::keys::stored(to), STEP))?;
        tx.commit()?;
        if freed == 0 {
            return Ok(());
        }
    }
}

/// Removes everything that an instance has. `false`: the store does not know it.
pub(super) fn remove(db: &mut Connection, instance: &InstanceId) -> Result<bool, Fault> {
    let Some(known) = known::find(db, instance)? else { return Ok(false) };
    let number = known.number;
    free(db, number, known.next)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    cursors::clear(&tx, number)?;
    letters::clear(&tx, number)?;
    tx.execute("DELETE FROM letter_totals WHERE instance = ?", [number])?;
    let head = [&HEAD[..], &number.to_le_bytes()].concat();
    tx.execute("DELETE FROM ids WHERE substr(body, 1, 16) = ?", [head])?;
    names::forget(&tx, number)?;
    for statement in [
        "DELETE FROM cursors WHERE instance = ?",
        "DELETE FROM names WHERE number = ?",
        "DELETE FROM instances WHERE number = ?",
    ] {
        tx.execute(statement, [number])?;
    }
    tx.commit()?;
    Ok(true)
}

/// Gives an instance another id, which must be free. Its records, cursors, dead letters, ids and state stay its own.
pub(super) fn rename(db: &mut Connection, from: &InstanceId, to: &InstanceId) -> Result<bool, Fault> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let Some(known) = known::find(&tx, from)? else { return Ok(false) };
    tx.execute("UPDATE instances SET id = ? WHERE number = ?", (to.as_str(), known.number))?;
    tx.execute("INSERT OR REPLACE INTO names(number, id) VALUES (?, ?)", (known.number, to.as_str()))?;
    names::renamed(&tx, known.number, from, to)?;
    tx.commit()?;
    Ok(true)
}
