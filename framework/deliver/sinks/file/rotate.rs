//! Rotation: a file that is full or old is renamed, compressed, and begun anew.
//!
//! The file sink calls it between chunks, when everything in the file is acknowledged. A crash leaves at
//! worst a renamed file that is not compressed yet, which the next start finishes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use super::note::Note;
use super::open::{folder, sync_folder};
use crate::deliver::config::Rotate;
use crate::points;

/// When a file is set aside, and the one thread that compresses.
pub(super) struct Rotation {
    when: Rotate,
    path: PathBuf,
    compressing: Option<std::thread::JoinHandle<()>>,
    /// Told when the sink is dropped: what is not finished then is finished at the next start.
    stop: Arc<AtomicBool>,
}

impl Drop for Rotation {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Rotation {
    pub(super) fn new(when: Rotate, path: &Path) -> Self {
        Self { when, path: path.to_owned(), compressing: None, stop: Arc::default() }
    }

    /// The size at which a file is full.
    pub(super) fn size(&self) -> Option<u64> {
        self.when.size
    }

    /// Whether a file of this length is due. An empty one never is.
    pub(super) fn due(&self, note: &Note, length: u64, now: Timestamp) -> bool {
        let full = self.when.size.is_some_and(|size| length >= size);
        let old = self.when.every.is_some_and(|every| {
            let age = Duration::from_secs(now.as_second().saturating_sub(note.since).try_into().unwrap_or(0));
            age >= every
        });
        length > 0 && (full || old)
    }

    /// Renames the file and has it compressed beside the delivery.
    pub(super) fn set_aside(&mut self, path: &Path, now: Timestamp) -> io::Result<()> {
        let aside = free_name(path, now);
        fs::rename(path, &aside)?;
        points::reached("rotate.aside");
        sync_folder(path)?;
        tracing::info!(path = %path.display(), aside = %aside.display(), "the file is set aside");
        self.finish_leftovers();
        Ok(())
    }

    /// Compresses what was set aside and is not compressed yet, on a thread of its own: a file of a gigabyte
    /// takes long, and records do not wait for it. When that thread is at work already, what it does not
    /// find is left to the next rotation.
    pub(super) fn finish_leftovers(&mut self) {
        if self.compressing.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let (path, stop) = (self.path.clone(), self.stop.clone());
        let spawned = std::thread::Builder::new().name("compress".to_owned()).spawn(move || {
            if let Err(error) = compress_leftovers(&path, &stop) {
                tracing::warn!(path = %path.display(), %error,
                    "a file that was set aside is not compressed; the next rotation or start tries again");
            }
        });
        self.compressing =
            spawned.inspect_err(|error| tracing::warn!(%error, "cannot start to compress")).ok();
    }
}

/// `acme.jsonl.20261122T101500Z`, with a number behind it when that is taken.
fn free_name(path: &Path, now: Timestamp) -> PathBuf {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ");
    let name = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{stamp}"));
        if n > 0 {
            name.push(format!("-{n}"));
        }
        PathBuf::from(name)
    };
    let taken = |path: &Path| path.exists() || with_suffix(path, ".gz").exists();
    (0..).map(name).find(|path| !taken(path)).expect("some number is free")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn compress_leftovers(path: &Path, stop: &AtomicBool) -> io::Result<()> {
    let mut leftovers = Vec::new();
    for entry in fs::read_dir(folder(path))? {
        let found = entry?.path();
        if is_aside(path, &found) {
            leftovers.push(found);
        }
    }
    leftovers.sort();
    leftovers.iter().try_for_each(|aside| compress(aside, stop))
}

/// Whether a file is one that was set aside from `path`: its name and a stamp, and nothing behind it.
fn is_aside(path: &Path, found: &Path) -> bool {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let (Some(name), Some(found)) = (name(path), name(found)) else { return false };
    let Some(stamp) = found.strip_prefix(&name).and_then(|rest| rest.strip_prefix('.')) else { return false };
    let (time, number) = stamp.split_once('-').unwrap_or((stamp, "0"));
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "00000000T000000Z" && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

/// Compresses to a temporary file, syncs it, gives it its name, and only then removes what it was made from.
fn compress(aside: &Path, stop: &AtomicBool) -> io::Result<()> {
    let (done, draft) = (with_suffix(aside, ".gz"), with_suffix(aside, ".gz.tmp"));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let mut encoder = GzEncoder::new(io::BufWriter::new(file), Compression::default());
    let mut from = Stoppable { file: File::open(aside)?, stop };
    io::copy(&mut from, &mut encoder)?;
    encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    points::reached("rotate.packed");
    fs::rename(&draft, &done)?;
    sync_folder(aside)?;
    points::reached("rotate.named");
    fs::remove_file(aside)
}

/// A file that ends with an error when the sink is gone.
struct Stoppable<'a> {
    file: File,
    stop: &'a AtomicBool,
}

impl io::Read for Stoppable<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("the run ended first"));
        }
        self.file.read(into)
    }
}
