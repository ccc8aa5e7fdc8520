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
        let aside = free_name(path, now)?;
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

/// `acme.jsonl.20261122T101500Z-0000`: names sort in the order in which files were set aside. The number is one more than
/// the largest of that second, whether that file is compressed or not.
fn free_name(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut number = 0;
    for entry in fs::read_dir(folder(path))? {
        let found = entry?.path();
        let bare =
            if found.extension().is_some_and(|e| e == "gz") { found.with_extension("") } else { found };
        if let Some((time, taken)) = stamp_of(path, &bare)
            && time == stamp
        {
            number = number.max(taken.saturating_add(1));
        }
    }
    Ok(with_suffix(path, &format!(".{stamp}-{number:04}")))
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
    stamp_of(path, found).is_some()
}

/// The time and the number in the name of a file that was set aside from `path`. Files of before have no number where
/// they were the first of their second.
fn stamp_of(path: &Path, found: &Path) -> Option<(String, u32)> {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let (name, found) = (name(path)?, name(found)?);
    let stamp = found.strip_prefix(&name).and_then(|rest| rest.strip_prefix('.'))?;
    let (time, number) = stamp.split_once('-').unwrap_or((stamp, "0"));
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    (shape == "00000000T000000Z" && digits).then(|| (time.to_owned(), number.parse().unwrap_or(u32::MAX - 1)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_names_sort_in_the_order_of_rotation() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x.jsonl");
        let now: Timestamp = "2026-12-01T10:32:15Z".parse().unwrap();
        // One of an earlier release, and one of another file.
        fs::write(place.path().join("x.jsonl.20261201T103214Z.gz"), "").unwrap();
        fs::write(place.path().join("other.jsonl.20261201T103215Z-0007"), "").unwrap();
        let mut made = vec![place.path().join("x.jsonl.20261201T103214Z.gz")];
        for n in 0..12 {
            let aside = free_name(&path, now).unwrap();
            assert!(is_aside(&path, &aside), "{}", aside.display());
            let kept = if n % 2 == 0 { with_suffix(&aside, ".gz") } else { aside };
            fs::write(&kept, "").unwrap();
            made.push(kept);
        }
        assert_eq!(made[1], place.path().join("x.jsonl.20261201T103215Z-0000.gz"));
        let mut sorted = made.clone();
        sorted.sort();
        assert_eq!(sorted, made);
    }
}
