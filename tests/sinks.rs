//! Sinks and their workers: nothing lost, nothing twice in a file, nothing moved before it is safe.

mod file;
mod http;
mod queue;
mod server;
mod stdout;
mod store;
mod workers;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forebay::call::{Request, Response, Transport, TransportError};
use forebay::connector::clock::{Clock, SystemClock};
use forebay::connector::instance::InstanceId;
use forebay::deliver::backoff::Pace;
use forebay::deliver::config::{SinkConfig, Target};
use forebay::deliver::sinks::{Outside, make};
use forebay::deliver::worker::{self, Job};
use forebay::deliver::{Sink, SinkStatus};
use forebay::error::Result;
use forebay::queue::{Queue, SinkKey};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::queue::MemoryQueue;

pub fn key(sink: &str) -> SinkKey {
    SinkKey { instance: InstanceId::parse("acme").unwrap(), sink: sink.to_owned() }
}

/// A transport for sinks that call nobody.
struct Nobody;

#[async_trait::async_trait]
impl Transport for Nobody {
    async fn send(&self, _: Request) -> Result<Response, TransportError> {
        Err(TransportError { sent: false, passing: false, sentence: "nobody is called here".to_owned() })
    }
}

pub fn outside() -> Outside {
    let stdout: Arc<Mutex<dyn Write + Send>> = Arc::new(Mutex::new(Vec::new()));
    Outside { stdout, transport: Arc::new(Nobody), clock: Arc::new(SystemClock) }
}

pub fn sink(target: Target, outside: &Outside) -> Box<dyn Sink> {
    make(&SinkConfig { name: "archive".to_owned(), target }, &key("archive"), outside)
}

pub fn quick() -> Pace {
    Pace {
        first: Duration::from_millis(5),
        most: Duration::from_millis(20),
        most_asked: Duration::from_secs(5),
        drain: Duration::from_secs(5),
    }
}

/// A worker at work.
pub struct Work {
    pub task: JoinHandle<Result<()>>,
    pub status: watch::Receiver<SinkStatus>,
    stop: watch::Sender<bool>,
}

impl Work {
    pub fn start(sink: Box<dyn Sink>, queue: &Arc<MemoryQueue>) -> Self {
        Self::named("archive", sink, queue, queue.cursor(), quick())
    }

    pub fn named<Q: Queue>(
        name: &str,
        sink: Box<dyn Sink>,
        queue: &Arc<Q>,
        cursor: forebay::queue::Cursor,
        pace: Pace,
    ) -> Self {
        let (stop, shutdown) = watch::channel(false);
        let (said, status) = watch::channel(SinkStatus::Well);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let queue: Arc<dyn Queue> = queue.clone();
        let conditions = Arc::default();
        let job = Job { key: key(name), cursor, queue, clock, pace, status: said, conditions, shutdown };
        Self { task: tokio::spawn(worker::run(sink, job)), status, stop }
    }

    /// Tells it to stop and waits for it.
    pub async fn stop(self) -> Result<()> {
        self.stop.send(true).ok();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("it stops").unwrap()
    }
}

/// Waits until something is so, at most half a minute.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Records that differ in length, and in nothing but their number.
pub fn record(n: usize) -> Vec<u8> {
    format!(r#"{{"log_id":"{n:06}","date":"2026-11-22T10:00:00.000Z","pad":"{}"}}"#, "x".repeat(n % 97))
        .into()
}

pub fn lines(range: std::ops::Range<usize>) -> Vec<u8> {
    range.flat_map(|n| [record(n), b"\n".to_vec()].concat()).collect()
}
