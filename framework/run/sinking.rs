//! The workers of all sinks: started at their cursors, watched, and waited for at the end.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info};

use super::config::Configured;
use super::world::World;
use crate::connector::instance::InstanceId;
use crate::deliver::backoff::Pace;
use crate::deliver::worker::{self, Job};
use crate::deliver::{SinkStatus, sinks};
use crate::error::{Error, Kind, Result};
use crate::queue::{Queue, SinkKey};

/// The workers.
pub(super) struct Sinks {
    workers: JoinSet<Result<()>>,
    /// Instances with records, delivered or not.
    pub(super) received: BTreeSet<InstanceId>,
}

/// Starts one worker per sink.
pub(super) async fn start(
    members: &[Configured],
    queue: Arc<dyn Queue>,
    world: &World,
    shutdown: watch::Receiver<bool>,
) -> Result<Sinks> {
    let mut workers = JoinSet::new();
    let names = |member: &Configured| member.sinks.iter().map(|sink| sink.name.clone()).collect();
    let all = members.iter().map(|member| (member.instance.id.clone(), names(member))).collect();
    let kept = world.store.register_all(all).await?;
    let mut received = BTreeSet::new();
    for (member, (_, kept)) in members.iter().zip(kept) {
        let instance = &member.instance.id;
        for kept in kept {
            if kept.cursor.position.0 > 0 || kept.behind > 0 {
                received.insert(instance.clone());
            }
            // One that was removed is reported by `leftovers`.
            let Some(config) = member.sinks.iter().find(|sink| sink.name == kept.sink) else { continue };
            let key = SinkKey { instance: instance.clone(), sink: kept.sink.clone() };
            let (status, told) = watch::channel(SinkStatus::default());
            world.health.sink(instance, &kept.sink, told);
            info!(%instance, sink = kept.sink, position = kept.cursor.position.0, "sink at its cursor");
            let job = Job {
                key: key.clone(),
                cursor: kept.cursor,
                queue: queue.clone(),
                clock: world.clock.clone(),
                pace: Pace::default(),
                status,
                conditions: world.health.conditions.clone(),
                shutdown: shutdown.clone(),
            };
            workers.spawn(worker::run(sinks::make(config, &key, &world.outside), job));
        }
    }
    Ok(Sinks { workers, received })
}

impl Sinks {
    /// The first worker that ended for good; never returns while all work.
    pub(super) async fn first_failure(&mut self) -> Error {
        loop {
            match self.workers.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return error,
                Some(Err(panic)) => {
                    return Error::new(Kind::Io, "a sink's worker ended by a panic").because(panic);
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Waits for all of them.
    pub(super) async fn join(mut self) {
        while let Some(ended) = self.workers.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => error!(%error, "a sink ended"),
                Err(error) => error!(%error, "a sink's worker ended by a panic"),
            }
        }
    }
}
