//! The queue on this machine: what is acked is safe, in order, once, and whole; bounds hold; two processes share.

mod files;
mod letters;
mod order;
mod recent;
mod restarts;
mod room;
mod shares;
mod window;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use forebay::connector::clock::Clock;
use forebay::connector::instance::InstanceId;
use forebay::connector::model::OnReuse;
use forebay::connector::node::Parsed;
use forebay::connector::record::{Checked, Record, Remember};
use forebay::connector::schema::RecordSchema;
use forebay::queue::limits::Limits;
use forebay::queue::local::{Beside, Filter, Local};
use forebay::queue::{
    Batch, Bound, Chunk, DeadLetter, DeadReason, DeadWhat, Origin, Position, Progress, Queue, Receipt,
    Refusal, SinkKey, State,
};
use jiff::Timestamp;
use serde_json::json;

/// A clock that stands where it is put.
pub struct Hand(AtomicI64);

impl Hand {
    pub fn at(ms: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(ms)))
    }

    pub fn forward(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Forward or back, in seconds.
    pub fn step(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

pub const START: i64 = 1_780_000_000_000;

/// A store with a clock that a test moves.
pub fn local(folder: &Path, clock: Arc<Hand>) -> Arc<Local> {
    Local::open(folder, limits(), clock).unwrap()
}

pub fn limits() -> Limits {
    Limits { max_bytes: 1 << 30, min_free: 0, ..Limits::default() }
}

pub fn open(folder: &Path) -> Arc<Local> {
    Local::open(folder, limits(), Hand::at(START)).unwrap()
}

pub fn id(name: &str) -> InstanceId {
    InstanceId::parse(name).unwrap()
}

pub fn key(instance: &str, sink: &str) -> SinkKey {
    SinkKey { instance: id(instance), sink: sink.to_owned() }
}

pub fn checked(id: &str, bytes: impl Into<Bytes>) -> Checked {
    checked_for(id, bytes, Remember::Window)
}

pub fn checked_for(id: &str, bytes: impl Into<Bytes>, remember: Remember) -> Checked {
    let schema = RecordSchema::compile(&json!(true)).unwrap();
    let parsed = Parsed::read("{}").unwrap();
    let record = Record {
        bytes: bytes.into(),
        tree: parsed.root(),
        id: Bytes::copy_from_slice(id.as_bytes()),
        remember,
        time: None,
    };
    schema.check(record).unwrap()
}

pub fn batch(instance: &str, records: Vec<Checked>) -> Batch {
    Batch {
        instance: id(instance),
        received: Timestamp::from_millisecond(START).unwrap(),
        records,
        dead: Vec::new(),
        on_reuse: OnReuse::DeadLetter,
    }
}

pub fn letter(bytes: &str, sink: Option<&str>) -> DeadLetter {
    DeadLetter {
        what: if sink.is_some() { DeadWhat::Record } else { DeadWhat::Body },
        reason: if sink.is_some() { DeadReason::SinkRefused } else { DeadReason::Undecodable },
        detail: "because".to_owned(),
        bytes: Bytes::copy_from_slice(bytes.as_bytes()),
        id: None,
        sink: sink.map(str::to_owned),
        at: Timestamp::from_millisecond(START).unwrap(),
    }
}

pub fn texts(chunk: &Chunk) -> Vec<Bytes> {
    chunk.records.clone()
}

async fn register(local: &Local, instance: &str, sinks: &[&str]) {
    let sinks: Vec<String> = sinks.iter().map(|sink| (*sink).to_owned()).collect();
    local.register_sinks(&id(instance), &sinks).await.unwrap();
}

fn done(n: usize) -> Progress {
    Progress { done: n, note: None, dead: Vec::new() }
}

/// Everything that a sink has not got yet, acknowledged.
pub async fn drain(local: &Local, sink: &SinkKey) -> Vec<Bytes> {
    let mut found = Vec::new();
    let mut idle = 0;
    loop {
        let sinks = local.sinks(&sink.instance).await.unwrap();
        let behind = sinks.iter().find(|state| state.sink == sink.sink).map_or(0, |state| state.behind);
        // What was lost at the log's end it stays behind; letters that it gets again do not show here.
        let more = behind > local.stats().lost;
        let wait = Duration::from_millis(if more { 200 } else { 50 });
        let Ok(chunk) = tokio::time::timeout(wait, local.read(sink, 500, 1 << 20)).await else {
            idle += 1;
            assert!(idle < 100, "{behind} records do not come");
            if more {
                continue;
            }
            return found;
        };
        let chunk = chunk.unwrap().expect("the queue is open");
        found.extend(texts(&chunk));
        // Where the disk is damaged, the first attempt may find it.
        while local.advance(sink, &chunk, done(chunk.records.len())).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn letters(folder: &Path, instance: &str) -> Vec<DeadLetter> {
    let beside = Beside::open(folder).unwrap();
    let heads = beside.letters(&id(instance), &Filter::default(), 0, 1000).unwrap();
    heads.iter().map(|head| beside.letter(&id(instance), head.number).unwrap().unwrap().letter).collect()
}
