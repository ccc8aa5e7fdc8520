//! The vendor's side of all instances: provisioned once at the start, then kept on a schedule; and secrets that
//! are read again while all that goes on.
//!
//! An instance whose vendor refuses it for good at the start ends: alone, the process ends with it; among others,
//! it alone stops provisioning, which is said.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::config::Configured;
use super::health::{Health, StreamStatus};
use super::ruling::Ruling;
use super::world::{Reread, Say};
use crate::connector::instance::Instance;
use crate::connector::model::Lifecycle;
use crate::error::Error;
use crate::provision::manual::{self, Keys};
use crate::provision::state::Saved;
use crate::provision::{Provisioner, Status};
use crate::receive::Endpoint;

/// What provisioning needs.
pub(super) struct Vendors {
    pub health: Arc<Health>,
    pub say: Say,
    pub plain: bool,
    pub terminal: bool,
    pub folder: PathBuf,
    pub reread: (Reread, watch::Receiver<u64>),
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
    provisioner: Provisioner,
    ruling: Arc<Ruling>,
    nudge: Notify,
}

/// Starts what each instance needs.
pub(super) fn start(
    members: &[Configured],
    provisioners: Vec<Provisioner>,
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
                explain(&instance, &vendors);
            }
            Err(error) => error!(instance = %instance.id, %error, "cannot tell whether to provision"),
        }
    }
    let alone = members.len() == 1;
    for one in &kept {
        let refuse = alone.then(|| refuse.clone());
        tasks.spawn(live(one.clone(), vendors.health.clone(), refuse, vendors.shutdown.clone()));
        tasks.spawn(mirror(one.clone(), vendors.health.clone(), vendors.shutdown.clone()));
        tasks.spawn(heed(one.clone(), vendors.shutdown.clone()));
    }
    let instances = members.iter().map(|member| member.instance.clone()).collect();
    let keys = (!vendors.terminal).then_some(vendors.folder);
    tasks.spawn(rotate(instances, kept, keys, vendors.reread, vendors.shutdown));
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

/// Whether there is anything to say: without a call of the vendor's there is only where a key is made here.
fn has_instructions(instance: &Instance) -> bool {
    let made_here = instance.connector.secrets.iter().any(|secret| secret.generate.is_some());
    instance.connector.provision.is_some() || made_here
}

/// Tells the person who looks after the vendor's side that a secret changed. The instructions that they have read it
/// from the file of the key, where it did not stand in them.
fn ask_to_change(instance: &Instance, name: &str, keys: Option<&Path>) {
    info!(instance = %instance.id, secret = name, "give the vendor the new value: the one before is taken until the next SIGHUP");
    if let Some(folder) = keys.filter(|_| has_instructions(instance))
        && let Err(error) = manual::instructions(instance, Keys::InFiles(folder))
    {
        warn!(instance = %instance.id, secret = name, %error, "the file of the key holds the value before");
    }
}

/// Says how a person creates the stream.
fn explain(instance: &Instance, vendors: &Vendors) {
    if !has_instructions(instance) {
        return;
    }
    let keys = if vendors.terminal { Keys::InClear } else { Keys::InFiles(&vendors.folder) };
    match manual::instructions(instance, keys) {
        Ok(text) if vendors.plain => (vendors.say)(&text),
        Ok(text) => info!(instance = %instance.id, instructions = text, "create the stream at the vendor"),
        Err(error) => warn!(instance = %instance.id, %error, "cannot say how to create the stream"),
    }
}

/// The life of one stream, from the first look to the end of the process.
async fn live(
    one: Arc<Kept>,
    health: Arc<Health>,
    refuse: Option<mpsc::Sender<Error>>,
    shutdown: watch::Receiver<bool>,
) {
    match one.provisioner.settle(shutdown.clone()).await {
        Ok(Some(report)) if !report.destroyed => one.provisioner.keep(&one.nudge, shutdown).await,
        Ok(_) => {}
        Err(error) => {
            health.stream(&one.instance.id, StreamStatus::Refused(error.sentence.clone()));
            metrics::counter!("forebay_instances_refused_total", "instance" => one.instance.id.to_string())
                .increment(1);
            match refuse {
                // The receiving end lives as long as the process waits for it.
                Some(refuse) => drop(refuse.send(error).await),
                None => error!(
                    instance = %one.instance.id, %error,
                    "the vendor refused this instance: its stream is not provisioned; the others go on"
                ),
            }
        }
    }
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

/// Tells health how the stream is.
async fn mirror(one: Arc<Kept>, health: Arc<Health>, mut shutdown: watch::Receiver<bool>) {
    let mut status = one.provisioner.status();
    loop {
        {
            let status = status.borrow_and_update();
            health.stream(&one.instance.id, word(&status));
            health.lifetime(&one.instance.id, status.lifetimes.renewal, status.lifetimes.expires);
        }
        let stop = tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => true,
            changed = status.changed() => changed.is_err(),
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

fn word(status: &Status) -> StreamStatus {
    match status {
        Status { destroyed: true, .. } => StreamStatus::Destroyed,
        Status { refusal: Some(why), .. } => StreamStatus::Refused(why.clone()),
        Status { unwell: Some(why), .. } => StreamStatus::Unwell(why.clone()),
        Status { checked: Some(_), .. } => StreamStatus::Active,
        Status { .. } => StreamStatus::Pending,
    }
}

/// How long the value before is still taken once the vendor has the new one: pushes under way still carry it.
const GRACE: Duration = Duration::from_secs(5);

/// Reads secrets again at each signal. The receiver takes old and new; the vendor gets the new one; then the old
/// one is dropped. Where a person looks after the vendor's side, the next signal drops it.
async fn rotate(
    instances: Vec<Arc<Instance>>,
    kept: Vec<Arc<Kept>>,
    keys: Option<PathBuf>,
    (reread, mut signal): (Reread, watch::Receiver<u64>),
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            changed = signal.changed() => if changed.is_err() {
                return;
            },
        }
        let again = match reread() {
            Ok(again) => again,
            Err(error) => {
                error!(%error, "the secrets could not be read again; the old ones stay");
                continue;
            }
        };
        for (id, name, secret) in again {
            let Some(instance) = instances.iter().find(|instance| instance.id == id) else { continue };
            if !instance.rotate_secret(&name, secret) {
                instance.retire(&name);
                continue;
            }
            info!(instance = %id, secret = name, "secret changed; the value before is taken too for now");
            match kept.iter().find(|one| one.instance.id == id) {
                Some(one) => drop(tokio::spawn(hand_over(one.clone(), name, shutdown.clone()))),
                None => ask_to_change(instance, &name, keys.as_deref()),
            }
        }
    }
}

/// Gives the vendor the new value, and drops the one before.
async fn hand_over(one: Arc<Kept>, name: String, mut shutdown: watch::Receiver<bool>) {
    match one.provisioner.settle(shutdown.clone()).await {
        Ok(Some(report)) if !report.destroyed => {
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(GRACE) => {}
            }
            one.instance.retire(&name);
            info!(instance = %one.instance.id, secret = name, "the vendor has the new value; the one before is dropped");
        }
        Ok(_) => {}
        Err(error) => error!(
            instance = %one.instance.id, secret = name, %error,
            "the vendor did not take the new value; the one before is still good"
        ),
    }
}
