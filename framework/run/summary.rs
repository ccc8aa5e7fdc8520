//! The summary in the log: what came and what went of each instance, whenever something changed since the last one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tracing::info;

use super::health::Health;
use super::observed::Observed;
use crate::connector::instance::InstanceId;
use crate::queue::SinkKey;
use crate::queue::local::Local;
use crate::receive::Endpoint;

/// What is compared: while it stays the same there is nothing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Figures {
    stream: &'static str,
    requests: u64,
    rejected: u64,
    stored: u64,
    duplicates: u64,
    dead: u64,
    delivered: String,
}

impl Figures {
    /// Whether nothing has ever happened.
    fn is_nothing(&self) -> bool {
        self.requests == 0 && self.dead == 0
    }
}

/// Writes it at every interval until the signal, and once more then. An interval of zero is never.
pub(super) async fn write_regularly(
    endpoints: Vec<Arc<Endpoint>>,
    queue: Arc<Observed>,
    store: Arc<Local>,
    health: Arc<Health>,
    every: Duration,
    mut shutdown: watch::Receiver<bool>,
) {
    if every.is_zero() {
        return;
    }
    let mut last = BTreeMap::new();
    loop {
        let stopping = tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => true,
            () = tokio::time::sleep(every) => false,
        };
        for endpoint in &endpoints {
            let instance = &endpoint.instance.id;
            let figures = figures(endpoint, &queue, &health);
            if is_news(&mut last, instance, &figures) {
                let Figures { stream, requests, rejected, stored, duplicates, dead, delivered } = figures;
                let queue_bytes = store.stats().bytes;
                info!(
                    %instance, stream, requests, rejected, stored, duplicates, dead, delivered, queue_bytes,
                    "summary since the start"
                );
            }
        }
        if stopping {
            return;
        }
    }
}

/// Whether the figures differ from those written last, which they replace.
fn is_news(last: &mut BTreeMap<InstanceId, Figures>, instance: &InstanceId, figures: &Figures) -> bool {
    match last.insert(instance.clone(), figures.clone()) {
        Some(before) => before != *figures,
        None => !figures.is_nothing(),
    }
}

fn figures(endpoint: &Endpoint, queue: &Observed, health: &Health) -> Figures {
    let instance = &endpoint.instance.id;
    let (came, mut refused) = (endpoint.tally(), 0);
    let mut delivered = Vec::new();
    let first = SinkKey { instance: instance.clone(), sink: String::new() };
    let own = queue.delivered().range(first..).take_while(|(key, _)| key.instance == *instance);
    for (key, went) in own {
        delivered.push(format!("{} {}", key.sink, went.taken.load(Relaxed)));
        refused += went.refused.load(Relaxed);
    }
    Figures {
        stream: health.word(instance),
        requests: came.requests,
        rejected: came.rejected,
        stored: came.stored,
        duplicates: came.duplicates,
        dead: came.dead + refused,
        delivered: delivered.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_is_news_only_if_something_changed() {
        let (mut last, id) = (BTreeMap::new(), InstanceId::parse("acme").unwrap());
        let mut figures = Figures {
            stream: "manual",
            requests: 0,
            rejected: 0,
            stored: 0,
            duplicates: 0,
            dead: 0,
            delivered: "archive 0".to_owned(),
        };
        assert!(!is_news(&mut last, &id, &figures), "nothing has happened yet");
        figures.requests = 1;
        assert!(is_news(&mut last, &id, &figures));
        assert!(!is_news(&mut last, &id, &figures));
        figures.delivered = "archive 1".to_owned();
        assert!(is_news(&mut last, &id, &figures));
    }
}
