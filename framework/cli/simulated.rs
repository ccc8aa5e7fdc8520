//! `forebay run --simulate`: the world of a simulation, and its summary.
//!
//! Ports of its own, a folder of its own, the way out led to loopback. Called by `run` with a checked
//! configuration whose missing settings and secrets were made up.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use super::run::{bind, say, stdout, stops};
use crate::call::transport::{HttpTransport, Options};
use crate::connector::clock::{Clock, SystemClock};
use crate::connector::instance::Instance;
use crate::deliver::config::SinkConfig;
use crate::deliver::sinks::Outside;
use crate::error::{Error, Kind, Result};
use crate::run::config::Configuration;
use crate::simulate::folder::Folder;
use crate::simulate::life::{self, Simulation};

use super::outgoing;

/// What only a simulation is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes {
    /// Distinct good events; 0 is endless.
    pub events: u64,
    /// Whether the vendor misbehaves.
    pub faults: bool,
    /// Whether sinks were named.
    pub has_sinks: bool,
    /// Whether the receiver's address was named.
    pub has_address: bool,
}

/// Lives it, and prints what came of it; exit 1 where the sums do not agree.
pub(super) async fn work(mut configuration: Configuration, wishes: Wishes) -> Result<ExitCode> {
    let (instance, sinks) = only(&mut configuration)?;
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let receiver = bind(if wishes.has_address { configuration.listen } else { any }).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let transport = outgoing::to_sinks(&configuration.outgoing)?;
    let simulation = Simulation {
        instance,
        sinks: if wishes.has_sinks { sinks } else { Vec::new() },
        folder: Folder::open(&configuration.data_dir)?,
        events: wishes.events,
        faults: wishes.faults,
        receive: configuration.receive,
        queue: configuration.queue,
        receiver,
        stand_in: bind(any).await?,
        loopback: Arc::new(HttpTransport::new(Options { allow_loopback: true, ..Options::default() })?),
        outside: Outside { stdout: stdout()?, transport, clock: clock.clone() },
        clock,
        say: say(),
        terminal: std::io::stderr().is_terminal(),
        shutdown: stops()?,
    };
    let summary = life::run(simulation).await?;
    eprintln!("{summary}");
    Ok(if summary.agrees() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The one instance, held by nobody else.
fn only(configuration: &mut Configuration) -> Result<(Instance, Vec<SinkConfig>)> {
    configuration.sources.files.clear();
    let mut instances = std::mem::take(&mut configuration.instances);
    let one = instances.pop().filter(|_| instances.is_empty()).ok_or_else(|| {
        Error::new(Kind::Configuration, "a simulation has one instance").help("pick one by --id ID")
    })?;
    let instance = Arc::into_inner(one.instance).expect("the sources that shared it are gone");
    Ok((instance, one.sinks))
}
