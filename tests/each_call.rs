//! Promise: whichever write, sync or opening of a file fails, and at whichever the process is killed, nothing acked is
//! lost, nothing is in the file twice, nothing gets stuck; and after a failed sync nothing more is acked until the
//! store was reopened and checked.
//!
//! A small scripted life of a store and its file sink runs under strace, once for each of its system calls, which
//! fails there: the first of each thread, the second, and so on until a run has no call left to harm. The process
//! is this test binary started again.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use forebay::connector::clock::Clock;
use forebay::deliver::config::Target;
use forebay::queue::Queue;
use forebay::queue::local::Local;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::queue::{batch, checked, id, limits};
use crate::sinks::{Work, key, lines, outside, quick, record, sink};
use crate::trace::{Call, calls};

/// Batches of one life of the store; there are two lives.
const BATCHES: usize = 2;
/// Calls of one thread in a run, at most: a bound for the loop, far beyond what a run has.
const MOST: usize = 400;

/// A clock that is fast, so that no run waits a second for the store to be opened again.
struct Fast(Timestamp, Instant);

impl Clock for Fast {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.1.elapsed() * 100).unwrap();
        self.0.checked_add(passed).unwrap()
    }
}

/// Says a line in a file that the trace shows.
fn say(outer: &Path, line: &str) {
    let mut said = OpenOptions::new().create(true).append(true).open(outer.join("said")).unwrap();
    said.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Not a test of its own: the life that the tests below harm.
#[test]
#[ignore = "started by the tests of this file"]
fn child() {
    let outer =
        PathBuf::from(std::env::var_os("FOREBAY_TEST_FOLDER").expect("only for the tests of this file"));
    // One thread that reads and writes files, so that the calls come in the same order each time.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let first = if std::env::var_os("FOREBAY_TEST_SECOND").is_some() { 1 } else { 0 };
        let last = if std::env::var_os("FOREBAY_TEST_FIRST").is_some() { 1 } else { 2 };
        for life in first..last {
            live(&outer, life).await;
        }
    });
}

async fn live(outer: &Path, life: usize) {
    let clock = Arc::new(Fast(Timestamp::now(), Instant::now()));
    let local = insist("open", async || Local::open(&outer.join("data"), limits(), clock.clone())).await;
    say(outer, "open");
    let names = ["archive".to_owned()];
    insist("register", async || local.register_sinks(&id("acme"), &names).await).await;
    let target = Target::File { path: outer.join("out.jsonl"), rotate: None };
    let cursor = insist("cursor", async || local.cursor(&key("archive")).await).await.unwrap();
    let work = Work::named("archive", sink(target, &outside()), &local, cursor, quick());
    for n in life * BATCHES..(life + 1) * BATCHES {
        say(outer, &format!("send {n}"));
        let receipt = insist("append", async || {
            let records = (n * 2..n * 2 + 2).map(|n| checked(&n.to_string(), record(n))).collect();
            local.append(batch("acme", records)).await
        })
        .await;
        assert_eq!(receipt.stored + receipt.duplicates, 2);
        say(outer, &format!("ack {n}"));
    }
    insist("deliver", async || {
        let sinks = local.sinks(&id("acme")).await.map_err(|error| error.to_string())?;
        if sinks[0].behind == 0 { Ok(()) } else { Err(format!("{} are behind", sinks[0].behind)) }
    })
    .await;
    work.stop().await.unwrap();
    say(outer, "closing");
    local.close().await.unwrap();
}

/// Tries until it works.
async fn insist<T, E: std::fmt::Debug>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < deadline, "{what} for ever: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A folder where a sync costs nothing, if there is one: here it is only counted.
fn place() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

/// Which calls are harmed, how, and what else the trace shows.
struct Harm {
    calls: &'static str,
    /// As strace has it: `error=EIO`, `signal=KILL`.
    how: &'static str,
    shown: &'static str,
    /// Only the second life is harmed.
    second: bool,
}

/// A run in which the `when`th such call of each thread fails.
fn harmed(harm: &Harm, when: usize) -> Vec<Call> {
    let outer = place();
    let itself = std::env::current_exe().unwrap();
    if harm.second {
        let first = lived(Command::new(&itself).env("FOREBAY_TEST_FIRST", "1"), outer.path());
        assert!(first.status.success());
    }
    let trace = outer.path().join("trace");
    let mut command = Command::new("strace");
    if harm.second {
        command.env("FOREBAY_TEST_SECOND", "1");
    }
    if harm.how.starts_with("error") {
        // Only what is traced stops the child, which is faster; signals are not injected this way.
        command.arg("--seccomp-bpf");
    }
    command.args(["-f", "-qq", "-y", "-s", "32", "-o"]).arg(&trace);
    command.args(["-e", &format!("trace={}{}", harm.calls, harm.shown)]);
    command.args(["-e", &format!("inject={}:{}:when={when}", harm.calls, harm.how)]);
    // The files of the store and of the sink, and their folders, whose names are synced too.
    let data = outer.path().join("data");
    let files = ["forebay.db", "forebay.db-wal", "forebay.db-shm", "lock"].map(|name| data.join(name));
    for path in files.iter().chain([&data, &outer.path().to_owned(), &outer.path().join("out.jsonl")]) {
        command.arg("-P").arg(path);
    }
    if !harm.shown.is_empty() {
        command.arg("-P").arg(outer.path().join("said"));
    }
    let what = format!("{} {} at call {when}", harm.calls, harm.how);
    let mut output = lived(command.arg(&itself), outer.path());
    if output.status.signal() == Some(KILLED) {
        // Whoever sends begins anew after a kill, and sends everything again.
        output = lived(&mut Command::new(&itself), outer.path());
    }
    assert!(
        output.status.success(),
        "{what}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let expected = lines(0..2 * 2 * BATCHES);
    let found = std::fs::read(outer.path().join("out.jsonl")).unwrap();
    assert!(found == expected, "{what}: {}", String::from_utf8_lossy(&found));
    calls(&String::from_utf8_lossy(&std::fs::read(&trace).unwrap()))
}

/// What SIGKILL ends a process with; strace ends as what it traced.
const KILLED: i32 = 9;

/// Runs the child to its end.
fn lived(command: &mut Command, outer: &Path) -> Output {
    command.args(["--exact", "each_call::child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("FOREBAY_TEST_FOLDER", outer).stdin(Stdio::null()).output().unwrap()
}

/// Harms call after call until there is none left. Returns how many there were.
fn each(harm: &Harm, look: impl Fn(&[Call], usize) + Sync) -> usize {
    crate::support::needs_strace();
    let (next, hit) = (AtomicUsize::new(1), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let when = next.fetch_add(1, Ordering::SeqCst);
                    assert!(when < MOST, "there is no end of calls");
                    let calls = harmed(harm, when);
                    let injected = calls.iter().filter(|call| call.harmed()).count();
                    if injected == 0 {
                        return;
                    }
                    hit.fetch_add(injected, Ordering::SeqCst);
                    look(&calls, when);
                }
            });
        }
    });
    let hit = hit.into_inner();
    println!("{} {}: {hit} calls, one after the other", harm.calls, harm.how);
    hit
}

const WRITES: &str = "write,pwrite64,writev,pwritev,ftruncate";
const SYNCS: &str = "fsync,fdatasync";
const ANY: &str = "write,pwrite64,writev,pwritev,ftruncate,fsync,fdatasync";

#[test]
fn each_write_that_finds_the_disk_full_costs_nothing_acked() {
    let hit = each(&Harm { calls: WRITES, how: "error=ENOSPC", shown: "", second: false }, |_, _| {});
    assert!(hit > 40, "{hit}");
}

#[test]
fn each_write_that_fails_costs_nothing_acked() {
    let hit = each(&Harm { calls: WRITES, how: "error=EIO", shown: "", second: false }, |_, _| {});
    assert!(hit > 40, "{hit}");
}

/// A kill ends every thread, so that the opening's few calls hide as many of the writer's first: it is the second
/// life, whose opening writes least, and the first commit, which is like the others.
#[test]
fn a_kill_at_each_write_and_each_sync_costs_nothing_acked() {
    let hit = each(&Harm { calls: ANY, how: "signal=KILL", shown: "", second: true }, |_, _| {});
    assert!(hit > 20, "{hit}");
}

#[test]
fn each_file_that_cannot_be_opened_is_opened_later() {
    let hit = each(&Harm { calls: "openat", how: "error=EMFILE", shown: "", second: false }, |_, _| {});
    assert!(hit > 10, "{hit}");
}

#[test]
fn after_each_sync_that_fails_nothing_is_acked_until_the_store_was_reopened_and_checked() {
    let checked = AtomicUsize::new(0);
    let shown = ",write,openat,pread64";
    let hit = each(&Harm { calls: SYNCS, how: "error=EIO", shown, second: false }, |calls, when| {
        let seen =
            acks_are_earned(calls).unwrap_or_else(|why| panic!("sync {when}: {why}\n{}", story(calls)));
        checked.fetch_add(seen, Ordering::SeqCst);
    });
    assert!(hit > 15, "{hit}");
    let checked = checked.into_inner();
    assert!(checked >= 2 * BATCHES, "the store failed under way {checked} times only");
}

fn is_log(call: &Call) -> bool {
    call.on().ends_with("/forebay.db-wal")
}

fn said<'a>(call: &'a Call, word: &str) -> Option<&'a str> {
    let line = call.text.split_once('"')?.1.split_once("\\n\"")?.0;
    (call.name == "write" && call.on().ends_with("/said")).then(|| line.strip_prefix(word))?
}

/// Every ack has a sync of the log to show for it that went well, begun after its batch was sent; and between a
/// failed sync of the running store and that one, the store was opened anew and every page of it read. Returns how
/// many failed syncs had acks behind them.
fn acks_are_earned(calls: &[Call]) -> Result<usize, String> {
    let failed: Vec<&Call> = calls
        .iter()
        .filter(|call| call.is(&["fsync", "fdatasync"]) && call.injected() && is_log(call))
        .collect();
    let mut followed = 0;
    for ack in calls {
        let Some(n) = said(ack, "ack ") else { continue };
        let send =
            calls.iter().find(|call| said(call, "send ") == Some(n)).ok_or("an ack without its batch")?;
        let mut syncs = calls.iter().filter(|call| {
            let well = call.is(&["fsync", "fdatasync"]) && is_log(call) && call.result() == "0";
            well && call.begun > send.ended && call.ended < ack.begun
        });
        let earned = syncs.any(|sync| {
            let before = failed.iter().rev().find(|failed| failed.ended < sync.begun);
            before.is_none_or(|failed| reopened(calls, failed.ended, sync.begun))
        });
        if !earned {
            return Err(format!("ack {n} is not earned"));
        }
        followed += usize::from(failed.iter().any(|failed| failed.ended < send.begun));
    }
    Ok(followed)
}

/// Whether the database was opened between these lines, and read to its end by whoever opened it. A new connection opens
/// the log anew; of the database SQLite may take the descriptor that it could not close while a reader had locks on it.
fn reopened(calls: &[Call], from: usize, to: usize) -> bool {
    let within = || calls.iter().filter(|call| call.begun > from && call.ended < to);
    let anew = |call: &&Call| call.name == "openat" && call.text.contains("/forebay.db-wal\", O_RDWR");
    within().filter(anew).any(|opened| {
        let read = within().filter(|call| call.name == "pread64" && call.begun > opened.ended);
        let read = read.filter(|call| call.on().ends_with("/forebay.db") && call.thread == opened.thread);
        let mut offsets: Vec<&str> = read.filter_map(|call| call.text.split(", ").last()).collect();
        offsets.sort_unstable();
        offsets.dedup();
        // Eleven tables and indexes, each with a page of its own at least.
        offsets.len() >= 11
    })
}

/// The calls that the order is about, for people.
fn story(calls: &[Call]) -> String {
    let told = calls.iter().filter(|call| call.name != "pread64");
    told.map(|call| format!("{} {} {}\n", call.thread, call.name, call.text)).collect()
}
