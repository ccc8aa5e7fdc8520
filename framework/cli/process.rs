//! What a command that goes on for long has of its process: the log, ports, the standard streams, signals.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tracing::Level;

use super::LogFormat;
use crate::deliver::sinks::Stdout;
use crate::error::{Error, Kind, Result};
use crate::run::log;
use crate::run::world::Say;

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

/// A port of our own.
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
