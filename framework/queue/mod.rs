//! The durable log between receiver and sinks, and what instances learned.
//!
//! Traits only: nothing above them knows which implementation runs. [`local`] is SQLite.

pub mod limits;
pub mod local;
pub mod shares;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::connector::instance::InstanceId;
use crate::connector::model::OnReuse;
use crate::connector::record::Checked;
use crate::error::Result;

/// What one request brings, committed whole or not at all.
#[derive(Debug)]
pub struct Batch {
    /// Whose it is.
    pub instance: InstanceId,
    /// When the request came.
    pub received: Timestamp,
    /// Records in the order of the body.
    pub records: Vec<Checked>,
    /// What could not be accepted.
    pub dead: Vec<DeadLetter>,
    /// What becomes of other bytes under a known id.
    pub on_reuse: OnReuse,
}

impl Batch {
    /// Bytes that it brings, before compression.
    pub fn size(&self) -> u64 {
        let records: usize = self.records.iter().map(|record| record.bytes().len()).sum();
        let dead: usize = self.dead.iter().map(|letter| letter.bytes.len()).sum();
        (records + dead) as u64
    }
}

/// A record or body that could not be accepted or delivered, kept whole with its reason.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// What it is.
    pub what: DeadWhat,
    /// Why, for programs and metrics.
    pub reason: DeadReason,
    /// Why, for people: the failing pointer, the sink's answer. Escaped, bounded, no secret.
    pub detail: String,
    /// Everything there is of it.
    pub bytes: Bytes,
    /// The id of the event, where one is known.
    pub id: Option<Bytes>,
    /// The sink that refused it; `None` where it never got that far.
    pub sink: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// What a dead letter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadWhat {
    /// A whole request body (inflated), or one line of it: decoded again on retry.
    Body,
    /// One record: checked again on retry, or given to the sink that refused it.
    Record,
}

/// Why a dead letter is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// No JSON, or not the shape that the spec says.
    Undecodable,
    /// The output schema refused it.
    Schema,
    /// Nested deeper than the cap.
    TooDeep,
    /// An id that is known came with other bytes.
    IdReused,
    /// A sink refused it for good.
    SinkRefused,
}

/// What became of a batch. `stored + duplicates + dead` is every record taken charge of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// New records, safe on disk.
    pub stored: u32,
    /// Known ids with the same bytes, dropped.
    pub duplicates: u32,
    /// Dead letters, safe on disk.
    pub dead: u32,
}

/// Why a batch was not taken. Nothing of it is stored.
#[derive(Debug)]
pub enum Refusal {
    /// There is no room.
    Full {
        /// When to try again.
        retry_after: Duration,
        /// The bound that is reached.
        bound: Bound,
        /// The bound in words: its key, its value, and what is used or free.
        detail: String,
    },
    /// A write or a sync failed; the store is being reopened and checked.
    Broken(crate::error::Error),
    /// The process is shutting down.
    Closing,
}

/// A bound on what the queue takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// `queue.max_bytes`: the store takes no more of any instance.
    MaxBytes,
    /// `queue.min_free`: too little is free on the file system.
    MinFree,
    /// The file system refused a write for lack of room.
    Disk,
    /// `queue.shares`: what is free is reserved for other instances.
    Share,
    /// `queue.dead_share`: there is no room for more dead letters, or none that is not reserved for other instances.
    DeadLetters,
}

impl Bound {
    /// Returns the name used in logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxBytes => "max_bytes",
            Self::MinFree => "min_free",
            Self::Disk => "disk",
            Self::Share => "share",
            Self::DeadLetters => "dead_letters",
        }
    }

    /// Returns whether it is reached for every instance, and not for one alone.
    pub fn is_shared(self) -> bool {
        match self {
            Self::MaxBytes | Self::MinFree | Self::Disk => true,
            Self::Share | Self::DeadLetters => false,
        }
    }
}

/// Where a sink stands: the number of the next record of its instance that it has not got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// One sink of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkKey {
    /// The instance.
    pub instance: InstanceId,
    /// The sink's name, which its cursor is kept under.
    pub sink: String,
}

/// Records for one sink, in order.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Log records, or dead letters given to this sink again.
    pub origin: Origin,
    /// Which life of the store it was read in. Positions and numbers of dead letters mean something within one alone.
    pub epoch: Arc<str>,
    /// The records. Those of one block share its memory.
    pub records: Vec<Bytes>,
}

impl Chunk {
    /// Bytes of its records.
    pub fn size(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

/// Where a chunk comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The log, from this position on; record `n` of the chunk is position `from + n`.
    Log {
        /// The first record's position.
        from: Position,
    },
    /// Dead letters that a person sent to this sink again, by their numbers.
    Retry {
        /// One number a record.
        letters: Vec<i64>,
    },
}

/// How far a sink got with a chunk.
#[derive(Debug)]
pub struct Progress {
    /// How many records of the chunk, from its first, are done: safe in the sink, or dead-lettered below.
    pub done: usize,
    /// What the sink wants to know after a crash (inode and offset); kept in the same transaction.
    pub note: Option<String>,
    /// Records among those done that the sink refused for good.
    pub dead: Vec<DeadLetter>,
}

/// The durable log. At-least-once to every sink, in order per instance.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Takes charge of a batch: when it returns a receipt, everything in it is synced.
    async fn append(&self, batch: Batch) -> Result<Receipt, Refusal>;
    /// The next records for a sink, at most so many bytes (always at least one record). Waits until there
    /// are some; `None` when the queue is closed.
    async fn read(&self, sink: &SinkKey, max_records: usize, max_bytes: usize) -> Result<Option<Chunk>>;
    /// Moves a sink's cursor over what it has safely. With `done: 0` it only keeps the note: the file sink
    /// has the file it is about to write to remembered first. A chunk of a former epoch moves no cursor: other records
    /// may be at its positions now.
    async fn advance(&self, sink: &SinkKey, chunk: &Chunk, progress: Progress) -> Result<()>;
}

/// Where a sink stands, as kept in the store.
#[derive(Debug, Clone, Default)]
pub struct Cursor {
    /// The next record.
    pub position: Position,
    /// What the sink left with its last progress.
    pub note: Option<String>,
}

/// What instances learned, one JSON document each, beside the log and as safe.
#[async_trait]
pub trait State: Send + Sync + 'static {
    /// The document, if there is one.
    async fn load(&self, instance: &InstanceId) -> Result<Option<Json>>;
    /// Replaces it if it still equals `was`, the document as it was loaded (`None`: there was none); synced
    /// when this returns `true`. `false`: somebody else wrote meanwhile (`destroy` beside a running `run`),
    /// nothing changed, and the caller loads again.
    async fn save(&self, instance: &InstanceId, was: Option<&Json>, document: &Json) -> Result<bool>;
    /// [`State::save`] for many instances, each on its own terms; all that are saved are synced together.
    async fn save_all(&self, saves: Vec<Save>) -> Result<Vec<bool>> {
        let mut saved = Vec::with_capacity(saves.len());
        for save in saves {
            saved.push(self.save(&save.instance, save.was.as_ref(), &save.document).await?);
        }
        Ok(saved)
    }
    /// The latest event time that was committed for it.
    async fn latest_event_time(&self, instance: &InstanceId) -> Result<Option<Timestamp>>;
}

/// One document to save: the arguments of [`State::save`].
#[derive(Debug, Clone)]
pub struct Save {
    /// Whose document it is.
    pub instance: InstanceId,
    /// The document as it was loaded.
    pub was: Option<Json>,
    /// The document as it is to be.
    pub document: Json,
}
