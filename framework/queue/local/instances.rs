//! What is asked and done for all instances of a process at once, so that a thousand of them cost little more than one.
//!
//! `run` calls it: registering sinks, what each instance holds, lags, marked dead letters.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::cursors::{self, SinkState};
use super::holdings::{self, Holding};
use super::recent::LOOK;
use super::shared::Shared;
use super::{Local, letters};
use crate::connector::instance::InstanceId;
use crate::error::Result;
use crate::queue::SinkKey;

impl Local {
    /// Says which sinks all instances of this run have, in one commit; no other sink counts as registered from then on.
    /// Returns every cursor of each instance, as [`Self::register_sinks`] does.
    pub async fn register_all(
        &self,
        instances: Vec<(InstanceId, Vec<String>)>,
    ) -> Result<Vec<(InstanceId, Vec<SinkState>)>> {
        for (instance, sinks) in &instances {
            self.shared.register(instance.clone(), sinks.clone());
        }
        let shared = self.shared.clone();
        let found = self
            .work(move |tx, memory| {
                tx.execute("UPDATE cursors SET registered = 0 WHERE registered = 1", [])?;
                let mut found = Vec::with_capacity(instances.len());
                for (instance, sinks) in &instances {
                    let number = memory.instance(tx, instance)?.number;
                    found.push((instance.clone(), cursors::register(tx, number, sinks)?));
                }
                shared.set_key(memory.key.clone());
                Ok(Ok(found))
            })
            .await?;
        self.shared.recent.clear();
        Ok(found)
    }

    /// What every instance has in the store, also those that this run does not have.
    pub async fn holdings(&self) -> Result<Vec<Holding>> {
        self.read_with(holdings::list).await
    }

    /// Records that each sink has not got, for every sink of every instance.
    pub async fn lags(&self) -> Result<Vec<(InstanceId, String, u64)>> {
        self.read_with(holdings::lags).await
    }

    /// Which instances forgot ids before their senders give up, since this was asked last; and how old those were.
    pub fn take_early(&self) -> Vec<(InstanceId, Duration)> {
        let early = self.shared.take_early().into_iter();
        early.map(|(instance, ms)| (instance, Duration::from_millis(ms.max(0).unsigned_abs()))).collect()
    }

    /// The instances that are to decode letters again.
    pub async fn retries(&self) -> Result<Vec<InstanceId>> {
        let marked = self.read_with(letters::marked).await?;
        Ok(marked.into_iter().filter(|(_, sink)| sink.is_none()).map(|(instance, _)| instance).collect())
    }

    /// Begins to look for letters of sinks that another process marked, once for all sinks of the process.
    pub(super) fn look_for_marks(&self) {
        self.looks.get_or_init(|| drop(tokio::spawn(look_for_marks(Arc::downgrade(&self.shared)))));
    }
}

/// Looks for letters of sinks that another process marked, and wakes those sinks. Ends with the store.
async fn look_for_marks(shared: Weak<Shared>) {
    let Some(mut news) = shared.upgrade().map(|shared| shared.subscribe()) else { return };
    loop {
        tokio::select! {
            // An error means that the store is gone.
            _ = news.wait_for(|news| news.closed) => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let shared = shared.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let Some(shared) = shared.upgrade() else { return };
            // A store that cannot be read now is looked at again; who needs it meets the fault.
            let Ok(marked) = shared.with_reader(letters::marked) else { return };
            let sinks =
                marked.into_iter().filter_map(|(instance, sink)| Some(SinkKey { instance, sink: sink? }));
            if shared.recent.due(sinks.collect::<Vec<_>>().iter()) {
                shared.changed();
            }
        });
        if looked.await.is_err() {
            return;
        }
    }
}
