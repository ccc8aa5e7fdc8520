//! What requests hold of a pool, and who gives way when it is used up.
//!
//! `pool` keeps one behind its lock, and ends the claims that are named here. What counts against a request is the
//! greater of what its client and what its instance holds, so that neither one client on many instances nor many
//! clients of one instance take the room of others. Nothing here waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::Group;
use super::connections::Peer;

/// What a claim is held before its pace is judged.
const JUDGED_AFTER: Duration = Duration::from_secs(1);
/// A body that would take longer than this at the pace so far gives way to those who wait.
const TOO_LONG: Duration = Duration::from_secs(10);
/// After this wait, a group that holds more than the one that waits gives way too.
pub(super) const FAIR_AFTER: Duration = Duration::from_secs(1);
/// The part of a pool from which on a client counts as holding much.
const MUCH: usize = 8;

/// What happens when a pool is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// Another claim ends at once: the oldest of the group that holds most.
    Replace,
    /// A request waits; a claim ends that makes no progress, or whose group holds more.
    Yield,
    /// A request waits until others gave back what they hold. A body that makes no progress ends for another instance
    /// that holds less.
    Wait,
}

/// For whom a claim is made.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    /// The client.
    pub client: Group,
    /// Which instance; 0 for none.
    pub instance: usize,
    /// What ends with the claim.
    pub end: Arc<End>,
}

const ENDS: u8 = 0;
const SAFE: u8 = 1;
const ANSWERED: u8 = 2;

/// How a request learns that its claim was given to another.
#[derive(Debug)]
pub(super) struct End {
    state: AtomicU8,
    struck: AtomicBool,
    notify: Notify,
    /// The connection of the request.
    pub peer: Arc<Peer>,
}

impl End {
    pub(super) fn new(peer: Arc<Peer>) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(ENDS),
            struck: AtomicBool::new(false),
            notify: Notify::new(),
            peer,
        })
    }

    /// The request is authenticated: from now on only a body of it that is still being read gives way, to another
    /// instance.
    pub(super) fn secure(&self) {
        self.state.store(SAFE, Ordering::SeqCst);
    }

    /// The request has its answer, which waits to be read: from now on the connection ends with the claim.
    pub(super) fn answered(&self) {
        let _ = self.state.compare_exchange(ENDS, ANSWERED, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Returns when a claim of the request was given to another.
    pub(super) async fn lost(&self) {
        self.notify.notified().await;
    }

    /// Whether a claim of the request was given to another.
    pub(super) fn is_struck(&self) -> bool {
        self.struck.load(Ordering::SeqCst)
    }

    fn is_safe(&self) -> bool {
        self.state.load(Ordering::SeqCst) == SAFE
    }

    fn strike(&self) {
        self.struck.store(true, Ordering::SeqCst);
        match self.state.load(Ordering::SeqCst) {
            ANSWERED => self.peer.close(),
            _ => self.notify.notify_one(),
        }
    }
}

/// What is held of a pool, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    /// Bytes that are claimed.
    pub used: usize,
    /// The claims, by number: the oldest first.
    pub holders: BTreeMap<u64, Holder>,
    /// The requests that wait, by number.
    pub waiters: BTreeMap<u64, Waiter>,
    /// When those who wait were last looked after.
    pub served: Option<Instant>,
    next: u64,
    clients: HashMap<Group, usize>,
    instances: HashMap<usize, usize>,
    /// The number of the last claim of each instance.
    granted: HashMap<usize, u64>,
}

/// A claim.
#[derive(Debug)]
pub(super) struct Holder {
    /// Whose it is.
    pub owner: Owner,
    /// Bytes of the pool.
    pub bytes: usize,
    /// The body that it is for, while it comes.
    pub coming: Option<Coming>,
    since: Instant,
}

/// How much of a body has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coming {
    /// Bytes that have come.
    pub came: usize,
    /// Bytes in all, if that is known.
    pub length: Option<usize>,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Who waits.
    pub owner: Owner,
    /// Bytes that it waits for.
    pub bytes: usize,
    /// Since when.
    pub since: Instant,
    /// Notified when it has them.
    pub granted: Arc<Notify>,
}

/// The order in which those who wait are served, the least first: what counts against the request, which instance was
/// served last, what its client holds, the bytes that it needs by the seconds that it waited, its number.
type Turn = (usize, u64, usize, u128, u64);

impl Holder {
    /// How long the whole takes at the pace so far; `None` if it is too early to tell.
    fn pace(&self, now: Instant) -> Option<Duration> {
        let held = now.duration_since(self.since);
        if held < JUDGED_AFTER {
            return None;
        }
        let coming = self.coming.unwrap_or(Coming { came: 0, length: None });
        let length = coming.length.unwrap_or((64 << 10) + 2 * coming.came).max(1);
        Some(held.mul_f64((length as f64 / coming.came.max(1) as f64).max(1.0)))
    }
}

impl Holdings {
    /// Whether nothing is held, and nothing is counted for anyone.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty() && self.clients.is_empty() && self.instances.is_empty()
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn hold(&mut self, number: u64, owner: Owner, bytes: usize) {
        self.add(&owner, bytes);
        self.granted.insert(owner.instance, self.next);
        self.holders.insert(number, Holder { owner, bytes, coming: None, since: Instant::now() });
    }

    pub(super) fn add(&mut self, owner: &Owner, bytes: usize) {
        self.used += bytes;
        *self.clients.entry(owner.client).or_default() += bytes;
        *self.instances.entry(owner.instance).or_default() += bytes;
    }

    pub(super) fn subtract(&mut self, owner: &Owner, bytes: usize) {
        fn from<K: std::hash::Hash + Eq>(map: &mut HashMap<K, usize>, key: K, bytes: usize) {
            if let Some(held) = map.get_mut(&key) {
                *held = held.saturating_sub(bytes);
                if *held == 0 {
                    map.remove(&key);
                }
            }
        }
        self.used = self.used.saturating_sub(bytes);
        from(&mut self.clients, owner.client, bytes);
        from(&mut self.instances, owner.instance, bytes);
    }

    pub(super) fn release(&mut self, number: u64) {
        if let Some(holder) = self.holders.remove(&number) {
            self.subtract(&holder.owner, holder.bytes);
        }
    }

    /// Ends a claim for the sake of another.
    pub(super) fn end(&mut self, number: u64) {
        if let Some(holder) = self.holders.get(&number) {
            holder.owner.end.strike();
        }
        self.release(number);
    }

    /// What a client holds; nothing is counted for a trusted proxy's own address.
    fn of_client(&self, owner: &Owner) -> usize {
        if owner.client == Group::Proxy {
            0
        } else {
            self.clients.get(&owner.client).copied().unwrap_or_default()
        }
    }

    fn of_instance(&self, owner: &Owner) -> usize {
        self.instances.get(&owner.instance).copied().unwrap_or_default()
    }

    /// What counts against a request: what its client or its instance holds, the greater of both.
    fn counted(&self, owner: &Owner) -> usize {
        self.of_client(owner).max(self.of_instance(owner))
    }

    /// When a request that waits is served.
    pub(super) fn turn(&self, policy: Policy, number: u64, waiter: &Waiter, now: Instant) -> Turn {
        let owner = &waiter.owner;
        let (counted, client) = match policy {
            Policy::Wait => (self.of_instance(owner), 0),
            Policy::Yield | Policy::Replace => (self.counted(owner), self.of_client(owner)),
        };
        let last = self.granted.get(&owner.instance).copied().unwrap_or_default();
        let waited = now.duration_since(waiter.since).as_millis() / 1000 + 1;
        (counted, last, client, waiter.bytes as u128 / waited, number)
    }

    fn oldest(&self, but: u64, of: impl Fn(&Owner) -> bool) -> Option<u64> {
        let may = |(number, holder): &(&u64, &Holder)| {
            **number != but && holder.bytes > 0 && !holder.owner.end.is_safe() && of(&holder.owner)
        };
        self.holders.iter().find(may).map(|(number, _)| *number)
    }

    /// Whose claim ends for one that wants so many bytes at once: the oldest of the client or the instance that would
    /// hold most; within that instance, of a client that holds much.
    pub(super) fn replaceable(
        &self,
        number: u64,
        owner: &Owner,
        bytes: usize,
        capacity: usize,
    ) -> Option<u64> {
        let mut clients: Vec<(Reverse<usize>, bool, Group)> = Vec::new();
        let own = [(&owner.client, &0)];
        let unheld = own.into_iter().filter(|(client, _)| !self.clients.contains_key(client));
        for (client, held) in self.clients.iter().chain(unheld) {
            let is_own = *client == owner.client;
            let held = held + if is_own { bytes } else { 0 };
            if *client != Group::Proxy && held >= capacity / MUCH {
                clients.push((Reverse(held), !is_own, *client));
            }
        }
        clients.sort_unstable();
        let own = (self.of_instance(owner) + bytes, true, owner.instance);
        let others = self.instances.iter().filter(|(instance, _)| **instance != owner.instance);
        let others = others.map(|(instance, held)| (*held, false, *instance));
        let (most, _, instance) = others.chain([own]).max().unwrap_or(own);
        let across = clients.iter().filter(|(Reverse(held), _, _)| *held > most);
        across
            .map(|(_, _, client)| self.oldest(number, |other| other.client == *client))
            .chain(clients.iter().map(|(_, _, client)| {
                self.oldest(number, |other| other.client == *client && other.instance == instance)
            }))
            .chain([()].map(|()| self.oldest(number, |other| other.instance == instance)))
            .flatten()
            .next()
            .or_else(|| self.oldest(number, |_| true))
    }

    /// Whose claim ends for one that has waited so long.
    pub(super) fn yielding(
        &self,
        policy: Policy,
        (owner, bytes): (&Owner, usize),
        waited: Duration,
        now: Instant,
    ) -> Option<u64> {
        let slowest = |of: &dyn Fn(&Holder) -> bool| {
            let held = self.holders.iter().filter(|(_, holder)| of(holder));
            held.filter_map(|(number, holder)| Some((holder.pace(now)?, *number))).max()
        };
        let idle = |of: &dyn Fn(&Holder) -> bool| {
            slowest(of).filter(|(pace, _)| *pace > TOO_LONG).map(|(_, number)| number)
        };
        let (client, instance) = (self.of_client(owner), self.of_instance(owner));
        match policy {
            Policy::Replace => None,
            Policy::Wait if waited < FAIR_AFTER => None,
            Policy::Wait => idle(&|holder| {
                let other = holder.owner.instance != owner.instance;
                holder.coming.is_some() && other && self.of_instance(&holder.owner) > instance + bytes
            }),
            Policy::Yield => {
                // An instance that holds more has nothing of one that holds less.
                let open = |other: &Owner| {
                    let same = other.instance == owner.instance;
                    !other.end.is_safe() && (same || self.counted(other) >= self.counted(owner))
                };
                let victim = idle(&|holder| open(&holder.owner));
                if victim.is_some() || waited < FAIR_AFTER {
                    return victim;
                }
                let more = |other: &Owner| match other.instance == owner.instance {
                    true => self.of_client(other) > client + bytes,
                    false => self.counted(other) > client.max(instance) + bytes,
                };
                let rank = |other: &Owner| (self.counted(other), self.of_client(other));
                let owners = self.holders.values().map(|holder| &holder.owner);
                let most = owners.filter(|other| open(other) && more(other)).map(rank).max()?;
                slowest(&|holder| {
                    let other = &holder.owner;
                    open(other) && more(other) && rank(other) == most
                })
                .map(|(_, number)| number)
            }
        }
    }
}
