//! Opening a store: the folder, the database, its check; and closing it cleanly.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use rusqlite::Connection;

use super::fault::{Fault, FaultKind};
use super::known::Memory;
use super::{salvage, schema, space};
use crate::points;
use crate::queue::limits::Limits;

/// Stands in a folder once it has a store: an empty database is new, or one that lost everything.
const MADE: &str = "made";

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

/// Makes the folder: for its owner alone, and there after a power cut too.
pub(super) fn folder(folder: &Path) -> Result<(), Fault> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    Ok(())
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
    make(folder)?;
    let db = schema::connect(folder)?;
    // Whatever an earlier process left in the log goes into the database before anything is built on it.
    space::checkpoint(&db, "TRUNCATE")?;
    let clean = schema::get(&db, "closed")?.is_some_and(|closed| closed == b"cleanly");
    check_small_tables(&db)?;
    if check != Check::IfUnclean || !clean {
        quick_check(&db)?;
    }
    points::reached("open.checked");
    schema::put(&db, "closed", b"no")?;
    let memory = Memory::load(&db, limits, now)?;
    if memory.forgotten > 0 {
        tracing::error!(commits = memory.forgotten, "ids of damaged commits are forgotten");
    }
    Ok((db, memory))
}

/// Makes the database if there is none.
pub(super) fn make(folder: &Path) -> Result<(), Fault> {
    let path = schema::file(folder);
    let size = |file: &Path| std::fs::metadata(file).map_or(0, |data| data.len());
    // SQLite takes a file without a whole page for an empty database, and would throw its log away.
    let (file, log) = (size(&path), size(&folder.join("forebay.db-wal")));
    if file < schema::PAGE && (file > 0 || log > 0) {
        return Err(Fault::damaged("its file is cut off in the first page"));
    }
    let made = folder.join(MADE);
    if file == 0 && made.exists() {
        return Err(Fault::damaged("there was a store in this folder, and its file is empty or gone"));
    }
    // SQLite gives its other files the mode of this one.
    drop(OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?);
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let mut key = [0; 16];
    SystemRandom::new().fill(&mut key).map_err(|_| Fault::broken("the system has no random numbers"))?;
    schema::create(folder, &key)?;
    if !made.exists() {
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&made)?;
    }
    File::open(folder)?.sync_all()?;
    Ok(())
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
