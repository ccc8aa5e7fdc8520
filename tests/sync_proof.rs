//! Promise: what is answered with 2xx is on the disk. Shown by the system calls of a running forebay: between the
//! read of a request's last byte and the write of its answer, the commit that holds the request is written to the
//! log, and a sync of the log that begins after that write ends well.

use std::process::{Command, Stdio};

use crate::main_job::{KEY, event, manual};
use crate::support::{Running, eventually, post, root};
use crate::trace::{Call, calls};

const SENDERS: usize = 24;
const EACH: usize = 6;

const READS: &[&str] = &["read", "readv", "recvfrom", "recvmsg"];
const ANSWERS: &[&str] = &["write", "writev", "sendto", "sendmsg"];
const STORES: &[&str] = &["pwrite64", "pwritev", "pwritev2", "write", "writev"];
const SYNCS: &[&str] = &["fsync", "fdatasync"];

/// The steps of one request, each after the one before it; what is missing is said.
fn prove(calls: &[Call], token: &str) -> Result<(), String> {
    let is_log = |call: &Call| call.on().ends_with("forebay.db-wal");
    // The body ends with the token and what closes it.
    let end = format!("{token}\\\"}}}}\"");
    let read = calls
        .iter()
        .find(|call| call.is(READS) && call.text.contains(&end))
        .ok_or("its last byte is never read")?;
    let answer = calls
        .iter()
        .find(|call| {
            call.is(ANSWERS)
                && call.on() == read.on()
                && call.begun > read.ended
                && call.text.contains("HTTP/1.1 200")
        })
        .ok_or("it is never answered")?;
    // A page may end within the token, and then one of its pieces is torn.
    let pieces: Vec<&str> = (0..4).map(|n| &token[n * 10..n * 10 + 10]).collect();
    let stored = calls
        .iter()
        .find(|call| {
            call.is(STORES)
                && is_log(call)
                && call.begun > read.ended
                && pieces.iter().any(|piece| call.text.contains(piece))
        })
        .ok_or("it is never written to the log")?;
    if stored.ended >= answer.begun {
        return Err("it is answered before it is written to the log".to_owned());
    }
    let synced = calls.iter().any(|call| {
        call.is(SYNCS)
            && is_log(call)
            && call.begun > stored.ended
            && call.ended < answer.begun
            && call.result() == "0"
    });
    if synced { Ok(()) } else { Err("no sync of the log stands between the write and the answer".to_owned()) }
}

#[test]
fn a_sync_stands_between_the_last_byte_of_every_request_and_its_answer() {
    crate::support::needs_strace();
    let outer = tempfile::tempdir().unwrap();
    let trace = outer.path().join("trace");
    let run = manual(outer.path());
    let mut command = Command::new("strace");
    // -D: the process that is started is forebay itself.
    command.args(["-D", "-f", "-q", "-y", "-s", "40000", "-o"]).arg(&trace);
    command.args(["-e", &format!("trace={}", [READS, ANSWERS, &STORES[..3], SYNCS].concat().join(","))]);
    command.arg(run.get_program()).args(run.get_args()).current_dir(root()).env_clear();
    command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    let running = Running::start(&mut command, 1);
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let url = running.urls[0].clone();
            std::thread::spawn(move || {
                let tokens: Vec<String> = (0..EACH).map(|n| token((sender * EACH + n) as u64)).collect();
                for token in &tokens {
                    let (status, body) = post(&url, &[("x-api-key", KEY)], event(token).as_bytes()).unwrap();
                    assert_eq!(status, 200, "{body}");
                }
                tokens
            })
        })
        .collect();
    let tokens: Vec<String> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
    let pid = running.pid().to_string();
    assert!(running.stop().success());
    // The tracer ends after the traced.
    let read = || String::from_utf8_lossy(&std::fs::read(&trace).unwrap()).into_owned();
    // A short number has more than one space behind it.
    let ends = |line: &str| {
        line.strip_prefix(&pid).is_some_and(|rest| rest.trim_start().starts_with("+++ exited with 0"))
    };
    eventually("the trace is whole", || read().lines().any(ends));
    let calls = calls(&read());
    let wrong: Vec<String> =
        tokens.iter().filter_map(|token| Some(format!("{token}: {}", prove(&calls, token).err()?))).collect();
    assert!(wrong.is_empty(), "{} of {} requests: {wrong:#?}", wrong.len(), tokens.len());
    let syncs = calls.iter().filter(|call| call.is(SYNCS) && call.on().ends_with("forebay.db-wal")).count();
    println!("{} requests, {} system calls, {syncs} syncs of the log", tokens.len(), calls.len());
}

/// Forty letters and digits that no compression shortens.
fn token(n: u64) -> String {
    let mut state = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        char::from(letters[(state >> 40) as usize % letters.len()])
    };
    (0..40).map(|_| next()).collect()
}
