//! JSON Lines on standard output. The default sink of `run`.
//!
//! A reader that goes away ends the run; a disk that is full behind a redirection is waited for. A write
//! that stopped in the middle of a line goes on there, so that no line is torn or written twice by retries.

use std::io::{self, ErrorKind};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::Stdout;
use crate::deliver::{Outcome, Portions, Sink};
use crate::error::{Error, Kind, Result};
use crate::points;
use crate::queue::{Chunk, Cursor};

/// Standard output as a sink.
pub struct StdoutSink {
    stdout: Stdout,
    /// What is left to write of a chunk that failed.
    unwritten: Option<Bytes>,
}

impl StdoutSink {
    /// A sink that writes there.
    pub fn new(stdout: Stdout) -> Self {
        Self { stdout, unwritten: None }
    }
}

#[async_trait]
impl Sink for StdoutSink {
    async fn open(&mut self, _: &Cursor) -> Result<()> {
        Ok(())
    }

    async fn deliver(&mut self, chunk: &Chunk) -> Outcome {
        let lines = self.unwritten.take().unwrap_or_else(|| super::json_lines(super::records(chunk)).into());
        match write(self.stdout.clone(), lines.clone()).await {
            Ok(()) => Outcome::Done { done: chunk.records.len(), note: None, refused: Vec::new() },
            Err(Stopped { error, .. }) if error.kind() == ErrorKind::BrokenPipe => Outcome::Gone(
                Error::new(Kind::Io, "standard output was closed by its reader")
                    .help("the records that it did not get wait in the queue; start again, or write to a file with `--to file:PATH`"),
            ),
            Err(Stopped { written: None, error }) => Outcome::Gone(
                Error::new(Kind::Io, "nobody knows how much of a line was written to standard output").help("start again: the last records may come once more; report this with the log").because(error),
            ),
            Err(Stopped { written: Some(written), error }) => {
                self.unwritten = Some(lines.slice(written..));
                Outcome::RetryAfter { wait: None, reason: format!("standard output: {error}"), blocked: false }
            }
        }
    }

    fn portions(&self) -> Portions {
        Portions { records: 1024, bytes: 1 << 20, age: Duration::ZERO, rest: Duration::ZERO }
    }
}

/// Why not all lines were written.
struct Stopped {
    /// Bytes that were; `None` where that is not known.
    written: Option<usize>,
    error: io::Error,
}

/// Writes on a thread of its own: a reader that stops reading would otherwise hold one of the runtime's
/// threads, and with it the end of the process.
async fn write(stdout: Stdout, lines: Bytes) -> Result<(), Stopped> {
    let nothing = |error| Stopped { written: Some(0), error };
    points::failing("stdout.thread").map_err(nothing)?;
    let (tell, told) = oneshot::channel();
    let work = move || {
        // Nobody listens when the worker gave up waiting; there is nobody else to tell either.
        drop(tell.send(write_counting(&stdout, &lines)));
    };
    std::thread::Builder::new().name("stdout".to_owned()).spawn(work).map_err(nothing)?;
    let ended = told.await;
    ended.unwrap_or_else(|_| Err(Stopped { written: None, error: io::Error::other("the writer panicked") }))
}

/// Writes the lines, and says how far it came where it could not.
fn write_counting(stdout: &Stdout, lines: &[u8]) -> Result<(), Stopped> {
    let mut out = stdout.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut written = 0;
    let outcome = loop {
        match lines.get(written..) {
            None | Some([]) => break out.flush(),
            Some(rest) => match out.write(rest) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            },
        }
    };
    outcome.map_err(|error| Stopped { written: Some(written), error })
}
