//! JSON Lines on standard output. The default sink of `run`.
//!
//! A reader that goes away ends the run; a disk that is full behind a redirection is waited for. A write
//! that stopped in the middle of a line goes on there, so that no line is torn or written twice by retries.

use std::io::{self, ErrorKind};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::Stdout;
use crate::deliver::{Outcome, Portions, Sink};
use crate::error::{Error, Kind, Result};
use crate::queue::{Chunk, Cursor};

/// Standard output as a sink.
pub struct StdoutSink {
    stdout: Stdout,
    /// What is left to write of a chunk that failed, with the number of its records.
    unwritten: Option<Vec<u8>>,
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
        let lines = self.unwritten.take().unwrap_or_else(|| super::json_lines(super::records(chunk)));
        match write(self.stdout.clone(), lines).await {
            Ok(()) => Outcome::Done { done: chunk.records.len(), note: None, refused: Vec::new() },
            Err((_, error)) if error.kind() == ErrorKind::BrokenPipe => Outcome::Gone(
                Error::new(Kind::Io, "standard output was closed by its reader")
                    .help("the records that it did not get wait in the queue; start again, or write to a file with `--to file:PATH`"),
            ),
            Err((rest, error)) => {
                self.unwritten = Some(rest);
                Outcome::RetryAfter { wait: None, reason: format!("standard output: {error}"), held: false }
            }
        }
    }

    fn portions(&self) -> Portions {
        Portions { records: 1024, bytes: 1 << 20, age: Duration::ZERO, rest: Duration::ZERO }
    }
}

/// Writes on a thread of its own: a reader that stops reading would otherwise hold one of the runtime's
/// threads, and with it the end of the process. The error comes with what was not written.
async fn write(stdout: Stdout, lines: Vec<u8>) -> Result<(), (Vec<u8>, io::Error)> {
    let (tell, told) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("stdout".to_owned()).spawn(move || {
        let mut lines = lines;
        let outcome = write_counting(&stdout, &mut lines).map_err(|error| (lines, error));
        // Nobody listens when the worker gave up waiting; there is nobody else to tell either.
        drop(tell.send(outcome));
    });
    match spawned {
        Ok(_) => told.await.unwrap_or_else(|_| Err((Vec::new(), io::Error::other("the writer panicked")))),
        Err(error) => Err((Vec::new(), error)),
    }
}

/// Writes `lines` and takes what was written off its front.
fn write_counting(stdout: &Stdout, lines: &mut Vec<u8>) -> io::Result<()> {
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
    lines.drain(..written.min(lines.len()));
    outcome
}
