//! Faults below the store, injected at the system call or by hand: a sync that fails, a full disk, a kill at any
//! moment, torn and flipped bytes. Nothing that was acked is lost, nothing comes twice, nothing gets stuck.
//!
//! The faulty process is this test binary started again: [`child`] appends and prints what it was answered.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay::connector::clock::SystemClock;
use forebay::queue::limits::Limits;
use forebay::queue::local::Local;
use forebay::queue::{Queue, Refusal};

use crate::queue::{batch, checked, drain, key};

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
                Err(Refusal::Full { bound, .. }) => println!("refused {n} full {bound}"),
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
        let there = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(
            there.is_ok_and(|status| status.success()),
            "strace is needed to make system calls fail: install it"
        );
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
    // Opening an existing store takes four syncs on the child's first thread; the writer's thread counts anew.
    for when in ["5", "6..9", "8+13"] {
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
        while let Some(line) = reading.next() {
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
