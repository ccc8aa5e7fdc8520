//! The newest blocks, still in memory, and where each sink stands: a sink that keeps up is served from here.
//!
//! The writer puts in what it committed, readers ask before they look into the database. Only what is safe on
//! disk is here, and everything here is in the database too: it may be emptied at any time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::LOOK;
use super::block::Block;
use super::known::{key, position_of};
use super::reader::{Cut, Stand};
use crate::queue::{Chunk, SinkKey};

/// Bytes of blocks that are kept for one sink. A sink that is further behind reads from the database.
const KEPT: usize = 8 << 20;
/// Bytes more for each further sink: the more there are, the less often each comes for its records.
const KEPT_MORE: usize = 1 << 20;
/// Bytes that are kept at most, however many sinks there are.
const KEPT_MOST: usize = 32 << 20;

/// What is known without the database.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By their keys: instance, then position.
    blocks: BTreeMap<i64, Block>,
    /// Their keys, oldest commit first.
    order: VecDeque<i64>,
    bytes: usize,
    /// Where each stands, and when the database was asked last: only that shows letters that a person sent again.
    sinks: HashMap<SinkKey, (Stand, Instant)>,
}

/// What there is for a sink.
pub(super) enum Ready {
    /// Its next records.
    Chunk(Chunk),
    /// It has everything.
    Nothing,
    /// The database must be asked.
    Unknown,
}

impl Recent {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps blocks that were committed.
    pub(super) fn keep(&self, blocks: Vec<(i64, Block)>) {
        let mut inner = self.inner();
        for (place, block) in blocks {
            for (stand, _) in inner.sinks.values_mut() {
                if stand.keys().contains(&place) {
                    stand.end = stand.end.max(block.end());
                }
            }
            inner.bytes += block.bytes.len();
            inner.order.push_back(place);
            if let Some(old) = inner.blocks.insert(place, block) {
                inner.bytes -= old.bytes.len();
            }
        }
        let more = KEPT_MORE * inner.sinks.len().saturating_sub(1);
        while inner.bytes > (KEPT + more).min(KEPT_MOST)
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.forget(oldest);
        }
    }

    /// Notes where a sink stands by the database, and how far its log goes.
    pub(super) fn looked(&self, sink: &SinkKey, mut stand: Stand) {
        let mut inner = self.inner();
        // Blocks may have been committed since the database was read.
        if let Some((_, newest)) = inner.blocks.range(stand.keys()).next_back() {
            stand.end = stand.end.max(newest.end());
        }
        inner.sinks.insert(sink.clone(), (stand, Instant::now()));
    }

    /// A sink's cursor was moved, and that is committed. What every sink has is not kept.
    pub(super) fn moved(&self, sink: &SinkKey, position: u64) {
        let mut inner = self.inner();
        let Some((stand, _)) = inner.sinks.get_mut(sink) else { return };
        stand.position = position;
        let stand = *stand;
        let of_instance = inner.sinks.values().filter(|(other, _)| other.number == stand.number);
        let least = of_instance.map(|(stand, _)| stand.position).min().unwrap_or(0);
        let done: Vec<i64> = inner
            .blocks
            .range(stand.keys())
            .take_while(|(_, block)| block.end() <= least)
            .map(|(place, _)| *place)
            .collect();
        for place in done {
            inner.forget(place);
        }
        // Keys of blocks that are gone stand in front once every older one is gone too.
        while inner.order.front().is_some_and(|place| !inner.blocks.contains_key(place)) {
            inner.order.pop_front();
        }
    }

    /// Everything may be different now.
    pub(super) fn clear(&self) {
        *self.inner() = Inner::default();
    }

    /// The next records of a sink.
    pub(super) fn next(&self, sink: &SinkKey, max_records: usize, max_bytes: usize) -> Ready {
        let inner = self.inner();
        let Some((stand, _)) = inner.sinks.get(sink).filter(|(_, looked)| looked.elapsed() < LOOK) else {
            return Ready::Unknown;
        };
        if stand.position >= stand.end {
            return Ready::Nothing;
        }
        let keys = stand.keys();
        let first = inner.blocks.range(keys.start..=key(stand.number, stand.position)).next_back();
        let Some((first, _)) = first.filter(|(_, block)| block.end() > stand.position) else {
            return Ready::Unknown;
        };
        let mut cut = Cut::default();
        let mut next = *first;
        for (place, block) in inner.blocks.range(*first..keys.end) {
            if *place != next || cut.take(block, stand.position.max(block.first), max_records, max_bytes) {
                break;
            }
            next = key(stand.number, block.end());
        }
        cut.chunk().map_or(Ready::Unknown, Ready::Chunk)
    }
}

impl Inner {
    fn forget(&mut self, place: i64) {
        if let Some(block) = self.blocks.remove(&place) {
            debug_assert_eq!(position_of(place), block.first, "a block stands under its own key");
            self.bytes -= block.bytes.len();
        }
    }
}
