//! The line that the log gets every minute: what came, what went, and how the stream is.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tracing::info;

use super::health::Health;
use super::observed::Observed;
use crate::queue::local::Local;

/// How often.
const EVERY: Duration = Duration::from_secs(60);

/// Writes it until the signal, and once more then.
pub(super) async fn every_minute(
    queue: Arc<Observed>,
    store: Arc<Local>,
    health: Arc<Health>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        let stopping = tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        write(&queue, &store, &health);
        if stopping {
            return;
        }
    }
}

fn write(queue: &Observed, store: &Local, health: &Health) {
    let stats = store.stats();
    for (instance, tally) in queue.tallies().iter() {
        let delivered: Vec<String> =
            tally.delivered.iter().map(|(sink, count)| format!("{sink} {}", count.load(Relaxed))).collect();
        info!(
            %instance,
            stream = health.word(instance),
            stored = tally.stored.load(Relaxed),
            duplicates = tally.duplicates.load(Relaxed),
            dead = tally.dead.load(Relaxed),
            delivered = delivered.join(", "),
            queue_bytes = stats.bytes,
            "summary since the start"
        );
    }
}
