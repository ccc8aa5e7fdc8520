//! The receiver of all instances on one listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::config::Configured;
use super::health::Health;
use super::observed::Observed;
use super::ruling::Ruling;
use crate::call::caller::Caller;
use crate::condition::{Code, Subject};
use crate::connector::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::receive::limits::Limits;
use crate::receive::{Deeds, Endpoint, Reach, Router, Tls, serve};

/// How often health is told.
const EVERY: Duration = Duration::from_secs(1);

/// The receiver at work.
pub(super) struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    endpoints: Vec<Arc<Endpoint>>,
    task: JoinHandle<Result<()>>,
    drain: Duration,
}

/// Starts to serve.
#[expect(clippy::too_many_arguments, reason = "the world comes in by arguments")]
pub(super) fn start(
    members: &[Configured],
    queue: Arc<Observed>,
    clock: Arc<dyn Clock>,
    caller: Arc<Caller>,
    rulings: &[Arc<Ruling>],
    listener: TcpListener,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    shutdown: watch::Receiver<bool>,
) -> Result<Receiver> {
    let endpoints = members
        .iter()
        .zip(rulings)
        .map(|(member, ruling)| {
            let (queue, clock) = (queue.clone(), clock.clone());
            let deeds: Arc<dyn Deeds> = ruling.clone();
            let reach = Reach { caller: caller.clone(), deeds: Some(deeds) };
            let endpoint = Endpoint::new(member.instance.clone(), queue, clock, reach, &limits)?;
            endpoint.admit_only(member.allowed_sources.clone());
            Ok(endpoint)
        })
        .collect::<Result<Vec<_>>>()?;
    let router = Arc::new(Router::new(endpoints.iter().cloned())?);
    let address =
        listener.local_addr().map_err(|e| Error::new(Kind::Io, "the listener has no address").because(e))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let drain = limits.drain;
    let task = tokio::spawn(serve(listener, router, limits, tls, shutdown));
    Ok(Receiver { address, scheme, endpoints, task, drain })
}

impl Receiver {
    /// One line an instance, as scripts read it.
    pub(super) fn ready_lines(&self) -> impl Iterator<Item = String> + '_ {
        self.endpoints.iter().map(|endpoint| {
            let (id, path) = (&endpoint.instance.id, &endpoint.path);
            format!("ready: receiving {id} at {}://{}{path}", self.scheme, self.address)
        })
    }

    /// Raises a condition for each instance whose limit on bodies is below what its sender declares.
    pub(super) fn warn_of_small_limits(&self, health: &Health) {
        for endpoint in &self.endpoints {
            let Some(declared) = endpoint.short_of() else { continue };
            let message = format!(
                "receiver.limits.body is below what the sender declares: expected {declared} bytes at least; larger \
                 bodies are refused with 413"
            );
            health.conditions.raise(Code::BodyLimitLow, Subject::instance(&endpoint.instance.id), message);
        }
    }

    /// The instances' ends.
    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Why it ended by itself; never returns while it serves.
    pub(super) async fn ended(&mut self) -> Error {
        match (&mut self.task).await {
            Ok(Ok(())) => Error::new(Kind::Io, "the receiver ended by itself"),
            Ok(Err(error)) => error,
            Err(panic) => Error::new(Kind::Io, "the receiver ended by a panic").because(panic),
        }
    }

    /// Waits until what was in flight is answered.
    pub(super) async fn join(mut self, patience: Duration) {
        if self.task.is_finished() {
            return;
        }
        match tokio::time::timeout(self.drain + patience, &mut self.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::error!(%error, "the receiver ended"),
            Ok(Err(error)) => tracing::error!(%error, "the receiver ended by a panic"),
            Err(_) => {
                tracing::error!("the receiver does not end: it is cut off");
                self.task.abort();
            }
        }
    }
}

/// Tells health, every second, when the last event came and which request was turned away last.
pub(super) async fn report(
    endpoints: Vec<Arc<Endpoint>>,
    health: Arc<Health>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        for endpoint in &endpoints {
            let (instance, tally) = (&endpoint.instance.id, endpoint.tally());
            if let Some(at) = tally.last_accepted {
                health.event(instance, at);
            }
            if let Some((at, reason)) = tally.last_rejected {
                health.rejection(instance, at, reason);
            }
        }
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
