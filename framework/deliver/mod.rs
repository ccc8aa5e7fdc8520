//! One worker per sink, from the queue to where records go.
//!
//! [`worker::run`] reads a chunk, gives it to its [`Sink`], and moves the sink's cursor once the records are
//! safe there. Nothing here is shared between workers but the queue, so no sink can slow another.

pub mod backoff;
pub mod config;
pub mod sinks;
pub mod worker;

use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Error, Result};
use crate::queue::{Chunk, Cursor};

/// Where records go.
#[async_trait]
pub trait Sink: Send {
    /// Tells it what it left with its last progress, so that it can recognise what it has already. Called
    /// until it succeeds, before anything is delivered.
    async fn open(&mut self, cursor: &Cursor) -> Result<()>;
    /// Gives it records in order. After [`Outcome::RetryAfter`] the same chunk comes again; after
    /// [`Outcome::Done`] its note is in the store, and what was not done comes next.
    async fn deliver(&mut self, chunk: &Chunk) -> Outcome;
    /// In which portions it wants them.
    fn portions(&self) -> Portions;
}

/// In which portions a sink wants its records.
#[derive(Debug, Clone, Copy)]
pub struct Portions {
    /// At most so many records a chunk.
    pub records: usize,
    /// At most so many bytes of records a chunk; a single larger record comes alone.
    pub bytes: usize,
    /// How long the first record of a chunk waits for others.
    pub age: Duration,
    /// How long the sink rests after a small chunk, so that under load the next one is worth its sync. A record
    /// that comes after a pause does not wait.
    pub rest: Duration,
}

/// What a sink said.
#[derive(Debug)]
pub enum Outcome {
    /// The first `done` records of the chunk are safe there, but for those it refused for good. It may be
    /// none of them: then only the note is kept.
    Done {
        /// From the chunk's first.
        done: usize,
        /// What it wants to know after a crash; `None` keeps the note there is.
        note: Option<String>,
        /// Index in the chunk, and why; each index is below `done`.
        refused: Vec<(usize, String)>,
    },
    /// Not now. Nothing of the chunk is acknowledged.
    RetryAfter {
        /// What the other side asked for; `None` leaves it to the worker's backoff.
        wait: Option<Duration>,
        /// What it said; escaped, bounded, no secret.
        reason: String,
        /// Whether it takes a change by an operator (401, 403, 404). It is tried again all the same.
        blocked: bool,
    },
    /// There is nobody to give records to any more (the reader of a pipe went away): the worker ends with
    /// this, and the records stay in the queue.
    Gone(Error),
}

/// How a sink fares; what health and metrics show of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SinkStatus {
    /// The last thing it was given, it took.
    #[default]
    Well,
    /// It failed in a way that may pass.
    Retrying(String),
    /// It refuses in a way that takes a change by an operator; it is tried again all the same.
    Blocked(String),
}
