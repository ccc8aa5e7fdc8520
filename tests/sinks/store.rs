//! Sinks on the real store: a refused record becomes a dead letter, and a retry reaches that sink alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay::deliver::Outcome;
use forebay::deliver::config::{HttpFormat, HttpTarget, Target};
use forebay::queue::Queue;
use forebay::queue::local::{Beside, Filter, Local};

use super::server::{Server, status};
use super::{Work, http, key, lines, outside, quick, record, sink, until};
use crate::queue::{batch, checked, id, open};

const ALL: usize = 300;

async fn filled(local: &Local) {
    let names = ["archive".to_owned(), "siem".to_owned()];
    local.register_sinks(&id("acme"), &names).await.unwrap();
    for from in (0..ALL).step_by(50) {
        let records = (from..from + 50).map(|n| checked(&n.to_string(), record(n))).collect();
        local.append(batch("acme", records)).await.unwrap();
    }
}

async fn behind(local: &Local, name: &str) -> u64 {
    let sinks = local.sinks(&id("acme")).await.unwrap();
    sinks.iter().find(|sink| sink.sink == name).unwrap().behind
}

async fn start(local: &Arc<Local>, name: &str, sink: Box<dyn forebay::deliver::Sink>) -> Work {
    let cursor = local.cursor(&key(name)).await.unwrap().unwrap_or_default();
    Work::named(name, sink, local, cursor, quick())
}

/// Waits until a sink has everything.
async fn caught_up(local: &Local, name: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while behind(local, name).await > 0 {
        assert!(std::time::Instant::now() < deadline, "{name} never caught up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_refused_record_is_kept_and_a_retry_reaches_that_sink_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.jsonl");
    let local = open(folder.path());
    filled(&local).await;
    assert_eq!(behind(&local, "siem").await, ALL as u64);
    let mended = Arc::new(AtomicBool::new(false));
    let knows = mended.clone();
    let server = Server::start(move |_, got| {
        let bad = !knows.load(Ordering::SeqCst) && got.lines().contains(&record(7));
        status(if bad { 422 } else { 200 })
    })
    .await;
    let target = HttpTarget {
        url: server.url.clone(),
        headers: Vec::new(),
        format: HttpFormat::JsonLines,
        gzip: false,
        count: 40,
        bytes: 1 << 20,
        age: Duration::ZERO,
    };
    let archive = sink(Target::File { path: path.clone(), rotate: None }, &outside());
    let works = [start(&local, "archive", archive).await, start(&local, "siem", http::http(target)).await];
    caught_up(&local, "archive").await;
    caught_up(&local, "siem").await;
    let beside = Beside::open(folder.path()).unwrap();
    let letters = || beside.letters(&id("acme"), &Filter::default(), 0, 10).unwrap();
    assert_eq!(letters().len(), 1);
    let letter = beside.letter(&id("acme"), letters()[0].number).unwrap().unwrap();
    assert_eq!(letter.letter.bytes, record(7));
    assert_eq!(letter.letter.sink.as_deref(), Some("siem"));
    // Somebody mends the server and sends it again.
    mended.store(true, Ordering::SeqCst);
    let before = server.count();
    assert!(beside.retry(&id("acme"), &[letter.number]).unwrap().is_empty());
    until("it is sent again", || server.count() > before && letters().is_empty()).await;
    assert_eq!(server.got.lock().unwrap().last().unwrap().lines(), [record(7)]);
    for work in works {
        work.stop().await.unwrap();
    }
    assert!(std::fs::read(&path).unwrap() == lines(0..ALL));
}

/// The `idempotency-key` of the next request of a store whose records nobody got.
async fn next_key(folder: &Path, server: &Server) -> String {
    let local = open(folder);
    local.register_sinks(&id("acme"), &["archive".to_owned()]).await.unwrap();
    let chunk = local.read(&key("archive"), 100, 1 << 20).await.unwrap().unwrap();
    let said = http::http(http::target(server)).deliver(&chunk).await;
    assert!(matches!(said, Outcome::Done { .. }), "{said:?}");
    local.close().await.unwrap();
    server.got.lock().unwrap().last().unwrap().header("idempotency-key").to_owned()
}

#[tokio::test]
async fn idempotency_key_stays_over_restarts_and_differs_in_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    filled(&local).await;
    local.close().await.unwrap();
    let server = Server::start(|_, _| status(200)).await;
    let first = next_key(folder.path(), &server).await;
    assert_eq!(next_key(folder.path(), &server).await, first, "a restart sends the same records again");
    // The whole folder, and the database alone, as a backup has it.
    let mut keys = vec![first];
    for names in [&["forebay.db", "made"][..], &["forebay.db"]] {
        let copy = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
        }
        let key = next_key(copy.path(), &server).await;
        assert!(!keys.contains(&key), "{names:?}: other records may get the same positions in a copy");
        assert_eq!(next_key(copy.path(), &server).await, key, "a restart of the copy");
        keys.push(key);
    }
    // A backup that is put back in the place of its store.
    let backup = std::fs::read(folder.path().join("forebay.db")).unwrap();
    let local = open(folder.path());
    local.append(batch("acme", vec![checked("later", record(ALL))])).await.unwrap();
    local.close().await.unwrap();
    std::fs::write(folder.path().join("forebay.db"), backup).unwrap();
    let key = next_key(folder.path(), &server).await;
    assert!(!keys.contains(&key), "a backup was restored");
}

#[tokio::test]
async fn the_file_and_the_store_agree_after_every_crash_of_the_worker() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.jsonl");
    let local = open(folder.path());
    filled(&local).await;
    for n in 0..40 {
        let archive = sink(Target::File { path: path.clone(), rotate: None }, &outside());
        let work = start(&local, "archive", archive).await;
        // A little later each time: before the note, between sync and cursor, after it.
        tokio::time::sleep(Duration::from_micros(n * 300)).await;
        work.task.abort();
        drop(work.task.await);
        let more = checked(&format!("more {n}"), record(ALL + n as usize));
        local.append(batch("acme", vec![more])).await.unwrap();
    }
    let archive = sink(Target::File { path: path.clone(), rotate: None }, &outside());
    let work = start(&local, "archive", archive).await;
    caught_up(&local, "archive").await;
    work.stop().await.unwrap();
    assert!(std::fs::read(&path).unwrap() == lines(0..ALL + 40));
}
