//! Faults below the store, injected at the system call or by hand: a sync that fails, a full disk, a kill at any
//! moment, torn and flipped bytes. Nothing that was acked is lost, nothing comes twice, nothing gets stuck.
//!
//! The faulty process is this test binary started again: [`child`] appends and prints what it was answered.

mod damaged;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay::connector::clock::SystemClock;
use forebay::queue::limits::Limits;
use forebay::queue::local::{Beside, Filter, Local};
use forebay::queue::{Progress, Queue, Refusal};

use crate::queue::{batch, checked, drain, key, letter, texts};

/// The record of a number: recognisable, and of a size that grows and shrinks over page borders.
fn record(n: u64) -> String {
    format!("{{\"n\":{n},\"fill\":\"{}\"}}", "x".repeat(usize::try_from(n * 37 % 3000).unwrap()))
}

fn number(record: &Bytes) -> u64 {
    let value: serde_json::Value = serde_json::from_slice(record).unwrap();
    let n = value["n"].as_u64().unwrap();
    assert_eq!(record[..], *self::record(n).as_bytes(), "a record came out changed");
    n
}

/// Not a test of its own: the process that the tests below harm. It appends from a number on, eight at a time,
/// each until it is acked, and prints `ack N` or `refused N WHY`.
#[test]
#[ignore = "started by the tests of this file"]
fn child() {
    let Some(folder) = std::env::var_os("FOREBAY_TEST_FOLDER") else {
        panic!("only for the tests of this file")
    };
    let from: u64 = std::env::var("FOREBAY_TEST_FROM").unwrap().parse().unwrap();
    let count: u64 = std::env::var("FOREBAY_TEST_COUNT").unwrap().parse().unwrap();
    let width: u64 = std::env::var("FOREBAY_TEST_WIDTH").unwrap().parse().unwrap();
    let limits = Limits { max_bytes: 1 << 30, min_free: 0, ..Limits::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let local = Local::open(Path::new(&folder), limits, Arc::new(SystemClock)).unwrap();
        local.register_sinks(&key("acme", "a").instance, &["a".to_owned()]).await.unwrap();
        println!("\nopen");
        let tasks: Vec<_> = (0..width)
            .map(|lane| {
                tokio::spawn(append_all(
                    local.clone(),
                    (from..from + count)
                        .skip(usize::try_from(lane).unwrap())
                        .step_by(usize::try_from(width).unwrap())
                        .collect(),
                ))
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        local.close().await.unwrap();
        println!("closed");
    });
}

async fn append_all(local: Arc<Local>, numbers: Vec<u64>) {
    for n in numbers {
        for attempt in 0.. {
            assert!(attempt < 200, "{n} is refused for ever");
            match local.append(batch("acme", vec![checked(&n.to_string(), record(n))])).await {
                Ok(receipt) if receipt.stored == 1 => {
                    println!("ack {n}");
                    break;
                }
                Ok(receipt) if receipt.duplicates == 1 => {
                    println!("known {n}");
                    break;
                }
                Ok(receipt) => panic!("{receipt:?}"),
                Err(Refusal::Full { bound, .. }) => println!("refused {n} full {}", bound.name()),
                Err(Refusal::Broken(error)) => println!("refused {n} broken {error}"),
                Err(Refusal::Closing) => panic!("closing"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// How a child is started.
struct Start<'a> {
    folder: &'a Path,
    from: u64,
    count: u64,
    width: u64,
}

impl Start<'_> {
    fn command(&self, mut command: Command) -> Command {
        command
            .args(["--exact", "store_faults::child", "--ignored", "--nocapture", "--test-threads=1"])
            .env("FOREBAY_TEST_FOLDER", self.folder)
            .env("FOREBAY_TEST_FROM", self.from.to_string())
            .env("FOREBAY_TEST_COUNT", self.count.to_string())
            .env("FOREBAY_TEST_WIDTH", self.width.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }

    fn plain(&self) -> Command {
        self.command(Command::new(std::env::current_exe().unwrap()))
    }

    /// Under strace, which makes system calls fail as `inject` says.
    fn injected(&self, inject: &[&str]) -> Command {
        crate::support::needs_strace();
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o"]).arg(self.folder.with_extension("strace"));
        for inject in inject {
            command.args(["-e", &format!("inject={inject}")]);
        }
        command.arg(std::env::current_exe().unwrap());
        self.command(command)
    }
}

/// The lines of a child, until it ends.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok)
}

fn acked<'a>(said: impl IntoIterator<Item = &'a String>) -> BTreeSet<u64> {
    said.into_iter().filter_map(|line| line.strip_prefix("ack ")?.parse().ok()).collect()
}

/// Opens what a child left and takes everything out. No record may come twice.
async fn take(folder: &Path) -> BTreeSet<u64> {
    let limits = Limits { max_bytes: 1 << 30, min_free: 0, ..Limits::default() };
    let local = Local::open(folder, limits, Arc::new(SystemClock)).unwrap();
    local.register_sinks(&key("acme", "a").instance, &["a".to_owned()]).await.unwrap();
    let mut found = BTreeSet::new();
    for record in drain(&local, &key("acme", "a")).await {
        let n = number(&record);
        assert!(found.insert(n), "record {n} came twice");
    }
    local.close().await.unwrap();
    found
}

#[tokio::test]
async fn a_sync_that_fails_is_answered_with_a_refusal_and_the_store_recovers() {
    // Opening an existing store takes ten syncs on the child's first thread; the writer's thread counts anew.
    for when in ["11", "12..15", "14+13"] {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("data");
        assert!(take(&folder).await.is_empty());
        let start = Start { folder: &folder, from: 0, count: 120, width: 4 };
        let inject = format!("fsync,fdatasync:error=EIO:when={when}");
        let mut child = start.injected(&[&inject]).spawn().unwrap();
        let said: Vec<String> = lines(&mut child).collect();
        assert!(child.wait().unwrap().success(), "{said:#?}");
        assert!(said.iter().any(|line| line.starts_with("refused") && line.contains("broken")), "{said:#?}");
        let known = said.iter().filter(|line| line.starts_with("known")).count();
        assert_eq!(acked(&said).len() + known, 120, "{said:#?}");
        assert_eq!(take(&folder).await, (0..120).collect(), "when={when}");
    }
}

#[tokio::test]
async fn a_write_that_fails_or_finds_the_disk_full_leaves_nothing_half_stored() {
    for (error, answer) in [("ENOSPC", "full disk"), ("EIO", "broken")] {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("data");
        assert!(take(&folder).await.is_empty());
        let start = Start { folder: &folder, from: 0, count: 120, width: 4 };
        // Opening takes fewer writes; the writer's thread counts anew, and writes several pages a commit.
        let inject = format!("pwrite64:error={error}:when=60..70");
        let mut child = start.injected(&[&inject]).spawn().unwrap();
        let said: Vec<String> = lines(&mut child).collect();
        assert!(child.wait().unwrap().success(), "{said:#?}");
        assert!(said.iter().any(|line| line.starts_with("refused") && line.contains(answer)), "{said:#?}");
        assert_eq!(acked(&said).len(), 120, "what was refused was not there when it came again: {said:#?}");
        assert_eq!(take(&folder).await, (0..120).collect(), "{error}");
    }
}

#[tokio::test]
async fn a_kill_at_any_moment_loses_nothing_that_was_acked() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("data");
    let (mut acknowledged, mut found, mut killed) = (BTreeSet::new(), BTreeSet::new(), 0);
    for round in 0..12u64 {
        let start = Start { folder: &folder, from: round * 100_000, count: 100_000, width: 8 };
        let mut child = start.plain().spawn().unwrap();
        // Killed after so many acks: at another moment of a commit in each round.
        let after = usize::try_from(round * 53 % 400).unwrap();
        let mut said = Vec::new();
        let mut reading = lines(&mut child);
        for line in reading.by_ref() {
            said.push(line);
            if said.len() > after + 8 {
                child.kill().unwrap();
                break;
            }
        }
        said.extend(reading);
        child.wait().unwrap();
        killed += 1;
        let acks = acked(&said);
        assert!(acks.len() >= after.min(1), "{said:#?}");
        acknowledged.extend(acks);
        if round % 3 == 2 {
            // The window knows them all: what is taken out again later would be a repeat.
            for n in take(&folder).await {
                assert!(found.insert(n), "record {n} came twice");
            }
        }
    }
    found.extend(take(&folder).await);
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "{killed} kills lost {lost:?}");
    assert!(acknowledged.len() > 500, "only {} were acked", acknowledged.len());
}

#[tokio::test]
async fn a_torn_or_truncated_file_is_opened_and_what_is_left_of_it_is_whole() {
    // A log without its end: what a child left that was killed in the middle of its work.
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("data");
    let start = Start { folder: &folder, from: 0, count: 100_000, width: 1 };
    let mut child = start.plain().spawn().unwrap();
    let acks = lines(&mut child).filter(|line| line.starts_with("ack")).take(150).count() as u64;
    child.kill().unwrap();
    child.wait().unwrap();
    let log = std::fs::read(folder.join("forebay.db-wal")).unwrap();
    let file = std::fs::read(folder.join("forebay.db")).unwrap();
    let mut before = 0;
    for step in 0..=8 {
        let outer = tempfile::tempdir().unwrap();
        let end = if step == 8 { log.len() } else { log.len() * step / 8 + 1 };
        std::fs::write(outer.path().join("forebay.db"), &file).unwrap();
        std::fs::write(outer.path().join("forebay.db-wal"), &log[..end]).unwrap();
        let found = take(outer.path()).await;
        let count = found.len() as u64;
        assert_eq!(found, (0..count).collect(), "commits are there in order, up to where the log is torn");
        assert!(count >= before);
        before = count;
    }
    let outer = tempfile::tempdir().unwrap();
    std::fs::write(outer.path().join("forebay.db"), b"").unwrap();
    std::fs::write(outer.path().join("forebay.db-wal"), &log).unwrap();
    take(outer.path()).await;
    assert!(before >= acks, "the whole log holds {before}, and {acks} were acked");

    let outer = tempfile::tempdir().unwrap();
    let whole = stored(outer.path(), true).await;
    for length in [1, 100, 4096, 5000, 8192, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        let outer = tempfile::tempdir().unwrap();
        std::fs::write(outer.path().join("forebay.db"), &whole[..length]).unwrap();
        let found = take(outer.path()).await;
        assert!(found.iter().all(|n| (50..200).contains(n)), "cut at {length}");
        let kept = std::fs::read_dir(outer.path())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("damaged-"));
        assert!(kept || found.len() == 150, "cut at {length}: what is damaged is kept aside");
    }
}

#[tokio::test]
async fn a_damaged_log_is_kept_aside_and_a_torn_one_is_only_cut() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("data");
    let start = Start { folder: &folder, from: 0, count: 100_000, width: 1 };
    let mut child = start.plain().spawn().unwrap();
    let acks = lines(&mut child).filter(|line| line.starts_with("ack")).take(50).count();
    child.kill().unwrap();
    child.wait().unwrap();
    let log = std::fs::read(folder.join("forebay.db-wal")).unwrap();
    let file = std::fs::read(folder.join("forebay.db")).unwrap();
    let whole = |kept: usize| kept == log.len();
    // A byte of the log's header, of the header of a frame in the middle, of its page; and a log without its end.
    let frame = 32 + log.len() / 4120 / 2 * 4120;
    let damages = [(Some(9), log.len()), (Some(frame + 3), log.len()), (Some(frame + 999), log.len())];
    let torn = [(None, log.len()), (None, log.len() / 2), (Some(log.len() / 2 - 9), log.len() / 2)];
    for (n, (flipped, length)) in damages.into_iter().chain(torn).enumerate() {
        let outer = tempfile::tempdir().unwrap();
        let mut bytes = log[..length].to_vec();
        if let Some(at) = flipped {
            bytes[at] ^= 0x55;
        }
        std::fs::write(outer.path().join("forebay.db"), &file).unwrap();
        std::fs::write(outer.path().join("forebay.db-wal"), &bytes).unwrap();
        // Somebody looks at it before the next run: that must not tidy the damage away.
        drop(forebay::queue::local::Beside::open(outer.path()).unwrap());
        let found = take(outer.path()).await.len();
        let kept = std::fs::read_dir(outer.path()).unwrap().map(Result::unwrap).find_map(|entry| {
            let path = entry.path().join("forebay.db-wal");
            entry.file_name().to_string_lossy().starts_with("damaged-").then(|| std::fs::read(path).unwrap())
        });
        let damaged = n < damages.len();
        assert_eq!(kept, damaged.then_some(bytes), "case {n}: {flipped:?} of {length}");
        assert_eq!(found >= acks, flipped.is_none() && whole(length), "case {n} found {found} of {acks}");
    }
}

#[test]
fn a_running_forebay_answers_503_while_syncs_fail_and_loses_nothing() {
    // The thread that writes reaches 30 syncs, no other does.
    refused_over_http("fsync,fdatasync:error=EIO:when=30..33");
}

#[test]
fn a_running_forebay_answers_503_while_the_disk_is_full_and_loses_nothing() {
    refused_over_http("pwrite64:error=ENOSPC:when=200..215");
}

/// A port that nothing listens on.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn writer_that_panics_is_reported_and_loses_nothing() {
    let outer = tempfile::tempdir().unwrap();
    let admin = format!("127.0.0.1:{}", free_port());
    let mut command = crate::main_job::manual(outer.path());
    command.args(["--admin-listen", &admin]).env("FAILPOINTS", "commit.planned=20*off->panic");
    let running = crate::support::Running::start(&mut command, 1);
    let headers = [("x-api-key", crate::main_job::KEY), ("content-type", "application/json")];
    let send = |running: &crate::support::Running, n: u32| {
        let event = crate::main_job::event(&format!("id-{n}"));
        crate::support::post(&running.urls[0], &headers, event.as_bytes()).expect("an answer")
    };
    let accepted: Vec<u32> = (0..40).filter(|n| send(&running, *n).0 == 200).collect();
    assert!((1..40).contains(&accepted.len()), "{accepted:?}");
    let (status, body) = send(&running, 99);
    assert_eq!(status, 503, "{body}");
    crate::support::eventually("the condition", || running.said().contains("writer_stopped"));
    let health = crate::support::get(&format!("http://{admin}/healthz"));
    assert!(health.starts_with("HTTP/1.1 503"), "{health}");
    drop(running);
    let running = crate::support::Running::start(&mut crate::main_job::manual(outer.path()), 1);
    let out = || std::fs::read_to_string(outer.path().join("out.jsonl")).unwrap_or_default();
    let once = |n: &u32| out().matches(&format!("\"log_id\":\"id-{n}\"")).count() == 1;
    crate::support::eventually("what was accepted is delivered once", || accepted.iter().all(once));
    assert!(running.stop().success());
}

/// Posts events one by one to a `forebay run` whose system calls fail as `inject` says, each until it is accepted.
fn refused_over_http(inject: &str) {
    let outer = tempfile::tempdir().unwrap();
    let run = crate::main_job::manual(outer.path());
    let mut command = Command::new("strace");
    // -D: the process that is started is forebay itself.
    command.args(["-D", "-f", "-qq", "-o"]).arg(outer.path().join("strace"));
    command.args(["-e", &format!("inject={inject}")]);
    command.arg(run.get_program()).args(run.get_args()).current_dir(crate::support::root()).env_clear();
    command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    let running = crate::support::Running::start(&mut command, 1);
    let headers = [("x-api-key", "the-key-of-this-test"), ("content-type", "application/json")];
    let mut refused = 0;
    for n in 0..40 {
        let event = crate::main_job::event(&format!("id-{n}"));
        crate::support::eventually("the event is accepted", || {
            let (status, body) =
                crate::support::post(&running.urls[0], &headers, event.as_bytes()).expect("an answer");
            assert!(status == 200 || status == 503, "{status} {body}");
            refused += usize::from(status == 503);
            status == 200
        });
    }
    assert!(refused > 0, "nothing failed: {}", running.said());
    let out = || std::fs::read_to_string(outer.path().join("out.jsonl")).unwrap_or_default();
    crate::support::eventually("everything is delivered", || out().lines().count() >= 40);
    for n in 0..40 {
        assert_eq!(out().matches(&format!("\"log_id\":\"id-{n}\"")).count(), 1, "id-{n} is there once");
    }
    assert!(running.stop().success());
}

/// A store as damage finds it: 20 blocks of 10 records each, of which a sink has the first five; dead letters,
/// ids, state. Returns the folder's copies in memory.
async fn stored(folder: &Path, clean: bool) -> Vec<u8> {
    let limits = Limits { max_bytes: 1 << 30, min_free: 0, ..Limits::default() };
    let local = Local::open(folder, limits, Arc::new(SystemClock)).unwrap();
    local.register_sinks(&key("acme", "a").instance, &["a".to_owned()]).await.unwrap();
    for n in 0..20 {
        let records = (n * 10..n * 10 + 10).map(|n| checked(&n.to_string(), record(n))).collect();
        local.append(batch("acme", records)).await.unwrap();
    }
    let reused = (0..5).map(|n| checked(&n.to_string(), format!("other {n}"))).collect();
    assert_eq!(local.append(batch("acme", reused)).await.unwrap().dead, 5);
    let chunk = local.read(&key("acme", "a"), 50, 1 << 20).await.unwrap().unwrap();
    let progress = Progress { done: 50, note: None, dead: Vec::new() };
    local.advance(&key("acme", "a"), &chunk, progress).await.unwrap();
    local.close().await.unwrap();
    let file = folder.join("forebay.db");
    if !clean {
        let db = rusqlite::Connection::open(&file).unwrap();
        db.execute_batch("UPDATE about SET value = x'' WHERE name = 'closed'").unwrap();
    }
    std::fs::read(&file).unwrap()
}
