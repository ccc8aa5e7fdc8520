//! The sinks: standard output, files, requests to another server.
//!
//! `run` makes them from what the configuration says. What they need from the world is in [`Outside`].

pub mod file;
pub mod http;
pub mod stdout;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::Sink;
use super::config::{HttpTarget, SinkConfig, Target};
use crate::call::Transport;
use crate::connector::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::queue::{Chunk, SinkKey};

/// Where the stdout sinks of all instances write; the lock keeps lines whole. Give it an unbuffered writer:
/// the sink counts what was taken, so that a line that was written in part goes on where it stopped.
pub type Stdout = Arc<Mutex<dyn Write + Send>>;

/// What sinks need from the world.
#[derive(Clone)]
pub struct Outside {
    /// Standard output.
    pub stdout: Stdout,
    /// How requests leave.
    pub transport: Arc<dyn Transport>,
    /// What the time is, for rotation.
    pub clock: Arc<dyn Clock>,
}

/// Makes a sink. It touches nothing before it is opened.
pub fn make(config: &SinkConfig, key: &SinkKey, outside: &Outside) -> Box<dyn Sink> {
    match &config.target {
        Target::Stdout => Box::new(stdout::StdoutSink::new(outside.stdout.clone())),
        Target::File { path, rotate } => {
            Box::new(file::FileSink::new(path.clone(), *rotate, outside.clock.clone()))
        }
        Target::Http(target) => Box::new(http::HttpSink::new(
            target.clone(),
            key.clone(),
            outside.transport.clone(),
            outside.clock.clone(),
        )),
    }
}

/// What is wrong with a sink's configuration that can be told before anything starts, without writing.
pub fn check(config: &SinkConfig) -> Result<()> {
    let checked = match &config.target {
        Target::Stdout => Ok(()),
        Target::File { path, .. } => check_file(path),
        Target::Http(target) => check_http(target),
    };
    checked.map_err(|error| {
        let place = error.place.clone().map(|place| format!(": {place}")).unwrap_or_default();
        error.at(format!("sink {}{place}", config.name))
    })
}

/// Refuses a file that cannot be opened now, since that takes an operator. Nothing is created or written.
fn check_file(path: &Path) -> Result<()> {
    let wrong = |sentence: &str, help: &str| {
        Err(Error::new(Kind::Configuration, sentence).at(path.display().to_string()).help(help))
    };
    let folder = file::folder(path);
    if !folder.is_dir() {
        return wrong("the folder of the file does not exist", "create it, or name another file");
    }
    let user = rustix::process::geteuid().as_raw();
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => wrong("this is a folder", "name a file in it"),
        Ok(found) if !found.is_file() => {
            wrong("this is no regular file", "name a file; records for another program go to `stdout`")
        }
        Ok(_) => match std::fs::OpenOptions::new().read(true).append(true).open(path) {
            Ok(_) => Ok(()),
            Err(error) => wrong(
                &format!("user {user} cannot append to this file: {error}"),
                &format!("`chown {user}` and `chmod u+rw` it, or name another file"),
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            use rustix::fs::{Access, AtFlags, CWD, accessat};
            match accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
                // A system that cannot tell by the effective user lets the sink find out.
                Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => Ok(()),
                Err(error) => wrong(
                    &format!(
                        "user {user} cannot create a file in {}: {}",
                        folder.display(),
                        std::io::Error::from(error)
                    ),
                    &format!("`chown {user}` the folder, or name a file elsewhere"),
                ),
            }
        }
        Err(error) => wrong(
            &format!("user {user} cannot look at this file: {error}"),
            "give that user the permission to enter its folder, or name another file",
        ),
    }
}

fn check_http(target: &HttpTarget) -> Result<()> {
    let wrong = |sentence: &str, help: &str| Err(Error::new(Kind::Configuration, sentence).help(help));
    if !matches!(target.url.scheme(), "https" | "http") {
        return wrong("the URL is neither https nor http", "write it as https://host/path");
    }
    if !target.url.username().is_empty() || target.url.password().is_some() {
        return wrong(
            "the URL holds a user or a password, which would be printed with it",
            "give them in a header: `authorization: {env: NAME}`",
        );
    }
    http::operators_headers(target).map(|_| ())
}

/// The records of a chunk, in order.
fn records(chunk: &Chunk) -> impl Iterator<Item = &[u8]> + Clone {
    chunk.records.iter().map(|record| &**record)
}

/// Records as JSON Lines. A record holds no raw line break: they are taken out before it is stored.
fn json_lines<'a>(records: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let mut lines = Vec::with_capacity(records.clone().map(|record| record.len() + 1).sum());
    for record in records {
        lines.extend_from_slice(record);
        lines.push(b'\n');
    }
    lines
}
