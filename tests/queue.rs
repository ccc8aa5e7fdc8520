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
    Batch, Chunk, DeadLetter, DeadReason, DeadWhat, Origin, Position, Progress, Queue, Receipt, Refusal,
    SinkKey, State,
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

#[tokio::test]
async fn a_record_that_a_sink_refused_goes_to_that_sink_alone_again() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    register(&local, "acme", &["a", "b"]).await;
    let records = ["0", "1", "2", "3"].iter().map(|n| checked(n, *n)).collect();
    local.append(batch("acme", records)).await.unwrap();
    let (a, b) = (key("acme", "a"), key("acme", "b"));
    let chunk = local.read(&a, 10, 1 << 20).await.unwrap().unwrap();
    let dead = vec![letter("1", Some("a")), letter("2", Some("a"))];
    local.advance(&a, &chunk, Progress { done: 4, note: None, dead }).await.unwrap();
    assert_eq!(drain(&local, &b).await.len(), 4);

    let beside = Beside::open(folder.path()).unwrap();
    assert_eq!(beside.retry(&id("acme"), &[1, 2, 77]).unwrap(), [77], "numbers that are none are said");
    let again = tokio::time::timeout(Duration::from_secs(5), local.read(&a, 10, 1 << 20)).await.unwrap();
    let again = again.unwrap().unwrap();
    assert_eq!(
        (&again.origin, texts(&again)),
        (&Origin::Retry { letters: vec![1, 2] }, vec!["1".into(), "2".into()])
    );
    assert!(drain(&local, &b).await.is_empty(), "the other sink has it already");
    // One is taken, one is refused again.
    let dead = vec![DeadLetter { detail: "still not".to_owned(), ..letter("2", Some("a")) }];
    local.advance(&a, &again, Progress { done: 2, note: None, dead }).await.unwrap();
    let left = letters(folder.path(), "acme");
    assert_eq!(
        left.iter().map(|l| (&l.bytes[..], l.detail.as_str())).collect::<Vec<_>>(),
        [(&b"2"[..], "still not")]
    );
    assert!(drain(&local, &a).await.is_empty(), "it is not tried for ever");
    let cursor = local.cursor(&a).await.unwrap().unwrap();
    assert_eq!(cursor.position, Position(4), "the cursor in the log stays where it was");
}

#[tokio::test]
async fn a_letter_that_is_decoded_again_disappears_when_its_records_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    register(&local, "acme", &["a"]).await;
    local.append(batch("acme", vec![checked("1", "one")])).await.unwrap();
    // A body that could not be read, and an id that came again with other bytes.
    let dead = vec![letter("[broken", None)];
    local.append(Batch { dead, ..batch("acme", vec![checked("1", "two")]) }).await.unwrap();
    assert_eq!(drain(&local, &key("acme", "a")).await, ["one"]);
    assert!(local.take_retries(&id("acme")).await.unwrap().is_empty(), "nobody asked yet");
    let beside = Beside::open(folder.path()).unwrap();
    let all: Vec<i64> =
        beside.letters(&id("acme"), &Filter::default(), 0, 10).unwrap().iter().map(|l| l.number).collect();
    assert!(beside.retry(&id("acme"), &all).unwrap().is_empty());
    let asked = local.take_retries(&id("acme")).await.unwrap();
    assert_eq!(
        asked.iter().map(|l| l.letter.reason).collect::<Vec<_>>(),
        [DeadReason::Undecodable, DeadReason::IdReused]
    );
    assert_eq!(asked[0].letter.bytes, "[broken");
    // Under today's spec the body holds a new record, a duplicate, and a line that is still broken.
    let records = vec![checked("5", "five"), checked("1", "one")];
    let dead = vec![letter("still", None)];
    let receipt =
        local.settle_retry(asked[0].number, Batch { dead, ..batch("acme", records) }).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 1, duplicates: 1, dead: 1 });
    // The reused id is delivered, whatever the window says.
    let receipt =
        local.settle_retry(asked[1].number, batch("acme", vec![checked("1", "two")])).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 1, duplicates: 0, dead: 0 });
    assert_eq!(drain(&local, &key("acme", "a")).await, ["five", "two"]);
    let left = letters(folder.path(), "acme");
    assert_eq!(left.iter().map(|l| &l.bytes[..]).collect::<Vec<_>>(), [&b"still"[..]]);
    assert!(local.take_retries(&id("acme")).await.unwrap().is_empty());
    let again = local.settle_retry(asked[1].number, batch("acme", vec![checked("1", "two")])).await.unwrap();
    assert_eq!(again, Receipt::default(), "a letter that is gone is not settled twice");
}

#[tokio::test]
async fn a_removed_sink_holds_its_records_until_it_is_dropped_and_a_new_one_starts_at_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    register(&local, "acme", &["a", "old"]).await;
    for n in 0..5 {
        local.append(batch("acme", vec![checked(&n.to_string(), n.to_string())])).await.unwrap();
    }
    let chunk = local.read(&key("acme", "old"), 2, 1 << 20).await.unwrap().unwrap();
    local.advance(&key("acme", "old"), &chunk, done(2)).await.unwrap();
    assert_eq!(drain(&local, &key("acme", "a")).await.len(), 5);
    local.close().await.unwrap();

    let local = open(folder.path());
    let sinks = local.register_sinks(&id("acme"), &["a".to_owned(), "new".to_owned()]).await.unwrap();
    let seen: Vec<_> = sinks.iter().map(|s| (s.sink.as_str(), s.registered, s.behind)).collect();
    assert_eq!(seen, [("a", true, 0), ("new", true, 3), ("old", false, 3)]);
    assert_eq!(
        drain(&local, &key("acme", "new")).await,
        ["2", "3", "4"],
        "0 and 1 were trimmed: all had them"
    );
    let blocks = || -> i64 {
        let db = rusqlite::Connection::open(folder.path().join("forebay.db")).unwrap();
        db.query_row("SELECT count(*) FROM blocks", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(blocks(), 3, "the removed sink holds them");
    let beside = Beside::open(folder.path()).unwrap();
    assert!(beside.drop_sink(&id("acme"), "old").unwrap());
    assert!(!beside.drop_sink(&id("acme"), "old").unwrap());
    assert_eq!(blocks(), 0);
    let error = local.read(&key("acme", "old"), 1, 1).await.unwrap_err().to_string();
    assert!(error.contains("`old`"), "{error}");
}

fn incompressible(n: u64, size: usize) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(next).collect()
}

async fn full(local: &Local, instance: &str, first: u64) -> (u64, &'static str) {
    for n in first.. {
        match local.append(batch(instance, vec![checked(&n.to_string(), incompressible(n, 50_000))])).await {
            Ok(_) => assert!(n < first + 1000, "no bound holds"),
            Err(Refusal::Full { bound, retry_after }) => {
                assert!(retry_after > Duration::ZERO);
                return (n - first, bound);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    unreachable!()
}

fn on_disk(folder: &Path) -> u64 {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[tokio::test]
async fn a_full_store_refuses_and_takes_again_when_sinks_made_room_and_gives_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 8 << 20, ..limits() };
    let local = Local::open(folder.path(), limits, Hand::at(START)).unwrap();
    register(&local, "acme", &["a"]).await;
    let (stored, bound) = full(&local, "acme", 0).await;
    assert_eq!(bound, "max_bytes");
    assert!((40..170).contains(&stored), "{stored} batches of 50 kB in 8 MiB");
    assert!(on_disk(folder.path()) < 10 << 20, "{} bytes on disk", on_disk(folder.path()));
    assert_eq!(drain(&local, &key("acme", "a")).await.len() as u64, stored, "nothing half stored");
    let (again, _) = full(&local, "acme", 10_000).await;
    assert!(again > stored / 2, "there is room again for {again}, the first time {stored}");
    drain(&local, &key("acme", "a")).await;
    crate::support::eventually("the space is given back", || on_disk(folder.path()) < 2 << 20);
    local.close().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_refuses_before_there_is_no_room_to_trim() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { min_free: u64::MAX / 2, ..limits() };
    let local = Local::open(folder.path(), limits, Hand::at(START)).unwrap();
    register(&local, "acme", &["a"]).await;
    assert_eq!(full(&local, "acme", 0).await, (0, "min_free"));
    assert!(local.save(&id("acme"), None, &json!({})).await.unwrap(), "state and cursors still move");
}

#[tokio::test]
async fn dead_letters_have_a_share_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 10 << 20, dead_share: 10, ..limits() };
    let local = Local::open(folder.path(), limits, Hand::at(START)).unwrap();
    register(&local, "acme", &["a"]).await;
    let dead = |n: u64| {
        let dead = vec![DeadLetter { bytes: incompressible(n, 100_000).into(), ..letter("", None) }];
        Batch { dead, ..batch("acme", vec![checked(&n.to_string(), "x")]) }
    };
    let mut stored = 0;
    let bound = loop {
        match local.append(dead(stored)).await {
            Ok(_) => stored += 1,
            Err(Refusal::Full { bound, .. }) => break bound,
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!((stored, bound), (10, "dead letters"));
    let receipt = local.append(batch("acme", vec![checked("good", "x")])).await.unwrap();
    assert_eq!(receipt.stored, 1, "what is well still has its room");
    let receipt = local.append(batch("acme", vec![checked(&stored.to_string(), "x")])).await.unwrap();
    assert_eq!(receipt.stored, 1, "the id of the refused batch is not burnt");
    let beside = Beside::open(folder.path()).unwrap();
    assert!(beside.drop_letters(&id("acme"), &[1, 2]).unwrap().is_empty());
    local.append(dead(99)).await.unwrap();
}

#[tokio::test]
async fn letters_of_a_sink_stop_it_when_their_share_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 1 << 20, dead_share: 1, ..limits() };
    let local = Local::open(folder.path(), limits, Hand::at(START)).unwrap();
    register(&local, "acme", &["a"]).await;
    let sink = key("acme", "a");
    local.append(batch("acme", vec![checked("1", incompressible(1, 20_000))])).await.unwrap();
    let chunk = local.read(&sink, 1, 1 << 20).await.unwrap().unwrap();
    let dead = DeadLetter { bytes: incompressible(1, 20_000).into(), ..letter("", Some("a")) };
    let full =
        local.advance(&sink, &chunk, Progress { done: 1, note: None, dead: vec![dead] }).await.unwrap_err();
    assert!(full.to_string().contains("dead letters is full"), "{full}");
    assert_eq!(local.cursor(&sink).await.unwrap().unwrap().position, Position(0), "nothing moved");
}

#[tokio::test]
async fn dead_letters_and_sinks_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    register(&local, "acme", &["a", "gone"]).await;
    register(&local, "acme", &["a"]).await;
    let evil = DeadLetter { bytes: Bytes::from_static(b"{\x1b[31m\xff\n\"n\": 1.0"), ..letter("", None) };
    let dead =
        vec![evil, letter("plain", None), DeadLetter { reason: DeadReason::Schema, ..letter("{}", None) }];
    local.append(Batch { dead, ..batch("acme", vec![checked("1", "x")]) }).await.unwrap();
    let run = |arguments: &[&str]| {
        let output =
            crate::support::forebay().args(arguments).arg("--data-dir").arg(folder.path()).output().unwrap();
        (output.status.code().unwrap(), output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    let text = |arguments: &[&str]| {
        let (code, out, err) = run(arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
        String::from_utf8(out).unwrap()
    };
    let listed = text(&["dead-letters", "list", "--id", "acme"]);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert!(listed.contains("undecodable") && listed.contains("because"), "{listed}");
    assert_eq!(text(&["dead-letters", "list", "--reason", "schema"]).lines().count(), 2);
    let shown = text(&["dead-letters", "show", "1"]);
    assert!(
        shown.contains("reason  undecodable") && shown.contains("{\\u{1b}[31m\\xff\n\"n\": 1.0"),
        "{shown}"
    );
    assert_eq!(run(&["dead-letters", "show", "1", "--raw"]).1, b"{\x1b[31m\xff\n\"n\": 1.0");
    let exported = text(&["dead-letters", "export"]);
    let lines: Vec<serde_json::Value> =
        exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (&lines[0]["bytes_base64"], &lines[1]["bytes"]),
        (&json!("extbMzFt/woibiI6IDEuMA=="), &json!("plain"))
    );
    let retried = text(&["dead-letters", "retry", "2"]);
    assert!(retried.contains(&format!("process {}", std::process::id())), "{retried}");
    assert_eq!(local.take_retries(&id("acme")).await.unwrap().len(), 1);
    let (code, _, err) = run(&["dead-letters", "drop", "1", "99"]);
    assert_eq!(code, 2);
    assert!(err.contains("no dead letter 99"), "{err}");
    assert!(text(&["dead-letters", "drop", "--all"]).contains("2 dropped"));
    assert!(text(&["dead-letters", "list"]).contains("no dead letters"));
    assert_eq!(run(&["dead-letters", "list", "--id", "nobody"]).0, 2);

    let sinks = text(&["sinks", "list"]);
    assert!(sinks.lines().any(|line| line.contains("gone") && line.contains("(removed)")), "{sinks}");
    let (code, _, err) = run(&["sinks", "drop", "a"]);
    assert!(code == 2 && err.contains("delivers to the sink `a`"), "{err}");
    assert!(text(&["sinks", "drop", "gone", "--id", "acme"]).contains("1 records behind"));
    assert!(!text(&["sinks", "list"]).contains("gone"));
    local.close().await.unwrap();
    let (code, _, err) = {
        let output = crate::support::forebay()
            .args(["dead-letters", "list", "--data-dir", "/nonexistent"])
            .output()
            .unwrap();
        (output.status.code().unwrap(), (), String::from_utf8(output.stderr).unwrap())
    };
    assert!(code == 2 && err.contains("no store"), "{err}");
}

#[tokio::test]
async fn a_store_that_was_down_for_longer_than_the_window_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hand::at(START);
    let mut local = Local::open(folder.path(), limits(), clock.clone()).unwrap();
    register(&local, "acme", &["a"]).await;
    for n in 0..3 {
        local.append(batch("acme", vec![checked(&n.to_string(), "x")])).await.unwrap();
    }
    for days in [1, 30] {
        local.close().await.unwrap();
        clock.forward(Duration::from_secs(days * 24 * 3600 + 1));
        local = Local::open(folder.path(), limits(), clock.clone()).unwrap();
        let receipt = local.append(batch("acme", vec![checked("0", "x")])).await.unwrap();
        assert_eq!(receipt.stored, 1, "its time is over");
        let receipt = local.append(batch("acme", vec![checked("0", "x")])).await.unwrap();
        assert_eq!(receipt.duplicates, 1);
    }
}
