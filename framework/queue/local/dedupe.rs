//! The ids of the last records of one instance, in memory: which are new, which are known with the same bytes, and
//! which come again with other bytes. [`super::windows`] has the windows of all instances.
//!
//! The writer alone holds it. It keeps no ids but keyed hashes of them (a key per store), so that what a
//! stranger shapes cannot collide. About 35 bytes an id, whatever the id's length.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

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
    /// What an instance's name was when its ids were first remembered, where it is another one now.
    names: Arc<HashMap<InstanceId, String>>,
}

impl Key {
    /// The hashes under this key.
    pub(super) fn new(bytes: [u8; 16]) -> Self {
        let both = digest::digest(&digest::SHA256, &[&bytes[..], b"records"].concat());
        let (derived, _) = both.as_ref().split_at(16);
        let records = UnboundKey::new(&AES_128_GCM, derived).expect("AES-128 takes keys of 16 bytes");
        Self { bytes, records: Arc::new(LessSafeKey::new(records)), names: Arc::default() }
    }

    /// The same key, where instances have these names in their marks.
    pub(super) fn named(self, names: HashMap<InstanceId, String>) -> Self {
        Self { names: Arc::new(names), ..self }
    }

    fn name<'a>(&'a self, instance: &'a InstanceId) -> &'a str {
        match self.names.is_empty() {
            true => instance.as_str(),
            false => self.names.get(instance).map_or(instance.as_str(), String::as_str),
        }
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
        self.bytes == other.bytes && self.names == other.names
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
        hasher.write(key.name(instance).as_bytes());
        // No instance's name holds a zero, so no two pairs of instance and id are written alike.
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
    /// The number of its first mark, and how many there were.
    first: u32,
    marks: u32,
}

/// The ids of one instance that are remembered.
#[derive(Debug)]
pub(super) struct Window {
    age_ms: i64,
    /// The number of the oldest entry; numbers wrap.
    first: u32,
    entries: VecDeque<Mark>,
    runs: VecDeque<Run>,
    /// Numbers of entries by their id's hash.
    index: HashTable<u32>,
}

impl Window {
    /// An empty window. An id is remembered for `age`.
    pub(super) fn new(age: std::time::Duration) -> Self {
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        Self { age_ms, first: 0, entries: VecDeque::new(), runs: VecDeque::new(), index: HashTable::new() }
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

    /// What is known of this mark from commits that are no further from `now` than `age`.
    pub(super) fn look_within(&self, mark: &Mark, now: i64, age: Duration) -> Seen {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let mut seen = Seen::New;
        for number in self.index.iter_hash(mark.id[0]) {
            let near = || self.committed_at(*number).is_none_or(|at| at.abs_diff(now) <= age);
            match self.entry(*number) {
                Some(known) if known.id != mark.id || !near() => {}
                Some(known) if known == mark => return Seen::Same,
                Some(_) => seen = Seen::Reused,
                None => {}
            }
        }
        seen
    }

    /// When an entry was committed, in milliseconds; `None` while its commit is in the making.
    fn committed_at(&self, number: u32) -> Option<i64> {
        // Of the oldest commit a part may be forgotten: its first number is below that of the oldest entry. Numbers wrap,
        // and half of their range is free.
        let from_oldest = |number: u32| number.wrapping_sub(self.first) as i32;
        let place = from_oldest(number);
        let after = self.runs.partition_point(|run| from_oldest(run.first) <= place);
        let run = self.runs.get(after.checked_sub(1)?)?;
        (place.wrapping_sub(from_oldest(run.first)) < run.marks as i32).then_some(run.at)
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
        let first = self.first.wrapping_add(self.entries.len().saturating_sub(marks) as u32);
        self.runs.push_back(Run { seq, at, left: marks, first, marks: marks as u32 });
    }

    /// Whether what was committed then is too old to be remembered.
    pub(super) fn is_too_old(&self, at: i64, now: i64) -> bool {
        now.saturating_sub(at) > self.age_ms
    }

    /// Whether nothing is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When the oldest mark was committed, in milliseconds.
    pub(super) fn oldest_ms(&self) -> Option<i64> {
        self.runs.front().map(|run| run.at)
    }

    /// Forgets what is older than the window's age. Adds the rows of `ids` of which nothing is remembered any more
    /// to `done`, and returns how many marks were forgotten.
    pub(super) fn expire(&mut self, now: i64, done: &mut Vec<i64>) -> usize {
        let before = self.entries.len();
        while let Some(run) = self.runs.front()
            && now.saturating_sub(run.at) > self.age_ms
        {
            self.evict(run.left, done);
        }
        before - self.entries.len()
    }

    /// Forgets the oldest marks: at most `most`, and of one commit only. Adds the row of `ids` to `done` if nothing of
    /// it is remembered any more. Returns how many marks were forgotten.
    pub(super) fn evict(&mut self, most: usize, done: &mut Vec<i64>) -> usize {
        let Some(run) = self.runs.front_mut() else { return 0 };
        let surplus = most.min(run.left);
        run.left -= surplus;
        if run.left == 0 {
            done.push(run.seq);
            self.runs.pop_front();
        }
        for _ in 0..surplus {
            let number = self.first;
            if let Some(mark) = self.entries.pop_front() {
                self.unindex(mark, number);
            }
            self.first = self.first.wrapping_add(1);
        }
        surplus
    }

    /// Bytes that it takes.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.entries.capacity() * MARK + self.index.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static KEY: LazyLock<Key> = LazyLock::new(|| Key::new([7; 16]));

    fn mark(id: u64) -> Mark {
        let instance = InstanceId::parse("acme").unwrap();
        Mark::of(&KEY, &instance, &id.to_le_bytes(), b"bytes")
    }

    #[test]
    fn look_within_age_ignores_older_commits() {
        let mut window = Window::new(Duration::from_secs(3600));
        window.first = u32::MAX - 1;
        for (at, ids) in [(0, 0..3), (60_000, 3..5)] {
            let before = window.len();
            ids.for_each(|id| window.remember(mark(id)));
            window.committed(at + 1, at, window.len() - before);
        }
        window.remember(mark(9));
        let look = |id, now| window.look_within(&mark(id), now, Duration::from_secs(30));
        assert!((0..3).all(|id| look(id, 30_000) == Seen::Same && look(id, 30_001) == Seen::New));
        assert!((3..5).all(|id| look(id, 90_000) == Seen::Same && look(id, 90_001) == Seen::New));
        assert_eq!(look(9, 1_000_000), Seen::Same, "its commit is in the making");
        assert_eq!(window.look(&mark(0)), Seen::Same);
    }

    #[test]
    fn numbers_wrap_and_a_refused_batch_is_forgotten() {
        let mut window = Window::new(Duration::from_secs(1));
        window.first = u32::MAX - 3;
        for id in 0..8 {
            window.remember(mark(id));
        }
        window.committed(1, 0, 8);
        assert!((0..8).all(|id| window.look(&mark(id)) == Seen::Same));
        window.remember(mark(100));
        window.forget_after(8);
        assert_eq!(window.look(&mark(100)), Seen::New);
        let mut done = Vec::new();
        assert_eq!((window.expire(1001, &mut done), done), (8, vec![1]));
        assert!((0..8).all(|id| window.look(&mark(id)) == Seen::New));
        assert_eq!((window.len(), window.index.len()), (0, 0));
    }

    #[test]
    fn renamed_instance_makes_the_marks_of_its_first_name() {
        let id = |text: &str| InstanceId::parse(text).unwrap();
        let of = |key: &Key, instance: &str| Mark::of(key, &id(instance), b"1", b"x");
        let renamed = KEY.clone().named([(id("new"), "old".to_owned())].into());
        assert_eq!(of(&renamed, "new"), of(&KEY, "old"));
        assert_ne!(of(&renamed, "other"), of(&KEY, "old"));
        assert_ne!(renamed, *KEY, "marks made before a rename are made again");
    }
}
