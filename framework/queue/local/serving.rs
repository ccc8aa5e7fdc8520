//! The store as a queue: appending batches, reading the next records of a sink, moving its cursor.
//!
//! The receiver and the sinks' workers call it through [`Queue`]. A sink that keeps up is served from memory.

use std::sync::Arc;

use async_trait::async_trait;

use super::append::Dedupe;
use super::fault::FaultKind;
use super::reader::{self, Found, Unstamped};
use super::recent::{PATIENCE, Ready};
use super::{Local, cursors, letters};
use crate::error::{Error, Kind, Result};
use crate::queue::{Batch, Chunk, Origin, Position, Progress, Queue, Receipt, Refusal, SinkKey};

#[async_trait]
impl Queue for Local {
    async fn append(&self, batch: Batch) -> Result<Receipt, Refusal> {
        self.store(batch, Dedupe::ByRule, None).await
    }

    async fn read(&self, sink: &SinkKey, max_records: usize, max_bytes: usize) -> Result<Option<Chunk>> {
        self.look_for_marks();
        let mut news = self.shared.subscribe();
        loop {
            if news.borrow_and_update().closed {
                return Ok(None);
            }
            let epoch = self.shared.epoch();
            let found = match self.shared.recent.next(sink, max_records, max_bytes) {
                Ready::Chunk(chunk) => match self.stamped(chunk, epoch) {
                    Some(chunk) => return Ok(Some(chunk)),
                    None => continue,
                },
                Ready::Nothing => Ok(None),
                Ready::Due => {
                    let key = sink.clone();
                    self.try_read(move |db| reader::look(db, &key, max_records, max_bytes).map(Some)).await
                }
                Ready::Behind => {
                    let key = sink.clone();
                    self.try_read(move |db| reader::next(db, &key, max_records, max_bytes).map(Some)).await
                }
            };
            match found {
                Ok(None) => {}
                Ok(Some(Found::Retry(chunk))) => match self.stamped(chunk, epoch) {
                    Some(chunk) => return Ok(Some(chunk)),
                    None => continue,
                },
                Ok(Some(Found::Log { chunk, stand })) => {
                    let Some(chunk) = self.stamped(chunk, epoch) else { continue };
                    self.shared.recent.looked(sink, stand);
                    return Ok(Some(chunk));
                }
                Ok(Some(Found::Damaged { key })) => {
                    self.set_aside(sink, key).await?;
                    continue;
                }
                Ok(Some(Found::Unregistered)) => return Err(unregistered(sink)),
                Ok(Some(Found::More(stand))) => {
                    self.shared.recent.looked(sink, stand);
                    continue;
                }
                Ok(Some(Found::Nothing(stand))) => self.shared.recent.looked(sink, stand),
                Err(fault) if fault.kind == FaultKind::Damaged => self.inspect().await,
                Err(fault) => return Err(fault.into()),
            }
            let _ = tokio::time::timeout(PATIENCE, news.changed()).await;
        }
    }

    async fn advance(&self, sink: &SinkKey, chunk: &Chunk, progress: Progress) -> Result<()> {
        let (key, origin, share) = (sink.clone(), chunk.origin.clone(), self.dead_share);
        let percent = self.limits.dead_share;
        let (shared, epoch) = (self.shared.clone(), chunk.epoch.clone());
        self.work(move |tx, memory| {
            let sink = key;
            let number = memory.instance(tx, &sink.instance)?.number;
            let Some(mut cursor) = cursors::load(tx, number, &sink.sink)? else {
                return Ok(Err(unregistered(&sink)));
            };
            if shared.epoch() != epoch {
                // Other records may be at its positions: what the sink has comes again, and nothing is passed over.
                tracing::warn!(instance = %sink.instance, sink = %sink.sink,
                    "the store began a new epoch during a delivery: its records are delivered again");
                cursor.note = progress.note.or(cursor.note);
                cursors::save(tx, number, &sink.sink, &cursor)?;
                return Ok(Ok(()));
            }
            // Letters that were sent again take the room that they had.
            let share = if matches!(origin, Origin::Retry { .. }) { u64::MAX } else { share };
            if !progress.dead.is_empty() {
                let mut space = letters::Space::new(tx, &memory.shares, share)?;
                if let Some(detail) = space.take(tx, &sink.instance, &progress.dead, percent)? {
                    return Ok(Err(letters::full(detail)));
                }
                for letter in &progress.dead {
                    letters::insert(tx, number, letter)?;
                }
            }
            match origin {
                Origin::Log { from } if progress.done > 0 => {
                    cursor.position = Position(from.0 + progress.done as u64);
                }
                Origin::Log { .. } => {}
                Origin::Retry { letters } => {
                    for letter in letters.iter().take(progress.done) {
                        letters::remove(tx, number, *letter)?;
                    }
                }
            }
            cursor.note = progress.note.or(cursor.note);
            cursors::save(tx, number, &sink.sink, &cursor)?;
            memory.untrimmed.insert(sink.instance.clone(), number);
            memory.moved.push((sink, cursor.position.0));
            Ok(Ok(()))
        })
        .await
    }
}

impl Local {
    /// The chunk with its epoch; `None` if another one began while it was read.
    fn stamped(&self, chunk: Unstamped, epoch: Arc<str>) -> Option<Chunk> {
        (self.shared.epoch() == epoch).then(|| chunk.of(epoch))
    }
}

fn unregistered(sink: &SinkKey) -> Error {
    Error::new(Kind::Configuration, format!("the sink `{}` of `{}` has no cursor", sink.sink, sink.instance))
}
