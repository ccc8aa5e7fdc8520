//! `queue_refuses` and `dead_letters_full`: raised with the first batch that the queue refuses, cleared once it takes
//! such a batch again.
//!
//! [`super::observed`] reports refusals as they happen. [`watch`] looks every second: it raises the condition before the
//! first event meets a full store or disk, and clears it by asking the store whether it would take a batch as large as
//! the one refused, with some room to spare. So the condition neither waits for traffic that a load balancer keeps
//! away, nor comes and goes at the edge of a limit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::condition::{Code, Conditions, Subject};
use crate::connector::instance::InstanceId;
use crate::error::escaped;
use crate::queue::local::Local;
use crate::queue::{Bound, Refusal};

/// How often refusals are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long no batch has been refused before the store is asked whether it takes one again.
const SETTLE: Duration = Duration::from_secs(2);
/// How long the store may take to say so.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of room to spare that are asked for on top.
const SPARE: u64 = 64 << 20;

/// What is refused now.
pub(super) struct Refusing {
    conditions: Arc<Conditions>,
    held: Mutex<BTreeMap<Refused, Held>>,
}

/// Whose batches are refused: everybody's, or one instance's.
type Refused = (Code, Option<InstanceId>);

/// A refusal that holds.
struct Held {
    /// An instance that met it.
    instance: InstanceId,
    /// When it was met last.
    at: Instant,
    /// Bytes of the largest batch that was refused.
    size: u64,
}

impl Refusing {
    pub(super) fn new(conditions: Arc<Conditions>) -> Arc<Self> {
        Arc::new(Self { conditions, held: Mutex::default() })
    }

    /// Raises the condition for a refused batch of this instance and size.
    pub(super) fn refused(&self, instance: &InstanceId, size: u64, refusal: &Refusal) {
        let (key, message) = match refusal {
            Refusal::Full { bound: Bound::DeadLetters, detail, .. } => {
                ((Code::DeadLettersFull, Some(instance.clone())), detail.clone())
            }
            Refusal::Full { bound, detail, .. } => {
                ((Code::QueueRefuses, (!bound.is_shared()).then(|| instance.clone())), detail.clone())
            }
            Refusal::Broken(error) => {
                ((Code::QueueRefuses, None), format!("the store fails: {}", escaped(&error.to_string(), 300)))
            }
            // The process stops, which `/readyz` shows as its state.
            Refusal::Closing => return,
        };
        let subject = subject(&key);
        {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let one = held.entry(key.clone()).or_insert(Held {
                instance: instance.clone(),
                at: Instant::now(),
                size,
            });
            (one.at, one.size) = (Instant::now(), one.size.max(size));
        }
        self.conditions.raise(key.0, subject, message);
    }

    /// Those that were not met for a while.
    fn settled(&self) -> Vec<(Refused, InstanceId, u64)> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter()
            .filter(|(_, one)| one.at.elapsed() >= SETTLE)
            .map(|(key, one)| (key.clone(), one.instance.clone(), one.size))
            .collect()
    }

    fn ended(&self, key: &Refused) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // A batch may have been refused while the store was asked.
        if held.get(key).is_some_and(|one| one.at.elapsed() >= SETTLE) {
            held.remove(key);
            drop(held);
            self.conditions.clear(key.0, &subject(key));
        }
    }
}

fn subject((_, instance): &Refused) -> Subject {
    instance.as_ref().map_or_else(Subject::process, Subject::instance)
}

/// Raises and clears until the signal.
pub(super) async fn watch(
    refusing: Arc<Refusing>,
    store: Arc<Local>,
    instances: Vec<InstanceId>,
    mut shutdown: watch::Receiver<bool>,
) {
    let spare = (store.limits().max_bytes / 100).min(SPARE);
    let most = store.limits().max_bytes / 10;
    loop {
        if let (Some(first), Some((bound, detail))) = (instances.first(), store.bound(0).await) {
            refusing.refused(first, 0, &Refusal::Full { retry_after: EVERY, bound, detail });
        }
        for (key, instance, size) in refusing.settled() {
            let size = size.min(most);
            let takes = async {
                match key.0 {
                    Code::DeadLettersFull => store.dead_letter_fits(&instance, size).await.unwrap_or(false),
                    _ => store.probe(&instance, size.saturating_add(spare)).await.is_ok(),
                }
            };
            if tokio::time::timeout(PATIENCE, takes).await.unwrap_or(false) {
                refusing.ended(&key);
            }
        }
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
