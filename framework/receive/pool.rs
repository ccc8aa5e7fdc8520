//! A pool of bytes that requests claim parts of before they use them.
//!
//! `budget` has one for each kind of memory. A claim is given whole or not at all, and whoever waits for one holds none
//! of the same pool: no two requests can wait for each other. Waiting requests are served by how little their client
//! and their instance hold ([`holdings`](super::holdings)), then by how little they need; a claim is given back when it
//! is dropped, wherever that happens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::holdings::{Coming, FAIR_AFTER, Holdings, Owner, Policy, Waiter};

/// How often a request that waits looks whether another claim may end for it.
const LOOK: Duration = Duration::from_millis(100);

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowded;

/// Bytes that requests share.
#[derive(Debug)]
pub(super) struct Pool {
    capacity: usize,
    policy: Policy,
    inside: Mutex<Holdings>,
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

    fn inside(&self) -> MutexGuard<'_, Holdings> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that are claimed.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        let inside = self.inside();
        assert!(inside.used > 0 || inside.is_empty());
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
    fn fits(&self, inside: &mut Holdings, number: u64, owner: &Owner, bytes: usize) -> bool {
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
    fn serve(&self, inside: &mut Holdings) {
        let now = Instant::now();
        inside.served = Some(now);
        loop {
            let waiters = inside.waiters.iter();
            let mut waiting: Vec<_> =
                waiters.map(|(number, waiter)| inside.turn(self.policy, *number, waiter, now)).collect();
            waiting.sort_unstable();
            let mut served = false;
            for (_, _, _, _, number) in waiting {
                let Some(waiter) = inside.waiters.get(&number) else { continue };
                let (bytes, owner) = (waiter.bytes, waiter.owner.clone());
                let waited = now.duration_since(waiter.since);
                while inside.used.saturating_add(bytes) > self.capacity {
                    match inside.yielding(self.policy, (&owner, bytes), waited, now) {
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

    /// Says how much of its body has come, and how long it is if that is known.
    pub(super) fn came(&mut self, came: usize, length: Option<usize>) {
        if let Some(holder) = self.pool.inside().holders.get_mut(&self.number) {
            holder.coming = Some(Coming { came, length });
        }
    }

    /// Its body has come whole: from now on it is worked on.
    pub(super) fn whole(&mut self) {
        if let Some(holder) = self.pool.inside().holders.get_mut(&self.number) {
            holder.coming = None;
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
