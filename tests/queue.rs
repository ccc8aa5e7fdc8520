//! The queue on this machine: what is acked is safe, in order, once, and whole; bounds hold; two processes share.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use forebay::connector::clock::Clock;
use forebay::connector::instance::InstanceId;
use forebay::connector::model::OnReuse;
use forebay::connector::node::Parsed;
use forebay::connector::record::{Checked, Record};
use forebay::connector::schema::RecordSchema;
use forebay::queue::limits::Limits;
use forebay::queue::local::{Beside, Filter, Local};
use forebay::queue::{
    Batch, Chunk, DeadLetter, DeadReason, DeadWhat, Origin, Position, Progress, Queue, Receipt, SinkKey,
    State,
};
use jiff::Timestamp;
use serde_json::json;

/// A clock that stands where it is put.
pub struct Hand(AtomicI64);

impl Hand {
    pub fn at(ms: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(ms)))
    }

    fn forward(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

const START: i64 = 1_780_000_000_000;

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
    let schema = RecordSchema::compile(&json!(true)).unwrap();
    let parsed = Parsed::read("{}").unwrap();
    let record = Record {
        bytes: bytes.into(),
        tree: parsed.root(),
        id: Bytes::copy_from_slice(id.as_bytes()),
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

fn letter(bytes: &str, sink: Option<&str>) -> DeadLetter {
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
    chunk.records.iter().map(|range| chunk.bytes.slice(range.clone())).collect()
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
    while let Ok(chunk) =
        tokio::time::timeout(Duration::from_millis(300), local.read(sink, 500, 1 << 20)).await
    {
        let chunk = chunk.unwrap().expect("the queue is open");
        found.extend(texts(&chunk));
        local.advance(sink, &chunk, done(chunk.records.len())).await.unwrap();
    }
    found
}

fn letters(folder: &Path, instance: &str) -> Vec<DeadLetter> {
    let beside = Beside::open(folder).unwrap();
    let heads = beside.letters(&id(instance), &Filter::default(), 0, 1000).unwrap();
    heads.iter().map(|head| beside.letter(&id(instance), head.number).unwrap().unwrap().letter).collect()
}

#[tokio::test]
async fn records_come_out_byte_for_byte_in_order_for_every_sink() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    register(&local, "acme", &["a", "b"]).await;
    let odd: Vec<Bytes> = vec![
        Bytes::from_static(b"{\"n\":1.0,\"big\":1635984900418}"),
        Bytes::from_static(b""),
        Bytes::from_static(b"\x00\xff\r\n\xfe"),
        Bytes::from(vec![b'x'; 3 << 20]),
        Bytes::from_static(b"last"),
    ];
    let records =
        odd.iter().enumerate().map(|(n, bytes)| checked(&format!("id{n}"), bytes.clone())).collect();
    let receipt = local.append(batch("acme", records)).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 5, duplicates: 0, dead: 0 });
    assert_eq!(drain(&local, &key("acme", "a")).await, odd);
    assert_eq!(drain(&local, &key("acme", "b")).await, odd);
    local.close().await.unwrap();
}

#[tokio::test]
async fn a_chunk_keeps_its_bounds_but_always_holds_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    register(&local, "acme", &["a"]).await;
    let sink = key("acme", "a");
    for n in 0..10 {
        let records = (0..10).map(|m| checked(&format!("{n}-{m}"), vec![b'a' + m; 100])).collect();
        local.append(batch("acme", records)).await.unwrap();
    }
    let chunk = local.read(&sink, 1000, 50).await.unwrap().unwrap();
    assert_eq!((chunk.records.len(), &chunk.origin), (1, &Origin::Log { from: Position(0) }));
    let chunk = local.read(&sink, 25, 1 << 20).await.unwrap().unwrap();
    assert_eq!(chunk.records.len(), 25, "a chunk reaches over blocks");
    local.advance(&sink, &chunk, done(13)).await.unwrap();
    let chunk = local.read(&sink, 1000, 1000).await.unwrap().unwrap();
    assert_eq!((chunk.records.len(), &chunk.origin), (10, &Origin::Log { from: Position(13) }));
    assert_eq!(texts(&chunk)[0], vec![b'd'; 100]);
}

#[tokio::test]
async fn requests_that_wait_share_a_commit_and_a_reader_is_woken() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    register(&local, "acme", &["a"]).await;
    let sink = key("acme", "a");
    let reader = tokio::spawn({
        let (local, sink) = (local.clone(), sink.clone());
        async move { local.read(&sink, 1000, 1 << 20).await.unwrap().unwrap() }
    });
    let many = (0..200).map(|n| {
        let local = local.clone();
        tokio::spawn(async move {
            local.append(batch("acme", vec![checked(&n.to_string(), n.to_string())])).await
        })
    });
    for task in many.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap().unwrap().stored, 1);
    }
    assert!(!reader.await.unwrap().records.is_empty());
    let mut found: Vec<usize> =
        drain(&local, &sink).await.iter().map(|b| std::str::from_utf8(b).unwrap().parse().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, (0..200).collect::<Vec<_>>());
    assert!(local.stats().commits < 100, "{} commits for 200 requests", local.stats().commits);
}

#[tokio::test]
async fn an_id_is_delivered_once_and_other_bytes_under_it_go_by_the_rule() {
    for rule in [OnReuse::DeadLetter, OnReuse::Drop, OnReuse::Deliver] {
        let folder = tempfile::tempdir().unwrap();
        let local = open(folder.path());
        register(&local, "acme", &["a"]).await;
        register(&local, "other", &["a"]).await;
        let put = |instance: &'static str, record: Checked| {
            let local = local.clone();
            async move { local.append(Batch { on_reuse: rule, ..batch(instance, vec![record]) }).await.unwrap() }
        };
        let stored = Receipt { stored: 1, duplicates: 0, dead: 0 };
        let duplicate = Receipt { stored: 0, duplicates: 1, dead: 0 };
        let dead = Receipt { stored: 0, duplicates: 0, dead: 1 };
        assert_eq!(put("acme", checked("1", "one")).await, stored);
        assert_eq!(put("acme", checked("1", "one")).await, duplicate);
        assert_eq!(put("other", checked("1", "one")).await, stored, "instances have ids of their own");
        let reused = put("acme", checked("1", "two")).await;
        assert_eq!(
            reused,
            match rule {
                OnReuse::DeadLetter => dead,
                OnReuse::Drop => duplicate,
                OnReuse::Deliver => stored,
            }
        );
        assert_eq!(put("acme", checked("1", "two")).await, duplicate, "that pair is remembered too");
        assert_eq!(put("acme", checked("1", "one")).await, duplicate);
        let expected: Vec<&str> = if rule == OnReuse::Deliver { vec!["one", "two"] } else { vec!["one"] };
        assert_eq!(drain(&local, &key("acme", "a")).await, expected);
        let dead = letters(folder.path(), "acme");
        assert_eq!(dead.len(), usize::from(rule == OnReuse::DeadLetter));
        for letter in dead {
            assert_eq!((letter.reason, &letter.bytes[..]), (DeadReason::IdReused, &b"two"[..]));
            assert_eq!(letter.id.as_deref(), Some(&b"1"[..]));
        }
        // Within one request the same holds.
        let twice = vec![checked("9", "x"), checked("9", "x"), checked("9", "y")];
        let receipt = local.append(batch("acme", twice)).await.unwrap();
        assert_eq!(receipt, Receipt { stored: 1, duplicates: 1, dead: 1 });
    }
}

#[tokio::test]
async fn the_window_ends_by_count_and_by_age_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hand::at(START);
    let limits = Limits { dedupe_count: 3, dedupe_age: Duration::from_secs(60), ..limits() };
    let mut local = Local::open(folder.path(), limits.clone(), clock.clone()).unwrap();
    register(&local, "acme", &["a"]).await;
    for n in ["1", "2", "3"] {
        local.append(batch("acme", vec![checked(n, "x")])).await.unwrap();
    }
    for restart in [false, true] {
        if restart {
            local.close().await.unwrap();
            local = Local::open(folder.path(), limits.clone(), clock.clone()).unwrap();
        }
        let receipt = local.append(batch("acme", vec![checked("1", "x"), checked("3", "x")])).await.unwrap();
        assert_eq!(receipt.duplicates, 2, "restart: {restart}");
    }
    let other = local.append(batch("other", vec![checked("1", "x")])).await.unwrap();
    assert_eq!(other.stored, 1, "one budget for all instances: this pushes the oldest out");
    let receipt = local.append(batch("acme", vec![checked("1", "x"), checked("3", "x")])).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 1, duplicates: 1, dead: 0 }, "the oldest of four is forgotten");
    clock.forward(Duration::from_secs(61));
    // The window moves with each commit: this one makes the old ids go.
    local.append(batch("acme", vec![checked("new", "x")])).await.unwrap();
    let receipt = local.append(batch("acme", vec![checked("3", "x"), checked("new", "x")])).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 1, duplicates: 1, dead: 0 }, "60 seconds are over for `3`");
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_every_sink_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    register(&local, "acme", &["fast", "slow"]).await;
    let records = (0..100).map(|n| checked(&n.to_string(), n.to_string())).collect();
    let dead = vec![letter("{broken", None)];
    local.append(Batch { dead, ..batch("acme", records) }).await.unwrap();
    let chunk = local.read(&key("acme", "fast"), 60, 1 << 20).await.unwrap().unwrap();
    let progress = Progress { done: 60, note: Some("inode 7".to_owned()), dead: Vec::new() };
    local.advance(&key("acme", "fast"), &chunk, progress).await.unwrap();
    assert!(local.save(&id("acme"), None, &json!({"resource": "lst_1"})).await.unwrap());
    local.close().await.unwrap();
    assert!(local.append(batch("acme", vec![checked("x", "x")])).await.is_err(), "closed is closed");
    drop(local);

    let local = open(folder.path());
    let cursor = local.cursor(&key("acme", "fast")).await.unwrap().unwrap();
    assert_eq!((cursor.position, cursor.note.as_deref()), (Position(60), Some("inode 7")));
    assert_eq!(drain(&local, &key("acme", "fast")).await.len(), 40);
    assert_eq!(drain(&local, &key("acme", "slow")).await.len(), 100);
    assert_eq!(local.load(&id("acme")).await.unwrap(), Some(json!({"resource": "lst_1"})));
    assert_eq!(letters(folder.path(), "acme").len(), 1);
    let again = local.append(batch("acme", vec![checked("99", "99")])).await.unwrap();
    assert_eq!(again.duplicates, 1);
}

#[tokio::test]
async fn state_is_saved_against_what_was_loaded_and_knows_the_latest_event() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    let acme = id("acme");
    assert_eq!(local.load(&acme).await.unwrap(), None);
    assert!(local.save(&acme, None, &json!({"a": 1})).await.unwrap());
    let beside = Beside::open(folder.path()).unwrap();
    assert_eq!(beside.load(&acme).await.unwrap(), Some(json!({"a": 1})));
    assert!(beside.save(&acme, Some(&json!({"a": 1})), &json!({"a": 2})).await.unwrap());
    assert!(
        !local.save(&acme, Some(&json!({"a": 1})), &json!({"a": 3})).await.unwrap(),
        "destroy was faster"
    );
    assert_eq!(local.load(&acme).await.unwrap(), Some(json!({"a": 2})));
    assert_eq!(local.latest_event_time(&acme).await.unwrap(), None);
    let schema = RecordSchema::compile(&json!(true)).unwrap();
    let parsed = Parsed::read("{}").unwrap();
    let timed = |id: &'static str, ms| {
        let time = Some(Timestamp::from_millisecond(ms).unwrap());
        schema
            .check(Record { bytes: Bytes::from_static(b"{}"), tree: parsed.root(), id: id.into(), time })
            .unwrap()
    };
    local.append(batch("acme", vec![timed("1", 2000), timed("2", 1000)])).await.unwrap();
    assert_eq!(
        local.latest_event_time(&acme).await.unwrap(),
        Some(Timestamp::from_millisecond(2000).unwrap())
    );
    assert_eq!(
        beside.latest_event_time(&acme).await.unwrap(),
        Some(Timestamp::from_millisecond(2000).unwrap())
    );
}

#[tokio::test]
async fn a_second_run_is_refused_with_the_others_pid_and_a_newer_format_too() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    let refused = Local::open(folder.path(), limits(), Hand::at(START)).unwrap_err().to_string();
    assert!(refused.contains(&std::process::id().to_string()), "{refused}");
    assert_eq!(Beside::open(folder.path()).unwrap().runner(), Some(std::process::id()));
    local.close().await.unwrap();
    assert_eq!(Beside::open(folder.path()).unwrap().runner(), None);
    let db = rusqlite::Connection::open(folder.path().join("forebay.db")).unwrap();
    db.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(db);
    let newer = Local::open(folder.path(), limits(), Hand::at(START)).unwrap_err();
    assert_eq!(newer.kind, forebay::error::Kind::Configuration);
    assert!(newer.to_string().contains("newer"), "{newer}");
    assert!(Beside::open(folder.path()).unwrap_err().to_string().contains("newer"));
}

#[cfg(unix)]
#[tokio::test]
async fn the_folder_and_its_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("data");
    let local = open(&folder);
    register(&local, "acme", &["a"]).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
