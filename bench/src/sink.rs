//! An HTTP sink of the benchmark's own: counts each id that it took, and refuses when it is told to, or now and then.
//!
//! The start-up measurement and the soak deliver to it. It runs on a thread of this process, on loopback.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use memchr::memmem::Finder;
use tokio::net::TcpListener;
use warp::Filter;
use warp::http::StatusCode;

use crate::truth::{self, Ids};

/// How long the last records may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// The sink.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    refuse: AtomicBool,
    /// Refuses one request in so many; 0 is none.
    every: AtomicU64,
    /// Refuses a record for good whose number is a multiple of this; 0 is none.
    poison: AtomicU64,
    requests: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    taken: Ids,
    poisoned: Ids,
    got: Got,
}

/// What it took.
#[derive(Debug, Default, Clone, Copy)]
pub struct Got {
    /// Ids.
    pub distinct: u64,
    /// Records whose id came before: a sink over HTTP may get one again after a failure.
    pub repeated: u64,
    /// Requests that it refused so that they come again.
    pub refused: u64,
    /// Records that it refused for good.
    pub poisoned: u64,
}

impl Sink {
    /// Starts it.
    pub fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let (address, shared) = (listener.local_addr()?, Arc::new(Shared::default()));
        let (runtime, sink) =
            (tokio::runtime::Builder::new_current_thread().enable_all().build()?, shared.clone());
        thread::spawn(move || runtime.block_on(serve(listener, sink)));
        Ok(Self { address, shared })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/sink", self.address)
    }

    /// From now on it refuses everything, or nothing.
    pub fn refuse(&self, everything: bool) {
        self.shared.refuse.store(everything, Ordering::SeqCst);
    }

    /// Refuses one request in `every` for now, and for good each record whose number is a multiple of `poison`.
    pub fn trouble(&self, every: u64, poison: u64) {
        self.shared.every.store(every, Ordering::SeqCst);
        self.shared.poison.store(poison, Ordering::SeqCst);
    }

    /// What it took so far.
    pub fn got(&self) -> Got {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).got
    }

    /// Waits until it has taken or refused for good so many ids, within bounds.
    pub fn wait_for(&self, ids: u64) -> Got {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let got = self.got();
            if got.distinct + got.poisoned >= ids || Instant::now() > deadline {
                return got;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    let routes = warp::post().and(warp::body::bytes()).map(move |body: Bytes| shared.take(&body));
    let service = TowerToHyperService::new(warp::service(routes));
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service.clone();
        tokio::spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Shared {
    /// One request of JSON Lines.
    fn take(&self, body: &[u8]) -> StatusCode {
        let (every, poison) = (self.every.load(Ordering::SeqCst), self.poison.load(Ordering::SeqCst));
        let turn = self.requests.fetch_add(1, Ordering::SeqCst);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if self.refuse.load(Ordering::SeqCst) || (every > 0 && turn % every == every - 1) {
            seen.got.refused += 1;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let begins = Finder::new(crate::events::ID_BEGINS);
        let numbers: Vec<u64> = body
            .split_inclusive(|byte| *byte == b'\n')
            .filter_map(|line| truth::number(line, &begins))
            .collect();
        if poison > 0 && numbers.iter().any(|number| number % poison == poison - 1) {
            // Forebay then sends smaller portions, until the one that is refused stands alone.
            if let [number] = numbers[..]
                && seen.poisoned.see(number)
            {
                seen.got.poisoned += 1;
            }
            return StatusCode::BAD_REQUEST;
        }
        for number in numbers {
            if seen.taken.see(number) { seen.got.distinct += 1 } else { seen.got.repeated += 1 }
        }
        StatusCode::OK
    }
}
