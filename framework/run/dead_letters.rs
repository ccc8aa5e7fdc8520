//! `dead_letters_growing`: raised while an instance gets dead letters faster than now and then, or they take a large part
//! of their room.
//!
//! `host` starts [`watch`]. Each dead letter is logged where it is made; this is the state that probes and alerts see.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::observed::Observed;
use crate::condition::{Code, Conditions, Subject};
use crate::connector::instance::InstanceId;
use crate::queue::SinkKey;
use crate::receive::Endpoint;

/// How often they are counted.
const EVERY: Duration = Duration::from_secs(10);
/// Over which time the growth is counted.
const WINDOW: Duration = Duration::from_secs(600);
/// New dead letters within that time that raise the condition.
const MANY: u64 = 10;

/// Watches until the signal.
pub(super) async fn watch(
    endpoints: Vec<Arc<Endpoint>>,
    queue: Arc<Observed>,
    conditions: Arc<Conditions>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut growth: BTreeMap<InstanceId, Growth> = BTreeMap::new();
    loop {
        for endpoint in &endpoints {
            let instance = &endpoint.instance.id;
            let total = endpoint.tally().dead + refused_by_sinks(&queue, instance);
            let new = growth.entry(instance.clone()).or_default().add(Instant::now(), total);
            judge(&conditions, instance, new);
        }
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn refused_by_sinks(queue: &Observed, instance: &InstanceId) -> u64 {
    let first = SinkKey { instance: instance.clone(), sink: String::new() };
    let own = queue.delivered().range(first..).take_while(|(key, _)| key.instance == *instance);
    own.map(|(_, delivered)| delivered.refused.load(Relaxed)).sum()
}

fn judge(conditions: &Conditions, instance: &InstanceId, new: u64) {
    let subject = Subject::instance(instance);
    if new >= MANY {
        let minutes = WINDOW.as_secs() / 60;
        let message = format!(
            "{new} new dead letters within {minutes} min; `forebay dead-letters list --id {instance}` shows them"
        );
        conditions.raise(Code::DeadLettersGrowing, subject, message);
    } else if new == 0 {
        conditions.clear(Code::DeadLettersGrowing, &subject);
    }
}

/// Totals of the last while, oldest first.
#[derive(Debug, Default)]
struct Growth(VecDeque<(Instant, u64)>);

impl Growth {
    /// Adds the total of now, and returns how many came within the window.
    fn add(&mut self, now: Instant, total: u64) -> u64 {
        self.0.push_back((now, total));
        // The oldest one kept is the last one outside of the window: what came since it is inside.
        while self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.0.pop_front();
        }
        self.0.front().map_or(0, |(_, oldest)| total.saturating_sub(*oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_that_grow_are_a_condition_until_none_came_for_ten_minutes() {
        let conditions = Conditions::default();
        let instance = InstanceId::parse("acme").unwrap();
        let (begin, mut growth) = (Instant::now(), Growth::default());
        let mut at = |seconds: u64, total: u64| {
            let new = growth.add(begin + Duration::from_secs(seconds), total);
            judge(&conditions, &instance, new);
            conditions.list().first().map(|one| one.message.clone())
        };
        assert_eq!(at(0, 100), None, "those of before are no growth");
        assert_eq!(at(10, 109), None);
        let raised = at(20, 110).unwrap();
        assert!(raised.starts_with("10 new dead letters within 10 min"), "{raised}");
        assert!(at(600, 110).is_some());
        assert!(at(615, 110).is_some(), "some are still inside: no flapping");
        assert_eq!(at(630, 110), None);
    }
}
