//! What a command that goes on for long has of its process: the log, ports, the standard streams, signals.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::LogFormat;
use crate::condition::Conditions;
use crate::deliver::sinks::Stdout;
use crate::error::{Error, Kind, Result};
use crate::run::log;
use crate::run::log_writer::LogWriter;
use crate::run::world::Say;

/// What writes to standard error once the log is set up, so that lines keep their order and nobody waits for a reader.
static STDERR: OnceLock<LogWriter> = OnceLock::new();
/// How long the end of the process waits for somebody to read what is still to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Sets up the log on standard error.
pub(super) fn start_log(format: LogFormat, filter: impl Into<log::Filter>) -> Result<()> {
    let format = match format {
        LogFormat::Human => log::Format::Human,
        LogFormat::Json => log::Format::Json,
    };
    let failed = |e: std::io::Error| Error::new(Kind::Io, "the log cannot be set up").because(e);
    // A handle of its own: one that waits for a reader must not hold the lock of the standard library's.
    let out = File::from(std::io::stderr().as_fd().try_clone_to_owned().map_err(failed)?);
    let writer = LogWriter::start(out, format).map_err(failed)?;
    let writer = STDERR.get_or_init(|| writer).clone();
    let subscriber = log::subscriber(Arc::new(Mutex::new(writer.clone())), format, filter);
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|e| Error::new(Kind::Io, "the log is set up already").because(e))?;
    std::panic::set_hook(Box::new(move |panic| {
        let trace = std::backtrace::Backtrace::capture();
        writer.push(format!("{panic}\n{trace}\n").as_bytes());
    }));
    Ok(())
}

/// Writes a line to standard error: in its order among those of the log where there is one.
pub(super) fn tell(line: &str) {
    match STDERR.get() {
        Some(writer) => writer.push(format!("{line}\n").as_bytes()),
        // Nobody reads standard error: then there is nobody to tell.
        None => drop(writeln!(std::io::stderr().lock(), "{line}")),
    }
}

/// Has lines of the log that are dropped listed among the conditions, for as long as the runtime lives.
pub(super) fn watch_log(conditions: Arc<Conditions>) {
    if let Some(writer) = STDERR.get() {
        tokio::spawn(writer.clone().watch(conditions));
    }
}

/// Waits until what was written is out, for a bounded time: the last thing before the process ends.
pub(super) fn last_words() {
    if let Some(writer) = STDERR.get() {
        writer.flush_within(LAST_WORDS);
    }
}

/// Lines for people and scripts, whatever the log's format.
pub(super) fn say() -> Say {
    Arc::new(tell)
}

/// Keeps the memory of this process, which holds secrets, out of core dumps and away from other processes of the
/// same user. `FOREBAY_CORE_DUMPS=allow` leaves it as it is, for debuggers.
pub(super) fn forbid_core_dumps() {
    if std::env::var_os("FOREBAY_CORE_DUMPS").is_some_and(|value| value == "allow") {
        return;
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    let limited =
        limited.and(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable));
    if let Err(error) = limited {
        tracing::warn!(%error, "core dumps cannot be forbidden: a crash may write secrets to the disk");
    }
}

/// A port of our own.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| {
        let help = match e.kind() {
            ErrorKind::PermissionDenied if address.port() < 1024 => {
                "a port below 1024 takes the capability CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=): grant it, \
                 or listen on a port from 1024 on behind a proxy"
            }
            ErrorKind::PermissionDenied => "a security policy of the system forbids it: allow it, or choose another port",
            ErrorKind::AddrNotAvailable => {
                "this machine does not have the address: name one of its own, or 0.0.0.0 for all of them"
            }
            _ => "choose another address, or end the process that has it",
        };
        Error::new(Kind::Io, format!("cannot listen on {address}")).help(help).because(e)
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

/// Told when standard input ends. The thread that reads it ends with the process.
pub(super) fn end_of_input() -> Option<oneshot::Receiver<()>> {
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
        tell("stopped at once; nothing that was acknowledged is lost");
        last_words();
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
pub(super) fn hangups() -> Result<watch::Receiver<u64>> {
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
