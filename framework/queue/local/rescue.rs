//! Copying what is readable of a damaged database into a fresh one, row by row, around what is not.
//!
//! Only `salvage` calls it. Nothing here trusts a row: what has a checksum must match it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::{Connection, Row};

use super::block::{Sealed, crc, unseal};
use super::fault::Fault;
use super::keys::{key, position_of};
use super::schema::{self, POSITION_BITS};
use super::{cursors, letters, make, names};
use crate::connector::instance::InstanceId;
use crate::points;

/// Attempts to read on behind what cannot be read, for each table.
const PROBES: u32 = 200;

/// What was saved, and what was not.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rescued {
    /// Records.
    pub(super) records: u64,
    /// Dead letters.
    pub(super) letters: u64,
    /// Dead letters that the old database says it had and that are gone; 0 where it does not say.
    pub(super) lost_letters: u64,
    /// Records that some sink has not got and that are gone.
    pub(super) lost: u64,
}

/// Copies everything that can be read from `old` to `fresh`, in one transaction.
pub(super) fn rescue(old: &Connection, fresh: &Connection) -> Result<Rescued, Fault> {
    let tx = fresh.unchecked_transaction()?;
    if let Ok(Some(key)) = schema::get(old, "key")
        && key.len() == 16
    {
        schema::put(&tx, "key", &key)?;
        copy_ids(old, &tx)?;
    }
    let numbers = copy_instances(old, &tx)?;
    names::copy(old, &tx)?;
    copy_cursors(old, &tx, &numbers)?;
    let letters = copy_letters(old, &tx)?;
    let had = letters::totals(old).map_or(0, |(letters, _)| letters);
    let mut rescued = Rescued { letters, lost_letters: had.saturating_sub(letters), ..Rescued::default() };
    let blocks = copy_blocks(old, &tx)?;
    for number in numbers {
        let runs = blocks.get(&number).map_or(&[][..], Vec::as_slice);
        rescued.records += runs.iter().map(|(_, count)| count).sum::<u64>();
        rescued.lost += settle_instance(&tx, number, runs)?;
    }
    points::reached("rescue.copied");
    tx.commit()?;
    Ok(rescued)
}

/// Reads a table by its integer key from both ends, and probes what lies between. Rows that cannot be read are
/// left out; a failure to write ends it.
fn each(
    old: &Connection,
    select: &str,
    by: &str,
    take: &mut dyn FnMut(&Row<'_>) -> Result<(), Taken>,
) -> Result<(), Fault> {
    let mut gaps = vec![(i64::MIN, i64::MAX)];
    let mut probes = PROBES;
    while let Some((low, high)) = gaps.pop() {
        let up =
            scan(old, &format!("{select} WHERE {by} > ?1 AND {by} < ?2 ORDER BY {by}"), low, high, take)?;
        let Some(up) = up else { continue };
        let sql = format!("{select} WHERE {by} > ?1 AND {by} < ?2 ORDER BY {by} DESC");
        let Some(down) = scan(old, &sql, up, high, take)? else { continue };
        let middle = up.midpoint(down);
        if probes > 1 && middle > up && middle < down {
            probes -= 2;
            gaps.push((up, middle + 1));
            gaps.push((middle, down));
        }
    }
    Ok(())
}

/// Why a row was not taken.
enum Taken {
    /// It cannot be read, or is not what it was.
    Bad,
    /// The fresh database cannot be written.
    Failed(Fault),
}

impl From<rusqlite::Error> for Taken {
    fn from(_: rusqlite::Error) -> Self {
        Self::Bad
    }
}

/// Reads rows until the end (`None`) or until the database says that it cannot go on (`Some(last key read)`).
fn scan(
    old: &Connection,
    sql: &str,
    low: i64,
    high: i64,
    take: &mut dyn FnMut(&Row<'_>) -> Result<(), Taken>,
) -> Result<Option<i64>, Fault> {
    let descending = sql.ends_with("DESC");
    let mut last = if descending { high } else { low };
    let Ok(mut statement) = old.prepare_cached(sql) else { return Ok(Some(last)) };
    let Ok(mut rows) = statement.query((low, high)) else { return Ok(Some(last)) };
    loop {
        match rows.next() {
            Ok(None) => return Ok(None),
            Err(_) => return Ok(Some(last)),
            Ok(Some(row)) => {
                let Ok(at) = row.get::<_, i64>(0) else { return Ok(Some(last)) };
                // Keys that do not rise or fall as asked would have us go round for ever.
                if (descending && at >= last) || (!descending && at <= last) {
                    return Ok(Some(last));
                }
                last = at;
                match take(row) {
                    Ok(()) | Err(Taken::Bad) => {}
                    Err(Taken::Failed(fault)) => return Err(fault),
                }
            }
        }
    }
}

fn copy_ids(old: &Connection, tx: &Connection) -> Result<(), Fault> {
    each(old, "SELECT seq, at, checksum, body FROM ids", "seq", &mut |row| {
        let (seq, at, checksum): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let body: Vec<u8> = row.get(3)?;
        if i64::from(crc(&[&body])) != checksum {
            return Err(Taken::Bad);
        }
        write(tx, "INSERT OR IGNORE INTO ids VALUES (?, ?, ?, ?)", (seq, at, checksum, body))
    })
}

/// Copies the instances, and gives their numbers. Their names stand in two tables, for the sake of this.
fn copy_instances(old: &Connection, tx: &Connection) -> Result<BTreeSet<i64>, Fault> {
    let mut numbers = BTreeSet::new();
    let select = "SELECT number, id, next, latest, document FROM instances";
    each(old, select, "number", &mut |row| {
        let (number, id): (i64, String) = (row.get(0)?, row.get(1)?);
        let document: Option<String> = row.get(4)?;
        let document = document.filter(|text| serde_json::from_str::<serde_json::Value>(text).is_ok());
        let (next, latest): (i64, Option<i64>) = (row.get(2)?, row.get(3)?);
        if InstanceId::parse(&id).is_none() || !(1..1 << 20).contains(&number) {
            return Err(Taken::Bad);
        }
        numbers.insert(number);
        let row = (number, id, next, latest, document);
        write(tx, "INSERT OR IGNORE INTO instances VALUES (?, ?, ?, ?, ?)", row)
    })?;
    each(old, "SELECT number, id FROM names", "number", &mut |row| {
        let (number, id): (i64, String) = (row.get(0)?, row.get(1)?);
        if InstanceId::parse(&id).is_none() || !(1..1 << 20).contains(&number) {
            return Err(Taken::Bad);
        }
        numbers.insert(number);
        write(tx, "INSERT OR IGNORE INTO names VALUES (?, ?)", (number, &id))?;
        write(tx, "INSERT OR IGNORE INTO instances(number, id) VALUES (?, ?)", (number, &id))
    })?;
    Ok(numbers)
}

/// Copies the cursors whose checksums are right.
fn copy_cursors(old: &Connection, tx: &Connection, numbers: &BTreeSet<i64>) -> Result<(), Fault> {
    for number in numbers {
        for (sink, cursor) in cursors::sound(old, *number) {
            cursors::save(tx, *number, &sink, &cursor)?;
        }
    }
    Ok(())
}

fn copy_letters(old: &Connection, tx: &Connection) -> Result<u64, Fault> {
    let mut copied = 0;
    let columns = "number, instance, what, reason, detail, id, sink, at, retry, size, checksum, body";
    let insert =
        format!("INSERT OR IGNORE INTO letters({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    each(old, &format!("SELECT {columns} FROM letters"), "number", &mut |row| {
        let mut values = Vec::with_capacity(12);
        for column in 0..12 {
            values.push(row.get::<_, rusqlite::types::Value>(column)?);
        }
        write(tx, &insert, rusqlite::params_from_iter(values))?;
        copied += 1;
        Ok(())
    })?;
    Ok(copied)
}

/// Copies sound blocks; gives first position and count of each, by instance, in order.
fn copy_blocks(old: &Connection, tx: &Connection) -> Result<BTreeMap<i64, Vec<(u64, u64)>>, Fault> {
    let mut found: BTreeMap<i64, BTreeMap<u64, u64>> = BTreeMap::new();
    each(old, "SELECT key, count, at, checksum, body FROM blocks", "key", &mut |row| {
        let sealed = Sealed {
            key: row.get(0)?,
            count: row.get(1)?,
            checksum: row.get(3)?,
            body: row.get::<_, Vec<u8>>(4)?.into(),
        };
        let first = position_of(sealed.key);
        unseal(&sealed, first).ok_or(Taken::Bad)?;
        let at: i64 = row.get(2)?;
        found.entry(sealed.key >> POSITION_BITS).or_default().insert(first, u64::from(sealed.count));
        let insert = "INSERT OR IGNORE INTO blocks(key, count, at, checksum, body) VALUES (?, ?, ?, ?, ?)";
        write(tx, insert, (sealed.key, sealed.count, at, sealed.checksum, &sealed.body[..]))
    })?;
    Ok(found.into_iter().map(|(number, runs)| (number, runs.into_iter().collect())).collect())
}

fn write(tx: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<(), Taken> {
    let written = tx.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
    written.map(drop).map_err(|error| match error.sqlite_error_code() {
        // A value that our tables refuse is the old row's fault.
        Some(rusqlite::ErrorCode::ConstraintViolation) => Taken::Bad,
        Some(_) | None => Taken::Failed(error.into()),
    })
}

/// Sets where an instance goes on, and counts the records that some sink lacks and that are gone.
fn settle_instance(tx: &Connection, number: i64, runs: &[(u64, u64)]) -> Result<u64, Fault> {
    let end = runs.last().map_or(0, |(first, count)| first + count);
    let sinks = cursors::list(tx, number)?;
    let known = cursors::next(tx, number)?;
    let least = sinks.iter().map(|sink| sink.cursor.position.0).min();
    let most = sinks.iter().map(|sink| sink.cursor.position.0).max().unwrap_or(0);
    let next = known.max(end).max(most).min(1 << (POSITION_BITS - 1));
    tx.execute("UPDATE instances SET next = ? WHERE number = ?", (key(0, next), number))?;
    let from = least.or(runs.first().map(|(first, _)| *first)).unwrap_or(next);
    let kept: u64 = runs.iter().map(|(first, count)| (first + count).saturating_sub(from.max(*first))).sum();
    Ok(next.saturating_sub(from).saturating_sub(kept))
}

/// Writes the first page of a fresh database over the first page of a damaged one.
pub(super) fn mend_first_page(damaged: &Path, template: &Path) -> Result<(), Fault> {
    make::folder(template)?;
    make::database(template)?;
    let mut page = vec![0; 4096];
    std::fs::File::open(schema::file(template))?.read_exact(&mut page)?;
    let mut file = std::fs::OpenOptions::new().write(true).open(damaged)?;
    let pages = u32::try_from(file.metadata()?.len() / 4096).unwrap_or(u32::MAX);
    // The file format's header: size in pages at 28, valid where 24 equals 92; the free list at 32 and 36.
    for (at, value) in [(28, pages), (24, 1), (92, 1), (32, 0), (36, 0)] {
        if let Some(slot) = page.get_mut(at..at + 4) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
    }
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&page)?;
    Ok(file.sync_all()?)
}
