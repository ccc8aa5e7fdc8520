//! A queue in memory whose cursor can be kept in a file, and whose advances can fail or hang.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use forebay::error::{Error, Kind, Result};
use forebay::queue::{
    Batch, Chunk, Cursor, DeadLetter, Origin, Position, Progress, Queue, Receipt, Refusal, SinkKey,
};
use tokio::sync::Notify;

/// Its only epoch.
const EPOCH: &str = "memory";

#[derive(Default)]
pub struct MemoryQueue {
    records: Mutex<Vec<Bytes>>,
    cursor: Mutex<Cursor>,
    pub dead: Mutex<Vec<DeadLetter>>,
    changed: Notify,
    closed: AtomicBool,
    /// Where the cursor is kept; for a process that is killed.
    kept: Option<PathBuf>,
    /// At most so many records a chunk; 0 is as many as the sink wants.
    pub chunk: AtomicUsize,
    /// So many advances fail.
    pub failing: AtomicUsize,
    /// After so many advances that moved the cursor, the next ones never return.
    pub hanging_after: Mutex<Option<usize>>,
    pub advances: AtomicUsize,
    /// Letters given to the sink again, before the log.
    pub retries: Mutex<Vec<(i64, Bytes)>>,
}

impl MemoryQueue {
    pub fn holding(records: std::ops::Range<usize>) -> std::sync::Arc<Self> {
        let queue = Self::default();
        queue.push(records.map(super::record));
        queue.into()
    }

    /// With the cursor that an earlier process left.
    pub fn kept_in(path: PathBuf) -> Self {
        let cursor = std::fs::read_to_string(&path)
            .ok()
            .and_then(|text| {
                let (position, note) = text.split_once('\n')?;
                let note = (!note.is_empty()).then(|| note.to_owned());
                Some(Cursor { position: Position(position.parse().ok()?), note })
            })
            .unwrap_or_default();
        Self { cursor: Mutex::new(cursor), kept: Some(path), ..Self::default() }
    }

    pub fn push(&self, records: impl IntoIterator<Item = Vec<u8>>) {
        self.records.lock().unwrap().extend(records.into_iter().map(Bytes::from));
        self.changed.notify_waiters();
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub fn cursor(&self) -> Cursor {
        self.cursor.lock().unwrap().clone()
    }

    pub fn position(&self) -> u64 {
        self.cursor.lock().unwrap().position.0
    }

    /// The records from a position on, within bounds.
    pub fn chunk_at(&self, from: u64, max_records: usize, max_bytes: usize) -> Option<Chunk> {
        let most = match self.chunk.load(Ordering::SeqCst) {
            0 => max_records,
            chunk => chunk.min(max_records),
        };
        let records = self.records.lock().unwrap();
        let left = records.get(from as usize..).filter(|left| !left.is_empty())?;
        let (mut size, mut taken) = (0, Vec::new());
        for record in left.iter().take(most) {
            if !taken.is_empty() && size + record.len() > max_bytes {
                break;
            }
            size += record.len();
            taken.push(record.clone());
        }
        let origin = Origin::Log { from: Position(from) };
        Some(Chunk { origin, epoch: EPOCH.into(), records: taken })
    }

    fn retry(&self) -> Option<Chunk> {
        let retries = self.retries.lock().unwrap();
        let (letter, bytes) = retries.first()?.clone();
        let origin = Origin::Retry { letters: vec![letter] };
        Some(Chunk { origin, epoch: EPOCH.into(), records: vec![bytes] })
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn append(&self, _: Batch) -> Result<Receipt, Refusal> {
        unreachable!("tests push records")
    }

    async fn read(&self, _: &SinkKey, max_records: usize, max_bytes: usize) -> Result<Option<Chunk>> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(chunk) =
                self.retry().or_else(|| self.chunk_at(self.position(), max_records, max_bytes))
            {
                return Ok(Some(chunk));
            }
            if self.closed.load(Ordering::SeqCst) {
                return Ok(None);
            }
            changed.await;
        }
    }

    async fn advance(&self, _: &SinkKey, chunk: &Chunk, progress: Progress) -> Result<()> {
        let hangs = *self.hanging_after.lock().unwrap();
        if progress.done > 0 && hangs.is_some_and(|after| self.advances.load(Ordering::SeqCst) >= after) {
            std::future::pending::<()>().await;
        }
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(Error::new(Kind::Io, "the store cannot write"));
        }
        assert!(progress.done <= chunk.records.len());
        self.dead.lock().unwrap().extend(progress.dead);
        let mut cursor = self.cursor.lock().unwrap();
        match &chunk.origin {
            Origin::Log { from } => {
                assert_eq!(*from, cursor.position, "a cursor moves over what was read");
                cursor.position.0 += progress.done as u64;
            }
            Origin::Retry { letters } => {
                let done = &letters[..progress.done];
                self.retries.lock().unwrap().retain(|(letter, _)| !done.contains(letter));
            }
        }
        if progress.note.is_some() {
            cursor.note = progress.note;
        }
        if progress.done > 0 {
            self.advances.fetch_add(1, Ordering::SeqCst);
        }
        if let Some(path) = &self.kept {
            let text = format!("{}\n{}", cursor.position.0, cursor.note.as_deref().unwrap_or_default());
            let draft = path.with_extension("draft");
            std::fs::write(&draft, text).unwrap();
            std::fs::rename(&draft, path).unwrap();
        }
        Ok(())
    }
}
