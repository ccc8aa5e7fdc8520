//! `forebay run`: gathers the world (ports, signals, store, ways out) and hands it to the host.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tracing::Level;

use super::instance::{Ask, Purpose, configure, environment};
use super::simulated::{self, Wishes};
use super::{InstanceFlags, LogFormat, outgoing, recorded, runtime};
use crate::connector::clock::{Clock, SystemClock};
use crate::deliver::sinks::{Outside, Stdout};
use crate::error::{Error, Kind, Result};
use crate::queue::local::Local;
use crate::receive::Tls;
use crate::run::config::{Configuration, Sources};
use crate::run::health::Health;
use crate::run::host::{self, Onlookers, Reread, Say, World};
use crate::run::{log, metrics};

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
    #[arg(long, value_name = "stdout|file:PATH|http(s)://URL")]
    to: Vec<String>,
    /// Serve /healthz, /readyz and /metrics here
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
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

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let purpose = if arguments.simulate { Purpose::Simulate } else { Purpose::Run };
    let ask = Ask {
        flags: &arguments.instance,
        listen: arguments.listen.as_deref(),
        admin_listen: arguments.admin_listen.as_deref(),
        to: &arguments.to,
        purpose,
    };
    // A simulation tells its story itself. What a spec is warned of is said while it is loaded.
    let level = if arguments.simulate { Level::WARN } else { Level::INFO };
    start_log(arguments.instance.log_format, level)?;
    let configuration = configure(&ask, &environment())?;
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
        Some(_) => Some(recorded::begin(&configuration, clock.clone())?),
        None => None,
    };
    let health = Arc::new(Health::default());
    // Ports first: a port in use must leave nothing behind.
    let listener = bind(configuration.listen).await?;
    let admin = match configuration.admin {
        Some(address) => Some((bind(address).await?, metrics::install()?)),
        None => None,
    };
    let tls = match &configuration.tls {
        Some(tls) => Some(Tls::load(&tls.certificate, &tls.key, CERTIFICATES)?),
        None => None,
    };
    let caller = outgoing::caller(&configuration.outgoing, recording.as_ref())?;
    let transport = outgoing::to_sinks(&configuration.outgoing)?;
    let world = World {
        store: Local::open(&configuration.data_dir, configuration.queue, clock.clone())?,
        outside: Outside { stdout: stdout()?, transport, clock: clock.clone() },
        clock,
        caller,
        listener,
        limits: configuration.receive,
        tls,
        admin,
        reread: (reread(configuration.sources), hangups()?),
        say: say(),
        plain: arguments.instance.log_format == LogFormat::Human,
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

/// Sets up the log on standard error.
pub(super) fn start_log(format: LogFormat, level: Level) -> Result<()> {
    let format = match format {
        LogFormat::Human => log::Format::Human,
        LogFormat::Json => log::Format::Json,
    };
    let subscriber = log::subscriber(Arc::new(Mutex::new(std::io::stderr())), format, level);
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|e| Error::new(Kind::Io, "the log is set up already").because(e))
}

/// Lines for people and scripts, whatever the log's format.
pub(super) fn say() -> Say {
    Arc::new(|line| {
        // Nobody reads standard error: then there is nobody to tell.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    })
}

pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| {
        Error::new(Kind::Io, format!("cannot listen on {address}"))
            .help("choose another address, or end the process that has it")
            .because(e)
    })
}

/// Standard output without a buffer: the sink counts what was taken.
pub(super) fn stdout() -> Result<Stdout> {
    let handle = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|e| Error::new(Kind::Io, "cannot write to standard output").because(e))?;
    Ok(Arc::new(Mutex::new(File::from(handle))))
}

fn reread(sources: Sources) -> Reread {
    Arc::new(move || sources.reread())
}

/// Told when standard input ends. The thread that reads it ends with the process.
fn end_of_input() -> Option<oneshot::Receiver<()>> {
    let (send, receive) = oneshot::channel();
    std::thread::spawn(move || {
        // What is written there is for nobody, and an input that cannot be read has ended.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = send.send(());
    });
    Some(receive)
}

/// True at the first SIGTERM or Ctrl-C, or at the end of standard input where that counts. The second signal
/// ends the process at once.
pub(super) fn stops(end_of_input: Option<oneshot::Receiver<()>>) -> Result<watch::Receiver<bool>> {
    let (send, receive) = watch::channel(false);
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = ended(end_of_input) => {}
        }
        tracing::info!("stopping: what is in flight is finished; a second signal stops at once");
        send.send_replace(true);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        eprintln!("stopped at once; nothing that was acknowledged is lost");
        std::process::exit(3);
    });
    Ok(receive)
}

/// Resolves at the end of standard input, where that counts.
async fn ended(input: Option<oneshot::Receiver<()>>) {
    match input {
        Some(end) => drop(end.await),
        None => std::future::pending().await,
    }
}

/// Grows with every SIGHUP.
fn hangups() -> Result<watch::Receiver<u64>> {
    let (send, receive) = watch::channel(0);
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            send.send_modify(|count| *count += 1);
        }
    });
    Ok(receive)
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal> {
    signal(kind).map_err(|e| Error::new(Kind::Io, "cannot listen for signals").because(e))
}
