//! Dead letters that a person asked to have decoded again: taken up while `run` runs.
//!
//! `forebay dead-letters retry` marks them in the store; a letter disappears in the transaction that stores what
//! became of it. Letters that a sink refused are the sink's worker's, not ours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::connector::instance::InstanceId;
use crate::queue::Refusal;
use crate::queue::local::Local;
use crate::receive::{Endpoint, decode_again};

/// How often the store is asked.
const EVERY: Duration = Duration::from_secs(1);

/// Looks for marked letters until the signal.
pub(super) async fn watch(
    store: Arc<Local>,
    endpoints: Vec<Arc<Endpoint>>,
    mut shutdown: watch::Receiver<bool>,
) {
    let endpoints: BTreeMap<InstanceId, Arc<Endpoint>> =
        endpoints.into_iter().map(|endpoint| (endpoint.instance.id.clone(), endpoint)).collect();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        // One question for all instances: there may be a thousand.
        let marked = match store.retries().await {
            Ok(marked) => marked,
            Err(error) => {
                warn!(%error, "cannot read the dead letters to decode again");
                continue;
            }
        };
        for endpoint in marked.iter().filter_map(|instance| endpoints.get(instance)) {
            again(&store, endpoint).await;
        }
    }
}

/// Decodes the marked letters of one instance again.
async fn again(store: &Local, endpoint: &Endpoint) {
    let instance = &endpoint.instance.id;
    let letters = match store.take_retries(instance).await {
        Ok(letters) => letters,
        Err(error) => {
            warn!(%instance, %error, "cannot read the dead letters to decode again");
            return;
        }
    };
    for stored in letters {
        let number = stored.number;
        match store.settle_retry(number, decode_again(endpoint, stored.letter)).await {
            Ok(receipt) => info!(
                %instance, letter = number, stored = receipt.stored, duplicates = receipt.duplicates,
                dead = receipt.dead, "dead letter decoded again"
            ),
            Err(Refusal::Full { detail, .. }) => {
                warn!(%instance, letter = number, detail, "no room to decode a dead letter again; it stays");
            }
            Err(Refusal::Broken(error)) => warn!(%instance, letter = number, %error, "a dead letter stays"),
            Err(Refusal::Closing) => return,
        }
    }
}
