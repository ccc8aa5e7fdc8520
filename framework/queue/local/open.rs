//! Opening a store: the database and its check; and closing it cleanly.
//!
//! An opening raises the store's generation and writes `closed = no` into the database itself, so that a log which is
//! missing afterwards is known to be missing.

use std::path::Path;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use data_encoding::HEXLOWER;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::fault::{Fault, FaultKind};
use super::files::{self, Files};
use super::known::Memory;
use super::mark::Mark;
use super::{backup, checkpoint, make, salvage, schema};
use crate::points;
use crate::queue::limits::Limits;

/// When the whole database is read and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// When it was not closed cleanly.
    IfUnclean,
    /// In any case.
    Always,
    /// In any case; another program wrote over it, so that positions may be given out a second time.
    Overwritten,
    /// It passes the check, and yet damage was met again: it is replaced.
    Replace,
}

/// A store that was opened.
pub(super) struct Opened {
    pub(super) db: Connection,
    pub(super) memory: Memory,
    /// The files that are open.
    pub(super) files: Files,
    /// What was found out about them.
    pub(super) findings: Findings,
}

/// What an opening found out.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    /// Records that were lost with a damaged database.
    pub(super) lost: u64,
    /// The store was not closed cleanly, and its log is missing.
    pub(super) log_missing: bool,
    /// Why it begins a new epoch, if it does.
    pub(super) renewed: Option<&'static str>,
    /// Which life of the store this is.
    pub(super) epoch: String,
}

/// Opens the database, made new if there is none, and checks it. From here on it counts as not closed.
pub(super) fn checked(folder: &Path, limits: &Limits, now: i64, check: Check) -> Result<Opened, Fault> {
    files::refuse_special(folder)?;
    salvage::finish(folder)?;
    backup::bring_back(folder)?;
    let fault = match check {
        Check::Replace => Fault::damaged("damage was met that its check does not find"),
        Check::IfUnclean | Check::Always | Check::Overwritten => {
            match try_checked(folder, limits, now, check) {
                Err(fault) if fault.kind == FaultKind::Damaged => fault,
                outcome => return outcome,
            }
        }
    };
    let rescued = salvage::salvage(folder, &fault, now)?;
    let mut opened = try_checked(folder, limits, now, Check::Always)?;
    opened.findings.lost = rescued.lost;
    Ok(opened)
}

fn try_checked(folder: &Path, limits: &Limits, now: i64, check: Check) -> Result<Opened, Fault> {
    salvage::keep_damaged_log(folder, now)?;
    let (has_log, empty_log) = (files::has_log(folder), files::has_empty_log(folder));
    make::database(folder)?;
    let db = schema::connect(folder)?;
    let log_missing = remember_missing_log(&db, has_log)?;
    // Whatever an earlier process left in the log goes into the database before anything is built on it.
    checkpoint::checkpoint(&db, "TRUNCATE")?;
    // A log that holds something may say so by a commit whose sync failed.
    let clean = empty_log && schema::get(&db, "closed")?.is_some_and(|closed| closed == b"cleanly");
    check_small_tables(&db)?;
    if check != Check::IfUnclean || !clean {
        quick_check(&db)?;
    }
    points::reached("open.checked");
    schema::complete(&db)?;
    let restarted = match (check, log_missing) {
        (Check::Overwritten, _) => Some("the database was written over"),
        (_, true) => Some("the log of the database is missing"),
        (_, false) => None,
    };
    let (renewed, epoch) = begin(&db, folder, restarted)?;
    let memory = Memory::load(&db, limits, now, clean)?;
    if memory.forgotten > 0 {
        tracing::error!(commits = memory.forgotten, "ids of damaged commits are forgotten");
    }
    let files = Files::of(folder, &db)?;
    Ok(Opened { db, memory, files, findings: Findings { lost: 0, log_missing, renewed, epoch } })
}

/// Raises the generation, and gives the store a new epoch if it is not the one that was opened last, or lost positions
/// that were given out. Returns why, and the epoch.
fn begin(
    db: &Connection,
    folder: &Path,
    restarted: Option<&'static str>,
) -> Result<(Option<&'static str>, String), Fault> {
    let generation = schema::get(db, "generation")?.and_then(|bytes| bytes.try_into().ok());
    let generation = generation.map_or(0, u64::from_be_bytes);
    let known = schema::get(db, "epoch")?.and_then(|epoch| String::from_utf8(epoch).ok());
    let copied = match (&known, Mark::read(folder)?) {
        (None, _) => false,
        (Some(_), Some(mark)) => !mark.admits(folder, generation)?,
        (Some(_), None) => true,
    };
    let renewed = if copied { Some("the database is a copy or was restored") } else { restarted };
    let epoch = match known {
        Some(epoch) if renewed.is_none() => epoch,
        Some(_) | None => new_epoch()?,
    };
    let next = generation.wrapping_add(1);
    Mark::of(folder, vec![generation, next])?.write(folder)?;
    let tx = db.unchecked_transaction()?;
    schema::put(&tx, "generation", &next.to_be_bytes())?;
    schema::put(&tx, "epoch", epoch.as_bytes())?;
    schema::put(&tx, "closed", b"no")?;
    tx.execute("DELETE FROM about WHERE name = 'log_missing'", [])?;
    tx.commit()?;
    // Into the database itself: it says that it is open even without its log.
    checkpoint::checkpoint(db, "PASSIVE")?;
    Mark::of(folder, vec![next])?.write(folder)?;
    Ok((renewed, epoch))
}

fn new_epoch() -> Result<String, Fault> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Fault::broken("the system has no random numbers"))?;
    Ok(HEXLOWER.encode(&bytes))
}

/// Whether the store was not closed cleanly and had no log when it was opened. A command that opens it before the next
/// `run` makes an empty log, and leaves a note of what it saw.
pub(super) fn remember_missing_log(db: &Connection, has_log: bool) -> Result<bool, Fault> {
    let noted = schema::get(db, "log_missing")?.is_some();
    let open = schema::get(db, "closed")?.is_some_and(|closed| closed == b"no");
    if !has_log && open && !noted {
        schema::put(db, "log_missing", b"yes")?;
    }
    Ok(noted || (!has_log && open))
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
    if let Err(error) = schema::put(&db, "closed", b"cleanly") {
        // The frames of a failed commit must not be found by whoever opens the log next.
        _ = checkpoint::checkpoint(&db, "TRUNCATE");
        return Err(error.into());
    }
    points::reached("close.said");
    checkpoint::checkpoint(&db, "TRUNCATE")?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    db.close().map_err(|(_, error)| error.into())
}
