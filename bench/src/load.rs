//! The load: so many events, so many a request, over so many connections, as fast as they are answered or at a rate.
//!
//! At a rate a request is late from the moment it was due, so that a slow server cannot hide its queue behind a
//! generator that waits for it. Bounded in count and time; loopback only.

use std::io::{self, Error, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::events::{Events, Request};

/// How long a server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a request is sent before the run is given up, and the pause before it is sent again.
const TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(20);

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// The number of the first event.
    pub first: u64,
    /// How many events, rounded up to whole requests.
    pub events: u64,
    /// Events a request.
    pub batch: u64,
    /// Connections, each with a thread of its own.
    pub connections: usize,
    /// Events a second; `None` is as fast as they are answered.
    pub rate: Option<f64>,
}

/// Where it is sent: one address, and paths of one length that are taken in turn.
#[derive(Debug, Clone)]
pub struct Target {
    address: SocketAddr,
    paths: Vec<String>,
}

/// What came of it.
#[derive(Debug, Default, Clone)]
pub struct Poured {
    /// Events that were answered 2xx.
    pub events: u64,
    /// Bytes of their bodies.
    pub body: u64,
    /// Bytes that a file of JSON Lines gets of them.
    pub delivered: u64,
    /// Answers other than 2xx and broken connections; each such request was sent again.
    pub refused: u64,
    /// When the last answer came.
    pub took: Duration,
    /// Of each request, in microseconds, sorted.
    pub latency: Vec<u32>,
}

impl Load {
    /// Sends it all.
    pub fn pour(self, events: &Events, target: &Target) -> io::Result<Poured> {
        let next = AtomicU64::new(0);
        let begin = Instant::now();
        let connections = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.connections)
                .map(|n| {
                    let next = &next;
                    let requests =
                        events.requests(&target.address.to_string(), &target.paths[0], self.batch as usize);
                    scope.spawn(move || Connection::new(target, requests, n).run(self, next, begin))
                })
                .collect();
            threads.into_iter().map(|t| t.join().expect("a connection does not panic")).collect::<Vec<_>>()
        });
        let mut poured = Poured { took: begin.elapsed(), ..Poured::default() };
        for one in connections {
            poured.add(one?);
        }
        poured.latency.sort_unstable();
        Ok(poured)
    }

    /// The number of the first event after it.
    pub fn end(self) -> u64 {
        self.first + self.events.next_multiple_of(self.batch)
    }
}

/// Sends one line that is no JSON. It is taken charge of like any other.
pub fn broken(target: &Target) -> io::Result<()> {
    let request = Request::broken(&target.address.to_string(), &target.paths[0]);
    Connection::new(target, vec![request], 0).until_accepted(0).map(drop)
}

impl Target {
    /// From URLs as ready lines name them.
    pub fn new(urls: &[String]) -> io::Result<Self> {
        let split = |url: &String| {
            let (host, path) = url.strip_prefix("http://")?.split_once('/')?;
            Some((host.parse::<SocketAddr>().ok()?, format!("/{path}")))
        };
        let parts: Option<Vec<_>> = urls.iter().map(split).collect();
        let parts = parts.filter(|p| p.iter().all(|(host, _)| host.ip().is_loopback()));
        let Some((parts, (address, first))) = parts.and_then(|p| p.first().cloned().map(|f| (p, f))) else {
            return Err(Error::other(format!("no URLs of this machine: {urls:?}")));
        };
        if parts.iter().any(|(_, path)| path.len() != first.len()) {
            return Err(Error::other(format!("paths of different lengths: {urls:?}")));
        }
        Ok(Self { address, paths: parts.into_iter().map(|(_, path)| path).collect() })
    }
}

impl Poured {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.body += other.body;
        self.delivered += other.delivered;
        self.refused += other.refused;
        self.latency.extend(other.latency);
    }

    /// The latency that so large a share of the requests stays under, in milliseconds.
    pub fn quantile(&self, share: f64) -> f64 {
        let place = (self.latency.len() as f64 * share).ceil() as usize;
        self.latency.get(place.saturating_sub(1)).map_or(f64::NAN, |us| f64::from(*us) / 1e3)
    }
}

/// One kept-alive connection and its requests.
struct Connection<'a> {
    target: &'a Target,
    stream: Option<TcpStream>,
    requests: Vec<Request>,
    turn: usize,
    answer: Vec<u8>,
}

impl<'a> Connection<'a> {
    fn new(target: &'a Target, requests: Vec<Request>, turn: usize) -> Self {
        Self { target, stream: None, requests, turn, answer: vec![0; 8192] }
    }

    fn run(mut self, load: Load, next: &AtomicU64, begin: Instant) -> io::Result<Poured> {
        let mut poured = Poured::default();
        loop {
            let from = next.fetch_add(load.batch, Ordering::Relaxed);
            if from >= load.events {
                return Ok(poured);
            }
            let due = load.rate.map(|rate| begin + Duration::from_secs_f64(from as f64 / rate));
            if let Some(wait) = due.and_then(|due| due.checked_duration_since(Instant::now())) {
                thread::sleep(wait);
            }
            let (paths, turn) = (&self.target.paths, self.turn % self.requests.len());
            let path = &paths[(from / load.batch) as usize % paths.len()];
            self.turn += 1;
            self.requests[turn].stamp(path, load.first + from);
            let due = due.unwrap_or_else(Instant::now);
            poured.refused += self.until_accepted(turn)?;
            poured.latency.push(due.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
            poured.events += load.batch;
            poured.body += self.requests[turn].body as u64;
            poured.delivered += self.requests[turn].delivered as u64;
        }
    }

    /// Sends a request as a vendor does: again until it is accepted. Returns how often it was not.
    fn until_accepted(&mut self, turn: usize) -> io::Result<u64> {
        let mut last = String::new();
        for refused in 0..TRIES {
            match self.exchange(turn) {
                Ok(200..=299) => return Ok(refused.into()),
                Ok(status) => last = format!("status {status}"),
                Err(error) => {
                    self.stream = None;
                    last = error.to_string();
                }
            }
            thread::sleep(PAUSE);
        }
        Err(Error::other(format!("a request was not accepted in {TRIES} tries; at last: {last}")))
    }

    /// One request and the status of its answer.
    fn exchange(&mut self, turn: usize) -> io::Result<u16> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.target.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                none.insert(stream)
            }
        };
        stream.write_all(&self.requests[turn].bytes)?;
        let mut have = 0;
        loop {
            match stream.read(&mut self.answer[have..])? {
                0 => return Err(Error::other("the connection ended before the answer did")),
                more => have += more,
            }
            if let Some(status) = whole(&self.answer[..have])? {
                return Ok(status);
            }
        }
    }
}

/// The status of an answer that is there with its whole body.
fn whole(answer: &[u8]) -> io::Result<Option<u16>> {
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end]).map_err(Error::other)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    match (status, length) {
        (Some(status), Some(length)) => Ok((answer.len() >= end + 4 + length).then_some(status)),
        _ => Err(Error::other(format!("an answer without status or length: {head}"))),
    }
}
