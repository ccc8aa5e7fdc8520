//! Takes bodies of real events so many steps along their way, and no further: made, read, checked, decoded, stored,
//! delivered; or has one request prove its sender. Prints the CPU time of the process an event, or a request.
//!
//! `bench/parts/run` starts it for one step after the other; what a step costs is the difference to the one before.
//! Under an instruction counter the differences hold whatever else the machine does.

mod prove;

use std::fs;
use std::io::{self, Error, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay::call::caller::Caller;
use forebay::call::retry::Pace;
use forebay::call::transport::{HttpTransport, Options};
use forebay::connector::clock::{Clock, SystemClock};
use forebay::connector::instance::{Instance, InstanceId};
use forebay::connector::load::load;
use forebay::connector::node::Parsed;
use forebay::connector::record::Record;
use forebay::deliver::sinks::file::FileSink;
use forebay::deliver::{Outcome, Sink};
use forebay::queue::local::Local;
use forebay::queue::{Batch, Cursor, DeadLetter, DeadReason, DeadWhat, Progress, Queue, SinkKey};
use forebay::receive::{Endpoint, Limits, Reach, decode_again};

const EVENTS: &str = include_str!("../../events.jsonl");
const CONNECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../connectors/auth0-log-stream");
/// Events a request.
const BATCH: usize = 100;
/// Bytes of an event as vendors send it.
const TYPICAL: usize = 1300;

/// How far bodies go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// They are made.
    Make,
    /// Each record is read into a tree.
    Read,
    /// And checked against the schema of the connector.
    Check,
    /// The receiver's own way from a body to a batch: lines, tree, id, time, type, schema, slice.
    Decode,
    /// The batch is in the store: ids, blocks, transaction, sync.
    Append,
    /// The records are in a file, and the cursor is past them.
    Deliver,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = match &arguments[..] {
        [_, rounds] => rounds.parse::<usize>().ok().filter(|n| (1..=100_000).contains(n)),
        _ => None,
    };
    let (Some(step), Some(rounds)) = (arguments.first(), rounds) else { return Err(usage()) };
    let folder = std::env::current_exe()?.with_file_name(format!("parts-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let outcome = runtime.block_on(async {
        match Step::named(step) {
            Some(step) => run(step, rounds, &folder).await,
            None => prove(step, rounds, &folder).await,
        }
    });
    fs::remove_dir_all(&folder)?;
    let cost = outcome?.as_nanos() as f64 / (rounds * BATCH) as f64;
    writeln!(io::stdout(), "{cost:.0}")
}

fn usage() -> Error {
    Error::other(
        "usage: forebay-parts make|read|check|decode|append|deliver|request|token|hmac|ed25519|ecdsa|rsa|jwt ROUNDS",
    )
}

/// Has a request of one event prove its sender, `BATCH` times a round. Returns the CPU time that it took.
async fn prove(step: &str, rounds: usize, folder: &Path) -> io::Result<Duration> {
    let clock = Arc::new(SystemClock);
    let store = Local::open(folder, Default::default(), clock).map_err(Error::other)?;
    let event = EVENTS.lines().find(|event| event.len().abs_diff(TYPICAL) < TYPICAL / 20);
    let event = event.ok_or_else(|| Error::other("no event of the usual size"))?.replace("@ID@", "1");
    let proof = prove::Proof::of(step, event.into(), folder, (reach()?, store.clone()))?.ok_or_else(usage)?;
    let begin = cpu()?;
    for _ in 0..rounds * BATCH {
        proof.round().await?;
    }
    let took = cpu()? - begin;
    store.close().await.map_err(Error::other)?;
    Ok(took)
}

/// Nothing of what is measured is fetched.
fn reach() -> io::Result<Reach> {
    let outgoing = Arc::new(HttpTransport::new(Options::default()).map_err(Error::other)?);
    let caller = Arc::new(Caller::new(outgoing, Arc::new(SystemClock), Pace::default()));
    Ok(Reach { caller, deeds: None })
}

impl Step {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "make" => Self::Make,
            "read" => Self::Read,
            "check" => Self::Check,
            "decode" => Self::Decode,
            "append" => Self::Append,
            "deliver" => Self::Deliver,
            _ => return None,
        })
    }
}

/// Takes so many bodies so far. Returns the CPU time that it took.
async fn run(step: Step, rounds: usize, folder: &Path) -> io::Result<Duration> {
    let clock = Arc::new(SystemClock);
    let id = InstanceId::parse("parts").ok_or_else(|| Error::other("no id"))?;
    let connector = Arc::new(load(Path::new(CONNECTOR)).map_err(Error::other)?);
    let instance = Arc::new(Instance {
        id: id.clone(),
        connector: connector.clone(),
        settings: Default::default(),
        secrets: Default::default(),
        receiver_url: None,
    });
    let store = Local::open(folder, Default::default(), clock.clone()).map_err(Error::other)?;
    let key = SinkKey { instance: id.clone(), sink: "file".to_owned() };
    store.register_sinks(&id, &["file".to_owned()]).await.map_err(Error::other)?;
    let mut sink = FileSink::new(folder.join("out.jsonl"), None, clock.clone());
    sink.open(&Cursor::default()).await.map_err(Error::other)?;
    let endpoint = Endpoint::new(instance, store.clone(), clock.clone(), reach()?, &Limits::default())
        .map_err(Error::other)?;

    let begin = cpu()?;
    for round in 0..rounds {
        let body = body(round);
        match step {
            Step::Make => {}
            Step::Read | Step::Check => {
                for line in std::str::from_utf8(&body).map_err(Error::other)?.lines() {
                    let record = &line[RECORD..line.len() - 1];
                    let parsed = Parsed::read(record).map_err(Error::other)?;
                    if step == Step::Check {
                        let (bytes, id) = (Bytes::new(), Bytes::new());
                        let record = Record {
                            bytes,
                            tree: parsed.root(),
                            id,
                            remember: Default::default(),
                            time: None,
                        };
                        connector.output.schema.check(record).map_err(|e| Error::other(e.to_string()))?;
                    }
                }
            }
            Step::Decode | Step::Append | Step::Deliver => {
                let batch = decode(&endpoint, body, clock.now())?;
                if step >= Step::Append {
                    store.append(batch).await.map_err(|refusal| Error::other(format!("{refusal:?}")))?;
                }
                if step == Step::Deliver {
                    deliver(&store, &key, &mut sink).await?;
                }
            }
        }
    }
    let took = cpu()? - begin;
    store.close().await.map_err(Error::other)?;
    Ok(took)
}

/// Where the record begins in a line: behind `{"log_id":"…","data":`.
const RECORD: usize = r#"{"log_id":"","data":"#.len() + ID;
/// Digits of an id.
const ID: usize = 56;

/// A body of events with ids of their own.
fn body(round: usize) -> Bytes {
    let mut body = String::with_capacity(BATCH * 1600);
    for (n, event) in EVENTS.lines().cycle().take(BATCH).enumerate() {
        let id = format!("{:0ID$}", round * BATCH + n);
        for (piece, text) in event.split("@ID@").enumerate() {
            if piece > 0 {
                body.push_str(&id);
            }
            body.push_str(text);
        }
        body.push('\n');
    }
    body.into()
}

/// The same code that a request goes through behind `verify`.
fn decode(endpoint: &Endpoint, body: Bytes, at: jiff::Timestamp) -> io::Result<Batch> {
    let batch = decode_again(
        endpoint,
        DeadLetter {
            what: DeadWhat::Body,
            reason: DeadReason::Undecodable,
            detail: String::new(),
            bytes: body,
            id: None,
            sink: None,
            at,
        },
    );
    if batch.records.len() == BATCH {
        Ok(batch)
    } else {
        Err(Error::other(format!("{} records of {BATCH}; {:?}", batch.records.len(), batch.dead)))
    }
}

/// Everything that waits, as a sink's worker does it.
async fn deliver(store: &Local, key: &SinkKey, sink: &mut FileSink) -> io::Result<()> {
    let mut left = BATCH;
    while left > 0 {
        let portions = sink.portions();
        let chunk = store.read(key, portions.records, portions.bytes).await.map_err(Error::other)?;
        let chunk = chunk.ok_or_else(|| Error::other("the store is closed"))?;
        match sink.deliver(&chunk).await {
            Outcome::Done { done, note, .. } => {
                let progress = Progress { done, note, dead: Vec::new() };
                store.advance(key, &chunk, progress).await.map_err(Error::other)?;
                left -= done;
            }
            Outcome::RetryAfter { reason, .. } => return Err(Error::other(reason)),
            Outcome::Gone(error) => return Err(Error::other(error)),
        }
    }
    Ok(())
}

/// CPU time of this process so far, of the threads that live.
fn cpu() -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let stat = fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += stat.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}
