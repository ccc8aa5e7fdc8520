//! Secrets that are read again while the process runs: the receiver takes the value before too, until the vendor has
//! the new one.
//!
//! `host` starts it; it ends with the process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info};

use super::instructions::ask_to_change;
use super::world::Reread;
use crate::connector::instance::Instance;
use crate::provision::Provisioner;

/// How long the value before is still taken once the vendor has the new one: pushes under way still carry it.
const GRACE: Duration = Duration::from_secs(5);

/// One instance whose secrets change.
pub(super) struct Rotated {
    /// Whose.
    pub instance: Arc<Instance>,
    /// What gives the vendor the new value; `None` in manual mode.
    pub provisioner: Option<Arc<Provisioner>>,
}

/// Reads secrets again at each signal. The receiver takes old and new; the vendor gets the new one; then the old
/// one is dropped. Where a person looks after the vendor's side, the next signal drops it.
pub(super) async fn rotate(
    instances: Vec<Rotated>,
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
            let Some(one) = instances.iter().find(|one| one.instance.id == id) else { continue };
            if !one.instance.rotate_secret(&name, secret) {
                one.instance.retire(&name);
                continue;
            }
            info!(instance = %id, secret = name, "secret changed; the value before is taken too for now");
            match &one.provisioner {
                Some(provisioner) => {
                    let (instance, provisioner) = (one.instance.clone(), provisioner.clone());
                    drop(tokio::spawn(hand_over(instance, provisioner, name, shutdown.clone())));
                }
                None => ask_to_change(&one.instance, &name, keys.as_deref()),
            }
        }
    }
}

/// Gives the vendor the new value, and drops the one before.
async fn hand_over(
    instance: Arc<Instance>,
    provisioner: Arc<Provisioner>,
    name: String,
    mut shutdown: watch::Receiver<bool>,
) {
    match provisioner.settle(shutdown.clone()).await {
        Ok(Some(report)) if !report.destroyed => {
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(GRACE) => {}
            }
            instance.retire(&name);
            info!(instance = %instance.id, secret = name, "the vendor has the new value; the one before is dropped");
        }
        Ok(_) => {}
        Err(error) => error!(
            instance = %instance.id, secret = name, %error,
            "the vendor did not take the new value; the one before is still good"
        ),
    }
}
