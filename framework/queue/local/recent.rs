//! The newest blocks, still in memory, and where each sink stands: a sink that keeps up is served from here.
//!
//! The writer puts in what it committed, readers ask before they look into the database. Only what is safe on
//! disk is here, and everything here is in the database too: it may be emptied at any time. The newest blocks are kept as
//! they are read. Many sinks come for theirs less often: for them older ones are kept as they are stored, which is less.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::LOOK;
use super::block::{Block, Sealed, unseal};
use super::known::{key, position_of};
use super::reader::{Cut, Stand};
use crate::queue::{Chunk, SinkKey};

/// Bytes of blocks that are kept as they are read.
const OPEN: usize = 6 << 20;
/// Bytes of blocks that are kept as they are stored, for each sink. A sink that is further behind reads from the database.
const SEALED_EACH: usize = 512 << 10;
/// Bytes of those at most, however many sinks there are.
const SEALED_MOST: usize = 24 << 20;

/// What is known without the database.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By their keys: instance, then position.
    blocks: BTreeMap<i64, Kept>,
    open: Queued,
    sealed: Queued,
    /// Where each stands, and when the database was asked last: only that shows letters that a person sent again.
    sinks: HashMap<SinkKey, (Stand, Instant)>,
}

/// Keys of blocks, oldest commit first, and how many bytes those take. Keys of blocks that are gone may be among them.
#[derive(Debug, Default)]
struct Queued {
    keys: VecDeque<i64>,
    bytes: usize,
}

/// A block as it is stored, and while it is one of the newest as it is read.
#[derive(Debug, Clone)]
struct Kept {
    sealed: Sealed,
    open: Option<Block>,
}

/// What there is for a sink.
pub(super) enum Ready {
    /// Its next records.
    Chunk(Chunk),
    /// It has everything.
    Nothing,
    /// The database is to be asked where the sink stands, and whether a person sent letters again.
    Due,
    /// Its next records are in the database alone.
    Behind,
}

impl Recent {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps blocks that were committed.
    pub(super) fn keep(&self, blocks: Vec<(Sealed, Block)>) {
        let mut inner = self.inner();
        for (sealed, block) in blocks {
            let place = sealed.key;
            for (stand, _) in inner.sinks.values_mut() {
                if stand.keys().contains(&place) {
                    stand.end = stand.end.max(block.end());
                }
            }
            inner.forget(place);
            inner.open.keys.push_back(place);
            inner.open.bytes += block.bytes.len();
            inner.blocks.insert(place, Kept { sealed, open: Some(block) });
        }
        inner.make_room();
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
        inner.skip_gone();
    }

    /// Everything may be different now.
    pub(super) fn clear(&self) {
        *self.inner() = Inner::default();
    }

    /// The next records of a sink.
    pub(super) fn next(&self, sink: &SinkKey, max_records: usize, max_bytes: usize) -> Ready {
        let inner = self.inner();
        let Some((stand, _)) = inner.sinks.get(sink).filter(|(_, looked)| looked.elapsed() < LOOK) else {
            return Ready::Due;
        };
        let Stand { position, end, .. } = *stand;
        if position >= end {
            return Ready::Nothing;
        }
        let run = inner.run(*stand, max_records, max_bytes);
        // The writer does not wait until they are opened.
        drop(inner);
        let mut cut = Cut::default();
        for kept in run {
            // One that cannot be opened is read from the database, which says what is wrong with it.
            let Some(block) = kept.into_block() else { break };
            if cut.take(&block, position.max(block.first), max_records, max_bytes) {
                break;
            }
        }
        cut.chunk().map_or(Ready::Behind, Ready::Chunk)
    }
}

impl Inner {
    /// The blocks from where a sink stands on, one behind the other, as many as fill a chunk.
    fn run(&self, stand: Stand, max_records: usize, max_bytes: usize) -> Vec<Kept> {
        let keys = stand.keys();
        let first = self.blocks.range(keys.start..=key(stand.number, stand.position)).next_back();
        let Some((first, _)) = first.filter(|(_, kept)| kept.end() > stand.position) else {
            return Vec::new();
        };
        let (mut run, mut next, mut bytes) = (Vec::new(), *first, 0);
        for (place, kept) in self.blocks.range(*first..keys.end) {
            let records = usize::try_from(position_of(next).saturating_sub(stand.position));
            if *place != next || records.is_ok_and(|records| records >= max_records) || bytes >= max_bytes {
                break;
            }
            next = key(stand.number, kept.end());
            // Of the first block the sink may have a part.
            bytes += if run.is_empty() { 0 } else { kept.sealed.raw() };
            run.push(kept.clone());
        }
        run
    }

    /// Keeps what is too much as it is stored only, and no more of that than the sinks need.
    fn make_room(&mut self) {
        while self.open.bytes > OPEN
            && let Some(place) = self.open.keys.pop_front()
        {
            if let Some(kept) = self.blocks.get_mut(&place)
                && let Some(block) = kept.open.take()
            {
                self.open.bytes -= block.bytes.len();
                self.sealed.bytes += kept.sealed.body.len();
                self.sealed.keys.push_back(place);
            }
        }
        let most = SEALED_EACH.saturating_mul(self.sinks.len()).min(SEALED_MOST);
        while self.sealed.bytes > most
            && let Some(place) = self.sealed.keys.pop_front()
        {
            self.forget(place);
        }
    }

    fn forget(&mut self, place: i64) {
        match self.blocks.remove(&place) {
            Some(Kept { open: Some(block), .. }) => self.open.bytes -= block.bytes.len(),
            Some(Kept { sealed, open: None }) => self.sealed.bytes -= sealed.body.len(),
            None => {}
        }
    }

    /// Keys of blocks that are gone stand in front once every older one is gone too.
    fn skip_gone(&mut self) {
        for queued in [&mut self.open, &mut self.sealed] {
            while queued.keys.front().is_some_and(|place| !self.blocks.contains_key(place)) {
                queued.keys.pop_front();
            }
        }
    }
}

impl Kept {
    /// The position after its last record.
    fn end(&self) -> u64 {
        position_of(self.sealed.key) + u64::from(self.sealed.count)
    }

    fn into_block(self) -> Option<Block> {
        self.open.or_else(|| unseal(&self.sealed, position_of(self.sealed.key)))
    }
}
