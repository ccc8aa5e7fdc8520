//! Checkpoints: the write-ahead log is copied into the database, and emptied where nobody is in the way.
//!
//! Only the writer calls it, after the answers of a commit are out. A reader with an open transaction, which may be a
//! person with `sqlite3`, keeps the log from starting over. It never keeps a commit waiting: a checkpoint copies what it
//! can, and waits for readers at most [`PATIENCE`] once a second.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::fault::Fault;
use super::space::Usage;
use super::{schema, space};
use crate::points;
use crate::queue::limits::Limits;

/// How long an attempt to empty the log waits for readers.
const PATIENCE: Duration = Duration::from_millis(20);
/// Pause between two attempts that wait.
const PAUSE: Duration = Duration::from_secs(1);

/// The writer's checkpoints.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// When an attempt last waited.
    waited: Option<Instant>,
    /// A reader kept the last attempt from emptying the log.
    blocked: bool,
}

/// Whether the log is so long that it should have started over.
fn is_long(usage: &Usage, limits: &Limits) -> bool {
    usage.wal > space::due(limits) * 4
}

/// Whether the log has grown so that it is to be copied.
pub(super) fn due(usage: &Usage, limits: &Limits) -> bool {
    usage.ahead > space::due(limits) || is_long(usage, limits)
}

impl Checkpoints {
    /// Copies the write-ahead log into the database. Where the store is nearly full, or readers have kept the log from
    /// starting over for long, the log is emptied too.
    pub(super) fn copy(&mut self, db: &Connection, usage: &Usage, limits: &Limits) -> Result<(), Fault> {
        if is_long(usage, limits) || usage.used > limits.max_bytes / 4 * 3 {
            self.empty(db)
        } else {
            checkpoint(db, "PASSIVE").map(drop)
        }
    }

    /// Empties the log if no reader is in the way.
    pub(super) fn empty(&mut self, db: &Connection) -> Result<(), Fault> {
        let waits = self.waited.is_none_or(|before| before.elapsed() >= PAUSE);
        if waits {
            self.waited = Some(Instant::now());
        }
        self.blocked = !empty_within(db, if waits { PATIENCE } else { Duration::ZERO })?;
        Ok(())
    }

    /// Whether readers keep a long log from starting over.
    pub(super) fn blocked(&self, usage: &Usage, limits: &Limits) -> bool {
        self.blocked && is_long(usage, limits)
    }
}

/// Empties the log if no reader is in the way for that long. What can be copied without waiting is copied in any case.
pub(super) fn empty_within(db: &Connection, patience: Duration) -> Result<bool, Fault> {
    db.busy_timeout(patience)?;
    let emptied = checkpoint(db, "TRUNCATE");
    db.busy_timeout(schema::BUSY)?;
    emptied
}

/// A checkpoint. `false`: other connections kept it from being complete.
pub(super) fn checkpoint(db: &Connection, mode: &str) -> Result<bool, Fault> {
    points::reached("checkpoint.begin");
    let busy: i64 = db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(0))?;
    points::reached("checkpoint.done");
    Ok(busy == 0)
}

/// Whether another process makes a checkpoint at this moment.
pub(super) fn is_running(db: &Connection) -> Result<bool, Fault> {
    db.busy_timeout(Duration::ZERO)?;
    let busy = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(0));
    db.busy_timeout(schema::BUSY)?;
    Ok(busy? != 0)
}
