//! A sink's worker: reads from the queue, gives to the sink, moves the cursor. One task per sink.
//!
//! `run` starts it and waits for it. It retries for ever with bounded waits, and ends when it is told to
//! stop, when the queue is closed, or when the sink is gone. It never moves a cursor over a record that the
//! sink has not safely, and never skips one but into the dead letters.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use super::backoff::{Backoff, Pace};
use super::{Outcome, Sink, SinkStatus};
use crate::call::retry::chance;
use crate::condition::{Code, Conditions, Subject};
use crate::connector::clock::Clock;
use crate::error::{Result, escaped};
use crate::points;
use crate::queue::{Chunk, Cursor, DeadLetter, DeadReason, DeadWhat, Origin, Progress, Queue, SinkKey};

/// How long a worker that was told to stop looks for further records: those in the queue come at once.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// What a worker works with.
pub struct Job {
    /// Whose sink it is.
    pub key: SinkKey,
    /// Where it stood when the process started.
    pub cursor: Cursor,
    /// Where records come from.
    pub queue: Arc<dyn Queue>,
    /// What the time is, for dead letters.
    pub clock: Arc<dyn Clock>,
    /// How fast it tries again, and how long it drains.
    pub pace: Pace,
    /// The state of the sink, for `/readyz`.
    pub status: watch::Sender<SinkStatus>,
    /// Where a failing sink is a condition.
    pub conditions: Arc<Conditions>,
    /// When to stop.
    pub shutdown: watch::Receiver<bool>,
}

/// Delivers until it is told to stop or the queue is closed. The error is of a sink that is gone for good.
pub async fn run(sink: Box<dyn Sink>, job: Job) -> Result<()> {
    let stop = Stop { signal: job.shutdown.clone(), drain: job.pace.drain, deadline: None };
    let backoff = Backoff::new(job.pace);
    let counts = Counts::new(&job.key);
    let mut worker = Worker { sink, job, stop, backoff, counts, refusals: Refusals::default() };
    // 1. The sink learns where it stood.
    if worker.open().await == Flow::Stop {
        return Ok(());
    }
    // 2. Chunk by chunk, each until the whole of it is done.
    while let Some(chunk) = worker.next().await {
        let rest = worker.rest_after(&chunk);
        if worker.finish(chunk).await? == Flow::Stop {
            break;
        }
        // After the signal there is no rest, and the queue is emptied as long as the drain lasts.
        worker.stop.pause(rest).await;
    }
    Ok(())
}

/// Whether a worker goes on.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    On,
    Stop,
}

struct Worker {
    sink: Box<dyn Sink>,
    job: Job,
    stop: Stop,
    backoff: Backoff,
    counts: Counts,
    refusals: Refusals,
}

/// How long no further record that a sink refused is logged.
const REFUSALS_QUIET: Duration = Duration::from_secs(60);

/// Records that the sink refused for good: when that was last logged, and how many were not since.
#[derive(Debug, Default)]
struct Refusals {
    logged: Option<Instant>,
    suppressed: u64,
}

impl Refusals {
    /// Logs the first one, then at most one line a minute with the count of all since.
    fn warn(&mut self, key: &SinkKey, why: &str) {
        self.suppressed += 1;
        if self.logged.is_some_and(|at| at.elapsed() < REFUSALS_QUIET) {
            return;
        }
        self.logged = Some(Instant::now());
        let (count, instance, sink) = (std::mem::take(&mut self.suppressed), &key.instance, &key.sink);
        let show = format!("forebay dead-letters list --id {instance}");
        warn!(%instance, %sink, reason = "sink_refused", count, detail = why, show,
            "the sink refused records for good; they became dead letters");
    }
}

impl Worker {
    async fn open(&mut self) -> Flow {
        loop {
            match self.stop.within(self.sink.open(&self.job.cursor)).await {
                None => return Flow::Stop,
                Some(Ok(())) => return Flow::On,
                Some(Err(error)) => {
                    if self.fail(SinkStatus::Blocked(error.to_string()), None).await == Flow::Stop {
                        return Flow::Stop;
                    }
                }
            }
        }
    }

    /// The next chunk. A small one is read a second time once its first record has waited for others.
    async fn next(&mut self) -> Option<Chunk> {
        let chunk = self.read().await?;
        let portions = self.sink.portions();
        if !self.is_small(&chunk) || portions.age.is_zero() || matches!(chunk.origin, Origin::Retry { .. }) {
            return Some(chunk);
        }
        // When this wait is cut short by a stop, the read below finds at least the same records.
        self.stop.pause(portions.age).await;
        self.read().await
    }

    fn is_small(&self, chunk: &Chunk) -> bool {
        let portions = self.sink.portions();
        chunk.records.len() < portions.records && chunk.size() < portions.bytes
    }

    /// Around what the sink asks for: those that began with the same record must not all come again at the same moment,
    /// each with its chunk in memory.
    fn rest_after(&self, chunk: &Chunk) -> Duration {
        if self.is_small(chunk) { self.sink.portions().rest.mul_f64(0.5 + chance()) } else { Duration::ZERO }
    }

    async fn read(&mut self) -> Option<Chunk> {
        let portions = self.sink.portions();
        loop {
            let read = self.job.queue.read(&self.job.key, portions.records, portions.bytes);
            match self.stop.or_nothing(read).await? {
                Ok(chunk) => return chunk,
                Err(error) => {
                    warn!(instance = %self.job.key.instance, sink = %self.job.key.sink, %error, "cannot read the queue");
                    let wait = self.backoff.wait(None);
                    if self.stop.pause(wait).await == Flow::Stop {
                        return None;
                    }
                }
            }
        }
    }

    /// Gives one chunk to the sink until the whole of it is done.
    async fn finish(&mut self, mut chunk: Chunk) -> Result<Flow> {
        while !chunk.records.is_empty() {
            points::reached("sink.begin");
            let Some(outcome) = self.stop.within(self.sink.deliver(&chunk)).await else {
                return Ok(Flow::Stop);
            };
            let flow = match outcome {
                Outcome::Done { done, note, refused } => {
                    let flow = self.advance(&chunk, done, note, &refused).await;
                    chunk = rest(chunk, done);
                    flow
                }
                Outcome::RetryAfter { wait, reason, blocked } => {
                    let status =
                        if blocked { SinkStatus::Blocked(reason) } else { SinkStatus::Retrying(reason) };
                    self.fail(status, wait).await
                }
                Outcome::Gone(error) => {
                    self.say(SinkStatus::Blocked(error.to_string()));
                    return Err(error);
                }
            };
            if flow == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::On)
    }

    /// Moves the cursor. Until that has worked nothing more is given to the sink: what it has and the store
    /// does not know of is one chunk at most, which it recognises or gets a second time.
    async fn advance(
        &mut self,
        chunk: &Chunk,
        done: usize,
        note: Option<String>,
        refused: &[(usize, String)],
    ) -> Flow {
        self.say(SinkStatus::Well);
        points::reached("cursor.begin");
        for (_, why) in refused {
            self.refusals.warn(&self.job.key, why);
        }
        loop {
            let dead = refused.iter().map(|refused| self.dead_letter(chunk, refused)).collect();
            let progress = Progress { done, note: note.clone(), dead };
            match self.stop.within(self.job.queue.advance(&self.job.key, chunk, progress)).await {
                Some(Ok(())) => {
                    points::reached("cursor.saved");
                    self.backoff.reset();
                    self.counts.delivered(chunk, done, refused.len());
                    return Flow::On;
                }
                Some(Err(error)) => {
                    warn!(instance = %self.job.key.instance, sink = %self.job.key.sink, %error,
                        "delivered, but the cursor did not move; trying again");
                    let wait = self.backoff.wait(None);
                    if self.stop.pause(wait).await == Flow::Stop {
                        return Flow::Stop;
                    }
                }
                None => return Flow::Stop,
            }
        }
    }

    fn dead_letter(&self, chunk: &Chunk, (index, why): &(usize, String)) -> DeadLetter {
        DeadLetter {
            what: DeadWhat::Record,
            reason: DeadReason::SinkRefused,
            detail: escaped(why, 1000),
            bytes: chunk.records.get(*index).cloned().unwrap_or_default(),
            id: None,
            sink: Some(self.job.key.sink.clone()),
            at: self.job.clock.now(),
        }
    }

    /// Says what is wrong and waits.
    async fn fail(&mut self, status: SinkStatus, asked: Option<Duration>) -> Flow {
        self.counts.retries.increment(1);
        self.say(status);
        let wait = self.backoff.wait(asked);
        self.stop.pause(wait).await
    }

    /// Publishes the state of the sink, as status and as condition, if it has changed.
    fn say(&mut self, status: SinkStatus) {
        let changed = self.job.status.send_if_modified(|was| {
            let changed = *was != status;
            was.clone_from(&status);
            changed
        });
        if !changed {
            return;
        }
        self.counts.blocked.set(if matches!(status, SinkStatus::Blocked(_)) { 1.0 } else { 0.0 });
        let subject = Subject::instance(&self.job.key.instance).sink(&self.job.key.sink);
        let conditions = &self.job.conditions;
        let every = self.backoff.longest().as_secs();
        if !matches!(status, SinkStatus::Retrying(_)) {
            conditions.clear(Code::SinkRetrying, &subject);
        }
        match status {
            SinkStatus::Well => conditions.clear(Code::SinkBlocked, &subject),
            SinkStatus::Retrying(reason) => {
                conditions.clear(Code::SinkBlocked, &subject);
                conditions.raise(Code::SinkRetrying, subject, format!("the sink failed: {reason}"));
            }
            SinkStatus::Blocked(reason) => conditions.raise(
                Code::SinkBlocked,
                subject,
                format!("the sink refuses records: {reason}; they wait and are tried again at least every {every} s"),
            ),
        }
    }
}

/// What is left of a chunk when its first `done` records are.
fn rest(mut chunk: Chunk, done: usize) -> Chunk {
    let done = done.min(chunk.records.len());
    chunk.records.drain(..done);
    match &mut chunk.origin {
        Origin::Log { from } => from.0 += done as u64,
        Origin::Retry { letters } => drop(letters.drain(..done.min(letters.len()))),
    }
    chunk
}

/// The metrics of one sink.
struct Counts {
    records: metrics::Counter,
    bytes: metrics::Counter,
    refused: metrics::Counter,
    retries: metrics::Counter,
    blocked: metrics::Gauge,
}

impl Counts {
    fn new(key: &SinkKey) -> Self {
        let labels = [("instance", key.instance.to_string()), ("sink", key.sink.clone())];
        Self {
            records: metrics::counter!("forebay_delivered_total", &labels),
            bytes: metrics::counter!("forebay_delivered_bytes_total", &labels),
            // The same name as the receiver's: dead letters are one sum.
            refused: metrics::counter!("forebay_dead_letters_total",
                "instance" => key.instance.to_string(), "reason" => "sink_refused"),
            retries: metrics::counter!("forebay_sink_retries_total", &labels),
            blocked: metrics::gauge!("forebay_sink_blocked", &labels),
        }
    }

    fn delivered(&self, chunk: &Chunk, done: usize, refused: usize) {
        let bytes: usize = chunk.records.iter().take(done).map(Bytes::len).sum();
        self.records.increment(done.saturating_sub(refused) as u64);
        self.bytes.increment(bytes as u64);
        self.refused.increment(refused as u64);
    }
}

/// The signal to stop, and how long there is to go on after it.
struct Stop {
    signal: watch::Receiver<bool>,
    drain: Duration,
    deadline: Option<Instant>,
}

impl Stop {
    /// Resolves when the signal is given, or when nobody is left to give it.
    async fn signalled(&mut self) -> Instant {
        if self.deadline.is_none() {
            // An error means that the sender is gone, which ends a worker like a signal does.
            drop(self.signal.wait_for(|stop| *stop).await);
        }
        *self.deadline.get_or_insert_with(|| Instant::now() + self.drain)
    }

    /// Runs something to its end; after the signal only until the drain is over, then `None`.
    async fn within<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let over = async {
            let deadline = self.signalled().await;
            tokio::time::sleep_until(deadline).await;
        };
        tokio::select! {
            biased;
            out = work => Some(out),
            () = over => None,
        }
    }

    /// Waits for something that may never come; after the signal it gets one last look.
    async fn or_nothing<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let over = async {
            let deadline = self.signalled().await;
            tokio::time::sleep_until(deadline.min(Instant::now() + LAST_LOOK)).await;
        };
        // Past the deadline the look is not taken at all, however much there still is.
        tokio::select! {
            biased;
            () = over => None,
            out = work => Some(out),
        }
    }

    /// Waits so long, unless the signal comes.
    async fn pause(&mut self, wait: Duration) -> Flow {
        tokio::select! {
            biased;
            _ = self.signalled() => Flow::Stop,
            () = tokio::time::sleep(wait) => Flow::On,
        }
    }
}
