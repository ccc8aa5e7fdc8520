//! A damaged database is set aside whole, and what is readable of it is copied into a fresh one.
//!
//! The steps can be cut off anywhere: the fresh database is built in a folder of its own and comes into being
//! under `forebay.db.fresh` by one rename; from there [`finish`] ends what was begun, at the next start too.
//! A single damaged block in a sound database is set aside alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::fault::Fault;
use super::keys::{key as key_of, position_of};
use super::rescue::{self, Rescued};
use super::schema::{self, POSITION_BITS};
use super::{checkpoint, log, make};
use crate::connector::instance::InstanceId;
use crate::points;

/// The fresh database once it is whole.
const FRESH: &str = "forebay.db.fresh";
/// Where it is built.
const BUILDING: &str = "salvage";

/// Sets the database of `folder` aside and puts a fresh one in its place that holds what can be read.
pub(super) fn salvage(folder: &Path, fault: &Fault, now: i64) -> Result<Rescued, Fault> {
    let aside = set_all_aside(folder, now)?;
    tracing::error!(
        error = %fault.said, kept = %aside.display(),
        "the store is damaged: it is kept aside, and what is readable is copied into a fresh one"
    );
    points::reached("salvage.aside");
    let building = folder.join(BUILDING);
    remove_folder(&building)?;
    make::folder(&building)?;
    make::database(&building)?;
    let fresh = schema::connect(&building)?;
    let rescued = match old(&aside, &building) {
        Ok(old) => rescue::rescue(&old, &fresh)?,
        Err(fault) => {
            tracing::error!(error = %fault.said, "nothing of the damaged store can be read");
            Rescued::default()
        }
    };
    checkpoint::checkpoint(&fresh, "TRUNCATE")?;
    fresh.close().map_err(|(_, error)| Fault::from(error))?;
    points::reached("salvage.built");
    std::fs::rename(schema::file(&building), folder.join(FRESH))?;
    File::open(folder)?.sync_all()?;
    points::reached("salvage.fresh");
    finish(folder)?;
    tracing::error!(
        records = rescued.records,
        letters = rescued.letters,
        lost = rescued.lost,
        lost_letters = rescued.lost_letters,
        "the damaged store is replaced; `lost` counts records that were not delivered to every sink"
    );
    Ok(rescued)
}

/// Puts a fresh database in place, if one is waiting to be.
pub(super) fn finish(folder: &Path) -> Result<(), Fault> {
    let fresh = folder.join(FRESH);
    if fresh.exists() {
        // The old log goes first: it must never be replayed over the fresh database.
        for old in ["forebay.db-wal", "forebay.db-shm"] {
            remove_file(&folder.join(old))?;
        }
        File::open(folder)?.sync_all()?;
        points::reached("salvage.unlogged");
        std::fs::rename(&fresh, schema::file(folder))?;
        File::open(folder)?.sync_all()?;
        points::reached("salvage.placed");
    }
    remove_folder(&folder.join(BUILDING))
}

/// Keeps a copy of a log that is damaged, and says so: SQLite is going to pass over what stands behind the
/// damage.
pub(super) fn keep_damaged_log(folder: &Path, now: i64) -> Result<(), Fault> {
    let log = folder.join("forebay.db-wal");
    if !log::is_damaged(&log)? {
        return Ok(());
    }
    let aside = folder_aside(folder, now)?;
    let copy = aside.join("forebay.db-wal");
    std::fs::copy(&log, &copy)?;
    File::open(&copy)?.sync_all()?;
    File::open(&aside)?.sync_all()?;
    File::open(folder)?.sync_all()?;
    points::reached("log.kept");
    tracing::error!(
        kept = %aside.display(),
        "the log of the store is damaged: what was stored behind the damage is lost; a copy is kept aside"
    );
    Ok(())
}

/// Links the files of the database into a folder of their own; they stay there when the fresh one takes their
/// names.
fn set_all_aside(folder: &Path, now: i64) -> Result<PathBuf, Fault> {
    let aside = folder_aside(folder, now)?;
    for file in ["forebay.db", "forebay.db-wal"] {
        match std::fs::hard_link(folder.join(file), aside.join(file)) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e.into()),
        }
    }
    File::open(&aside)?.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok(aside)
}

/// A folder of its own for what is damaged.
fn folder_aside(folder: &Path, now: i64) -> Result<PathBuf, Fault> {
    let time = Timestamp::from_millisecond(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let name = format!("damaged-{}", time.strftime("%Y%m%dT%H%M%SZ"));
    let mut aside = folder.join(&name);
    for n in 2.. {
        match DirBuilder::new().mode(0o700).create(&aside) {
            Ok(()) => break,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                aside = folder.join(format!("{name}-{n}"))
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(aside)
}

/// A connection to the damaged database. Where its first page is what cannot be read, that page is taken from
/// the fresh one: our tables are always made in the same order, so it says the same.
fn old(aside: &Path, building: &Path) -> Result<Connection, Fault> {
    // Opening a file without a whole page would throw its log away.
    if std::fs::metadata(schema::file(aside))?.len() >= schema::PAGE
        && let Ok(old) = look(aside)
    {
        return Ok(old);
    }
    let mended = building.join("mended");
    make::folder(&mended)?;
    for file in ["forebay.db", "forebay.db-wal"] {
        match std::fs::copy(aside.join(file), mended.join(file)) {
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e.into()),
        }
    }
    rescue::mend_first_page(&schema::file(&mended), &building.join("template"))?;
    look(&mended)
}

fn look(folder: &Path) -> Result<Connection, Fault> {
    let db = schema::connect(folder)?;
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    Ok(db)
}

fn remove_file(path: &Path) -> Result<(), Fault> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_folder(path: &Path) -> Result<(), Fault> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Takes a damaged block out of the log and keeps it as a file. Returns how many records are lost with it.
pub(super) fn set_aside(
    tx: &Connection,
    folder: &Path,
    instance: &InstanceId,
    key: i64,
) -> Result<u64, Fault> {
    let body: Option<Vec<u8>> = tx
        .prepare_cached("SELECT body FROM blocks WHERE key = ?")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    // Another sink of the instance met it first.
    let Some(body) = body else { return Ok(0) };
    let first = position_of(key);
    let after: Option<i64> = tx
        .prepare_cached("SELECT min(key) FROM blocks WHERE key > ? AND key < ?")?
        .query_row((key, key_of((key >> POSITION_BITS) + 1, 0)), |row| row.get(0))?;
    let after = match after {
        Some(after) => position_of(after),
        None => super::cursors::next(tx, key >> POSITION_BITS)?,
    };
    // The block's own count cannot be believed; the position of what follows can.
    let lost = after.saturating_sub(first);
    let aside = folder.join("damaged-blocks");
    make::folder(&aside)?;
    let path = aside.join(format!("{instance}-{first}.block"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(&body)?;
    file.sync_all()?;
    points::reached("block.kept");
    tx.prepare_cached("DELETE FROM blocks WHERE key = ?")?.execute([key])?;
    tracing::error!(
        %instance, first, lost, kept = %path.display(),
        "a block of records is damaged; it is kept aside, and its records are not delivered"
    );
    Ok(lost)
}
