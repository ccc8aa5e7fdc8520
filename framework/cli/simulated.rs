//! `forebay run --simulate`: the world of a simulation, and its summary.
//!
//! Ports of its own, a folder of its own, the way out led to loopback. Called by `run` with a checked
//! configuration whose missing settings and secrets were made up, and by `test` for the life of a connector.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Map;
use tokio::sync::watch;

use super::process::{bind, say, stdout, stops};
use super::{outgoing, recorded};
use crate::call::transport::{HttpTransport, Options};
use crate::connector::clock::{Clock, SystemClock};
use crate::connector::instance::{Instance, InstanceId};
use crate::connector::model::Connector;
use crate::deliver::config::SinkConfig;
use crate::deliver::sinks::Outside;
use crate::error::{Error, Kind, Result};
use crate::run::config::Configuration;
use crate::simulate::configure;
use crate::simulate::folder::Folder;
use crate::simulate::hurry::Tempo;
use crate::simulate::life::{self, Simulation};
use crate::simulate::record::Recording;
use crate::simulate::summary::Summary;
use crate::{queue, receive};

/// The folder of a simulation, below the data folder.
const FOLDER: &str = "simulate";
/// Events of the life that `test` plays.
const REHEARSED: u64 = 200;

/// What only a simulation is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes<'a> {
    /// Distinct good events; 0 is endless.
    pub events: u64,
    /// Whether the vendor misbehaves.
    pub faults: bool,
    /// Whether sinks were named.
    pub has_sinks: bool,
    /// Whether the receiver's address was named.
    pub has_address: bool,
    /// Where it is recorded.
    pub record: Option<&'a Path>,
}

/// Lives it, and prints what came of it; exit 1 where the sums do not agree.
pub(super) async fn work(mut configuration: Configuration, wishes: Wishes<'_>) -> Result<ExitCode> {
    let (instance, sinks) = only(&mut configuration)?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let receiver = bind(if wishes.has_address { configuration.listen } else { any }).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let transport = outgoing::to_sinks(&configuration.outgoing)?;
    let recording = match wishes.record {
        Some(folder) => {
            recorded::make_folder(folder)?;
            Some(Recording::new(clock.clone()))
        }
        None => None,
    };
    let simulation = Simulation {
        instance,
        sinks: if wishes.has_sinks { sinks } else { Vec::new() },
        folder: Folder::open(&configuration.data_dir, FOLDER)?,
        events: wishes.events,
        faults: wishes.faults,
        tempo: Tempo::SEEN,
        receive: configuration.receive,
        queue: configuration.queue,
        receiver,
        stand_in: bind(any).await?,
        loopback: Arc::new(HttpTransport::new(Options { allow_loopback: true, ..Options::default() })?),
        outside: Outside { stdout: stdout()?, transport, clock: clock.clone() },
        clock,
        say: say(),
        terminal: std::io::stderr().is_terminal(),
        recording: recording.clone(),
        shutdown: stops(None)?,
    };
    let lived = life::run(simulation).await;
    if let (Some(recording), Some(folder)) = (&recording, wishes.record) {
        recorded::finish(recording, folder).await?;
    }
    let summary = lived?;
    eprintln!("{summary}");
    Ok(if summary.agrees() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The life that `test` plays: a few events, every fault, in a folder below `scratch`; what it tells is
/// collected in `told`.
pub(super) async fn rehearse(
    connector: Connector,
    scratch: &Path,
    told: Arc<Mutex<String>>,
) -> Result<Summary> {
    let id = InstanceId::parse(&connector.name).expect("a connector's name is checked when it is compiled");
    let filled = configure::fill(&connector, Map::new(), BTreeMap::new(), true)?;
    let instance = configure::instance(Arc::new(connector), id, filled, "the simulation")?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let loopback = Arc::new(HttpTransport::new(Options { allow_loopback: true, ..Options::default() })?);
    let say = move |line: &str| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        told.push_str(&format!("    {line}\n"));
    };
    life::run(Simulation {
        instance,
        sinks: Vec::new(),
        folder: Folder::open(scratch, FOLDER)?,
        events: REHEARSED,
        faults: true,
        tempo: Tempo::REHEARSED,
        receive: receive::Limits::default(),
        queue: queue::limits::Limits::default(),
        receiver: bind(any).await?,
        stand_in: bind(any).await?,
        outside: Outside { stdout: stdout()?, transport: loopback.clone(), clock: clock.clone() },
        loopback,
        clock,
        say: Arc::new(say),
        terminal: false,
        recording: None,
        shutdown: watch::channel(false).1,
    })
    .await
}

/// The one instance, held by nobody else.
fn only(configuration: &mut Configuration) -> Result<(Instance, Vec<SinkConfig>)> {
    configuration.sources = Default::default();
    let mut instances = std::mem::take(&mut configuration.instances);
    let one = instances.pop().filter(|_| instances.is_empty()).ok_or_else(|| {
        Error::new(Kind::Configuration, "a simulation has one instance").help("pick one by --id ID")
    })?;
    let instance = Arc::into_inner(one.instance).expect("the sources that shared it are gone");
    Ok((instance, one.sinks))
}
