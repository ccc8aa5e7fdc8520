//! One server under one load: as fast as it can, then at half of that. What it used, how long it took to answer, and
//! whether every event came out once.

use std::io::{self, Error};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::child::Server;
use crate::events::Events;
use crate::load::{Load, Poured};
use crate::measure;
use crate::truth;

/// What a server still does after the last record is out (moves cursors, trims) is counted for so long.
const SETTLE: Duration = Duration::from_millis(200);

/// A load.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Events a request.
    pub batch: u64,
    /// Connections.
    pub connections: usize,
    /// Events, as fast as they are answered.
    pub events: u64,
    /// Seconds at half load; 0 leaves it out.
    pub seconds: f64,
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// CPU time of the whole process, microseconds an event.
    pub cpu: f64,
    /// Events a second, until the last record is in the file.
    pub rate: f64,
    /// p50, p99 and p99.9 of the answer at half load, in milliseconds since the request was due.
    pub latency: [f64; 3],
    /// The most memory that the process held, in bytes.
    pub peak: f64,
    /// Bytes handed to the system in writes, for each byte of a body received.
    pub handed: f64,
    /// Bytes sent to storage, for each byte of a body received.
    pub stored: f64,
}

/// Measures. `files` are those of its sinks; none where nothing is delivered.
pub fn round(server: &Server, files: &[PathBuf], shape: Shape, events: &Events) -> io::Result<Figures> {
    let Shape { batch, connections, .. } = shape;
    let load = |first, events, rate| Load { first, events, batch, connections, rate };
    let mut bytes = 0;
    let mut pour = |load: Load| -> io::Result<(Poured, Duration)> {
        let begin = Instant::now();
        let poured = load.pour(events, &server.target).map_err(|e| said(e, server))?;
        bytes += poured.delivered;
        if files.is_empty() {
            return Ok((poured.clone(), poured.took));
        }
        truth::delivered(files, bytes).map_err(|e| said(e, server))?;
        Ok((poured, begin.elapsed()))
    };

    // 1. Warm: connections are made, code and memory are there.
    let warm = load(0, batch * connections as u64 * 4, None);
    pour(warm)?;

    // 2. As fast as it answers.
    let full = load(warm.end(), shape.events, None);
    let before = measure::used(server.pid())?;
    let (poured, took) = pour(full)?;
    thread::sleep(SETTLE);
    let after = measure::used(server.pid())?;
    let rate = poured.events as f64 / took.as_secs_f64();

    // 3. At half of that.
    let half = load(full.end(), (rate / 2.0 * shape.seconds) as u64, Some(rate / 2.0));
    let answers = pour(half)?.0;

    // 4. Every event once.
    if !files.is_empty() {
        let truth = truth::count(files, half.end())?;
        if !truth.holds() {
            return Err(said(Error::other(format!("counts disagree: {truth:?}")), server));
        }
    }
    Ok(Figures {
        cpu: (after.cpu - before.cpu).as_secs_f64() * 1e6 / poured.events as f64,
        rate,
        latency: [0.5, 0.99, 0.999].map(|share| answers.quantile(share)),
        peak: measure::peak(server.pid())? as f64,
        handed: (after.handed - before.handed) as f64 / poured.body as f64,
        stored: (after.stored - before.stored) as f64 / poured.body as f64,
    })
}

fn said(error: Error, server: &Server) -> Error {
    Error::other(format!("{error}\nthe server's last lines:\n{}", server.said()))
}
