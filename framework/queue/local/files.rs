//! The files of the open database: whether those at the path still are the ones that SQLite has open.
//!
//! SQLite goes on writing into files that were unlinked, renamed or replaced, and every commit succeeds. The writer
//! therefore compares before and after each commit, and twice a second while it is idle. Nothing here opens the
//! database or its shared memory: a descriptor that is closed ends every POSIX lock of the process on that file.
//!
//! What is compared: device and inode of `forebay.db`, `forebay.db-wal` and `forebay.db-shm`; length and modification
//! time of `forebay.db`, which only checkpoints change; and those of the log, which commands that run at the same time
//! change too, so that a difference there has the log read. A checkpoint of another program (Litestream makes some) is
//! told by the count of frames that are copied, which it raises, or by the lock that it holds.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::fault::{Fault, FaultKind};
use super::{checkpoint, log, space};

/// Files of a store by their names in the data folder.
pub const NAMES: [&str; 7] =
    ["forebay.db", "forebay.db-wal", "forebay.db-shm", "lock", "made", "made.new", "forebay.db.fresh"];

/// Which file a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

/// What changes when a file is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    length: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Inode {
    fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), number: found.ino() }
    }
}

impl Version {
    fn of(found: &Metadata) -> Self {
        Self { length: found.len(), seconds: found.mtime(), nanoseconds: found.mtime_nsec() }
    }
}

/// The three files of an open database, as they were when they were last known to be ours.
#[derive(Debug, Clone)]
pub(super) struct Files {
    database: (PathBuf, Inode, Version),
    log: (PathBuf, Inode, Version),
    memory: (PathBuf, Inode),
    /// Frames of the log, and those of them that were in the database then.
    frames: (u64, u64),
    /// What the log began with then: it changes when the log starts over.
    salt: [u8; 8],
}

impl Files {
    /// Takes down what stands at the path of a database that was just opened.
    pub(super) fn of(folder: &Path, db: &Connection) -> Result<Self, Fault> {
        let [database, log, memory] =
            ["forebay.db", "forebay.db-wal", "forebay.db-shm"].map(|name| folder.join(name));
        let (found, logged, mapped) = (find(&database)?, find(&log)?, find(&memory)?);
        Ok(Self {
            database: (database, Inode::of(&found), Version::of(&found)),
            log: (log, Inode::of(&logged), Version::of(&logged)),
            memory: (memory, Inode::of(&mapped)),
            frames: space::frames(db)?,
            salt: log::salt(&folder.join("forebay.db-wal"))?,
        })
    }

    /// Compares everything.
    ///
    /// # Errors
    /// `Replaced`: a name leads to another file, or to none. `Overwritten`: the file is the same, and another program
    /// wrote into it.
    pub(super) fn compare(&mut self, db: &Connection) -> Result<(), Fault> {
        let log = self.compare_names(db)?;
        self.compare_log(log, db)
    }

    /// Compares what a commit of ours is going to change.
    pub(super) fn before_commit(&mut self, db: &Connection) -> Result<(), Fault> {
        let log = Version::of(&find(&self.log.0)?);
        self.compare_log(log, db)
    }

    /// Compares what a commit of ours did not change, and takes down what it did.
    pub(super) fn after_commit(&mut self, db: &Connection) -> Result<(), Fault> {
        self.log.2 = self.compare_names(db)?;
        Ok(())
    }

    /// Compares to which files the names lead. Returns the version of the log.
    fn compare_names(&mut self, db: &Connection) -> Result<Version, Fault> {
        let same = |path: &Path, known: Inode| {
            let found = find(path)?;
            let same = Inode::of(&found) == known;
            if same { Ok(found) } else { Err(replaced(path, "another file stands in its place")) }
        };
        let database = same(&self.database.0, self.database.1)?;
        let log = same(&self.log.0, self.log.1)?;
        same(&self.memory.0, self.memory.1)?;
        if Version::of(&database) != self.database.2 {
            self.compare_database(Version::of(&database), db)?;
        }
        Ok(Version::of(&log))
    }

    /// Tells a checkpoint of another program from a database that was written over.
    fn compare_database(&mut self, version: Version, db: &Connection) -> Result<(), Fault> {
        let (frames, salt) = (space::frames(db)?, log::salt(&self.log.0)?);
        if self.is_checkpoint(frames) || salt != self.salt {
            (self.database.2, self.frames, self.salt) = (version, frames, salt);
            return Ok(());
        }
        if checkpoint::is_running(db)? {
            return Ok(());
        }
        // What was asked may have copied frames itself, which is no sign of another program.
        self.frames = space::frames(db)?;
        Err(Fault {
            kind: FaultKind::Overwritten,
            said: format!("{} was written by another program", self.database.0.display()),
        })
    }

    /// Reads a log that another process wrote to: every frame that SQLite counts must be there.
    fn compare_log(&mut self, version: Version, db: &Connection) -> Result<(), Fault> {
        if version == self.log.2 {
            return Ok(());
        }
        let path = &self.log.0;
        let (mut counted, mut found) = (0, 0);
        // Another process may start the log over while it is read.
        for _ in 0..3 {
            counted = space::frames(db)?.0;
            found = log::sound_frames(path)?;
            if found >= counted {
                self.log.2 = version;
                return Ok(());
            }
        }
        Err(Fault {
            kind: FaultKind::Overwritten,
            said: format!("{} has {found} sound frames: expected {counted}", path.display()),
        })
    }

    /// Takes down what our own commit changed.
    pub(super) fn note_commit(&mut self) -> Result<(), Fault> {
        self.log.2 = Version::of(&find(&self.log.0)?);
        Ok(())
    }

    /// Takes down what our own checkpoint changed.
    pub(super) fn note_checkpoint(&mut self, db: &Connection) -> Result<(), Fault> {
        let found = find(&self.database.0)?;
        if Inode::of(&found) == self.database.1 {
            self.database.2 = Version::of(&found);
        }
        (self.frames, self.salt) = (space::frames(db)?, log::salt(&self.log.0)?);
        self.note_commit()
    }

    /// Takes down the frames of the log, and how many of them are in the database. Another program may have made a
    /// checkpoint since.
    pub(super) fn note_frames(&mut self, frames: (u64, u64)) -> Result<(), Fault> {
        if self.is_checkpoint(frames) {
            let found = find(&self.database.0)?;
            if Inode::of(&found) == self.database.1 {
                self.database.2 = Version::of(&found);
            }
            self.salt = log::salt(&self.log.0)?;
        }
        self.frames = frames;
        Ok(())
    }

    /// Whether these frames show a checkpoint, or a log that started over after one.
    fn is_checkpoint(&self, (log, copied): (u64, u64)) -> bool {
        copied != self.frames.1 || log < self.frames.0
    }

    /// Whether a file that was opened by its name is the database.
    pub(super) fn is_database(&self, path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|found| Inode::of(&found) == self.database.1)
    }
}

fn find(path: &Path) -> Result<Metadata, Fault> {
    std::fs::symlink_metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => replaced(path, "it was removed or renamed"),
        _ => error.into(),
    })
}

fn replaced(path: &Path, what: &str) -> Fault {
    Fault { kind: FaultKind::Replaced, said: format!("{}: {what}", path.display()) }
}

/// Refuses what is no regular file where the store has its files: a FIFO would hang whoever opens it.
pub(super) fn refuse_special(folder: &Path) -> Result<(), Fault> {
    for name in NAMES {
        regular(&folder.join(name))?;
    }
    Ok(())
}

/// Refuses what is neither a regular file nor missing.
pub(super) fn regular(path: &Path) -> Result<(), Fault> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?.file_type(),
    };
    let got = match found {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_symlink() => "a symbolic link",
        _ => "a device",
    };
    Err(Fault {
        kind: FaultKind::Special,
        said: format!("{}: expected a regular file, got {got}", path.display()),
    })
}

/// Whether there is a write-ahead log, be it empty. One is there from the opening of a store to its clean end.
pub(super) fn has_log(folder: &Path) -> bool {
    std::fs::symlink_metadata(folder.join("forebay.db-wal")).is_ok()
}

/// Whether the write-ahead log holds nothing: there is none, or it has no bytes. So a store is left that was closed
/// cleanly.
pub(super) fn has_empty_log(folder: &Path) -> bool {
    !std::fs::symlink_metadata(folder.join("forebay.db-wal")).is_ok_and(|found| found.len() > 0)
}
