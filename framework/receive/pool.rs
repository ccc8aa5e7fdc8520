//! A pool of bytes that requests claim parts of before they use them.
//!
//! `budget` has one for each kind of memory. A claim is given whole or not at all, and whoever waits for one holds none
//! of the same pool: no two requests can wait for each other. Waiting requests are served by how little their group
//! holds, then by how little they need; a claim is given back when it is dropped, wherever that happens.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::client::Group;
use super::connections::Peer;

/// How often a request that waits looks whether another holds its claim in vain.
const LOOK: Duration = Duration::from_millis(100);
/// What a claim is held before its pace is judged.
const JUDGED_AFTER: Duration = Duration::from_secs(1);
/// A body that would take longer than this at the pace so far gives way to those who wait.
const TOO_LONG: Duration = Duration::from_secs(10);
/// After this wait, a group that holds more than the one that waits gives way too.
const FAIR_AFTER: Duration = Duration::from_secs(1);
/// The part of a pool from which on a group counts as holding much.
const MUCH: usize = 8;

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowded;

/// What happens when a pool is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// Another claim ends at once: the oldest of the group that holds much, or the oldest of all.
    Replace,
    /// A request waits; a claim ends that makes no progress, or whose group holds more.
    Yield,
    /// A request waits until others gave back what they hold.
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
    notify: Notify,
    /// The connection of the request.
    pub peer: Arc<Peer>,
}

impl End {
    pub(super) fn new(peer: Arc<Peer>) -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(ENDS), notify: Notify::new(), peer })
    }

    /// From now on no claim of the request is given to another: it is authenticated.
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

    fn is_safe(&self) -> bool {
        self.state.load(Ordering::SeqCst) == SAFE
    }

    fn strike(&self) {
        match self.state.load(Ordering::SeqCst) {
            ANSWERED => self.peer.close(),
            _ => self.notify.notify_one(),
        }
    }
}

/// Bytes that requests share.
#[derive(Debug)]
pub(super) struct Pool {
    capacity: usize,
    policy: Policy,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    used: usize,
    next: u64,
    holders: BTreeMap<u64, Holder>,
    waiters: BTreeMap<u64, Waiter>,
    /// When those who wait were last looked after.
    served: Option<Instant>,
    clients: HashMap<Group, usize>,
    instances: HashMap<usize, usize>,
}

#[derive(Debug)]
struct Holder {
    owner: Owner,
    bytes: usize,
    since: Instant,
    /// Bytes of the body that have come.
    came: usize,
    /// Bytes that the body has in all, where it is known.
    length: Option<usize>,
}

#[derive(Debug)]
struct Waiter {
    owner: Owner,
    bytes: usize,
    since: Instant,
    granted: Arc<Notify>,
}

impl Holder {
    /// How long the whole takes at the pace so far; `None` where it is too early to tell.
    fn pace(&self, now: Instant) -> Option<Duration> {
        let held = now.duration_since(self.since);
        if held < JUDGED_AFTER {
            return None;
        }
        let length = self.length.unwrap_or((64 << 10) + 2 * self.came).max(1);
        Some(held.mul_f64((length as f64 / self.came.max(1) as f64).max(1.0)))
    }
}

/// Bytes of a pool, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    pool: Arc<Pool>,
    number: u64,
}

impl Pool {
    pub(super) fn new(capacity: usize, policy: Policy) -> Arc<Self> {
        Arc::new(Self { capacity, policy, inside: Mutex::default() })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that are claimed.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        let inside = self.inside();
        assert!(inside.used > 0 || inside.holders.is_empty() && inside.clients.is_empty());
        inside.used
    }

    /// Whether half of it is free.
    pub(super) fn has_plenty(&self) -> bool {
        self.inside().used < self.capacity / 2
    }

    /// Claims bytes without waiting.
    pub(super) fn claim(self: &Arc<Self>, owner: &Owner, bytes: usize) -> Result<Claim, Crowded> {
        let mut inside = self.inside();
        let number = inside.number();
        if !self.fits(&mut inside, number, owner, bytes) || !inside.waiters.is_empty() {
            return Err(Crowded);
        }
        inside.hold(number, owner.clone(), bytes);
        Ok(Claim { pool: self.clone(), number })
    }

    /// Claims bytes, and waits for them so long.
    pub(super) async fn wait(
        self: &Arc<Self>,
        owner: &Owner,
        bytes: usize,
        patience: Duration,
    ) -> Result<Claim, Crowded> {
        if let Ok(claim) = self.claim(owner, bytes) {
            return Ok(claim);
        }
        if bytes > self.capacity {
            return Err(Crowded);
        }
        let granted = Arc::new(Notify::new());
        let begin = Instant::now();
        let number = {
            let mut inside = self.inside();
            let number = inside.number();
            let waiter = Waiter { owner: owner.clone(), bytes, since: begin, granted: granted.clone() };
            inside.waiters.insert(number, waiter);
            number
        };
        // Dropped at any point, it takes the request off the list or gives back what it was granted.
        let claim = Claim { pool: self.clone(), number };
        loop {
            {
                let mut inside = self.inside();
                // One of those who wait looks for all of them.
                let due = |at: Instant| at.elapsed() >= LOOK / 2;
                if inside.holders.is_empty() || inside.served.is_none_or(due) {
                    self.serve(&mut inside);
                }
                if inside.holders.contains_key(&number) {
                    drop(inside);
                    return Ok(claim);
                }
            }
            let now = Instant::now();
            if now.duration_since(begin) >= patience {
                return Err(Crowded);
            }
            tokio::select! {
                () = granted.notified() => {}
                () = sleep_until((now + LOOK).min(begin + patience)) => {}
            }
        }
    }

    /// Whether there is room, after another claim ended for it where that may be.
    fn fits(&self, inside: &mut Inside, number: u64, owner: &Owner, bytes: usize) -> bool {
        while inside.used.saturating_add(bytes) > self.capacity {
            if self.policy != Policy::Replace || bytes > self.capacity {
                return false;
            }
            match inside.replaceable(number, owner, bytes, self.capacity) {
                Some(victim) => inside.end(victim),
                None => return false,
            }
        }
        true
    }

    /// Grants waiting requests what there is, the fairest first.
    fn serve(&self, inside: &mut Inside) {
        let now = Instant::now();
        inside.served = Some(now);
        loop {
            let mut waiting: Vec<(usize, u128, u64)> = inside
                .waiters
                .iter()
                .map(|(number, waiter)| {
                    let waited = now.duration_since(waiter.since).as_millis() / 1000 + 1;
                    (inside.share(self.policy, &waiter.owner), waiter.bytes as u128 / waited, *number)
                })
                .collect();
            waiting.sort_unstable();
            let mut served = false;
            for (_, _, number) in waiting {
                let Some(waiter) = inside.waiters.get(&number) else { continue };
                let (bytes, owner) = (waiter.bytes, waiter.owner.clone());
                let waited = now.duration_since(waiter.since);
                while self.policy == Policy::Yield && inside.used.saturating_add(bytes) > self.capacity {
                    match inside.yielding(&owner, bytes, waited, now) {
                        Some(victim) => inside.end(victim),
                        None => break,
                    }
                }
                if inside.used.saturating_add(bytes) <= self.capacity {
                    if let Some(waiter) = inside.waiters.remove(&number) {
                        inside.hold(number, waiter.owner, bytes);
                        waiter.granted.notify_one();
                    }
                    served = true;
                    break;
                }
                // The one whose turn it is lets smaller ones pass for a while, and not for ever.
                if waited >= FAIR_AFTER {
                    break;
                }
            }
            if !served {
                return;
            }
        }
    }
}

impl Inside {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn hold(&mut self, number: u64, owner: Owner, bytes: usize) {
        self.add(&owner, bytes);
        let (since, came, length) = (Instant::now(), 0, None);
        self.holders.insert(number, Holder { owner, bytes, since, came, length });
    }

    fn add(&mut self, owner: &Owner, bytes: usize) {
        self.used += bytes;
        *self.clients.entry(owner.client).or_default() += bytes;
        *self.instances.entry(owner.instance).or_default() += bytes;
    }

    fn subtract(&mut self, owner: &Owner, bytes: usize) {
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

    fn release(&mut self, number: u64) -> Option<Holder> {
        let holder = self.holders.remove(&number)?;
        self.subtract(&holder.owner, holder.bytes);
        Some(holder)
    }

    /// Ends a claim for the sake of another.
    fn end(&mut self, number: u64) {
        if let Some(holder) = self.release(number) {
            holder.owner.end.strike();
        }
    }

    /// What those hold whom a request is measured with.
    fn share(&self, policy: Policy, owner: &Owner) -> usize {
        let held = match policy {
            Policy::Wait => self.instances.get(&owner.instance),
            Policy::Yield | Policy::Replace if owner.client == Group::Proxy => None,
            Policy::Yield | Policy::Replace => self.clients.get(&owner.client),
        };
        held.copied().unwrap_or_default()
    }

    /// The client that holds most; proxies' own are nobody's.
    fn most_client(&self) -> Option<(Group, usize)> {
        let held = self.clients.iter().filter(|(client, _)| **client != Group::Proxy);
        held.map(|(client, bytes)| (*client, *bytes)).max_by_key(|(_, bytes)| *bytes)
    }

    fn oldest(&self, but: u64, of: impl Fn(&Owner) -> bool) -> Option<u64> {
        let may = |(number, holder): &(&u64, &Holder)| {
            **number != but && holder.bytes > 0 && !holder.owner.end.is_safe() && of(&holder.owner)
        };
        self.holders.iter().find(may).map(|(number, _)| *number)
    }

    /// Whose claim ends for one that wants room at once.
    fn replaceable(&self, number: u64, owner: &Owner, bytes: usize, capacity: usize) -> Option<u64> {
        let own = self.clients.get(&owner.client).copied().unwrap_or_default() + bytes;
        let own = if owner.client == Group::Proxy { 0 } else { own };
        let (client, most) = match self.most_client() {
            Some((client, most)) if most > own => (client, most),
            Some(_) | None => (owner.client, own),
        };
        if most >= capacity / MUCH
            && let Some(victim) = self.oldest(number, |other| other.client == client)
        {
            return Some(victim);
        }
        let instance = self.instances.iter().max_by_key(|(_, bytes)| **bytes);
        if let Some((instance, most)) = instance
            && *instance != owner.instance
            && *most >= capacity / 2
            && let Some(victim) = self.oldest(number, |other| other.instance == *instance)
        {
            return Some(victim);
        }
        self.oldest(number, |_| true)
    }

    /// Whose claim ends for one that has waited so long.
    fn yielding(&self, owner: &Owner, bytes: usize, waited: Duration, now: Instant) -> Option<u64> {
        let slowest = |of: &dyn Fn(&Owner) -> bool| {
            let held = self.holders.iter();
            let held = held.filter(|(_, holder)| !holder.owner.end.is_safe() && of(&holder.owner));
            let paced = held.filter_map(|(number, holder)| Some((holder.pace(now)?, *number)));
            paced.max()
        };
        if let Some((pace, number)) = slowest(&|_| true)
            && pace > TOO_LONG
        {
            return Some(number);
        }
        let own = self.share(Policy::Yield, owner).saturating_add(bytes);
        let (client, most) = self.most_client()?;
        if waited < FAIR_AFTER || most <= own {
            return None;
        }
        slowest(&|other| other.client == client).map(|(_, number)| number)
    }
}

impl Claim {
    /// Claims so many bytes more without waiting.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Crowded> {
        let mut inside = self.pool.inside();
        let owner = inside.holders.get(&self.number).ok_or(Crowded)?.owner.clone();
        if !self.pool.fits(&mut inside, self.number, &owner, bytes) {
            return Err(Crowded);
        }
        inside.add(&owner, bytes);
        let holder = inside.holders.get_mut(&self.number).ok_or(Crowded)?;
        holder.bytes += bytes;
        Ok(())
    }

    /// Gives back all but so many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let mut inside = self.pool.inside();
        let Some(holder) = inside.holders.get_mut(&self.number) else { return };
        let (back, owner) = (holder.bytes.saturating_sub(bytes), holder.owner.clone());
        holder.bytes -= back;
        inside.subtract(&owner, back);
        self.pool.serve(&mut inside);
    }

    /// Says how much of a body has come, and how long it is where that is known.
    pub(super) fn came(&mut self, bytes: usize, length: Option<usize>) {
        if let Some(holder) = self.pool.inside().holders.get_mut(&self.number) {
            (holder.came, holder.length) = (bytes, length);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut inside = self.pool.inside();
        inside.waiters.remove(&self.number);
        inside.release(self.number);
        if !inside.waiters.is_empty() {
            self.pool.serve(&mut inside);
        }
    }
}
