//! The copy of an open database that is saved when its files were removed or replaced.
//!
//! SQLite still has the files open, so that everything that was acknowledged can be read. The copy is written to
//! `rescued-TIME/forebay.db` in the data folder, under another name until it is whole and synced. Where the data folder
//! itself is gone, it is written to `FOLDER.rescued-TIME/forebay.db`, so that the folder can be moved back. Three things may
//! become of it: the files come back, and it is removed; no database is in the folder at the next start, and it takes
//! that place; or it stays, and a `run` with that folder as `--data-dir` delivers what it holds.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use jiff::Timestamp;
use rusqlite::Connection;

use super::fault::Fault;
use super::{schema, space};
use crate::condition::{Code, Conditions, Subject};
use crate::queue::limits::Limits;

/// How the folders' names begin.
const PREFIX: &str = "rescued-";
/// The copy's name until it is whole.
const PART: &str = "forebay.db.part";

/// An open database whose files are not at their path any more.
pub(super) enum Saving {
    /// It is being copied on a thread of its own.
    Running(JoinHandle<Option<(Connection, Result<PathBuf, Fault>)>>),
    /// It was copied, or why not.
    Ended(Connection, Result<PathBuf, Fault>),
    /// The thread ended by a panic, and the connection with it.
    Gone,
}

impl Saving {
    /// Begins to copy.
    pub(super) fn begin(db: Connection, folder: &Path, limits: &Limits, now: i64) -> Self {
        let (folder, limits) = (folder.to_owned(), limits.clone());
        let (hand, taken) = std::sync::mpsc::channel::<Connection>();
        let thread = std::thread::Builder::new().name("forebay-save".to_owned()).spawn(move || {
            let db = taken.recv().ok()?;
            let saved = save(&db, &folder, &limits, now);
            Some((db, saved))
        });
        let why = match (thread, hand.send(db)) {
            (Ok(thread), Ok(())) => return Self::Running(thread),
            // The receiver went with the thread that was not started, and the connection comes back.
            (Err(error), Err(back)) => (back.0, Err(error.into())),
            (_, Ok(())) => return Self::Gone,
            (Ok(_), Err(back)) => (back.0, Err(Fault::broken("the thread that saves it ended early"))),
        };
        Self::Ended(why.0, why.1)
    }

    /// Copies again after an attempt that failed.
    pub(super) fn again(self, folder: &Path, limits: &Limits, now: i64) -> Self {
        match self {
            Self::Ended(db, Err(_)) => Self::begin(db, folder, limits, now),
            other => other,
        }
    }

    /// Takes down whether the copy has ended. With `wait` it waits for that.
    pub(super) fn settle(&mut self, wait: bool) {
        if matches!(self, Self::Running(thread) if wait || thread.is_finished())
            && let Self::Running(thread) = std::mem::replace(self, Self::Gone)
            && let Ok(Some((db, saved))) = thread.join()
        {
            *self = Self::Ended(db, saved);
        }
    }
}

/// Copies an open database into a folder of its own. Returns the folder.
fn save(db: &Connection, folder: &Path, limits: &Limits, now: i64) -> Result<PathBuf, Fault> {
    let pages: i64 = db.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let (outer, prefix) =
        if folder.is_dir() { (folder.to_owned(), PREFIX.to_owned()) } else { beyond(folder) };
    let room = space::free(&outer)?.saturating_sub(limits.min_free);
    if pages.max(0).unsigned_abs().saturating_mul(schema::PAGE) > room {
        return Err(Fault::broken("there is no room to save a copy of the open database"));
    }
    let target = folder_for(&outer, &prefix, now)?;
    let saved = fill(db, &target);
    if saved.is_err() {
        // What is not whole would only take room.
        _ = std::fs::remove_dir_all(&target);
    }
    saved?;
    File::open(&outer)?.sync_all()?;
    Ok(target)
}

/// Where a copy is written whose data folder is gone: the folder around it, and how the copy's name begins.
fn beyond(folder: &Path) -> (PathBuf, String) {
    let outer = folder.parent().filter(|outer| !outer.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = folder.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    (outer.to_owned(), format!("{name}.{PREFIX}"))
}

fn fill(db: &Connection, target: &Path) -> Result<(), Fault> {
    let part = target.join(PART);
    db.execute("VACUUM INTO ?", [part.to_string_lossy()])?;
    let copy = Connection::open(&part)?;
    // Everything of its log is in it.
    schema::put(&copy, "closed", b"cleanly")?;
    copy.close().map_err(|(_, error)| Fault::from(error))?;
    File::open(&part)?.sync_all()?;
    std::fs::rename(&part, schema::file(target))?;
    Ok(File::open(target)?.sync_all()?)
}

fn folder_for(folder: &Path, prefix: &str, now: i64) -> Result<PathBuf, Fault> {
    let time = Timestamp::from_millisecond(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let name = format!("{prefix}{}", time.strftime("%Y%m%dT%H%M%SZ"));
    let mut target = folder.join(&name);
    for n in 2.. {
        match DirBuilder::new().mode(0o700).create(&target) {
            Ok(()) => break,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                target = folder.join(format!("{name}-{n}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(target)
}

/// Removes a copy whose database is back.
pub(super) fn remove(copy: &Path) {
    if let Err(error) = std::fs::remove_dir_all(copy) {
        tracing::warn!(%error, copy = %copy.display(), "the saved copy of the database cannot be removed");
    }
}

/// Puts the newest copy in the place of a database that is gone. A log that was left behind is kept with what is left
/// of the copy's folder: everything in it is in the copy.
pub(super) fn bring_back(folder: &Path) -> Result<(), Fault> {
    let file = schema::file(folder);
    if std::fs::symlink_metadata(&file).is_ok() {
        return Ok(());
    }
    let Some(copy) = copies(folder)?.pop() else { return Ok(()) };
    for name in ["forebay.db-wal", "forebay.db-shm"] {
        match std::fs::rename(folder.join(name), copy.join(format!("{name}.left"))) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    File::open(folder)?.sync_all()?;
    std::fs::rename(schema::file(&copy), &file)?;
    File::open(folder)?.sync_all()?;
    _ = std::fs::remove_dir(&copy);
    tracing::warn!(copy = %copy.display(), "the database was gone: its saved copy is put in its place");
    Ok(())
}

/// The folders with whole copies, oldest first.
pub(super) fn copies(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let mut found = Vec::new();
    let (outer, prefix) = beyond(folder);
    for (place, prefix) in [(folder, PREFIX), (&outer, &prefix)] {
        // The folder around may be one that we may not read.
        let Ok(entries) = std::fs::read_dir(place) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(time) = name.strip_prefix(prefix)
                && schema::file(&entry.path()).is_file()
            {
                found.push((time.to_owned(), entry.path()));
            }
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Copies that wait beside the database in use: each is a condition until it is removed.
#[derive(Default)]
pub(super) struct Copies(BTreeSet<PathBuf>);

impl Copies {
    /// Raises the condition of each copy that is there.
    pub(super) fn find(&mut self, folder: &Path, conditions: &Conditions) {
        for copy in copies(folder).unwrap_or_default() {
            let message = format!("{} holds a saved copy of a database that was replaced", copy.display());
            conditions.raise(Code::StoreCopyWaiting, Subject::process().item(copy.display()), message);
            self.0.insert(copy);
        }
    }

    /// Clears the condition of each copy that was removed.
    pub(super) fn recheck(&mut self, conditions: &Conditions) {
        self.0.retain(|copy| {
            let is_there = schema::file(copy).is_file();
            if !is_there {
                conditions.clear(Code::StoreCopyWaiting, &Subject::process().item(copy.display()));
            }
            is_there
        });
    }
}
