//! The child: this same program with `run`, started, stopped, killed, and listened to.
//!
//! Its standard input is a pipe that ends with us, and `--stop-at-eof` ends it then, however we end. What it
//! says goes to a file, from which the ready line and what the store says of losses are read.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

use crate::error::{Error, Kind, Result, escaped};

/// How long a child may take to be ready: a damaged store is copied first.
const READY: Duration = Duration::from_secs(60);
/// How long a child may take to end.
const END: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A running child; killed when dropped.
pub struct Child {
    process: std::process::Child,
    /// Where it receives.
    pub address: SocketAddr,
    log: PathBuf,
    from: u64,
}

/// How a child is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Where what it says goes.
    pub log: PathBuf,
    /// What takes its calls to the vendor, and refuses them.
    pub proxy: SocketAddr,
}

impl Child {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// `Finding`: it ended, or was not ready in time; what it said last is told.
    pub async fn start(start: &Start) -> Result<Self> {
        let io = |e: std::io::Error| Error::new(Kind::Io, "the child cannot be started").because(e);
        let log = OpenOptions::new().create(true).append(true).open(&start.log).map_err(io)?;
        let from = log.metadata().map_err(io)?.len();
        let process = Command::new(&start.program)
            .arg("run")
            .arg("--config")
            .arg(&start.config)
            .args(["--log-format", "json", "--stop-at-eof", "--proxy"])
            .arg(format!("http://{}", start.proxy))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // A Ctrl-C at the terminal is ours.
            .process_group(0)
            .spawn()
            .map_err(io)?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut child = Self { process, address, log: start.log.clone(), from };
        let begun = Instant::now();
        loop {
            if let Some(address) = child.ready()? {
                child.address = address;
                return Ok(child);
            }
            if let Some(status) = child.ended()? {
                return Err(child.failed(&format!("the child ended before it was ready ({status})")));
            }
            if begun.elapsed() > READY {
                return Err(child.failed("the child was not ready in time"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn failed(&self, what: &str) -> Error {
        let last = self.said().ok().and_then(|said| said.lines().last().map(|line| escaped(line, 300)));
        Error::new(Kind::Finding, format!("{what}; it said last: {}", last.unwrap_or_default()))
            .at(self.log.display().to_string())
    }

    /// What it said so far.
    pub fn said(&self) -> Result<String> {
        let io = |e: std::io::Error| Error::new(Kind::Io, "what the child said cannot be read").because(e);
        let mut file = File::open(&self.log).map_err(io)?;
        file.seek(SeekFrom::Start(self.from)).map_err(io)?;
        let mut said = Vec::new();
        file.read_to_end(&mut said).map_err(io)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    fn ready(&self) -> Result<Option<SocketAddr>> {
        let said = self.said()?;
        let mut lines = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let Some(url) = lines.find_map(ready_url) else { return Ok(None) };
        let parsed = url::Url::parse(&url).ok().and_then(|url| url.socket_addrs(|| None).ok()?.pop());
        parsed.map(Some).ok_or_else(|| self.failed("the child's ready line has no address"))
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.try_wait().map_err(|e| Error::new(Kind::Io, "the child is out of sight").because(e))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let gone = |e: rustix::io::Errno| Error::new(Kind::Io, "the child takes no signal").because(e);
        kill_process(Pid::from_child(&self.process), signal).map_err(gone)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// `Finding`: it does not end.
    pub async fn end(&mut self) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if begun.elapsed() > END {
                return Err(self.failed("the child did not end when it was asked to"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be gone already, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The URL of a ready line, which in a JSON log is the message of a line.
fn ready_url(line: &str) -> Option<String> {
    let json = serde_json::from_str::<Json>(line).ok();
    let message = json.as_ref().and_then(|line| line.get("message")).and_then(Json::as_str).unwrap_or(line);
    let (_, url) = message.strip_prefix("ready: receiving ")?.trim_end().rsplit_once(" at ")?;
    Some(url.to_owned())
}

/// What the store said of losses in a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    /// Records that it counted as lost.
    pub lost: u64,
    /// Dead letters that it counted as lost.
    pub lost_letters: u64,
    /// How often it said that something is damaged and kept aside.
    pub damages: u64,
    /// Panics.
    pub panics: u64,
}

/// Reads what children said.
pub fn said(log: impl BufRead) -> Result<Said> {
    let mut said = Said::default();
    for line in log.split(b'\n') {
        let line =
            line.map_err(|e| Error::new(Kind::Io, "what the children said cannot be read").because(e))?;
        let Ok(line) = serde_json::from_slice::<Json>(&line) else {
            said.panics += u64::from(String::from_utf8_lossy(&line).contains("panicked at"));
            continue;
        };
        if line.get("level").is_some_and(|level| level == "ERROR") {
            said.lost += line.get("lost").and_then(Json::as_u64).unwrap_or(0);
            said.lost_letters += line.get("lost_letters").and_then(Json::as_u64).unwrap_or(0);
            said.damages += u64::from(line.get("kept").is_some());
        }
    }
    Ok(said)
}
