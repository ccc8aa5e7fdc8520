//! The queue as receiver and sinks see it: it counts what each sink is done with, and tells health how the store
//! fares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;

use super::config::Configured;
use super::health::Health;
use crate::error::Result;
use crate::queue::local::Local;
use crate::queue::{Batch, Chunk, Progress, Queue, Receipt, Refusal, SinkKey};

/// A queue that counts what goes out.
pub(super) struct Observed {
    inner: Arc<Local>,
    health: Arc<Health>,
    delivered: BTreeMap<SinkKey, Delivered>,
    failing: AtomicBool,
}

/// What a sink is done with since the process began.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    /// Records that it has.
    pub taken: AtomicU64,
    /// Records that it refused for good.
    pub refused: AtomicU64,
}

impl Observed {
    pub(super) fn new(members: &[Configured], inner: Arc<Local>, health: Arc<Health>) -> Self {
        let keys = members.iter().flat_map(|member| {
            let instance = member.instance.id.clone();
            member
                .sinks
                .iter()
                .map(move |sink| SinkKey { instance: instance.clone(), sink: sink.name.clone() })
        });
        let delivered = keys.map(|key| (key, Delivered::default())).collect();
        Self { inner, health, delivered, failing: AtomicBool::new(false) }
    }

    /// What went out, by sink.
    pub(super) fn delivered(&self) -> &BTreeMap<SinkKey, Delivered> {
        &self.delivered
    }
}

#[async_trait]
impl Queue for Observed {
    async fn append(&self, batch: Batch) -> Result<Receipt, Refusal> {
        let outcome = self.inner.append(batch).await;
        match &outcome {
            Ok(_) => {
                if self.failing.load(Relaxed) && self.failing.swap(false, Relaxed) {
                    self.health.store(None);
                }
            }
            Err(Refusal::Broken(error)) => {
                self.failing.store(true, Relaxed);
                self.health.store(Some(error.to_string()));
            }
            Err(Refusal::Full { .. } | Refusal::Closing) => {}
        }
        outcome
    }

    async fn read(&self, sink: &SinkKey, max_records: usize, max_bytes: usize) -> Result<Option<Chunk>> {
        self.inner.read(sink, max_records, max_bytes).await
    }

    async fn advance(&self, sink: &SinkKey, chunk: &Chunk, progress: Progress) -> Result<()> {
        let (done, refused) = (progress.done, progress.dead.len());
        self.inner.advance(sink, chunk, progress).await?;
        if let Some(delivered) = self.delivered.get(sink) {
            delivered.taken.fetch_add(done.saturating_sub(refused) as u64, Relaxed);
            delivered.refused.fetch_add(refused as u64, Relaxed);
        }
        Ok(())
    }
}
