//! How many bytes of the store the records of each instance take.
//!
//! The writer keeps it: it adds what it commits and takes away what is trimmed. A store that is closed cleanly keeps it
//! in `about` under `held`; after anything else it is counted again from the blocks. Neighbouring blocks are counted
//! together, so that it stays small however many there are.
//!
//! The value under `held` is a list of instances. Each is its number, its next position and the number of its runs, then
//! for each run its end (a position) and its bytes: all 64 bits, little-endian.

use std::collections::{BTreeMap, VecDeque};

use rusqlite::Connection;

use super::cursors;
use super::fault::Fault;
use super::keys::{key, position_of};
use super::schema::{self, PAGE};

/// Runs of one store at most, were all of them full: a run holds at least this part of `max_bytes`.
const RUNS: u64 = 16 << 10;
/// Bytes of a run at least.
const LEAST: u64 = 16 << 10;
/// What a row takes beside its body, about.
const ROW: u64 = 64;

/// The records of one instance.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    runs: VecDeque<Run>,
    bytes: u64,
    /// Bytes after which a run is full.
    full: u64,
}

/// Neighbouring blocks.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// The position behind the last record.
    end: u64,
    bytes: u64,
}

/// What a block takes in the database: whole pages where it is long. Small ones share pages, which are half full at
/// worst.
pub(super) fn cost(body: u64) -> u64 {
    let row = body.saturating_add(ROW);
    if row >= PAGE / 4 { row.div_ceil(PAGE - ROW).saturating_mul(PAGE) } else { row * 2 }
}

impl Held {
    /// Nothing yet, in a store of so many bytes.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { full: LEAST.max(max_bytes / RUNS), ..Self::default() }
    }

    /// Bytes that the records take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A block was stored.
    pub(super) fn add(&mut self, end: u64, body: u64) {
        let bytes = cost(body);
        self.bytes += bytes;
        match self.runs.back_mut().filter(|run| run.bytes < self.full) {
            Some(run) => (run.end, run.bytes) = (end, run.bytes + bytes),
            None => self.runs.push_back(Run { end, bytes }),
        }
    }

    /// Another process may have deleted blocks of the instance.
    pub(super) fn recount(&mut self, db: &Connection, number: i64) -> Result<(), Fault> {
        if self.bytes > 0 {
            self.trim(cursors::first(db, number)?.unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Blocks before this position were deleted.
    pub(super) fn trim(&mut self, to: u64) {
        while let Some(run) = self.runs.front().filter(|run| run.end <= to) {
            self.bytes -= run.bytes;
            self.runs.pop_front();
        }
    }
}

/// What a store that was closed cleanly kept: by the instances' numbers their next positions, and what they hold.
pub(super) fn kept(
    db: &Connection,
    max_bytes: u64,
    clean: bool,
) -> Result<BTreeMap<i64, (u64, Held)>, Fault> {
    let bytes = if clean { schema::get(db, "held")? } else { None };
    Ok(bytes.and_then(|bytes| read(&bytes, max_bytes)).unwrap_or_default())
}

/// Counts what an instance holds, from its blocks.
pub(super) fn count(db: &Connection, number: i64, max_bytes: u64) -> Result<Held, Fault> {
    let mut held = Held::new(max_bytes);
    let mut statement = db.prepare_cached(
        "SELECT key, count, length(body) FROM blocks WHERE key >= ? AND key < ? ORDER BY key",
    )?;
    let mut rows = statement.query((key(number, 0), key(number + 1, 0)))?;
    while let Some(row) = rows.next()? {
        let (at, count, body): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let end = position_of(at).saturating_add(count.max(0).unsigned_abs());
        held.add(end, body.max(0).unsigned_abs());
    }
    Ok(held)
}

/// Keeps what every instance holds, for the next start: its number, its next position, and that.
pub(super) fn save<'a>(
    db: &Connection,
    instances: impl Iterator<Item = (i64, u64, &'a Held)>,
) -> Result<(), Fault> {
    let mut out = Vec::new();
    for (number, next, held) in instances.filter(|(.., held)| held.bytes > 0) {
        out.extend(number.to_le_bytes());
        out.extend(next.to_le_bytes());
        out.extend((held.runs.len() as u64).to_le_bytes());
        for run in &held.runs {
            out.extend(run.end.to_le_bytes());
            out.extend(run.bytes.to_le_bytes());
        }
    }
    Ok(schema::put(db, "held", &out)?)
}

/// What was kept, by the instances' numbers: the next position, and what they hold. `None`: it is not what was written.
fn read(bytes: &[u8], max_bytes: u64) -> Option<BTreeMap<i64, (u64, Held)>> {
    let mut words = bytes.chunks(8).map(|word| word.try_into().ok().map(u64::from_le_bytes));
    let mut found = BTreeMap::new();
    while let Some(number) = words.next() {
        let number = i64::try_from(number?).ok()?;
        let (next, runs) = (words.next()??, words.next()??);
        let mut held = Held::new(max_bytes);
        for _ in 0..runs {
            let run = Run { end: words.next()??, bytes: words.next()?? };
            held.bytes = held.bytes.checked_add(run.bytes)?;
            held.runs.push_back(run);
        }
        found.insert(number, (next, held));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_counted_until_they_are_trimmed() {
        let mut held = Held::new(1 << 30);
        for n in 1..=1000u64 {
            held.add(n * 10, 3000);
        }
        assert_eq!(held.bytes(), 1000 * PAGE);
        assert!(held.runs.len() < 70, "{}", held.runs.len());
        held.trim(5000);
        let left = held.bytes() / PAGE;
        assert!((500..520).contains(&left), "{left}");
        held.trim(10_000);
        assert_eq!((held.bytes(), held.runs.len()), (0, 0));
    }

    #[test]
    fn kept_counts_are_read_again_and_damaged_ones_are_not() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE about(name TEXT PRIMARY KEY, value BLOB)").unwrap();
        let mut held = Held::new(1 << 30);
        held.add(7, 100_000);
        held.add(9, 20);
        let before = held.bytes();
        save(&db, [(3, 9, &held)].into_iter()).unwrap();
        let kept = schema::get(&db, "held").unwrap().unwrap();
        let (next, held) = read(&kept, 1 << 30).unwrap().remove(&3).unwrap();
        assert_eq!((next, held.bytes(), held.runs.len()), (9, before, 2));
        assert!(read(&kept[..kept.len() - 3], 1 << 30).is_none());
        assert!(read(&kept[..kept.len() - 8], 1 << 30).is_none());
    }
}
