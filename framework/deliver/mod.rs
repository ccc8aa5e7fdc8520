//! One worker per sink, from the queue to where records go.

pub mod config;

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::queue::{Chunk, Cursor};

/// Where records go.
#[async_trait]
pub trait Sink: Send {
    /// Opens it, and tells from its own bytes and the cursor's note how many records after the cursor it
    /// has already (a file that was written but not acknowledged); 0 where it cannot tell.
    async fn open(&mut self, cursor: &Cursor) -> Result<()>;
    /// Gives it records in order.
    async fn deliver(&mut self, chunk: &Chunk) -> Outcome;
}

/// What a sink said.
#[derive(Debug)]
pub enum Outcome {
    /// The first `done` records of the chunk are safe there, but for those it refused for good.
    Done {
        /// From the chunk's first.
        done: usize,
        /// What it wants to know after a crash.
        note: Option<String>,
        /// Index in the chunk, and why.
        refused: Vec<(usize, String)>,
    },
    /// Not now. Nothing of the chunk is acknowledged.
    RetryAfter {
        /// What the other side asked for; `None` leaves it to the worker's backoff.
        wait: Option<Duration>,
        /// What it said.
        reason: String,
        /// Whether a person must act (401, 403, 404): said louder, and retried all the same.
        held: bool,
    },
}
