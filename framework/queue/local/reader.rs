//! Reading: the next records of a sink, cut out of blocks, and letters that it gets again.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::Connection;

use super::block::{Block, Sealed, unseal};
use super::fault::Fault;
use super::keys::{key, position_of};
use super::known::find;
use super::{cursors, letters};
use crate::queue::{Chunk, Origin, Position, SinkKey};

/// What there is for a sink.
pub(super) enum Found {
    /// Letters that a person sent again.
    Retry(Unstamped),
    /// Records of the log.
    Log {
        /// The records.
        chunk: Unstamped,
        /// Where the sink stands.
        stand: Stand,
    },
    /// Records of the log, which were not asked for.
    More(Stand),
    /// Nothing yet.
    Nothing(Stand),
    /// A block whose checksum is wrong stands in the way.
    Damaged {
        /// Its key.
        key: i64,
    },
    /// The sink has no cursor.
    Unregistered,
}

/// Where a sink stands in the log of its instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stand {
    /// The number of the instance.
    pub(super) number: i64,
    /// The next record that the sink has not got.
    pub(super) position: u64,
    /// Behind the last record of the log.
    pub(super) end: u64,
}

impl Stand {
    /// The keys of the instance's blocks.
    pub(super) fn keys(&self) -> std::ops::Range<i64> {
        key(self.number, 0)..key(self.number + 1, 0)
    }
}

/// Looks for the next records of a sink: letters that it gets again, then the log.
pub(super) fn next(
    db: &Connection,
    sink: &SinkKey,
    max_records: usize,
    max_bytes: usize,
) -> Result<Found, Fault> {
    match look(db, sink, max_records, max_bytes)? {
        Found::More(stand) => read(db, stand, max_records.max(1), max_bytes),
        found => Ok(found),
    }
}

/// Looks where a sink stands and for letters that it gets again; records of the log are left alone.
pub(super) fn look(
    db: &Connection,
    sink: &SinkKey,
    max_records: usize,
    max_bytes: usize,
) -> Result<Found, Fault> {
    let Some(known) = find(db, &sink.instance)? else { return Ok(Found::Unregistered) };
    let Some(cursor) = cursors::load(db, known.number, &sink.sink)? else { return Ok(Found::Unregistered) };
    let again = letters::to_retry(db, known.number, Some(&sink.sink))?;
    if !again.is_empty() {
        return Ok(Found::Retry(retried(again, max_records, max_bytes)));
    }
    let stand = Stand { number: known.number, position: cursor.position.0, end: known.next };
    Ok(if stand.position < stand.end { Found::More(stand) } else { Found::Nothing(stand) })
}

/// Reads from the log. The chunk ends where records are missing (a block that was set aside).
fn read(db: &Connection, stand: Stand, max_records: usize, max_bytes: usize) -> Result<Found, Fault> {
    let Stand { number, position: from, .. } = stand;
    let std::ops::Range { start: low, end: high } = stand.keys();
    let mut statement = db.prepare_cached(
        "SELECT key, count, checksum, body FROM blocks
         WHERE key >= coalesce((SELECT max(key) FROM blocks WHERE key >= ?1 AND key <= ?3), ?3) AND key < ?2
         AND key + count > ?3 ORDER BY key",
    )?;
    let mut rows = statement.query((low, high, key(number, from)))?;
    let mut cut = Cut::default();
    while let Some(row) = rows.next()? {
        let sealed = Sealed {
            key: row.get(0)?,
            count: row.get(1)?,
            checksum: row.get(2)?,
            body: row.get::<_, Vec<u8>>(3)?.into(),
        };
        let first = position_of(sealed.key);
        if cut.next.is_some_and(|next| next != first) {
            break;
        }
        let Some(block) = unseal(&sealed, first) else {
            let damaged = Found::Damaged { key: sealed.key };
            return Ok(cut.chunk().map_or(damaged, |chunk| Found::Log { chunk, stand }));
        };
        if cut.take(&block, from.max(first), max_records, max_bytes) {
            break;
        }
    }
    Ok(cut.chunk().map_or(Found::Nothing(stand), |chunk| Found::Log { chunk, stand }))
}

/// A chunk before it is known which epoch it was read in.
pub(super) struct Unstamped {
    origin: Origin,
    records: Vec<Bytes>,
}

impl Unstamped {
    /// The chunk, as it was read in this epoch.
    pub(super) fn of(self, epoch: Arc<str>) -> Chunk {
        Chunk { origin: self.origin, epoch, records: self.records }
    }
}

/// A chunk in the making.
#[derive(Default)]
pub(super) struct Cut {
    from: u64,
    /// The position after the last record taken; `None` before the first.
    next: Option<u64>,
    records: Vec<Bytes>,
    size: usize,
}

impl Cut {
    /// Takes records of a block from a position on. `true`: the chunk is full.
    pub(super) fn take(&mut self, block: &Block, from: u64, max_records: usize, max_bytes: usize) -> bool {
        if self.next.is_none() {
            self.from = from;
        }
        let skip = usize::try_from(from - block.first).unwrap_or(usize::MAX);
        for (index, end) in block.ends.iter().enumerate().skip(skip) {
            let start = block.start(index);
            let fits = self.records.len() < max_records && self.size + (end - start) <= max_bytes;
            if !fits && !self.records.is_empty() {
                return true;
            }
            self.size += end - start;
            self.records.push(block.bytes.slice(start..*end));
            self.next = Some(block.first + index as u64 + 1);
        }
        self.records.len() >= max_records || self.size >= max_bytes
    }

    pub(super) fn chunk(self) -> Option<Unstamped> {
        let origin = Origin::Log { from: Position(self.from) };
        (!self.records.is_empty()).then_some(Unstamped { origin, records: self.records })
    }
}

/// A chunk of letters.
fn retried(again: Vec<letters::Stored>, max_records: usize, max_bytes: usize) -> Unstamped {
    let mut size = 0;
    let (mut records, mut numbers) = (Vec::new(), Vec::new());
    for stored in again {
        let record = stored.letter.bytes;
        let fits = records.len() < max_records && size + record.len() <= max_bytes;
        if !fits && !records.is_empty() {
            break;
        }
        size += record.len();
        records.push(record);
        numbers.push(stored.number);
    }
    Unstamped { origin: Origin::Retry { letters: numbers }, records }
}
