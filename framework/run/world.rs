//! Everything that a process full of instances has from outside: `cli` gathers it for `run`, `simulate` for the
//! simulated life.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::changes::Written;
use super::config::Reread;
use super::health::Health;
use crate::call::caller::Caller;
use crate::connector::clock::Clock;
use crate::deliver::sinks::Outside;
use crate::provision;
use crate::queue::local::Local;
use crate::receive::limits::Limits;
use crate::receive::{self, Tls};

/// Everything a host needs from outside.
pub struct World {
    /// The store, open and locked.
    pub store: Arc<Local>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Makes the calls to vendors.
    pub caller: Arc<Caller>,
    /// What sinks need.
    pub outside: Outside,
    /// Where vendors post to.
    pub listener: TcpListener,
    /// The bounds of that listener.
    pub limits: Limits,
    /// Its certificate, where it speaks TLS itself.
    pub tls: Option<Arc<Tls>>,
    /// The operator's listener, and the recorder that counts for it.
    pub admin: Option<(TcpListener, PrometheusHandle)>,
    /// Reads the secrets in files again, and the signal to do so: its value grows.
    pub reread: (Rereader, watch::Receiver<u64>),
    /// The configuration file as it was read, where there is one.
    pub written: Option<Written>,
    /// How often the log gets the summary; zero is never.
    pub summary: Duration,
    /// Plain lines.
    pub say: Say,
    /// Whether texts of several lines may stand among them: the log is for people too.
    pub plain: bool,
    /// Whether those lines are read by a person at a terminal, who may see a key in clear.
    pub terminal: bool,
    /// How everything fares; shared with whoever waits for the stream to be well.
    pub health: Arc<Health>,
    /// Who looks on, at both ends of the stream; mostly nobody.
    pub witness: Option<Onlookers>,
    /// When to stop.
    pub shutdown: watch::Receiver<bool>,
}

/// Reads the secrets of all instances that are in files again. It blocks its thread for as long as files do not answer.
pub type Rereader = Arc<dyn Fn() -> Reread + Send + Sync>;

/// Where plain lines for people and scripts go, whatever the log's format.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// Who looks on: while the vendor's side is provisioned, and while requests are answered.
pub type Onlookers = (Arc<dyn provision::witness::Witness>, Arc<dyn receive::Witness>);
