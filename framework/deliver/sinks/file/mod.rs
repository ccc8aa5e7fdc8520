//! JSON Lines appended to a file: exactly once in the file, also across a kill.
//!
//! Three rules make it so. No byte is written to a file that the sink's note does not name yet (inode and
//! offset, kept with the cursor). What stands behind the note's offset after a crash or a failure is
//! compared with the records that come next, and what is there is not written again ([`tail`]). Nothing is
//! acknowledged before it is synced. The sink never cuts bytes that it cannot prove to be its own.

mod cached;
mod lines;
mod note;
mod open;
mod rotate;
mod tail;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use self::note::Note;
pub(super) use self::open::folder;
use self::open::open_appending;
use self::rotate::Rotation;
use crate::connector::clock::Clock;
use crate::deliver::config::Rotate;
use crate::deliver::{Outcome, Portions, Sink};
use crate::error::{Error, Kind, Result};
use crate::points;
use crate::queue::{Chunk, Cursor};

/// How long it rests after a small chunk: each chunk costs a sync of the file and a commit of the cursor.
const REST: Duration = Duration::from_millis(5);
/// How long it rests at most.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// A file as a sink. The work is done on a blocking thread, which borrows the state for one chunk.
pub struct FileSink {
    state: Option<State>,
    _one: One,
}

/// File sinks of this process. They share its disk: the more there are, the longer each rests, so that all of them
/// together sync no more often than one.
static SINKS: AtomicU32 = AtomicU32::new(0);

/// One of [`SINKS`].
struct One;

impl One {
    fn new() -> Self {
        SINKS.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for One {
    fn drop(&mut self) {
        SINKS.fetch_sub(1, Ordering::Relaxed);
    }
}

struct State {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    rotation: Option<Rotation>,
    /// The file at `path`, open for appending.
    handle: Option<File>,
    /// What the store knows.
    noted: Option<Note>,
    /// Whether there may be records of ours behind the note's offset: after a start and after a failure.
    unsettled: bool,
}

impl FileSink {
    /// A sink that appends there.
    pub fn new(path: PathBuf, rotate: Option<Rotate>, clock: Arc<dyn Clock>) -> Self {
        let rotation = rotate.map(|rotate| Rotation::new(rotate, &path));
        Self {
            state: Some(State { path, clock, rotation, handle: None, noted: None, unsettled: true }),
            _one: One::new(),
        }
    }

    /// Lends the state to a blocking thread. `None` when an earlier loan was never given back.
    async fn lend<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Option<T> {
        let mut state = self.state.take()?;
        let (state, out) = tokio::task::spawn_blocking(move || {
            let out = work(&mut state);
            (state, out)
        })
        .await
        .ok()?;
        self.state = Some(state);
        Some(out)
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn open(&mut self, cursor: &Cursor) -> Result<()> {
        let cursor = cursor.clone();
        self.lend(move |state| state.open(&cursor)).await.unwrap_or_else(|| Err(interrupted()))
    }

    async fn deliver(&mut self, chunk: &Chunk) -> Outcome {
        let chunk = chunk.clone();
        let outcome = self
            .lend(move |state| state.deliver(&chunk).unwrap_or_else(|error| state.failed(&chunk, &error)));
        outcome.await.unwrap_or_else(|| Outcome::Gone(interrupted()))
    }

    fn portions(&self) -> Portions {
        Portions {
            records: 8192,
            bytes: 4 << 20,
            age: Duration::ZERO,
            rest: (REST * SINKS.load(Ordering::Relaxed)).min(LONGEST_REST),
        }
    }
}

fn interrupted() -> Error {
    Error::new(Kind::Io, "the file sink was interrupted in the middle of a write")
        .help("start again: what is in the file is recognised; report this with the log if it comes again")
}

impl State {
    fn open(&mut self, cursor: &Cursor) -> Result<()> {
        self.noted = cursor.note.as_deref().map(Note::parse).transpose().map_err(|error| {
            Error::new(Kind::Io, "the note of the file sink cannot be read").because(error)
        })?;
        if let Some(rotation) = &mut self.rotation {
            rotation.finish_leftovers();
        }
        let place = || self.path.display().to_string();
        open_appending(&self.path).map(|_| ()).map_err(|error| {
            Error::new(Kind::Io, "cannot open the file for appending").at(place()).because(error)
        })
    }

    /// The life of one chunk. Each step may end it early; what is left comes again.
    fn deliver(&mut self, chunk: &Chunk) -> io::Result<Outcome> {
        // 1. Records that an earlier try left behind the noted offset are recognised.
        if let Some(outcome) = self.settle(chunk)? {
            return Ok(outcome);
        }
        // 2. The file at the path, which may have been moved away, is set aside when it is due.
        let mut handle = self.current()?;
        if let (Some(rotation), Some(noted)) = (&mut self.rotation, &self.noted)
            && rotation.due(noted, handle.metadata()?.len(), self.clock.now())
        {
            rotation.set_aside(&self.path, self.clock.now())?;
            handle = open_appending(&self.path)?;
        }
        // 3. A file that the store does not know is noted before it is written to.
        let found = handle.metadata()?;
        let noted = match self.noted.clone() {
            Some(noted) if noted.inode == found.ino() && noted.offset <= found.len() => noted,
            Some(_) | None => {
                self.handle = Some(handle);
                return Ok(self.note(0, Note::new(found.ino(), found.len(), self.clock.now())));
            }
        };
        // 4. Write, sync, and only then say so.
        let (done, end) = self.append(&mut handle, chunk, found.len())?;
        self.handle = Some(handle);
        // A file cannot be begun in the future: the clock went back, and rotation goes by the new time.
        let since = noted.since.min(self.clock.now().as_second());
        Ok(self.note(done, Note { offset: end, since, ..noted }))
    }

    /// Leaves everything so that the next try begins by looking at what is there.
    fn failed(&mut self, chunk: &Chunk, error: &io::Error) -> Outcome {
        self.handle = None;
        self.unsettled = true;
        // A torn line should not stand there until the next try. When this fails too, that try cuts it.
        if let Err(error) = self.cut(chunk) {
            tracing::debug!(%error, "cannot cut a torn line yet");
        }
        let reason = format!("{}: {error}", self.path.display());
        let blocked = matches!(
            error.kind(),
            ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::NotFound
                | ErrorKind::NotADirectory
        );
        Outcome::RetryAfter { wait: None, reason, blocked }
    }

    fn note(&mut self, done: usize, note: Note) -> Outcome {
        let text = note.to_text();
        self.noted = Some(note);
        Outcome::Done { done, note: Some(text), refused: Vec::new() }
    }

    /// Recognises what stands behind the noted offset. `Some` when records of the chunk are among it.
    fn settle(&mut self, chunk: &Chunk) -> io::Result<Option<Outcome>> {
        if !self.unsettled {
            return Ok(None);
        }
        let claimed = match (self.noted.clone(), self.noted_file()?) {
            (Some(noted), Some(file)) => {
                let claimed = tail::settle(&file, noted.offset, chunk)?;
                Some((noted, claimed))
            }
            _ => None,
        };
        let Some((noted, claimed)) = claimed.filter(|(_, claimed)| claimed.records > 0) else {
            self.unsettled = false;
            return Ok(None);
        };
        // With the whole chunk recognised, the next one may be there too.
        self.unsettled = claimed.records == chunk.records.len();
        tracing::info!(path = %self.path.display(), records = claimed.records, "records were in the file already");
        Ok(Some(self.note(claimed.records, Note { offset: claimed.end, ..noted })))
    }

    /// Cuts a torn line behind the noted offset, and leaves it to the next try to say what is there.
    fn cut(&mut self, chunk: &Chunk) -> io::Result<()> {
        if let (Some(noted), Some(file)) = (&self.noted, self.noted_file()?) {
            tail::settle(&file, noted.offset, chunk)?;
        }
        Ok(())
    }

    /// The file that the note names: at the path, or beside it when it was moved while nobody looked.
    fn noted_file(&self) -> io::Result<Option<File>> {
        let Some(noted) = &self.noted else { return Ok(None) };
        let is_it = |path: &Path| {
            std::fs::metadata(path).is_ok_and(|found| {
                found.is_file() && found.ino() == noted.inode && found.len() >= noted.offset
            })
        };
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path).map(Some);
        if is_it(&self.path) {
            return open(&self.path);
        }
        for entry in std::fs::read_dir(folder(&self.path))? {
            let path = entry?.path();
            if is_it(&path) {
                return open(&path);
            }
        }
        Ok(None)
    }

    /// The file at the path: the one that is open, unless it was moved away or deleted.
    fn current(&mut self) -> io::Result<File> {
        if let Some(handle) = self.handle.take() {
            match std::fs::metadata(&self.path) {
                Ok(found) if found.ino() == handle.metadata()?.ino() => return Ok(handle),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            tracing::info!(path = %self.path.display(), "the file was moved away; a new one is begun");
        }
        open_appending(&self.path)
    }

    /// Appends as many records as fit before the next rotation, at least one, and syncs them. Returns their
    /// number and where they end.
    fn append(&self, handle: &mut File, chunk: &Chunk, length: u64) -> io::Result<(usize, u64)> {
        let room = self.rotation.as_ref().and_then(Rotation::size).map(|size| size.saturating_sub(length));
        let count = fitting(chunk, room.unwrap_or(u64::MAX));
        // Somebody else's torn line is not ours to cut; ours begins on a line of its own.
        let begin: &[u8] = if ends_with_newline(handle)? { b"" } else { b"\n" };
        lines::write(handle, begin, super::records(chunk).take(count))?;
        points::reached("file.written");
        handle.sync_data()?;
        points::reached("file.synced");
        if handle.metadata()?.nlink() == 0 {
            return Err(io::Error::new(ErrorKind::NotFound, "the file was deleted while it was written to"));
        }
        // With O_APPEND the position is the end of our own write, whoever else appends.
        let end = handle.stream_position()?;
        cached::let_go(handle, SINKS.load(Ordering::Relaxed), length, end);
        Ok((count, end))
    }
}

/// How many records of a chunk fit into so many bytes; at least one.
fn fitting(chunk: &Chunk, room: u64) -> usize {
    let mut left = room;
    let fit = chunk.records.iter().take_while(|record| {
        let line = record.len() as u64 + 1;
        let fits = line <= left;
        left = left.saturating_sub(line);
        fits
    });
    fit.count().max(1)
}

/// Whether what we append begins on a line of its own. A torn line may be another writer's that is not whole
/// yet, so that it gets a moment.
fn ends_with_newline(handle: &File) -> io::Result<bool> {
    for _ in 0..3 {
        let Some(last) = handle.metadata()?.len().checked_sub(1) else { return Ok(true) };
        let mut byte = [0];
        handle.read_exact_at(&mut byte, last)?;
        if byte == *b"\n" {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(false)
}
