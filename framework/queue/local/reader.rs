//! Reading: the next records of a sink, cut out of blocks, and letters that it gets again.

use bytes::{Bytes, BytesMut};
use rusqlite::Connection;

use super::block::{Block, Sealed, unseal};
use super::fault::Fault;
use super::known::{find, key, position_of};
use super::{cursors, letters};
use crate::queue::{Chunk, Origin, Position, SinkKey};

/// What there is for a sink.
pub(super) enum Found {
    /// Records.
    Chunk(Chunk),
    /// Nothing yet.
    Nothing,
    /// A block whose checksum is wrong stands in the way.
    Damaged {
        /// Its key.
        key: i64,
    },
    /// The sink has no cursor.
    Unregistered,
}

/// Looks for the next records of a sink.
pub(super) fn next(
    db: &Connection,
    sink: &SinkKey,
    max_records: usize,
    max_bytes: usize,
) -> Result<Found, Fault> {
    let Some(known) = find(db, &sink.instance)? else { return Ok(Found::Unregistered) };
    let Some(cursor) = cursors::load(db, known.number, &sink.sink)? else { return Ok(Found::Unregistered) };
    let again = letters::to_retry(db, known.number, Some(&sink.sink))?;
    if !again.is_empty() {
        return Ok(Found::Chunk(retried(again, max_records, max_bytes)));
    }
    if cursor.position.0 >= known.next {
        return Ok(Found::Nothing);
    }
    read(db, known.number, cursor.position.0, max_records.max(1), max_bytes)
}

/// Reads from the log. The chunk ends where records are missing (a block that was set aside).
fn read(
    db: &Connection,
    number: i64,
    from: u64,
    max_records: usize,
    max_bytes: usize,
) -> Result<Found, Fault> {
    let (low, high) = (key(number, 0), key(number + 1, 0));
    let mut statement = db.prepare_cached(
        "SELECT key, count, checksum, body FROM blocks
         WHERE key >= coalesce((SELECT max(key) FROM blocks WHERE key >= ?1 AND key <= ?3), ?3) AND key < ?2
         AND key + count > ?3 ORDER BY key",
    )?;
    let mut rows = statement.query((low, high, key(number, from)))?;
    let mut cut = Cut::default();
    while let Some(row) = rows.next()? {
        let sealed =
            Sealed { key: row.get(0)?, count: row.get(1)?, checksum: row.get(2)?, body: row.get(3)? };
        let first = position_of(sealed.key);
        if cut.next.is_some_and(|next| next != first) {
            break;
        }
        let Some(block) = unseal(&sealed, first) else {
            return Ok(cut.found().unwrap_or(Found::Damaged { key: sealed.key }));
        };
        if cut.take(&block, from.max(first), max_records, max_bytes) {
            break;
        }
    }
    Ok(cut.found().unwrap_or(Found::Nothing))
}

/// A chunk in the making.
#[derive(Default)]
struct Cut {
    from: u64,
    /// The position after the last record taken; `None` before the first.
    next: Option<u64>,
    /// The only block so far: its bytes are not copied.
    alone: Option<Bytes>,
    joined: BytesMut,
    records: Vec<std::ops::Range<usize>>,
    size: usize,
}

impl Cut {
    /// Takes records of a block from a position on. `true`: the chunk is full.
    fn take(&mut self, block: &Block, from: u64, max_records: usize, max_bytes: usize) -> bool {
        let skip = usize::try_from(from - block.first).unwrap_or(usize::MAX);
        let shift = match &self.alone {
            None if self.next.is_none() => {
                self.from = from;
                self.alone = Some(block.bytes.clone());
                0
            }
            Some(_) | None => {
                if let Some(alone) = self.alone.take() {
                    self.joined.extend_from_slice(&alone);
                }
                let shift = self.joined.len();
                self.joined.extend_from_slice(&block.bytes);
                shift
            }
        };
        for (index, end) in block.ends.iter().enumerate().skip(skip) {
            let start = block.start(index);
            let fits = self.records.len() < max_records && self.size + (end - start) <= max_bytes;
            if !fits && !self.records.is_empty() {
                return true;
            }
            self.size += end - start;
            self.records.push(shift + start..shift + end);
            self.next = Some(block.first + index as u64 + 1);
        }
        self.records.len() >= max_records || self.size >= max_bytes
    }

    fn found(self) -> Option<Found> {
        if self.records.is_empty() {
            return None;
        }
        let bytes = self.alone.unwrap_or_else(|| self.joined.freeze());
        let origin = Origin::Log { from: Position(self.from) };
        Some(Found::Chunk(Chunk { origin, bytes, records: self.records }))
    }
}

/// A chunk of letters.
fn retried(again: Vec<letters::Stored>, max_records: usize, max_bytes: usize) -> Chunk {
    let mut bytes = BytesMut::new();
    let (mut records, mut numbers) = (Vec::new(), Vec::new());
    for stored in again {
        let record = &stored.letter.bytes;
        let fits = records.len() < max_records && bytes.len() + record.len() <= max_bytes;
        if !fits && !records.is_empty() {
            break;
        }
        let start = bytes.len();
        bytes.extend_from_slice(record);
        records.push(start..bytes.len());
        numbers.push(stored.number);
    }
    Chunk { origin: Origin::Retry { letters: numbers }, bytes: bytes.freeze(), records }
}
