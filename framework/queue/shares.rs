//! Shares: how much of a bound of the store each instance can rely on when all of them need it.
//!
//! `cli` makes them out of `queue.shares` and the instances of the configuration; the local queue holds to them. An
//! instance's share of a bound is its weight over the weights of all instances. It may use what others leave.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::connector::instance::InstanceId;

/// Percent of the bytes of records and dead letters that only the instance whose share it is may use.
const RESERVED: u8 = 50;

/// The shares of one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// Percent of the bytes of the store, and of those of dead letters, that are reserved: each instance its share of
    /// them. The rest is for those who come first.
    pub reserved: u8,
    /// The instances of the configuration. Without any, each instance that the store knows has the weight 1.
    pub members: BTreeMap<InstanceId, Member>,
}

/// One instance of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its weight.
    pub weight: u32,
    /// How long its ids are remembered; `None`: as long as those of the store.
    pub dedupe_age: Option<Duration>,
    /// How long its sender repeats a request.
    pub retry_window: Option<Duration>,
}

impl Default for Member {
    fn default() -> Self {
        Self { weight: 1, dedupe_age: None, retry_window: None }
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self { reserved: RESERVED, members: BTreeMap::new() }
    }
}

impl Shares {
    /// Returns the sum of the weights. `known` are the instances that the store knows.
    pub fn total<'a>(&self, known: impl Iterator<Item = &'a InstanceId>) -> u64 {
        match self.members.is_empty() {
            true => known.count() as u64,
            false => self.members.values().map(|member| u64::from(member.weight)).sum(),
        }
    }

    /// Returns an instance's share of a bound, where `weights` is the [`Self::total`].
    pub fn of(&self, instance: &InstanceId, bound: u64, weights: u64) -> u64 {
        let weight = match self.members.get(instance) {
            Some(member) => u64::from(member.weight),
            None => u64::from(self.members.is_empty()),
        };
        let share = u128::from(bound) * u128::from(weight) / u128::from(weights.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// Returns how long the ids of an instance are remembered, where that differs from the store's own age.
    pub fn age(&self, instance: &InstanceId) -> Option<Duration> {
        self.members.get(instance)?.dedupe_age
    }

    /// Returns how long the sender of an instance repeats a request.
    pub fn retry_window(&self, instance: &InstanceId) -> Option<Duration> {
        self.members.get(instance)?.retry_window
    }

    /// Returns the ages of ids that differ from the store's own.
    pub fn ages(&self) -> impl Iterator<Item = Duration> + '_ {
        self.members.values().filter_map(|member| member.dedupe_age)
    }

    /// Returns what is reserved of a bound.
    pub fn reserve(&self, bound: u64) -> u64 {
        bound / 100 * u64::from(self.reserved.min(100))
    }
}

/// Who holds how much of one bound, and who may have more of it.
#[derive(Debug)]
pub struct Ledger<'a> {
    shares: &'a Shares,
    bound: u64,
    weights: u64,
    held: BTreeMap<InstanceId, u64>,
    /// What is reserved and not used.
    unused: u64,
}

impl<'a> Ledger<'a> {
    /// Returns the ledger of a bound that these instances hold so much of.
    pub fn new(shares: &'a Shares, bound: u64, held: BTreeMap<InstanceId, u64>) -> Self {
        let weights = shares.total(held.keys());
        let mut ledger = Self { shares, bound, weights, held, unused: 0 };
        let reserved = |instance| ledger.left(instance);
        ledger.unused = match shares.members.is_empty() {
            true => ledger.held.keys().map(reserved).sum(),
            false => shares.members.keys().map(reserved).sum(),
        };
        ledger
    }

    /// What is left of an instance's reserved share.
    fn left(&self, instance: &InstanceId) -> u64 {
        let share = self.shares.of(instance, self.shares.reserve(self.bound), self.weights);
        share.saturating_sub(self.held(instance))
    }

    /// Returns what an instance holds.
    pub fn held(&self, instance: &InstanceId) -> u64 {
        self.held.get(instance).copied().unwrap_or(0)
    }

    /// Whether an instance may take so much more where `used` of the bound is taken by all: of what is free and not
    /// reserved for others, or of its own reserved share.
    pub fn admits(&self, instance: &InstanceId, size: u64, used: u64) -> bool {
        let own = self.left(instance);
        let others = self.unused.saturating_sub(own);
        size <= own || used.saturating_add(size).saturating_add(others) <= self.bound
    }

    /// Notes that an instance took so much.
    pub fn take(&mut self, instance: &InstanceId, size: u64) {
        let before = self.left(instance);
        match self.held.get_mut(instance) {
            Some(held) => *held = held.saturating_add(size),
            None => drop(self.held.insert(instance.clone(), size)),
        }
        self.unused = self.unused.saturating_sub(before - self.left(instance));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> InstanceId {
        InstanceId::parse(text).unwrap()
    }

    fn shares(reserved: u8, members: &[(&str, u32)]) -> Shares {
        let member = |weight| Member { weight, ..Member::default() };
        Shares {
            reserved,
            members: members.iter().map(|(name, weight)| (id(name), member(*weight))).collect(),
        }
    }

    /// How much an instance gets until it is refused, in steps of 10, and what all have then.
    fn fill(ledger: &mut Ledger<'_>, name: &str, mut used: u64) -> (u64, u64) {
        let before = used;
        while used + 10 <= ledger.bound && ledger.admits(&id(name), 10, used) {
            ledger.take(&id(name), 10);
            used += 10;
        }
        (used - before, used)
    }

    #[test]
    fn one_instance_may_use_all_and_two_leave_each_other_a_quarter() {
        let alone = shares(50, &[("a", 1)]);
        assert_eq!(fill(&mut Ledger::new(&alone, 1000, BTreeMap::new()), "a", 0), (1000, 1000));
        let both = shares(50, &[("a", 1), ("b", 1)]);
        let mut ledger = Ledger::new(&both, 1000, BTreeMap::new());
        assert_eq!(fill(&mut ledger, "a", 0), (750, 750));
        assert_eq!(fill(&mut ledger, "b", 750), (250, 1000));
    }

    #[test]
    fn weights_divide_what_is_reserved() {
        let shares = shares(50, &[("a", 3), ("b", 1), ("c", 0)]);
        let mut ledger = Ledger::new(&shares, 8000, BTreeMap::new());
        assert_eq!(fill(&mut ledger, "c", 0), (4000, 4000), "no weight, no share: only what nobody needs");
        assert_eq!(fill(&mut ledger, "b", 4000), (1000, 5000));
        assert_eq!(fill(&mut ledger, "a", 5000), (3000, 8000));
    }

    #[test]
    fn removed_instances_have_no_share() {
        let shares = shares(100, &[("a", 1)]);
        let ledger = Ledger::new(&shares, 100, [(id("gone"), 40)].into());
        assert!(ledger.admits(&id("a"), 60, 40) && !ledger.admits(&id("gone"), 10, 40));
    }
}
