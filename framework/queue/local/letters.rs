//! Dead letters: kept whole, listed, shown, sent again, dropped.
//!
//! Every function takes a connection, since the writer calls them inside its transactions and
//! `forebay dead-letters` calls them from a process of its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::block::crc;
use super::fault::Fault;
use crate::connector::instance::InstanceId;
use crate::connector::units::size as shown;
use crate::error::{Error, Kind};
use crate::queue::shares::{Ledger, Shares};
use crate::queue::{DeadLetter, DeadReason, DeadWhat};

/// Letters that one read gives to a sink or a decoder again.
const AT_ONCE: usize = 100;
/// Bytes of letters that one read gives out, but for a single larger one.
const BYTES_AT_ONCE: usize = 4 << 20;

/// Which dead letters are meant.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this reason only.
    pub reason: Option<DeadReason>,
    /// Refused by this sink only.
    pub sink: Option<String>,
}

/// A dead letter as the store holds it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its number: what people name it by.
    pub number: i64,
    /// Whether a person asked for it to be sent again.
    pub retry: bool,
    /// Bytes of the letter, before compression.
    pub size: u64,
    /// Whether its bytes were damaged on the disk. Nothing is left of them then, and it is not sent again.
    pub damaged: bool,
    /// Everything else. In a listing `bytes` is empty.
    pub letter: DeadLetter,
}

const COLUMNS: &str = "number, retry, size, what, reason, detail, id, sink, at";

/// Adds a letter.
pub(super) fn insert(tx: &Connection, instance: i64, letter: &DeadLetter) -> rusqlite::Result<()> {
    let body = lz4_flex::compress_prepend_size(&letter.bytes);
    tx.prepare_cached(
        "INSERT INTO letters(instance, what, reason, detail, id, sink, at, size, checksum, body)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute((
        instance,
        what_name(letter.what),
        reason_name(letter.reason),
        &letter.detail,
        letter.id.as_deref(),
        &letter.sink,
        letter.at.as_millisecond(),
        i64::try_from(letter.bytes.len()).unwrap_or(i64::MAX),
        crc(&[&body]),
        &body,
    ))
    .map(drop)
}

/// What a letter takes beside its bytes, counted against the share of dead letters. The triggers say the same.
const ROW: u64 = 256;

/// What letters take of the share of dead letters, at most.
pub(super) fn size(letters: &[DeadLetter]) -> u64 {
    letters.iter().map(|letter| letter.bytes.len() as u64 + ROW).sum()
}

/// The room for dead letters in one transaction.
#[derive(Debug)]
pub(super) struct Space<'a> {
    shares: &'a Shares,
    /// Bytes that dead letters may take in all.
    bound: u64,
    /// Bytes that they take.
    used: u64,
    /// Who holds how much. Looked up once it matters.
    ledger: Option<Ledger<'a>>,
}

impl<'a> Space<'a> {
    /// The room that there is.
    pub(super) fn new(tx: &Connection, shares: &'a Shares, bound: u64) -> rusqlite::Result<Self> {
        Ok(Self { shares, bound, used: totals(tx)?.1, ledger: None })
    }

    /// Takes room for letters of an instance. `Some`: there is none, and why. `percent` is `queue.dead_share`.
    pub(super) fn take(
        &mut self,
        tx: &Connection,
        instance: &InstanceId,
        letters: &[DeadLetter],
        percent: u8,
    ) -> Result<Option<String>, Fault> {
        let size = size(letters);
        let after = self.used.saturating_add(size);
        let most = shown(self.bound);
        if after > self.bound {
            let used = shown(after);
            return Ok(Some(format!(
                "dead letters take {used}, and may take {most} (queue.dead_share is {percent} %)"
            )));
        }
        // Nobody's reserve is touched below this, so that nobody needs to be asked what they hold.
        let plenty = after <= self.bound - self.shares.reserve(self.bound);
        if self.shares.members.len() > 1 && !plenty {
            if self.ledger.is_none() {
                self.ledger = Some(Ledger::new(self.shares, self.bound, held(tx)?));
            }
            if let Some(ledger) = &mut self.ledger {
                if !ledger.admits(instance, size, self.used) {
                    let held = shown(ledger.held(instance));
                    return Ok(Some(format!(
                        "the dead letters of `{instance}` take {held} of {most} (queue.dead_share is {percent} %); \
                         what is free is reserved for other instances (queue.shares)"
                    )));
                }
                ledger.take(instance, size);
            }
        }
        self.used = after;
        Ok(None)
    }
}

/// Bytes of dead letters by instance.
fn held(db: &Connection) -> Result<BTreeMap<InstanceId, u64>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT instances.id, letter_totals.bytes FROM letter_totals JOIN instances ON number = instance",
    )?;
    let mut rows = statement.query([])?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (id, bytes): (String, i64) = (row.get(0)?, row.get(1)?);
        if let Some(id) = InstanceId::parse(&id) {
            found.insert(id, bytes.max(0).unsigned_abs());
        }
    }
    Ok(found)
}

/// There is no room for more letters.
pub(super) fn full(detail: String) -> Error {
    Error::new(Kind::Passing, format!("the share of dead letters is full: {detail}"))
        .help("drop some, or send them again: `forebay dead-letters`")
}

/// Letters of an instance without their bytes, from a number on, at most `max`.
pub(super) fn list(
    db: &Connection,
    instance: i64,
    filter: &Filter,
    after: i64,
    max: usize,
) -> Result<Vec<Stored>, Fault> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM letters WHERE instance = ?1 AND number > ?2
         AND (?3 IS NULL OR reason = ?3) AND (?4 IS NULL OR sink = ?4) ORDER BY number LIMIT ?5"
    ))?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let rows =
        statement.query_map((instance, after, filter.reason.map(reason_name), &filter.sink, max), head)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// One letter, whole.
pub(super) fn show(db: &Connection, instance: i64, number: i64) -> Result<Option<Stored>, Fault> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS}, checksum, body FROM letters WHERE instance = ? AND number = ?"
    ))?;
    let mut rows = statement.query((instance, number))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    match whole(row)? {
        Some(stored) => Ok(Some(stored)),
        None => Ok(Some(Stored { damaged: true, ..head(row)? })),
    }
}

/// Letters to be sent again: those that this sink refused, or, without a sink, those that were never accepted.
pub(super) fn to_retry(db: &Connection, instance: i64, sink: Option<&str>) -> Result<Vec<Stored>, Fault> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS}, checksum, body FROM letters
         WHERE retry = 1 AND instance = ? AND sink IS ? ORDER BY number"
    ))?;
    let mut rows = statement.query((instance, sink))?;
    let (mut found, mut size) = (Vec::new(), 0usize);
    while found.len() < AT_ONCE
        && let Some(row) = rows.next()?
    {
        let Some(stored) = whole(row)? else { continue };
        size = size.saturating_add(stored.letter.bytes.len());
        if !found.is_empty() && size > BYTES_AT_ONCE {
            break;
        }
        found.push(stored);
    }
    Ok(found)
}

/// Marks a letter to be sent again. `false`: there is none of this number.
pub(super) fn mark(tx: &Connection, instance: i64, number: i64) -> rusqlite::Result<bool> {
    tx.prepare_cached("UPDATE letters SET retry = 1 WHERE instance = ? AND number = ?")?
        .execute((instance, number))
        .map(|n| n > 0)
}

/// Removes a letter. `false`: there is none of this number.
pub(super) fn remove(tx: &Connection, instance: i64, number: i64) -> rusqlite::Result<bool> {
    tx.prepare_cached("DELETE FROM letters WHERE instance = ? AND number = ?")?
        .execute((instance, number))
        .map(|n| n > 0)
}

/// Why this letter is one; `None` when it is gone.
pub(super) fn reason(db: &Connection, instance: i64, number: i64) -> Result<Option<DeadReason>, Fault> {
    let name: Option<String> = db
        .prepare_cached("SELECT reason FROM letters WHERE instance = ? AND number = ?")?
        .query_row((instance, number), |row| row.get(0))
        .optional()?;
    name.map(|name| reason_of(&name)).transpose()
}

/// Which sinks are to get letters again, by their instances' ids; without a sink: which instances are to decode again.
pub(super) fn marked(db: &Connection) -> Result<Vec<(InstanceId, Option<String>)>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT DISTINCT instances.id, letters.sink FROM letters JOIN instances ON instances.number = letters.instance
         WHERE letters.retry = 1",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        if let Some(id) = InstanceId::parse(&id) {
            found.push((id, row.get(1)?));
        }
    }
    Ok(found)
}

/// Removes every letter of an instance.
pub(super) fn clear(tx: &Connection, instance: i64) -> rusqlite::Result<usize> {
    tx.execute("DELETE FROM letters WHERE instance = ?", [instance])
}

/// How many letters the store holds, and their bytes.
pub(super) fn totals(db: &Connection) -> rusqlite::Result<(u64, u64)> {
    db.prepare_cached("SELECT letters, bytes FROM totals")?.query_row([], |row| {
        let (letters, bytes): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok((letters.max(0).unsigned_abs(), bytes.max(0).unsigned_abs()))
    })
}

/// All but the bytes. A row with words that we never wrote is a damaged one, and shown as that: nothing else of the
/// store is the worse for it.
fn head(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let text = |index: usize| -> rusqlite::Result<Option<String>> {
        let bytes = row.get_ref(index)?.as_bytes_or_null()?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    };
    let word = |index: usize| text(index).map(Option::unwrap_or_default);
    let (what, reason) = (what_of(&word(3)?), reason_of(&word(4)?));
    Ok(Stored {
        number: row.get(0)?,
        retry: row.get(1)?,
        size: row.get::<_, i64>(2)?.max(0).unsigned_abs(),
        damaged: what.is_err() || reason.is_err(),
        letter: DeadLetter {
            what: what.unwrap_or(DeadWhat::Body),
            reason: reason.unwrap_or(DeadReason::Undecodable),
            detail: word(5)?,
            bytes: Bytes::new(),
            id: row.get::<_, Option<Vec<u8>>>(6)?.map(Bytes::from),
            sink: text(7)?,
            at: Timestamp::from_millisecond(row.get(8)?).unwrap_or(Timestamp::UNIX_EPOCH),
        },
    })
}

/// The letter of a row; `None` where it is damaged, or its bytes are not what they were.
fn whole(row: &Row<'_>) -> Result<Option<Stored>, Fault> {
    let mut stored = head(row)?;
    if stored.damaged {
        return Ok(None);
    }
    let body = row.get_ref(10)?.as_blob().map_err(|e| Fault::damaged(e.to_string()))?;
    if i64::from(crc(&[body])) != row.get::<_, i64>(9)? {
        return Ok(None);
    }
    let Ok(bytes) = lz4_flex::decompress_size_prepended(body) else { return Ok(None) };
    stored.letter.bytes = Bytes::from(bytes);
    Ok(Some(stored))
}

/// The name of a kind, in the store and for people.
pub fn what_name(what: DeadWhat) -> &'static str {
    match what {
        DeadWhat::Body => "body",
        DeadWhat::Record => "record",
    }
}

fn what_of(name: &str) -> Result<DeadWhat, Fault> {
    match name {
        "body" => Ok(DeadWhat::Body),
        "record" => Ok(DeadWhat::Record),
        other => Err(Fault::damaged(format!("a dead letter is a `{}`", other.escape_debug()))),
    }
}

/// Every reason.
pub const REASONS: [DeadReason; 5] = [
    DeadReason::Undecodable,
    DeadReason::Schema,
    DeadReason::TooDeep,
    DeadReason::IdReused,
    DeadReason::SinkRefused,
];

/// The name of a reason, in the store, for people and for metrics.
pub fn reason_name(reason: DeadReason) -> &'static str {
    match reason {
        DeadReason::Undecodable => "undecodable",
        DeadReason::Schema => "schema",
        DeadReason::TooDeep => "too_deep",
        DeadReason::IdReused => "id_reused",
        DeadReason::SinkRefused => "sink_refused",
    }
}

fn reason_of(name: &str) -> Result<DeadReason, Fault> {
    REASONS
        .into_iter()
        .find(|reason| reason_name(*reason) == name)
        .ok_or_else(|| Fault::damaged(format!("a dead letter's reason is `{}`", name.escape_debug())))
}
