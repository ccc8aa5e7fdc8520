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
    early: BTreeMap<InstanceId, Instant>,
}

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
            early: BTreeMap::new(),
        }
    }

    /// Looks until the signal.
    pub(super) async fn watch(mut self, mut shutdown: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "what removed instances left is not known");
            }
            self.look_at_ids();
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

    fn look_at_ids(&mut self) {
        for (instance, age) in self.store.take_early() {
            let message = format!(
                "ids of `{instance}` were forgotten after {} s for want of room (queue.dedupe.count), and its sender \
                 may repeat them for longer: an event that comes again then is delivered again",
                age.as_secs()
            );
            self.conditions.raise(Code::IdsForgottenEarly, Subject::instance(&instance), message);
            self.early.insert(instance, Instant::now());
        }
        let conditions = &self.conditions;
        self.early.retain(|instance, at| {
            let shown = at.elapsed() < SHOWN;
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
