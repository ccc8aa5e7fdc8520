//! Opening a store: the database and its check; and closing it cleanly.

use std::path::Path;

use rusqlite::Connection;

use super::fault::{Fault, FaultKind};
use super::known::Memory;
use super::{make, salvage, schema, space};
use crate::points;
use crate::queue::limits::Limits;

/// When the whole database is read and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// When it was not closed cleanly.
    IfUnclean,
    /// In any case.
    Always,
    /// It passes the check, and yet damage was met again: it is replaced.
    Replace,
}

/// A store that was opened.
pub(super) struct Opened {
    pub(super) db: Connection,
    pub(super) memory: Memory,
    /// Records that were lost with a damaged database.
    pub(super) lost: u64,
}

/// Opens the database, made new if there is none, and checks it. From here on it counts as not closed.
pub(super) fn checked(folder: &Path, limits: &Limits, now: i64, check: Check) -> Result<Opened, Fault> {
    salvage::finish(folder)?;
    let fault = match check {
        Check::Replace => Fault::damaged("damage was met that its check does not find"),
        Check::IfUnclean | Check::Always => match try_checked(folder, limits, now, check) {
            Err(fault) if fault.kind == FaultKind::Damaged => fault,
            Err(fault) => return Err(fault),
            Ok((db, memory)) => return Ok(Opened { db, memory, lost: 0 }),
        },
    };
    let rescued = salvage::salvage(folder, &fault, now)?;
    let (db, memory) = try_checked(folder, limits, now, Check::Always)?;
    Ok(Opened { db, memory, lost: rescued.lost })
}

fn try_checked(
    folder: &Path,
    limits: &Limits,
    now: i64,
    check: Check,
) -> Result<(Connection, Memory), Fault> {
    salvage::keep_damaged_log(folder, now)?;
    make::database(folder)?;
    let db = schema::connect(folder)?;
    // Whatever an earlier process left in the log goes into the database before anything is built on it.
    space::checkpoint(&db, "TRUNCATE")?;
    let clean = schema::get(&db, "closed")?.is_some_and(|closed| closed == b"cleanly");
    check_small_tables(&db)?;
    if check != Check::IfUnclean || !clean {
        quick_check(&db)?;
    }
    points::reached("open.checked");
    schema::complete(&db)?;
    schema::put(&db, "closed", b"no")?;
    let memory = Memory::load(&db, limits, now, clean)?;
    if memory.forgotten > 0 {
        tracing::error!(commits = memory.forgotten, "ids of damaged commits are forgotten");
    }
    Ok((db, memory))
}

/// Checks the tables that are small, so that damage there is found now and not in the middle of work.
fn check_small_tables(db: &Connection) -> Result<(), Fault> {
    for table in ["about", "instances", "names", "cursors", "totals"] {
        let sql = format!("PRAGMA integrity_check('{table}')");
        let said: String = db.query_row(&sql, [], |row| row.get(0))?;
        if said != "ok" {
            return Err(Fault::damaged(said));
        }
    }
    Ok(())
}

fn quick_check(db: &Connection) -> Result<(), Fault> {
    let said: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if said == "ok" { Ok(()) } else { Err(Fault::damaged(said)) }
}

/// Closes it: nothing stays in the log, and the next start need not check.
pub(super) fn close(db: Connection) -> Result<(), Fault> {
    schema::put(&db, "closed", b"cleanly")?;
    points::reached("close.said");
    space::checkpoint(&db, "TRUNCATE")?;
    db.close().map_err(|(_, error)| error.into())
}
