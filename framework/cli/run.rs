//! `forebay run`: gathers the world (ports, signals, store, ways out) and hands it to the host.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use url::Url;

use super::instance::{Ask, Purpose, configure, environment};
use super::process::{
    bind, end_of_input, forbid_core_dumps, hangups, say, start_log, stdout, stops, watch_log,
};
use super::simulated::{self, Wishes};
use super::{InstanceFlags, LogFlags, LogFormat, outgoing, recorded, runtime};
use crate::call::transport::HttpTransport;
use crate::condition::Conditions;
use crate::connector::clock::{Clock, SystemClock};
use crate::connector::units::duration;
use crate::deliver::sinks::Outside;
use crate::error::{Error, Kind, Result};
use crate::queue::local::Local;
use crate::receive::Tls;
use crate::run::changes::Written;
use crate::run::config::{Configuration, Sources};
use crate::run::health::Health;
use crate::run::log::Filter;
use crate::run::startup_checks::{self, Permissions};
use crate::run::world::{Onlookers, Rereader, World};
use crate::run::{host, metrics};

/// How often the files of a certificate are looked at.
const CERTIFICATES: Duration = Duration::from_secs(10);

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    instance: InstanceFlags,
    /// Where vendors post to; port 0 picks a free one (default 127.0.0.1:8080)
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where records go, repeatable (default stdout)
    #[arg(long, value_name = "stdout|file:PATH|http(s)://URL|env:VAR")]
    to: Vec<String>,
    /// Serve /healthz, /readyz and /metrics here
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
    /// How long a former value of a secret is accepted once the vendor has the new one; 0s ends it at once (default 1h)
    #[arg(long, value_name = "DURATION")]
    rotation_overlap: Option<String>,
    /// How often the log gets a summary of each instance in which something changed; 0s is never (default 60s)
    #[arg(long, value_name = "DURATION")]
    summary_interval: Option<String>,
    /// Stop when standard input ends: for a program that starts this one and may die before it can stop it
    #[arg(long)]
    stop_at_eof: bool,
    /// Keep what happens at both ends of the stream as a case in this folder, secrets replaced
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Run against a stand-in vendor, with no account and nothing that leaves this machine
    #[arg(long)]
    simulate: bool,
    /// Distinct good events that the stand-in sends; 0 is endless
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "simulate")]
    events: u64,
    /// The stand-in misbehaves: 429, 401, a suspended stream, events out of order
    #[arg(long, requires = "simulate")]
    faults: bool,
}

impl Arguments {
    /// Returns the flags of the log.
    pub(super) fn log(&self) -> &LogFlags {
        &self.instance.log
    }
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let purpose = if arguments.simulate { Purpose::Simulate } else { Purpose::Run };
    let ask = Ask {
        flags: &arguments.instance,
        listen: arguments.listen.as_deref(),
        admin_listen: arguments.admin_listen.as_deref(),
        to: &arguments.to,
        rotation_overlap: arguments.rotation_overlap.as_deref(),
        purpose,
    };
    // A simulation reports what it did itself, dead letters that it caused included. What a spec is warned of is logged
    // while it is loaded.
    let level = if arguments.simulate {
        Filter::of(LevelFilter::WARN).without("receive")
    } else {
        Level::INFO.into()
    };
    let log = &arguments.instance.log;
    start_log(log.log_format, log.filter(level)?)?;
    forbid_core_dumps();
    let mut configuration = configure(&ask, &environment())?;
    if let Some(text) = &arguments.summary_interval {
        configuration.summary = duration(text).ok_or_else(|| {
            Error::new(Kind::Configuration, "not a duration")
                .at("--summary-interval")
                .help("write 30s, 5m or 0s")
        })?;
    }
    if !arguments.simulate {
        let runtime = runtime()?;
        let ended = runtime.block_on(work(configuration, &arguments));
        // A disk that hangs in the middle of a write must not hold the end of the process.
        runtime.shutdown_background();
        return ended;
    }
    let wishes = Wishes {
        events: arguments.events,
        faults: arguments.faults,
        has_sinks: !arguments.to.is_empty() || arguments.instance.config.is_some(),
        has_address: arguments.listen.is_some(),
        record: arguments.record.as_deref(),
    };
    runtime()?.block_on(simulated::work(configuration, wishes))
}

/// From a checked configuration to the end of the process.
async fn work(configuration: Configuration, arguments: &Arguments) -> Result<ExitCode> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let recording = match &arguments.record {
        Some(folder) => Some(recorded::begin(&configuration, folder, clock.clone())?),
        None => None,
    };
    let health = Arc::new(Health::default());
    watch_log(health.conditions.clone());
    // Ports first: a port in use must leave nothing behind.
    let listener = bind(configuration.listen).await?;
    let admin = match configuration.admin {
        Some(address) => Some((bind(address).await?, metrics::install()?)),
        None => None,
    };
    let tls = match &configuration.tls {
        Some(tls) => Some(Tls::load_for(&tls.certificate, &tls.key, tls.client_ca.as_deref(), CERTIFICATES)?),
        None => None,
    };
    if let Some(tls) = &tls {
        tls.report_to(health.conditions.clone());
    }
    let to_vendors = outgoing::to_vendors(&configuration.outgoing)?;
    let conditions = health.conditions.clone();
    let caller = outgoing::caller_over(to_vendors.clone(), recording.as_ref(), conditions);
    let transport = outgoing::to_sinks(&configuration.outgoing)?;
    let (limits, conditions) = (configuration.queue.clone(), health.conditions.clone());
    let store = Local::open_with(&configuration.data_dir, limits, clock.clone(), conditions)?;
    startup_checks::process(&configuration, &health.conditions);
    let permissions = (Permissions::of(&configuration), health.conditions.clone());
    let proxied = (configuration.outgoing.proxy.clone(), vec![to_vendors, transport.clone()]);
    let world = World {
        store,
        outside: Outside { stdout: stdout()?, transport, clock: clock.clone() },
        clock,
        caller,
        listener,
        limits: configuration.receive,
        tls,
        admin,
        reread: (reread(configuration.sources, permissions, proxied), hangups()?),
        written: arguments.instance.config.as_deref().map(Written::read).transpose()?,
        summary: configuration.summary,
        say: say(),
        plain: arguments.instance.log.log_format == LogFormat::Human,
        terminal: std::io::IsTerminal::is_terminal(&std::io::stderr()),
        health,
        witness: recording.clone().map(|one| -> Onlookers { (one.clone(), one) }),
        shutdown: stops(if arguments.stop_at_eof { end_of_input() } else { None })?,
    };
    let ended = host::run(configuration.instances, world).await;
    if let (Some(recording), Some(folder)) = (&recording, &arguments.record) {
        recorded::finish(recording, folder).await?;
    }
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the files with secrets again, and has what goes through the proxy take its new URL.
fn reread(
    sources: Sources,
    (permissions, conditions): (Permissions, Arc<Conditions>),
    (proxy, transports): (Option<Url>, Vec<Arc<HttpTransport>>),
) -> Rereader {
    let known = Mutex::new(proxy);
    Arc::new(move || {
        let mut read = sources.reread();
        // A file that does not answer would block this thread for good.
        if read.blocked.is_empty() {
            permissions.look(&conditions);
        }
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(url) = read.proxy.take().filter(|url| known.as_ref() != Some(url)) {
            match transports.iter().try_for_each(|transport| transport.set_proxy(&url)) {
                Ok(()) => {
                    tracing::info!("the proxy's URL changed: the next call uses it");
                    *known = Some(url);
                }
                Err(error) => read.failed_headers.push(format!("the proxy: {error}")),
            }
        }
        read
    })
}
