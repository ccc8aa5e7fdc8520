//! The newest blocks, still in memory, and where each sink stands: a sink that keeps up is served from here.
//!
//! The writer puts in what it committed, readers ask before they look into the database. Only what is safe on
//! disk is here, and everything here is in the database too: it may be emptied at any time. The newest blocks are kept as
//! they are read. Many sinks come for theirs less often: for them older ones are kept as they are stored, which is less.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::block::{Block, Sealed, unseal};
use super::keys::{key, position_of};
use super::reader::{Cut, Stand, Unstamped};
use crate::queue::SinkKey;

/// Bytes of blocks that are kept as they are read.
const OPEN: usize = 6 << 20;
/// Bytes of blocks that are kept as they are stored, for each sink. A sink that is further behind reads from the database.
const SEALED_EACH: usize = 512 << 10;
/// Bytes of those at most, however many sinks there are.
const SEALED_MOST: usize = 24 << 20;
/// How often it is looked for letters that another process marked.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How long a reader waits until it looks by itself, should it have missed what it waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What is known without the database.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By their keys: instance, then position.
    blocks: BTreeMap<i64, Kept>,
    open: Queued,
    sealed: Queued,
    /// The number of the next block: the oldest has the least.
    next: u64,
    /// Where each stands, and whether the database is to be asked: only that shows letters that a person sent again.
    sinks: HashMap<SinkKey, (Stand, bool)>,
}

/// Keys of blocks by their numbers, and how many bytes those take.
#[derive(Debug, Default)]
struct Queued {
    keys: BTreeMap<u64, i64>,
    bytes: usize,
}

/// A block as it is stored, and while it is one of the newest as it is read.
#[derive(Debug, Clone)]
struct Kept {
    number: u64,
    sealed: Sealed,
    open: Option<Block>,
}

/// What there is for a sink.
pub(super) enum Ready {
    /// Its next records.
    Chunk(Unstamped),
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
            let number = inner.next;
            inner.next += 1;
            inner.open.keys.insert(number, place);
            inner.open.bytes += block.bytes.len();
            inner.blocks.insert(place, Kept { number, sealed, open: Some(block) });
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
        inner.sinks.insert(sink.clone(), (stand, false));
    }

    /// Sinks have to ask the database. `true`: some did not have to before.
    pub(super) fn due<'a>(&self, sinks: impl Iterator<Item = &'a SinkKey>) -> bool {
        let mut inner = self.inner();
        let mut changed = false;
        for sink in sinks {
            if let Some((_, due)) = inner.sinks.get_mut(sink) {
                changed |= !std::mem::replace(due, true);
            }
        }
        changed
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
    }

    /// Everything may be different now.
    pub(super) fn clear(&self) {
        *self.inner() = Inner::default();
    }

    /// The next records of a sink.
    pub(super) fn next(&self, sink: &SinkKey, max_records: usize, max_bytes: usize) -> Ready {
        let inner = self.inner();
        let Some((stand, _)) = inner.sinks.get(sink).filter(|(_, due)| !due) else {
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
            bytes += if run.is_empty() { 0 } else { kept.sealed.raw().unwrap_or(0) };
            run.push(kept.clone());
        }
        run
    }

    /// Keeps what is too much as it is stored only, and no more of that than the sinks need.
    fn make_room(&mut self) {
        while self.open.bytes > OPEN
            && let Some((number, place)) = self.open.keys.pop_first()
        {
            if let Some(kept) = self.blocks.get_mut(&place)
                && let Some(block) = kept.open.take()
            {
                self.open.bytes -= block.bytes.len();
                self.sealed.bytes += kept.sealed.body.len();
                self.sealed.keys.insert(number, place);
            }
        }
        let most = SEALED_EACH.saturating_mul(self.sinks.len()).min(SEALED_MOST);
        while self.sealed.bytes > most
            && let Some((_, place)) = self.sealed.keys.first_key_value()
        {
            self.forget(*place);
        }
    }

    fn forget(&mut self, place: i64) {
        let Some(Kept { number, sealed, open }) = self.blocks.remove(&place) else { return };
        let (queued, bytes) = match open {
            Some(block) => (&mut self.open, block.bytes.len()),
            None => (&mut self.sealed, sealed.body.len()),
        };
        queued.keys.remove(&number);
        queued.bytes -= bytes;
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::block::pack;
    use super::*;
    use crate::connector::instance::InstanceId;

    /// The block that begins there in the log of an instance, with one record.
    fn block(instance: i64, first: u64) -> (Sealed, Block) {
        pack([Bytes::from_static(b"{}")].iter()).seal(key(instance, first), first)
    }

    #[test]
    fn nothing_piles_up_behind_a_sink_that_is_held() {
        let recent = Recent::default();
        let sink =
            |id: &str| SinkKey { instance: InstanceId::parse(id).expect("an id"), sink: "file".to_owned() };
        recent.looked(&sink("held"), Stand { number: 1, position: 0, end: 0 });
        recent.looked(&sink("well"), Stand { number: 2, position: 0, end: 0 });
        recent.keep(vec![block(1, 0)]);
        for first in 0..1000 {
            recent.keep(vec![block(2, first)]);
            recent.moved(&sink("well"), first + 1);
        }
        let inner = recent.inner();
        assert_eq!((inner.blocks.len(), inner.open.keys.len(), inner.open.bytes), (1, 1, 2));
    }
}
