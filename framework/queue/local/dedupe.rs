//! The ids of the last records, in memory: which are new, which are known with the same bytes, and which come
//! again with other bytes.
//!
//! The writer alone holds it. It keeps no ids but keyed hashes of them (a key per store), so that what a
//! stranger shapes cannot collide. About 35 bytes an id, whatever the id's length.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use hashbrown::HashTable;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::connector::instance::InstanceId;

/// The hash of an instance and an id (128 bits), and of a record's bytes. 64 bits are enough for the bytes:
/// they only tell versions of one id apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    id: [u64; 2],
    bytes: u64,
}

/// A store's key, and the hashes that are made with it.
#[derive(Debug, Clone)]
pub(super) struct Key {
    bytes: [u8; 16],
    /// For records, which are long: GMAC, which processors do in a third of SipHash's time. All tags are made with one
    /// nonce, so whoever saw some could work out the key of the hash; they stand in the store alone.
    records: Arc<LessSafeKey>,
}

impl Key {
    /// The hashes under this key.
    pub(super) fn new(bytes: [u8; 16]) -> Self {
        let both = digest::digest(&digest::SHA256, &[&bytes[..], b"records"].concat());
        let (derived, _) = both.as_ref().split_at(16);
        let records = UnboundKey::new(&AES_128_GCM, derived).expect("AES-128 takes keys of 16 bytes");
        Self { bytes, records: Arc::new(LessSafeKey::new(records)) }
    }

    fn record(&self, bytes: &[u8]) -> u64 {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let tag = self.records.seal_in_place_separate_tag(nonce, Aad::from(bytes), &mut []);
        let tag = tag.expect("a body is bounded far below what one tag can cover");
        u64::from_le_bytes(*tag.as_ref().first_chunk().expect("a tag has 16 bytes"))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

/// The size of a mark in the store.
pub(super) const MARK: usize = 24;

/// What is known of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing.
    New,
    /// It came with these bytes.
    Same,
    /// It came, with other bytes only.
    Reused,
}

impl Mark {
    /// The mark of a record under the store's key.
    pub(super) fn of(key: &Key, instance: &InstanceId, id: &[u8], bytes: &[u8]) -> Self {
        let mut hasher = SipHasher13::new_with_key(&key.bytes);
        hasher.write(instance.as_str().as_bytes());
        // No instance's id holds a zero, so no two pairs of instance and id are written alike.
        hasher.write(&[0]);
        hasher.write(id);
        let id = hasher.finish128();
        Self { id: [id.h1, id.h2], bytes: key.record(bytes) }
    }

    /// As it is stored.
    pub(super) fn to_bytes(self) -> [u8; MARK] {
        let mut out = [0; MARK];
        for (slot, word) in out.chunks_exact_mut(8).zip([self.id[0], self.id[1], self.bytes]) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// From what is stored.
    pub(super) fn from_bytes(stored: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(stored.get(at..at + 8)?.try_into().ok()?));
        Some(Self { id: [word(0)?, word(8)?], bytes: word(16)? })
    }
}

/// Marks of one commit, oldest commits first.
#[derive(Debug)]
struct Run {
    /// The row of `ids` that holds them.
    seq: i64,
    /// When it was committed, in milliseconds.
    at: i64,
    /// How many of them are still remembered.
    left: usize,
}

/// The window of ids that are remembered.
#[derive(Debug)]
pub(super) struct Window {
    count: usize,
    age_ms: i64,
    /// The number of the oldest entry; numbers wrap.
    first: u32,
    entries: VecDeque<Mark>,
    runs: VecDeque<Run>,
    /// Numbers of entries by their id's hash.
    index: HashTable<u32>,
}

impl Window {
    /// An empty window of these bounds.
    pub(super) fn new(count: usize, age: std::time::Duration) -> Self {
        // Numbers of entries are 32 bits, and half of their range must stay free to tell old from new.
        let count = count.min(1 << 31);
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        Self {
            count,
            age_ms,
            first: 0,
            entries: VecDeque::new(),
            runs: VecDeque::new(),
            index: HashTable::new(),
        }
    }

    /// What is known of this mark.
    pub(super) fn look(&self, mark: &Mark) -> Seen {
        let mut seen = Seen::New;
        for number in self.index.iter_hash(mark.id[0]) {
            match self.entry(*number) {
                Some(known) if known == mark => return Seen::Same,
                Some(known) if known.id == mark.id => seen = Seen::Reused,
                Some(_) | None => {}
            }
        }
        seen
    }

    fn entry(&self, number: u32) -> Option<&Mark> {
        self.entries.get(number.wrapping_sub(self.first) as usize)
    }

    /// Adds a mark that belongs to the commit in the making.
    pub(super) fn remember(&mut self, mark: Mark) {
        let Self { first, entries, index, .. } = self;
        let number = first.wrapping_add(entries.len() as u32);
        entries.push_back(mark);
        let hash = |number: &u32| entries.get(number.wrapping_sub(*first) as usize).map_or(0, |m| m.id[0]);
        index.insert_unique(mark.id[0], number, hash);
    }

    /// How many marks there are; what [`Window::forget_after`] takes.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The newest `n` marks, oldest of them first.
    pub(super) fn newest(&self, n: usize) -> impl Iterator<Item = Mark> + '_ {
        self.entries.iter().skip(self.entries.len().saturating_sub(n)).copied()
    }

    /// Takes back every mark but the oldest `len`: their batch was refused, and no id may be burnt by it.
    pub(super) fn forget_after(&mut self, len: usize) {
        while self.entries.len() > len {
            let number = self.first.wrapping_add(self.entries.len() as u32 - 1);
            if let Some(mark) = self.entries.pop_back() {
                self.unindex(mark, number);
            }
        }
    }

    fn unindex(&mut self, mark: Mark, number: u32) {
        if let Ok(entry) = self.index.find_entry(mark.id[0], |n| *n == number) {
            entry.remove();
        }
    }

    /// Closes a commit: its last `marks` marks stand in this row of `ids`.
    pub(super) fn committed(&mut self, seq: i64, at: i64, marks: usize) {
        self.runs.push_back(Run { seq, at, left: marks });
    }

    /// Forgets what is beyond the window's count or age. Returns the last row of `ids` of which nothing is
    /// remembered any more.
    pub(super) fn expire(&mut self, now: i64) -> Option<i64> {
        let mut done = None;
        while let Some(run) = self.runs.front_mut() {
            let old = now.saturating_sub(run.at) > self.age_ms;
            if !old && self.entries.len() <= self.count {
                break;
            }
            let surplus = if old { run.left } else { run.left.min(self.entries.len() - self.count) };
            run.left -= surplus;
            if run.left == 0 {
                done = Some(run.seq);
                self.runs.pop_front();
            }
            for _ in 0..surplus {
                let number = self.first;
                if let Some(mark) = self.entries.pop_front() {
                    self.unindex(mark, number);
                }
                self.first = self.first.wrapping_add(1);
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::time::Duration;

    use super::*;

    static KEY: LazyLock<Key> = LazyLock::new(|| Key::new([7; 16]));

    fn mark(id: u64) -> Mark {
        let instance = InstanceId::parse("acme").unwrap();
        Mark::of(&KEY, &instance, &id.to_le_bytes(), b"bytes")
    }

    #[test]
    fn a_million_ids_take_less_than_48_megabytes() {
        let mut window = Window::new(1_000_000, Duration::from_secs(3600));
        for run in 0..1100u64 {
            for id in 0..1000 {
                window.remember(mark(run * 1000 + id));
            }
            window.committed(i64::try_from(run).unwrap(), 0, 1000);
            window.expire(1);
        }
        assert_eq!(window.len(), 1_000_000);
        let bytes = window.entries.capacity() * MARK + window.index.allocation_size();
        assert!(bytes < 48_000_000, "{bytes}");
        assert_eq!(window.look(&mark(99_999)), Seen::New);
        assert_eq!(window.look(&mark(100_000)), Seen::Same);
        assert_eq!(window.look(&mark(1_099_999)), Seen::Same);
    }

    #[test]
    fn numbers_wrap_and_a_refused_batch_is_forgotten() {
        let mut window = Window::new(10, Duration::from_secs(1));
        window.first = u32::MAX - 3;
        for id in 0..8 {
            window.remember(mark(id));
        }
        window.committed(1, 0, 8);
        assert!((0..8).all(|id| window.look(&mark(id)) == Seen::Same));
        window.remember(mark(100));
        window.forget_after(8);
        assert_eq!(window.look(&mark(100)), Seen::New);
        assert_eq!(window.expire(1001), Some(1));
        assert!((0..8).all(|id| window.look(&mark(id)) == Seen::New));
        assert_eq!((window.len(), window.index.len()), (0, 0));
    }
}
