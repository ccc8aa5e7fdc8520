//! The start and the stop of a process full of instances, as one story.
//!
//! `cli` calls it for `run`, `simulate` for the simulated life. It returns after everything it started has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::admin::{self, Admin};
use super::config::Configured;
use super::instructions::Reader;
use super::leftovers::Leftovers;
use super::observed::Observed;
use super::provisioning::{self, Vendors};
use super::refusing::{self, Refusing};
use super::rotation::Rotation;
use super::ruling::Ruling;
use super::world::World;
use super::{
    certificate, changes, dead_letters, metrics, receiving, retries, sinking, startup_checks, summary,
    watchdog,
};
use crate::connector::instance::InstanceId;
use crate::error::{Error, Kind, Result};
use crate::provision::{Provisioner, secrets};
use crate::queue::State;
use crate::receive::Tally;

/// What the receiver of each instance counted.
pub type Tallies = BTreeMap<InstanceId, Tally>;
/// How long the receiver's drain may overrun before it is said.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the secrets that are generated: of all instances at once, so that they share commits.
async fn generate(members: &[Configured], state: &Arc<dyn State>) -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for member in members {
        let (instance, state) = (member.instance.clone(), state.clone());
        tasks.spawn(async move { secrets::ensure(&instance, state).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|panic| Error::new(Kind::Io, "a secret cannot be generated").because(panic))??;
    }
    Ok(())
}

/// Runs the instances until the signal, or until one ends for good and it is the only one. Gives what passed.
///
/// # Errors
/// What a start could not do, the permanent refusal of the only instance's vendor, or a sink that is gone.
pub async fn run(members: Vec<Configured>, world: World) -> Result<Tallies> {
    let (store, clock, health) = (world.store.clone(), world.clock.clone(), world.health.clone());
    let state: Arc<dyn State> = store.clone();
    // 1. What each instance learned, and the secrets that are generated.
    generate(&members, &state).await?;
    // 2. The sinks, at their cursors. They outlive the receiver.
    let refusing = Refusing::new(health.conditions.clone());
    let queue = Arc::new(Observed::new(&members, store.clone(), refusing.clone()));
    let (stop_sinks, sinks_stop) = watch::channel(false);
    let mut sinks = sinking::start(&members, queue.clone(), &world, sinks_stop).await?;
    // 3. What provisions, and what rules change: both write one memory.
    let (caller, time) = (&world.caller, &clock);
    let provisioner = |member: &Configured| {
        Provisioner::new(member.instance.clone(), caller.clone(), state.clone(), time.clone())
    };
    let provisioners: Vec<Arc<Provisioner>> = members.iter().map(provisioner).map(Arc::new).collect();
    if let Some((witness, _)) = &world.witness {
        provisioners.iter().for_each(|provisioner| provisioner.watched_by(witness.clone()));
    }
    let conditions = health.conditions.clone();
    let mut rotation = Rotation::recall(&members, &provisioners, clock.clone(), conditions).await?;
    let mut rulings = Vec::new();
    for (member, provisioner) in members.iter().zip(&provisioners) {
        rulings.push(Ruling::new(member.instance.clone(), provisioner.memory(), clock.clone()).await?);
    }
    let certificate = world.tls.clone().map(|tls| (tls, certificate::hosts(&members)));
    // 4. The receiver: it serves before anything is created, since some vendors call back during that.
    let (stop_receiver, receiver_stop) = watch::channel(false);
    let mut receiver = receiving::start(
        &members,
        queue.clone(),
        clock.clone(),
        world.caller.clone(),
        &rulings,
        world.listener,
        world.limits,
        world.tls,
        receiver_stop,
    )?;
    receiver.endpoints().iter().for_each(|endpoint| endpoint.reports_to(&health.conditions));
    if let Some((_, witness)) = &world.witness {
        receiver.endpoints().iter().for_each(|endpoint| endpoint.watched_by(witness.clone()));
    }
    rotation.receive_at(receiver.endpoints());
    health.receiving();
    receiver.warn_of_small_limits(&health);
    for (line, endpoint) in receiver.ready_lines().zip(receiver.endpoints()) {
        let instance = &endpoint.instance.id;
        match world.plain {
            true => (world.say)(&line),
            false => tracing::info!(%instance, "{line}"),
        }
        if let Some(url) = &endpoint.instance.receiver_url {
            tracing::info!(%instance, %url, "the vendor posts to this address");
        }
    }
    let hangups = world.reread.1.clone();
    // 5. The vendor's side, and what goes on beside it: secrets read again, dead letters decoded again, the
    //    summary, the operator's listener.
    let (stop_rest, rest_stop) = watch::channel(false);
    let folder = store.folder().to_owned();
    let received = std::mem::take(&mut sinks.received);
    let reader = Reader { say: world.say, plain: world.plain, terminal: world.terminal, folder, received };
    let rotation = tokio::spawn(rotation.run(reader.keys(), world.reread, rest_stop.clone()));
    let vendors = Vendors { health: health.clone(), reader, shutdown: rest_stop.clone() };
    let mut provisioning =
        provisioning::start(&members, provisioners, &rulings, receiver.endpoints(), vendors);
    let endpoints = receiver.endpoints().to_vec();
    let retries = tokio::spawn(retries::watch(store.clone(), endpoints.clone(), rest_stop.clone()));
    let report = tokio::spawn(receiving::report(endpoints.clone(), health.clone(), rest_stop.clone()));
    let (stop_summary, summary_stop) = watch::channel(false);
    let letters = tokio::spawn(dead_letters::watch(
        endpoints.clone(),
        queue.clone(),
        health.conditions.clone(),
        rest_stop.clone(),
    ));
    let minutes = summary::write_regularly(
        endpoints.clone(),
        queue,
        store.clone(),
        health.clone(),
        world.summary,
        summary_stop,
    );
    let summary = tokio::spawn(minutes);
    let ids: Vec<InstanceId> = members.iter().map(|member| member.instance.id.clone()).collect();
    let refusals = tokio::spawn(refusing::watch(refusing, store.clone(), ids.clone(), rest_stop.clone()));
    let leftovers = Leftovers::new(&members, store.clone(), health.conditions.clone());
    let leftovers = tokio::spawn(leftovers.watch(rest_stop.clone()));
    let checks = startup_checks::watch(members.clone(), health.conditions.clone(), rest_stop.clone());
    let checks = tokio::spawn(checks);
    let certificate = certificate.map(|(tls, hosts)| {
        let (time, conditions) = (clock.clone(), health.conditions.clone());
        tokio::spawn(certificate::watch(tls, hosts, time, conditions, rest_stop.clone()))
    });
    let changed = world.written.map(|written| {
        tokio::spawn(changes::watch(written, health.conditions.clone(), hangups, rest_stop.clone()))
    });
    let watchdog = watchdog::start(health.conditions.clone(), store.clone(), rest_stop.clone());
    let operators = world.admin.map(|(listener, recorder)| -> Result<_> {
        let current = metrics::keep_current(
            recorder.clone(),
            store.clone(),
            ids.into_iter().collect(),
            rest_stop.clone(),
        );
        let shown = health.clone();
        let time = clock.clone();
        let metrics = Arc::new(move || {
            shown.set_gauges(time.now());
            recorder.render()
        });
        let admin = Admin { health: health.clone(), metrics, clock };
        Ok([admin::start(listener, admin, rest_stop)?, tokio::spawn(current)])
    });
    let operators = operators.transpose()?;
    // 6. Until the signal, or an end that nothing mends.
    let mut shutdown = world.shutdown;
    let ended = tokio::select! {
        _ = shutdown.wait_for(|stop| *stop) => Ok(()),
        gone = sinks.first_failure() => Err(gone),
        refused = provisioning.fatal() => Err(refused),
        closed = receiver.ended() => Err(closed),
    };
    // 7. Stop in the reverse order: no more calls, no more requests, what is in the queue goes to the sinks as
    //    far as a bounded wait allows, and the store closes.
    health.stopping();
    stop_rest.send_replace(true);
    provisioning.join().await;
    world.caller.finish(PATIENCE).await;
    stop_receiver.send_replace(true);
    receiver.join(PATIENCE).await;
    stop_sinks.send_replace(true);
    sinks.join().await;
    stop_summary.send_replace(true);
    for task in [rotation, retries, report, summary, refusals, leftovers, checks, watchdog, letters]
        .into_iter()
        .chain(certificate)
        .chain(operators.into_iter().flatten())
        .chain(changed)
    {
        if let Err(error) = task.await {
            tracing::error!(%error, "a task ended by a panic");
        }
    }
    let closed: Result<(), Error> = store.close().await;
    ended.and(closed)?;
    Ok(endpoints.iter().map(|endpoint| (endpoint.instance.id.clone(), endpoint.tally())).collect())
}
