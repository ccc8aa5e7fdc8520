//! Bytes of bodies in memory at once: one budget for requests that have shown the key, a small one for
//! those that have not.
//!
//! Strangers take from theirs as their bytes arrive. When it is used up, the stranger who has been sending
//! longest loses what it holds: a vendor whose requests are proven by their bodies takes milliseconds, and
//! whoever trickles bytes to keep it out takes longer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::limits::Limits;

/// How long a request that has shown the key waits for room before it is told to come again.
const PATIENCE: Duration = Duration::from_secs(5);

/// There is no room for more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowded;

/// The budgets of one listener.
#[derive(Debug)]
pub(super) struct Budgets {
    known: Arc<Semaphore>,
    strangers: Arc<Strangers>,
}

#[derive(Debug)]
struct Strangers {
    most: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    used: usize,
    next: u64,
    holders: BTreeMap<u64, (usize, Arc<Notify>)>,
}

/// What one request holds, given back when this is dropped.
#[derive(Debug)]
pub(super) enum Hold {
    /// Of the budget for those who have shown the key.
    Known(Arc<Semaphore>, Option<OwnedSemaphorePermit>),
    /// Of the strangers' budget.
    Stranger(StrangersHold),
}

#[derive(Debug)]
pub(super) struct StrangersHold {
    strangers: Arc<Strangers>,
    number: u64,
    lost: Arc<Notify>,
}

impl Budgets {
    /// Each budget has room for at least one body of the greatest size: what is allowed can also arrive.
    pub(super) fn new(limits: &Limits) -> Self {
        let known = limits.in_flight.max(limits.body + limits.inflated).min(u32::MAX as usize);
        let most = limits.in_flight_strangers.max(limits.body);
        let strangers = Strangers { most, inside: Mutex::default() };
        Self { known: Arc::new(Semaphore::new(known)), strangers: Arc::new(strangers) }
    }

    /// An empty hold of the right budget.
    pub(super) fn hold(&self, known: bool) -> Hold {
        if known {
            return Hold::Known(self.known.clone(), None);
        }
        let lost = Arc::new(Notify::new());
        let mut inside = self.strangers.inside();
        let number = inside.next;
        inside.next += 1;
        inside.holders.insert(number, (0, lost.clone()));
        Hold::Stranger(StrangersHold { strangers: self.strangers.clone(), number, lost })
    }
}

impl Hold {
    /// Takes more bytes.
    pub(super) async fn grow(&mut self, bytes: usize) -> Result<(), Crowded> {
        if bytes == 0 {
            return Ok(());
        }
        match self {
            Self::Stranger(hold) => hold.strangers.grow(hold.number, bytes),
            Self::Known(semaphore, permit) => {
                let count = u32::try_from(bytes).map_err(|_| Crowded)?;
                let wait = tokio::time::timeout(PATIENCE, semaphore.clone().acquire_many_owned(count));
                let more = wait.await.ok().and_then(Result::ok).ok_or(Crowded)?;
                match permit {
                    Some(permit) => permit.merge(more),
                    None => *permit = Some(more),
                }
                Ok(())
            }
        }
    }

    /// Returns when what is held was given to somebody else; never for those who have shown the key.
    pub(super) async fn lost(&self) {
        match self {
            Self::Stranger(hold) => hold.lost.notified().await,
            Self::Known(..) => std::future::pending().await,
        }
    }

    /// The request has shown the key: its bytes go over to the other budget.
    pub(super) async fn known(self, budgets: &Budgets, bytes: usize) -> Result<Self, Crowded> {
        if let Self::Known(..) = self {
            return Ok(self);
        }
        let mut hold = budgets.hold(true);
        hold.grow(bytes).await?;
        Ok(hold)
    }
}

impl Strangers {
    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grow(&self, number: u64, bytes: usize) -> Result<(), Crowded> {
        let mut inside = self.inside();
        while inside.used.saturating_add(bytes) > self.most {
            // The first in the map came first. Who holds nothing has nothing to lose.
            let longest = inside.holders.iter().find(|(_, (held, _))| *held > 0).map(|(number, _)| *number);
            match longest {
                Some(other) if other != number => inside.evict(other),
                Some(_) | None => {
                    inside.evict(number);
                    return Err(Crowded);
                }
            }
        }
        let holder = inside.holders.get_mut(&number).ok_or(Crowded)?;
        holder.0 += bytes;
        inside.used += bytes;
        Ok(())
    }
}

impl Inside {
    fn evict(&mut self, number: u64) {
        if let Some((held, lost)) = self.holders.remove(&number) {
            self.used -= held;
            lost.notify_one();
        }
    }
}

impl Drop for StrangersHold {
    fn drop(&mut self) {
        self.strangers.inside().evict(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(strangers: usize) -> Budgets {
        let limits = Limits { in_flight_strangers: strangers, body: 1, ..Limits::default() };
        Budgets::new(&limits)
    }

    #[tokio::test]
    async fn the_stranger_who_has_been_sending_longest_makes_room() {
        let budgets = budgets(100);
        let (mut first, mut second) = (budgets.hold(false), budgets.hold(false));
        first.grow(60).await.unwrap();
        second.grow(40).await.unwrap();
        let mut third = budgets.hold(false);
        third.grow(50).await.unwrap();
        first.lost().await;
        assert_eq!(first.grow(1).await, Err(Crowded));
        second.grow(10).await.unwrap();
        drop((second, third));
        budgets.hold(false).grow(100).await.unwrap();
    }

    #[tokio::test]
    async fn who_alone_wants_more_than_there_is_gets_nothing() {
        let budgets = budgets(100);
        let mut only = budgets.hold(false);
        only.grow(80).await.unwrap();
        assert_eq!(only.grow(21).await, Err(Crowded));
        budgets.hold(false).grow(100).await.unwrap();
    }
}
