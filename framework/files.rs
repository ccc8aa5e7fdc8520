//! Small files that an operator names (secrets, certificates, configuration), read with bounds on size and time.
//!
//! A read runs on a thread of its own: a file of a dead network file system, or a pipe that nobody writes to, can block
//! `open` and `read` for ever. The caller gets [`Unread::Blocked`] after a bounded time and goes on; the thread ends
//! when the system lets it. While it is blocked, further reads of the same path fail at once, and so do all reads
//! once [`MAX_BLOCKED`] threads are blocked. Sizes are held by what is read, never by what the file's metadata says.

use std::collections::BTreeSet;
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use rustix::fs::OFlags;

/// How long a read may take.
pub const READ_TIME: Duration = Duration::from_secs(5);
/// Threads that may be blocked in a read at once.
const MAX_BLOCKED: usize = 8;
/// Bytes that are reserved before reading: a secret that fits is never copied by a buffer that grows.
const RESERVED: u64 = 64 << 10;

/// Paths whose read is overdue.
static BLOCKED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Which kinds of files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// Regular files alone: they can be read again.
    Regular,
    /// Pipes too, which can be read once: `<(command)`, `/dev/stdin`.
    Pipes,
}

/// What a file held.
pub struct Contents {
    /// Its bytes. They may be a secret: who takes them wipes them.
    pub bytes: Vec<u8>,
    /// Whether it was a pipe, which cannot be read again.
    pub pipe: bool,
}

/// Why a file was not read. Displays as the rest of a sentence that begins with its path.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// The system refused.
    #[error("cannot be read: {0}")]
    Refused(#[from] io::Error),
    /// It is something else than a file.
    #[error("cannot be read: expected {expected}, got {got}")]
    Kind {
        /// What is admitted.
        expected: &'static str,
        /// What is there.
        got: &'static str,
    },
    /// It has more bytes than are read.
    #[error("has more than {0} bytes")]
    TooLarge(u64),
    /// It did not answer in time.
    #[error("does not answer: reading it takes more than {} s", .0.as_secs_f32())]
    Blocked(Duration),
    /// Too many other files do not answer.
    #[error("is not read: {MAX_BLOCKED} other files do not answer")]
    Busy,
}

impl Unread {
    /// Tells whether a file does not answer.
    pub fn is_blocked(&self) -> bool {
        match self {
            Self::Blocked(_) | Self::Busy => true,
            Self::Refused(_) | Self::Kind { .. } | Self::TooLarge(_) => false,
        }
    }
}

/// Reads a file of at most `max` bytes, and blocks the caller for at most `within`.
pub fn read(path: &Path, max: u64, admit: Admit, within: Duration) -> Result<Contents, Unread> {
    let (send, receive) = mpsc::sync_channel(1);
    let reading = start(path, max, admit, within, move |read| drop(send.send(read)))?;
    match receive.recv_timeout(within) {
        Ok(read) => read,
        Err(_) => reading.overdue(|| receive.try_recv().ok()),
    }
}

/// Reads a file of at most `max` bytes without blocking a thread that serves; takes at most `within`.
pub async fn read_async(path: &Path, max: u64, admit: Admit, within: Duration) -> Result<Contents, Unread> {
    let (send, mut receive) = tokio::sync::oneshot::channel();
    let reading = start(path, max, admit, within, move |read| drop(send.send(read)))?;
    match tokio::time::timeout(within, &mut receive).await {
        Ok(Ok(read)) => read,
        Ok(Err(_)) | Err(_) => reading.overdue(|| receive.try_recv().ok()),
    }
}

/// A read under way.
struct Reading {
    path: PathBuf,
    within: Duration,
    ended: Arc<AtomicBool>,
}

impl Reading {
    /// Remembers that the path blocks a thread, unless the read ended just now.
    fn overdue(
        self,
        just_now: impl FnOnce() -> Option<Result<Contents, Unread>>,
    ) -> Result<Contents, Unread> {
        let mut blocked = BLOCKED.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ended.load(Ordering::Acquire) {
            drop(blocked);
            return just_now().unwrap_or(Err(Unread::Blocked(self.within)));
        }
        blocked.insert(self.path);
        Err(Unread::Blocked(self.within))
    }
}

fn start(
    path: &Path,
    max: u64,
    admit: Admit,
    within: Duration,
    done: impl FnOnce(Result<Contents, Unread>) + Send + 'static,
) -> Result<Reading, Unread> {
    {
        let blocked = BLOCKED.lock().unwrap_or_else(PoisonError::into_inner);
        if blocked.contains(path) {
            return Err(Unread::Blocked(within));
        }
        if blocked.len() >= MAX_BLOCKED {
            return Err(Unread::Busy);
        }
    }
    let ended = Arc::new(AtomicBool::new(false));
    let (own, flag) = (path.to_owned(), ended.clone());
    std::thread::Builder::new().name("forebay-read".to_owned()).spawn(move || {
        let read = read_now(&own, max, admit);
        done(read);
        let mut blocked = BLOCKED.lock().unwrap_or_else(PoisonError::into_inner);
        flag.store(true, Ordering::Release);
        blocked.remove(&own);
    })?;
    Ok(Reading { path: path.to_owned(), within, ended })
}

/// Reads on the calling thread, for as long as it takes.
fn read_now(path: &Path, max: u64, admit: Admit) -> Result<Contents, Unread> {
    let kind = std::fs::metadata(path)?.file_type();
    let pipe = kind.is_fifo() && admit == Admit::Pipes;
    let file = if pipe {
        File::open(path)?
    } else {
        admitted(kind, admit)?;
        // It may have become a pipe since: opening it must not wait for a writer.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        admitted(file.metadata()?.file_type(), Admit::Regular)?;
        file
    };
    let reserved = max.min(RESERVED) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(reserved).unwrap_or_default());
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(Unread::TooLarge(max));
    }
    Ok(Contents { bytes, pipe })
}

fn admitted(kind: FileType, admit: Admit) -> Result<(), Unread> {
    if kind.is_file() {
        return Ok(());
    }
    let got = if kind.is_fifo() {
        "a pipe"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    let expected = match admit {
        Admit::Regular => "a regular file",
        Admit::Pipes => "a regular file or a pipe",
    };
    Err(Unread::Kind { expected, got })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    fn fifo(folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    #[test]
    fn file_larger_than_its_bound_is_refused_by_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "0123456789").unwrap();
        assert_eq!(read(&path, 10, Admit::Regular, SHORT).unwrap().bytes, b"0123456789");
        assert!(matches!(read(&path, 9, Admit::Regular, SHORT), Err(Unread::TooLarge(9))));
        // A file whose metadata says 0 bytes has more.
        let status = Path::new("/proc/self/status");
        assert!(matches!(read(status, 10, Admit::Regular, SHORT), Err(Unread::TooLarge(10))));
    }

    #[test]
    fn file_that_is_no_file_is_named() {
        for (path, admit, got) in [
            ("/dev/zero", Admit::Pipes, "expected a regular file or a pipe, got a device"),
            ("/", Admit::Regular, "expected a regular file, got a folder"),
        ] {
            let said = read(Path::new(path), 10, admit, SHORT).err().unwrap().to_string();
            assert!(said.contains(got), "{said}");
        }
        let folder = tempfile::tempdir().unwrap();
        let said = read(&fifo(folder.path(), "f"), 10, Admit::Regular, SHORT).err().unwrap().to_string();
        assert!(said.contains("expected a regular file, got a pipe"), "{said}");
    }

    #[test]
    fn pipe_without_a_writer_blocks_its_caller_for_a_bounded_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = fifo(folder.path(), "f");
        let began = Instant::now();
        assert!(matches!(read(&path, 10, Admit::Pipes, SHORT), Err(Unread::Blocked(_))));
        assert!(began.elapsed() < SHORT * 10, "{:?}", began.elapsed());
        // The next one does not block another thread.
        let began = Instant::now();
        assert!(matches!(read(&path, 10, Admit::Pipes, Duration::from_secs(60)), Err(Unread::Blocked(_))));
        assert!(began.elapsed() < Duration::from_secs(30));
        // Once somebody wrote, it is read again.
        std::fs::write(&path, "late").unwrap();
        let ended = || !BLOCKED.lock().unwrap().contains(&path);
        while !ended() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let writer = path.clone();
        let writing = std::thread::spawn(move || std::fs::write(writer, "secret").unwrap());
        let contents = read(&path, 10, Admit::Pipes, Duration::from_secs(30)).unwrap();
        assert_eq!((contents.bytes.as_slice(), contents.pipe), (b"secret".as_slice(), true));
        writing.join().unwrap();
    }
}
