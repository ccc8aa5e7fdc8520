//! A server as a child process: started, waited for until it says `ready:`, ended. Only its own child is ever ended.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Error};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::load::Target;

/// How long a server may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// Lines of its log that are kept, to be shown when something goes wrong.
const KEPT: usize = 20;

/// A server that receives. Killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    said: Arc<Mutex<VecDeque<String>>>,
    /// Where it receives.
    pub target: Target,
    /// From the moment it was started to the ready line.
    pub took: Duration,
}

impl Server {
    /// Starts it and waits for so many ready lines.
    pub fn start(command: &mut Command, instances: usize) -> io::Result<Self> {
        let begin = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let stderr = child.stderr.take().ok_or_else(|| Error::other("no stderr"))?;
        let ready = listen(stderr, said.clone());
        let mut server = Self {
            child,
            said,
            target: Target::new(&["http://127.0.0.1:1/".to_owned()])?,
            took: Duration::ZERO,
        };
        let mut urls = Vec::new();
        while urls.len() < instances {
            let left = PATIENCE.saturating_sub(begin.elapsed());
            let url = ready.recv_timeout(left);
            urls.push(url.map_err(|_| Error::other(format!("not ready; it said:\n{}", server.said())))?);
        }
        server.took = begin.elapsed();
        server.target = Target::new(&urls)?;
        Ok(server)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of its log.
    pub fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().map(|line| format!("  {line}\n")).collect()
    }

    /// Asks it to end, and waits until it did, well.
    pub fn stop(mut self) -> io::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(Error::other(format!("it ended with {status}:\n{}", self.said())));
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
        Err(Error::other(format!("it does not end:\n{}", self.said())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended before; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads its log to the end, so that it never waits for somebody to read; hands out the URLs of ready lines.
fn listen(stderr: ChildStderr, said: Arc<Mutex<VecDeque<String>>>) -> Receiver<String> {
    let (send, ready) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(url) = ready_url(&line) {
                let _ = send.send(url.to_owned());
            }
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() == KEPT {
                said.pop_front();
            }
            said.push_back(line);
        }
    });
    ready
}

/// The URL of a ready line, which in a JSON log is the message of a line.
fn ready_url(line: &str) -> Option<&str> {
    let message = line.split_once("\"message\":\"").filter(|_| line.starts_with('{'));
    let message = message.map_or(line, |(_, rest)| rest.split('"').next().unwrap_or_default());
    message.strip_prefix("ready: receiving ")?.rsplit_once(" at ").map(|(_, url)| url)
}
