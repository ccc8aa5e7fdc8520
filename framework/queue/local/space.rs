//! Space: what the store takes, what it may take, and giving it back to the disk.

use std::path::Path;

use rusqlite::Connection;

use super::fault::Fault;
use super::schema::PAGE;
use crate::connector::units::size as shown;
use crate::queue::Bound;
use crate::queue::limits::Limits;

/// Pages that one step of giving back moves, so that a commit never waits long behind it.
const STEP: u32 = 512;
/// Free pages that are kept for the next blocks at all times.
const KEEP: u64 = 256;
/// Free pages that are kept while batches come in: giving back what the next minute takes again costs more than
/// storing it.
const KEEP_BUSY: u64 = 16 << 10;
/// Bytes of the write-ahead log after which it is copied into the database.
const WAL: u64 = 32 << 20;
/// Bytes of one page in the log.
const FRAME: u64 = PAGE + 24;

/// What the store takes on disk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Bytes in use: pages that hold something, and the write-ahead log.
    pub(super) used: u64,
    /// Bytes of the write-ahead log's file, which are part of those.
    pub(super) file: u64,
    /// Bytes of the write-ahead log.
    pub(super) wal: u64,
    /// Bytes of it that are not in the database yet.
    pub(super) ahead: u64,
    /// Its frames, and those of them that are in the database.
    pub(super) frames: (u64, u64),
    /// Pages that hold nothing.
    pub(super) free_pages: u64,
    /// All pages.
    pub(super) pages: u64,
}

/// Measures it. The log's file keeps its length when it starts over: what it holds only SQLite knows.
pub(super) fn measure(db: &Connection, folder: &Path) -> Result<Usage, Fault> {
    let number = |pragma: &str| -> Result<u64, Fault> {
        let n: i64 = db.prepare_cached(pragma)?.query_row([], |row| row.get(0))?;
        Ok(n.max(0).unsigned_abs())
    };
    let pages = number("PRAGMA page_count")?;
    let free_pages = number("PRAGMA freelist_count")?;
    let file = std::fs::metadata(folder.join("forebay.db-wal")).map(|file| file.len()).unwrap_or(0);
    let frames @ (log, copied) = frames(db)?;
    let (wal, ahead) = (log * FRAME, log.saturating_sub(copied) * FRAME);
    let used = pages.saturating_sub(free_pages) * PAGE + file;
    Ok(Usage { used, file, wal, ahead, frames, free_pages, pages })
}

/// Frames of the log, and those of them that are in the database, as SQLite counts them.
pub(super) fn frames(db: &Connection) -> Result<(u64, u64), Fault> {
    let mut state = db.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    let (log, copied): (i64, i64) = state.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))?;
    Ok((log.max(0).unsigned_abs(), copied.max(0).unsigned_abs()))
}

/// Bytes that are free on the file system of the store.
pub(super) fn free(folder: &Path) -> Result<u64, Fault> {
    let system = rustix::fs::statvfs(folder).map_err(std::io::Error::from)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Which bound a batch of this size would break, and that in words.
pub(super) fn bound(used: u64, free: u64, size: u64, limits: &Limits) -> Option<(Bound, String)> {
    if used.saturating_add(size) > limits.max_bytes {
        let (used, most) = (shown(used), shown(limits.max_bytes));
        return Some((
            Bound::MaxBytes,
            format!(
                "the store takes {used} and may take {most} (queue.max_bytes); {} more do not fit",
                shown(size)
            ),
        ));
    }
    (free < limits.min_free.saturating_add(size)).then(|| {
        let (free, least) = (shown(free), shown(limits.min_free));
        (Bound::MinFree, format!("{free} are free on the disk, and {least} must stay free (queue.min_free)"))
    })
}

/// Bytes that the store may take, as things are: `max_bytes`, or what the file system has room for.
pub(super) fn all(usage: &Usage, free: u64, limits: &Limits) -> u64 {
    limits.max_bytes.min(usage.used.saturating_add(free.saturating_sub(limits.min_free)))
}

/// Bytes of the write-ahead log after which it is copied into the database.
pub(super) fn due(limits: &Limits) -> u64 {
    WAL.min(limits.max_bytes / 16)
}

/// Bytes that dead letters may take.
pub(super) fn dead_share(limits: &Limits) -> u64 {
    limits.max_bytes / 100 * u64::from(limits.dead_share)
}

/// Whether there are more free pages than are kept.
pub(super) fn can_give_back(usage: &Usage, busy: bool) -> bool {
    usage.free_pages > if busy { KEEP_BUSY } else { KEEP.min(usage.pages / 4) }
}

/// Gives free pages back, one step. `false`: there is nothing more to give.
pub(super) fn give_back(db: &Connection, usage: &Usage, busy: bool) -> Result<bool, Fault> {
    if !can_give_back(usage, busy) {
        return Ok(false);
    }
    let mut statement = db.prepare_cached(&format!("PRAGMA incremental_vacuum({STEP})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(true)
}
