//! The windows of remembered ids of all instances, and which of them gives way when there are too many ids.
//!
//! The writer alone holds it. Each instance has a window of its own. Together they hold `queue.dedupe.count` ids: an
//! instance may use what others leave, and gives it back when they need it. What an instance remembers within its share
//! is never forgotten for another one.
//!
//! A row of `ids` holds the marks of one instance and one commit: 24 bytes of head (`HEAD`, the instance's number, zero;
//! little-endian), then the marks. Rows without a head were written by earlier versions and hold marks of any instance:
//! they are looked up for every instance until they are too old.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::dedupe::{MARK, Mark, Seen, Window};
use crate::connector::instance::InstanceId;
use crate::queue::limits::Limits;
use crate::queue::shares::Shares;

/// The first eight bytes of a row that says whose marks it holds.
pub(super) const HEAD: [u8; 8] = *b"fbymarks";

/// How often it is looked which ids are too old: there may be a thousand windows.
const AGED_EVERY_MS: u64 = 1000;

/// The windows.
#[derive(Debug)]
pub(super) struct Windows {
    count: usize,
    age: Duration,
    shares: Shares,
    of: HashMap<InstanceId, Window>,
    /// Marks of rows that do not say whose they are.
    unnamed: Window,
    /// Ids in all windows.
    len: usize,
    /// Rows of `ids` that nothing is remembered of.
    done: Vec<i64>,
    /// When it was last looked which ids are too old, in milliseconds.
    aged: Option<i64>,
    /// How old the ids were that an instance had to forget for want of room, in milliseconds: the youngest of them.
    early: BTreeMap<InstanceId, i64>,
}

impl Windows {
    /// Empty windows of these bounds.
    pub(super) fn new(limits: &Limits) -> Self {
        let longest = limits.shares.ages().fold(limits.dedupe_age, Duration::max);
        Self {
            // Numbers of entries are 32 bits, and half of their range must stay free to tell old from new.
            count: limits.dedupe_count.min(1 << 31),
            age: limits.dedupe_age,
            shares: limits.shares.clone(),
            of: HashMap::new(),
            unnamed: Window::new(longest),
            len: 0,
            done: Vec::new(),
            aged: None,
            early: BTreeMap::new(),
        }
    }

    /// The window of an instance.
    pub(super) fn of(&mut self, instance: &InstanceId) -> Judge<'_> {
        let window = match self.of.contains_key(instance) {
            true => None,
            false => Some(Window::new(self.shares.age(instance).unwrap_or(self.age))),
        };
        let window = match window {
            Some(window) => self.of.entry(instance.clone()).or_insert(window),
            None => self.of.get_mut(instance).expect("it was looked for just now"),
        };
        Judge { window, unnamed: &self.unnamed, len: &mut self.len }
    }

    /// How many ids of an instance are remembered.
    pub(super) fn len(&self, instance: &InstanceId) -> usize {
        self.of.get(instance).map_or(0, Window::len)
    }

    /// The newest `n` marks of an instance, as a row of `ids` has them.
    pub(super) fn row(&self, instance: &InstanceId, number: i64, n: usize) -> Vec<u8> {
        let mut row = Vec::with_capacity((n + 1) * MARK);
        row.extend(HEAD);
        row.extend(number.to_le_bytes());
        row.resize(MARK, 0);
        row.extend(
            self.of.get(instance).into_iter().flat_map(|window| window.newest(n)).flat_map(Mark::to_bytes),
        );
        row
    }

    /// Takes back every mark of an instance but the oldest `len`.
    pub(super) fn forget_after(&mut self, instance: &InstanceId, len: usize) {
        if let Some(window) = self.of.get_mut(instance) {
            self.len -= window.len().saturating_sub(len);
            window.forget_after(len);
        }
    }

    /// Closes a commit: the last `marks` marks of the instance stand in this row of `ids`.
    pub(super) fn committed(&mut self, instance: &InstanceId, seq: i64, at: i64, marks: usize) {
        if let Some(window) = self.of.get_mut(instance) {
            window.committed(seq, at, marks);
        }
    }

    /// Takes a row of `ids` as it is stored, unless it is too old. `named` gives the instance of a number.
    pub(super) fn load(
        &mut self,
        seq: i64,
        at: i64,
        now: i64,
        body: &[u8],
        named: impl FnOnce(i64) -> Option<InstanceId>,
    ) {
        let (window, marks) = match body.strip_prefix(&HEAD) {
            None => (&mut self.unnamed, body),
            Some(rest) => {
                let number = rest.first_chunk().map(|number| i64::from_le_bytes(*number));
                // An instance that was dropped left its rows.
                let Some(instance) = number.and_then(named) else { return self.done.push(seq) };
                let age = self.shares.age(&instance).unwrap_or(self.age);
                let window = self.of.entry(instance).or_insert_with(|| Window::new(age));
                (window, body.get(MARK..).unwrap_or_default())
            }
        };
        // Where the clock went back, rows that are less old stand before it.
        if window.is_too_old(at, now) {
            return self.done.push(seq);
        }
        let before = window.len();
        marks.chunks_exact(MARK).filter_map(Mark::from_bytes).for_each(|mark| window.remember(mark));
        let fresh = window.len() - before;
        if fresh == 0 {
            return self.done.push(seq);
        }
        window.committed(seq, at, fresh);
        self.len += fresh;
    }

    /// A row that cannot be read.
    pub(super) fn spoiled(&mut self, seq: i64) {
        self.done.push(seq);
    }

    /// Forgets what is too old, and what is too much. [`Self::take_done`] gives the rows that are not needed any more.
    pub(super) fn expire(&mut self, now: i64) {
        if self.aged.is_none_or(|before| now.abs_diff(before) >= AGED_EVERY_MS) {
            self.aged = Some(now);
            for window in self.of.values_mut().chain([&mut self.unnamed]) {
                self.len -= window.expire(now, &mut self.done);
            }
        }
        while self.len > self.count {
            if self.give_way(now) == 0 {
                return;
            }
        }
    }

    /// Has the instance that is furthest beyond its share forget its oldest ids. Returns how many it forgot.
    fn give_way(&mut self, now: i64) -> usize {
        let surplus = self.len - self.count;
        if !self.unnamed.is_empty() {
            let forgotten = self.unnamed.evict(surplus, &mut self.done);
            self.len -= forgotten;
            return forgotten;
        }
        let weights = self.shares.total(self.of.keys());
        let mut furthest: Option<(&InstanceId, &mut Window, u64)> = None;
        for (instance, window) in &mut self.of {
            let share = self.shares.of(instance, self.count as u64, weights);
            let beyond = (window.len() as u64).saturating_sub(share);
            if beyond > furthest.as_ref().map_or(0, |(.., most)| *most) {
                furthest = Some((instance, window, beyond));
            }
        }
        let Some((instance, window, beyond)) = furthest else { return 0 };
        let age = window.oldest_ms().map_or(0, |at| now.saturating_sub(at));
        let keep = self.shares.retry_window(instance);
        if keep.is_some_and(|keep| i128::from(age) < i128::try_from(keep.as_millis()).unwrap_or(i128::MAX)) {
            let youngest = self.early.entry(instance.clone()).or_insert(age);
            *youngest = age.min(*youngest);
        }
        let most = surplus.min(usize::try_from(beyond).unwrap_or(usize::MAX));
        let forgotten = window.evict(most, &mut self.done);
        self.len -= forgotten;
        forgotten
    }

    /// The rows of `ids` that nothing is remembered of any more.
    pub(super) fn take_done(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.done)
    }

    /// Which instances forgot ids sooner than their senders give up, and how old those were, in milliseconds.
    pub(super) fn take_early(&mut self) -> BTreeMap<InstanceId, i64> {
        std::mem::take(&mut self.early)
    }
}

/// What judges the records of one instance.
pub(super) struct Judge<'a> {
    window: &'a mut Window,
    unnamed: &'a Window,
    len: &'a mut usize,
}

impl Judge<'_> {
    /// What is known of this mark.
    pub(super) fn look(&self, mark: &Mark) -> Seen {
        self.look_by(|window| window.look(mark))
    }

    /// What is known of this mark from commits that are no further from `now` than `age`.
    pub(super) fn look_within(&self, mark: &Mark, now: i64, age: Duration) -> Seen {
        self.look_by(|window| window.look_within(mark, now, age))
    }

    fn look_by(&self, look: impl Fn(&Window) -> Seen) -> Seen {
        match look(&*self.window) {
            Seen::Same => Seen::Same,
            seen if self.unnamed.is_empty() => seen,
            seen => match (seen, look(self.unnamed)) {
                (_, Seen::Same) => Seen::Same,
                (Seen::Reused, _) | (_, Seen::Reused) => Seen::Reused,
                _ => Seen::New,
            },
        }
    }

    /// Adds a mark that belongs to the commit in the making.
    pub(super) fn remember(&mut self, mark: Mark) {
        self.window.remember(mark);
        *self.len += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::dedupe::Key;
    use super::*;
    use crate::queue::shares::Member;

    fn id(text: &str) -> InstanceId {
        InstanceId::parse(text).unwrap()
    }

    /// A commit of `n` ids of an instance from `first` on.
    fn bring(windows: &mut Windows, instance: &str, first: u64, n: usize, seq: i64, at: i64) {
        let key = Key::new([7; 16]);
        for n in 0..n as u64 {
            windows.of(&id(instance)).remember(Mark::of(
                &key,
                &id(instance),
                &(first + n).to_le_bytes(),
                b"x",
            ));
        }
        windows.committed(&id(instance), seq, at, n);
        windows.expire(at);
    }

    fn knows(windows: &mut Windows, instance: &str, n: u64) -> bool {
        let mark = Mark::of(&Key::new([7; 16]), &id(instance), &n.to_le_bytes(), b"x");
        windows.of(&id(instance)).look(&mark) == Seen::Same
    }

    fn limits(count: usize, members: &[(&str, u32)]) -> Limits {
        let member =
            |weight| Member { weight, dedupe_age: None, retry_window: Some(Duration::from_secs(60)) };
        let members = members.iter().map(|(name, weight)| (id(name), member(*weight))).collect();
        Limits { dedupe_count: count, shares: Shares { members, ..Shares::default() }, ..Limits::default() }
    }

    #[test]
    fn many_ids_of_one_instance_leave_the_others_their_share() {
        let mut windows = Windows::new(&limits(1000, &[("a", 1), ("b", 1)]));
        bring(&mut windows, "b", 0, 100, 1, 0);
        bring(&mut windows, "a", 0, 900, 2, 1);
        assert_eq!((windows.len(&id("a")), windows.len(&id("b"))), (900, 100), "what b leaves a may use");
        bring(&mut windows, "a", 900, 5000, 3, 2);
        assert_eq!((windows.len(&id("a")), windows.len(&id("b"))), (900, 100));
        assert!(
            knows(&mut windows, "b", 0) && !knows(&mut windows, "a", 0) && knows(&mut windows, "a", 5899)
        );
        bring(&mut windows, "b", 100, 2000, 4, 3);
        assert_eq!(
            (windows.len(&id("a")), windows.len(&id("b"))),
            (500, 500),
            "and gives back when b needs it"
        );
        assert_eq!(windows.take_done(), [2, 1]);
    }

    #[test]
    fn weights_and_removed_instances_decide_who_forgets() {
        let mut windows = Windows::new(&limits(1000, &[("a", 3), ("b", 1)]));
        bring(&mut windows, "gone", 0, 400, 1, 0);
        bring(&mut windows, "b", 0, 600, 2, 1);
        bring(&mut windows, "a", 0, 750, 3, 2);
        let left = ["gone", "b", "a"].map(|name| windows.len(&id(name)));
        assert_eq!(left, [0, 250, 750]);
    }

    #[test]
    fn ids_forgotten_before_the_sender_gives_up_are_reported() {
        let mut windows = Windows::new(&limits(100, &[("a", 1), ("b", 1)]));
        bring(&mut windows, "a", 0, 100, 1, 0);
        bring(&mut windows, "a", 100, 50, 2, 59_999);
        assert_eq!(windows.take_early(), [(id("a"), 59_999)].into());
        bring(&mut windows, "a", 150, 50, 3, 60_000);
        assert_eq!(windows.take_early(), BTreeMap::new());
    }

    #[test]
    fn rows_of_earlier_versions_hold_for_every_instance() {
        let (key, limits) = (Key::new([7; 16]), limits(100, &[("a", 1)]));
        let mut windows = Windows::new(&limits);
        let old: Vec<u8> =
            ["a", "b"].iter().flat_map(|of| Mark::of(&key, &id(of), &[1; 8], b"x").to_bytes()).collect();
        windows.load(5, 0, 0, &old, |_| None);
        bring(&mut windows, "b", 7, 1, 6, 1);
        let row = windows.row(&id("b"), 9, 1);
        let mut again = Windows::new(&limits);
        again.load(5, 0, 1, &old, |_| None);
        again.load(6, 1, 1, &row, |number| (number == 9).then(|| id("b")));
        again.load(8, 1, 1, &row, |_| None);
        let one = u64::from_le_bytes([1; 8]);
        assert!(knows(&mut again, "a", one) && knows(&mut again, "b", one) && knows(&mut again, "b", 7));
        assert!(!knows(&mut again, "a", 7));
        assert_eq!(again.take_done(), [8], "the row of an instance that was dropped");
        again.expire(i64::MAX);
        assert_eq!((again.len, again.take_done()), (0, vec![6, 5]));
    }

    #[test]
    fn a_million_ids_take_less_than_48_megabytes() {
        let mut windows = Windows::new(&limits(1_000_000, &[("a", 1)]));
        for run in 0..1100u64 {
            bring(&mut windows, "a", run * 1000, 1000, i64::try_from(run).unwrap(), 0);
        }
        assert_eq!(windows.len(&id("a")), 1_000_000);
        let bytes = windows.of[&id("a")].allocated();
        assert!(bytes < 48_000_000, "{bytes}");
        assert!(!knows(&mut windows, "a", 99_999) && knows(&mut windows, "a", 100_000));
        assert!(knows(&mut windows, "a", 1_099_999));
    }
}
