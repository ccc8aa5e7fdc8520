//! The line that the log gets every minute: what came, what went, and how the stream is.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tracing::info;

use super::health::Health;
use super::observed::Observed;
use crate::queue::SinkKey;
use crate::queue::local::Local;
use crate::receive::Endpoint;

/// How often.
const EVERY: Duration = Duration::from_secs(60);

/// Writes it until the signal, and once more then.
pub(super) async fn every_minute(
    endpoints: Vec<Arc<Endpoint>>,
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
        write(&endpoints, &queue, &store, &health);
        if stopping {
            return;
        }
    }
}

fn write(endpoints: &[Arc<Endpoint>], queue: &Observed, store: &Local, health: &Health) {
    let stats = store.stats();
    for endpoint in endpoints {
        let instance = &endpoint.instance.id;
        let (came, mut refused) = (endpoint.tally(), 0);
        let mut delivered = Vec::new();
        let first = SinkKey { instance: instance.clone(), sink: String::new() };
        let own = queue.delivered().range(first..).take_while(|(key, _)| key.instance == *instance);
        for (key, went) in own {
            delivered.push(format!("{} {}", key.sink, went.taken.load(Relaxed)));
            refused += went.refused.load(Relaxed);
        }
        info!(
            %instance,
            stream = health.word(instance),
            requests = came.requests,
            rejected = came.rejected,
            stored = came.stored,
            duplicates = came.duplicates,
            dead = came.dead + refused,
            delivered = delivered.join(", "),
            queue_bytes = stats.bytes,
            "summary since the start"
        );
    }
}
