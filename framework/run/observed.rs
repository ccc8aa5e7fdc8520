//! The queue as receiver and sinks see it, with a tally of what passes: what came, what was delivered, when the
//! last event came and how the store fares. The summary, health and the simulation's books read it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;

use super::config::Configured;
use super::health::Health;
use crate::connector::clock::Clock;
use crate::connector::instance::InstanceId;
use crate::error::Result;
use crate::queue::local::Local;
use crate::queue::{Batch, Chunk, Progress, Queue, Receipt, Refusal, SinkKey};

/// How much older than it is health may think the last event, in milliseconds.
const COARSE: i64 = 500;

/// What passed for one instance since the process began.
#[derive(Debug, Default)]
pub struct Tally {
    /// New records.
    pub stored: AtomicU64,
    /// Known ids with the same bytes.
    pub duplicates: AtomicU64,
    /// Dead letters, those of sinks included.
    pub dead: AtomicU64,
    /// Records done, by sink.
    pub delivered: BTreeMap<String, AtomicU64>,
    /// When health was last told of an event, in milliseconds.
    told: AtomicI64,
}

/// What passed, by instance.
pub type Tallies = Arc<BTreeMap<InstanceId, Tally>>;

/// A queue that keeps a tally.
pub(super) struct Observed {
    inner: Arc<Local>,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    tallies: Tallies,
    failing: AtomicBool,
}

impl Observed {
    pub(super) fn new(
        members: &[Configured],
        inner: Arc<Local>,
        clock: Arc<dyn Clock>,
        health: Arc<Health>,
    ) -> Self {
        let tally = |member: &Configured| Tally {
            delivered: member.sinks.iter().map(|sink| (sink.name.clone(), AtomicU64::new(0))).collect(),
            ..Tally::default()
        };
        let tallies = members.iter().map(|member| (member.instance.id.clone(), tally(member))).collect();
        Self { inner, clock, health, tallies: Arc::new(tallies), failing: AtomicBool::new(false) }
    }

    /// What passed, by instance.
    pub(super) fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    fn count(&self, instance: &InstanceId, receipt: Receipt) {
        let Some(tally) = self.tallies.get(instance) else { return };
        tally.stored.fetch_add(receipt.stored.into(), Relaxed);
        tally.duplicates.fetch_add(receipt.duplicates.into(), Relaxed);
        tally.dead.fetch_add(receipt.dead.into(), Relaxed);
        let now = self.clock.now();
        let told = tally.told.load(Relaxed);
        if receipt.stored + receipt.duplicates > 0 && (now.as_millisecond() - told).abs() >= COARSE {
            tally.told.store(now.as_millisecond(), Relaxed);
            self.health.event(instance, now);
        }
    }
}

#[async_trait]
impl Queue for Observed {
    async fn append(&self, batch: Batch) -> Result<Receipt, Refusal> {
        let instance = batch.instance.clone();
        let outcome = self.inner.append(batch).await;
        match &outcome {
            Ok(receipt) => {
                self.count(&instance, *receipt);
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
        let (done, dead) = (progress.done, progress.dead.len());
        self.inner.advance(sink, chunk, progress).await?;
        if let Some(tally) = self.tallies.get(&sink.instance) {
            tally.dead.fetch_add(dead as u64, Relaxed);
            if let Some(delivered) = tally.delivered.get(&sink.sink) {
                delivered.fetch_add(done.saturating_sub(dead) as u64, Relaxed);
            }
        }
        Ok(())
    }
}
