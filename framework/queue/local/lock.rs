//! The lock of a data folder: one `run` at a time, and others can tell whose it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{Error, Kind, Result};

/// Held by the `run` of a data folder; released by the system when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

fn open(folder: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(folder.join("lock"))
}

/// Takes the lock, and writes our process id into it.
pub(super) fn take(folder: &Path) -> Result<Lock> {
    let failed = |e: std::io::Error| {
        Error::new(Kind::Io, "cannot lock the data folder").at(folder.display().to_string()).because(e)
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
        Err(TryLockError::WouldBlock) => return Err(taken(folder, &mut file)),
        Err(TryLockError::Error(e)) => return Err(failed(e)),
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(Lock { _file: file })
}

fn taken(folder: &Path, file: &mut File) -> Error {
    let who = match pid(file) {
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
    let mut file = File::open(folder.join("lock")).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(pid(&mut file).unwrap_or(0)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}
