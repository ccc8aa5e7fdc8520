//! The queue as receiver and sinks see it: it counts what each sink has got, and reports refusals.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;

use super::config::Configured;
use super::refusing::Refusing;
use crate::error::Result;
use crate::queue::local::Local;
use crate::queue::{Batch, Chunk, Progress, Queue, Receipt, Refusal, SinkKey};

/// A queue that counts what goes out.
pub(super) struct Observed {
    inner: Arc<Local>,
    refusing: Arc<Refusing>,
    delivered: BTreeMap<SinkKey, Delivered>,
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
    pub(super) fn new(members: &[Configured], inner: Arc<Local>, refusing: Arc<Refusing>) -> Self {
        let keys = members.iter().flat_map(|member| {
            let instance = member.instance.id.clone();
            member
                .sinks
                .iter()
                .map(move |sink| SinkKey { instance: instance.clone(), sink: sink.name.clone() })
        });
        let delivered = keys.map(|key| (key, Delivered::default())).collect();
        Self { inner, refusing, delivered }
    }

    /// What went out, by sink.
    pub(super) fn delivered(&self) -> &BTreeMap<SinkKey, Delivered> {
        &self.delivered
    }
}

#[async_trait]
impl Queue for Observed {
    async fn append(&self, batch: Batch) -> Result<Receipt, Refusal> {
        let size = batch.size();
        let instance = batch.instance.clone();
        let outcome = self.inner.append(batch).await;
        if let Err(refusal) = &outcome {
            self.refusing.refused(&instance, size, refusal);
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
