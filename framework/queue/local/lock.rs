//! The lock of a data folder: one `run` at a time, and others can tell whose it is.
//!
//! Two things are locked: the file `lock`, which holds the process id, and the folder itself, so that removing the file
//! admits no second process. The database is not locked this way: a descriptor that is closed would end SQLite's own locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::files;
use crate::error::{Error, Kind, Result};

/// Held by the `run` of a data folder; released by the system when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    /// `None` where the file system locks no folders.
    _folder: Option<File>,
}

fn open(folder: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(folder.join("lock"))
}

/// Takes the lock, and writes our process id into it.
pub(super) fn take(folder: &Path) -> Result<Lock> {
    let failed = |e: std::io::Error| {
        Error::new(Kind::Io, "cannot lock the data folder").at(folder.display().to_string()).because(e)
    };
    files::refuse_special(folder).map_err(|fault| Error::from(fault).at(folder.display().to_string()))?;
    let itself = File::open(folder).map_err(failed)?;
    let itself = match itself.try_lock() {
        Ok(()) => Some(itself),
        Err(TryLockError::WouldBlock) => {
            return Err(taken(folder, open(folder).ok().as_mut()));
        }
        Err(TryLockError::Error(_)) => None,
    };
    let mut file = open(folder).map_err(|error| {
        let (denied, user) = (error.kind(), rustix::process::geteuid().as_raw());
        let failed = failed(error);
        if denied != std::io::ErrorKind::PermissionDenied {
            return failed;
        }
        failed.help(format!("`chown -R {user} {}` as root, or name another --data-dir", folder.display()))
    })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(taken(folder, Some(&mut file))),
        Err(TryLockError::Error(e)) => return Err(failed(e)),
    }
    write(&mut file).map_err(failed)?;
    Ok(Lock { file, _folder: itself })
}

fn write(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

impl Lock {
    /// Makes the file again if somebody removed it, so that others can tell whose the folder is.
    pub(super) fn renew(&mut self, folder: &Path) -> std::io::Result<()> {
        let there = std::fs::symlink_metadata(folder.join("lock")).ok().map(|found| found.ino());
        if there == Some(self.file.metadata()?.ino()) {
            return Ok(());
        }
        let mut file = open(folder)?;
        file.try_lock()?;
        write(&mut file)?;
        self.file = file;
        tracing::warn!(folder = %folder.display(), "the file `lock` was removed while Forebay runs; it is there again");
        Ok(())
    }
}

fn taken(folder: &Path, file: Option<&mut File>) -> Error {
    let who = match file.and_then(pid) {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    };
    Error::new(Kind::Configuration, format!("{who} runs on this data folder already"))
        .at(folder.display().to_string())
        .help("stop it first, or give another --data-dir")
}

fn pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The process that runs on this folder, if one does.
pub(super) fn holder(folder: &Path) -> Option<u32> {
    let path = folder.join("lock");
    files::regular(&path).ok()?;
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(pid(&mut file).unwrap_or(0)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}
