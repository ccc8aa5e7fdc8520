//! What the store has of instances and sinks that this process does not run: `instance_removed`, `instance_leftover` and
//! `sink_removed`. And `ids_forgotten_early`: an instance had to forget ids that its sender may still repeat.
//!
//! `host` starts it. It looks once at the start and then every now and then, so that a condition ends when an operator
//! drops or renames what was left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::config::Configured;
use crate::condition::{Code, Conditions, Subject};
use crate::connector::instance::InstanceId;
use crate::error::Result;
use crate::queue::SinkKey;
use crate::queue::local::{Holding, Local};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);
/// How long `ids_forgotten_early` is shown after the last id was forgotten.
const SHOWN: Duration = Duration::from_secs(3600);

/// What this process runs, and what was raised.
pub(super) struct Leftovers {
    conditions: Arc<Conditions>,
    store: Arc<Local>,
    sinks: BTreeSet<SinkKey>,
    instances: BTreeSet<InstanceId>,
    raised: BTreeSet<(Code, Subject)>,
    early: Early,
}

/// When each instance last forgot ids that its sender may still repeat.
#[derive(Debug, Default)]
struct Early(BTreeMap<InstanceId, Instant>);

impl Leftovers {
    pub(super) fn new(members: &[Configured], store: Arc<Local>, conditions: Arc<Conditions>) -> Self {
        let sinks = members.iter().flat_map(|member| {
            let instance = &member.instance.id;
            member.sinks.iter().map(|sink| SinkKey { instance: instance.clone(), sink: sink.name.clone() })
        });
        Self {
            conditions,
            store,
            sinks: sinks.collect(),
            instances: members.iter().map(|member| member.instance.id.clone()).collect(),
            raised: BTreeSet::new(),
            early: Early::default(),
        }
    }

    /// Looks until the signal.
    pub(super) async fn watch(mut self, mut shutdown: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "what removed instances left is not known");
            }
            self.early.look(&self.conditions, self.store.take_early(), Instant::now());
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn look(&mut self) -> Result<()> {
        let mut found = BTreeMap::new();
        for holding in self.store.holdings().await? {
            if !self.instances.contains(&holding.instance) {
                let code = if holding.is_missed() { Code::InstanceRemoved } else { Code::InstanceLeftover };
                found.insert((code, Subject::instance(&holding.instance)), removed(&holding));
            }
        }
        for (instance, sink, behind) in self.store.lags().await? {
            let key = SinkKey { instance, sink };
            if self.instances.contains(&key.instance) && !self.sinks.contains(&key) {
                let message = format!(
                    "the configuration has no sink `{}` for `{}`, and {behind} records wait for it",
                    key.sink, key.instance
                );
                found.insert((Code::SinkRemoved, Subject::instance(&key.instance).sink(&key.sink)), message);
            }
        }
        let now: BTreeSet<(Code, Subject)> = found.keys().cloned().collect();
        for (code, subject) in self.raised.difference(&now) {
            self.conditions.clear(*code, subject);
        }
        for ((code, subject), message) in found {
            self.conditions.raise(code, subject, message);
        }
        self.raised = now;
        Ok(())
    }
}

impl Early {
    /// Raises what was forgotten since the last look, with its age, and clears what is long ago.
    fn look(&mut self, conditions: &Conditions, forgotten: Vec<(InstanceId, Duration)>, now: Instant) {
        for (instance, age) in forgotten {
            let message = format!(
                "ids of `{instance}` were forgotten after {} s for want of room (queue.dedupe.count), and its sender \
                 may repeat them for longer: an event that comes again then is delivered again",
                age.as_secs()
            );
            conditions.raise(Code::IdsForgottenEarly, Subject::instance(&instance), message);
            self.0.insert(instance, now);
        }
        self.0.retain(|instance, at| {
            let shown = now.duration_since(*at) < SHOWN;
            if !shown {
                conditions.clear(Code::IdsForgottenEarly, &Subject::instance(instance));
            }
            shown
        });
    }
}

fn removed(holding: &Holding) -> String {
    let id = &holding.instance;
    if holding.is_missed() {
        let (records, letters) = (holding.undelivered, holding.letters);
        return format!(
            "the configuration has no instance `{id}`, and the store holds {records} undelivered records and {letters} \
             dead letters of it"
        );
    }
    let state = if holding.state { ", its ids and its state" } else { " and its ids" };
    format!("the configuration has no instance `{id}`, and the store holds its cursors{state}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgotten_ids_are_a_condition_for_an_hour_after_the_last() {
        let (conditions, mut early, begin) = (Conditions::default(), Early::default(), Instant::now());
        let id = |name: &str| InstanceId::parse(name).unwrap();
        let mut look = |seconds: u64, forgotten: &[(&str, u64)]| {
            let forgotten = forgotten.iter().map(|(name, age)| (id(name), Duration::from_secs(*age)));
            early.look(&conditions, forgotten.collect(), begin + Duration::from_secs(seconds));
            let held = conditions.list().into_iter().filter(|one| one.code == Code::IdsForgottenEarly);
            held.map(|one| (one.subject, one.message)).collect::<Vec<_>>()
        };
        assert_eq!(look(0, &[]), []);
        let raised = look(5, &[("acme", 40)]);
        assert_eq!(raised.len(), 1);
        assert_eq!(raised[0].0, Subject::instance("acme"));
        assert!(raised[0].1.contains("ids of `acme` were forgotten after 40 s"), "{}", raised[0].1);
        // Another instance, and the first one again: each has its own hour.
        assert_eq!(look(3_000, &[("globex", 7)]).len(), 2);
        assert_eq!(look(3_604, &[]).len(), 2);
        let left = look(3_605, &[]);
        assert_eq!(left.iter().map(|one| &one.0).collect::<Vec<_>>(), [&Subject::instance("globex")]);
        assert_eq!(look(6_000, &[("globex", 7)]).len(), 1);
        assert_eq!(look(9_599, &[]).len(), 1);
        assert_eq!(look(9_600, &[]), []);
    }
}
