//! The vendor's side of all instances: provisioned once at the start, then kept on a schedule.
//!
//! A vendor that refuses an instance at the start ends the process only if the instance is alone and no stream of it is
//! known. Otherwise the instance receives, and its stream is looked at again with backoff.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info};

use super::config::Configured;
use super::health::{Health, StreamStatus};
use super::instructions::Reader;
use super::ruling::Ruling;
use super::stream_conditions;
use crate::connector::instance::Instance;
use crate::connector::model::Lifecycle;
use crate::error::Error;
use crate::provision::Provisioner;
use crate::provision::state::Saved;
use crate::receive::Endpoint;

/// What provisioning needs.
pub(super) struct Vendors {
    pub health: Arc<Health>,
    pub reader: Reader,
    pub shutdown: watch::Receiver<bool>,
}

/// The tasks, and where a refusal for good is told.
pub(super) struct Provisioning {
    tasks: JoinSet<()>,
    fatal: mpsc::Receiver<Error>,
}

/// One instance whose vendor's side we look after.
struct Kept {
    instance: Arc<Instance>,
    provisioner: Arc<Provisioner>,
    ruling: Arc<Ruling>,
    nudge: Notify,
}

/// Starts what each instance needs.
pub(super) fn start(
    members: &[Configured],
    provisioners: Vec<Arc<Provisioner>>,
    rulings: &[Arc<Ruling>],
    endpoints: &[Arc<Endpoint>],
    vendors: Vendors,
) -> Provisioning {
    let (refuse, fatal) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    let mut kept = Vec::new();
    for (((member, endpoint), provisioner), ruling) in
        members.iter().zip(endpoints).zip(provisioners).zip(rulings)
    {
        let instance = member.instance.clone();
        tasks.spawn(learn(endpoint.clone(), provisioner.saved(), vendors.shutdown.clone()));
        match provisioner.is_automatic() {
            Ok(true) => {
                vendors.health.stream(&instance.id, StreamStatus::Pending);
                let (ruling, nudge) = (ruling.clone(), Notify::new());
                kept.push(Arc::new(Kept { instance, provisioner, ruling, nudge }));
            }
            Ok(false) => {
                vendors.health.stream(&instance.id, StreamStatus::Manual);
                vendors.reader.explain(&instance);
            }
            Err(error) => error!(instance = %instance.id, %error, "cannot tell whether to provision"),
        }
    }
    let alone = members.len() == 1;
    for one in &kept {
        let refuse = alone.then(|| refuse.clone());
        tasks.spawn(live(one.clone(), vendors.health.clone(), refuse, vendors.shutdown.clone()));
        tasks.spawn(stream_conditions::watch(
            one.instance.id.clone(),
            one.provisioner.status(),
            vendors.health.clone(),
            vendors.shutdown.clone(),
        ));
        tasks.spawn(heed(one.clone(), vendors.shutdown.clone()));
    }
    Provisioning { tasks, fatal }
}

impl Provisioning {
    /// The refusal that ends a process with one instance; never returns otherwise.
    pub(super) async fn fatal(&mut self) -> Error {
        match self.fatal.recv().await {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }

    /// Waits for the tasks.
    pub(super) async fn join(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                error!(%error, "provisioning ended by a panic");
            }
        }
    }
}

/// The life of one stream, from the first look to the end of the process. A refusal ends the process only if it is
/// this instance's alone and no stream of it is known: then nothing can come in. A stream that is known is received
/// all the same, and looked at again.
async fn live(
    one: Arc<Kept>,
    health: Arc<Health>,
    refuse: Option<mpsc::Sender<Error>>,
    shutdown: watch::Receiver<bool>,
) {
    match one.provisioner.settle(shutdown.clone()).await {
        Ok(Some(report)) if !report.destroyed => {}
        Ok(_) => return,
        Err(error) => {
            health.stream(&one.instance.id, StreamStatus::Refused(error.sentence.clone()));
            metrics::counter!("forebay_instances_refused_total", "instance" => one.instance.id.to_string())
                .increment(1);
            // A state that cannot be read may know a stream.
            let is_known = one.provisioner.knows_stream().await.unwrap_or(true);
            if let (Some(refuse), false) = (refuse, is_known) {
                // The receiving end lives as long as the process waits for it.
                drop(refuse.send(error).await);
                return;
            }
        }
    }
    one.provisioner.keep(&one.nudge, shutdown).await;
}

/// Tells the receiver what became known of the vendor's side, as it becomes known.
async fn learn(
    endpoint: Arc<Endpoint>,
    mut saved: watch::Receiver<Saved>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        let Saved { now, before } = saved.borrow_and_update().clone();
        endpoint.learn_both(now, before);
        // The other end is this instance's: it lives as long as it does.
        let stop = tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => true,
            changed = saved.changed() => changed.is_err(),
        };
        if stop {
            return;
        }
    }
}

/// How long after a look that messages asked for the next one follows at the earliest.
const CALM: Duration = Duration::from_secs(10);

/// Looks at the vendor's side when its messages ask for that: at once, and then not again for a while, however
/// many come.
async fn heed(one: Arc<Kept>, mut shutdown: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = one.ruling.wished() => {}
        }
        for (resource, operation) in one.ruling.take() {
            info!(instance = %one.instance.id, resource, operation = operation.name(), "looking at the vendor's side");
            // A look does all the others, where they are due; a renewal is wanted before its time.
            if operation == Lifecycle::Renew {
                one.provisioner.ask_renewal(&resource);
            }
        }
        one.nudge.notify_one();
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(CALM) => {}
        }
    }
}
