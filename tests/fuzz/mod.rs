//! Fuzzing, bounded, in the ordinary tests: what strangers, vendors and specs may say, made by grammars and spoiled. No
//! input may panic, hang, or make more than it may; each target says what else must hold.
//!
//! The inputs of `fuzz/corpus/<target>/` are played first. `FOREBAY_FUZZ_CASES=5000` plays so many cases of each target,
//! `FOREBAY_FUZZ_SEED=7` other ones, `FOREBAY_FUZZ_SEED=random` others each time.

pub mod bodies;
pub mod inflation;
pub mod json;
pub mod keys;
pub mod signatures;
pub mod spec_text;
mod spoil;
pub mod text_language;

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use forebay::call::caller::Caller;
use forebay::call::retry::Pace;
use forebay::call::{Request, Response, Transport, TransportError};
use forebay::connector::clock::Clock;
use forebay::connector::instance::Instance;
use forebay::queue::{Batch, DeadLetter, DeadReason, DeadWhat};
use forebay::receive::{Endpoint, Limits, Reach, decode_again};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestError, TestRunner};
use serde_json::Value as Json;

use crate::receiving::stage::{self, KEY, Memory};
use crate::support::{root, seed};

/// How long one case may take before it counts as a hang, in waits of a second each: while the whole process is stopped
/// none of them passes.
const PATIENCE: usize = 90;
/// Memory that the process of one target may ever take; what it takes without any case is about 60 MiB.
const MEMORY_KIB: u64 = 700 << 10;

/// The time at which everything here happens.
const NOW: i64 = 1_700_000_000;
/// Bytes that bodies and layers may grow to.
const INFLATED: usize = 1 << 20;

/// A clock that stands.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }
}

/// A vendor that cannot be reached.
struct Nobody;

#[async_trait]
impl Transport for Nobody {
    async fn send(&self, _: Request) -> Result<Response, TransportError> {
        Err(TransportError { sent: false, passing: false, sentence: "nobody is there".to_owned() })
    }
}

/// The end of an instance of a spec, from the keys of its receiver and one sample.
fn probe(receiver: &str, sample: &Json) -> Arc<Endpoint> {
    let folder = tempfile::tempdir().unwrap();
    let spec = format!(
        "forebay: 1\nname: probe\ntitle: Probe\nvendor: Nobody\nsummary: Probes.\n\
         secrets: {{key: {{title: Key, description: The key.}}}}\n\
         receiver:\n  path: /in\n  respond: {{accepted: {{status: 202}}}}\n{receiver}\
         output: {{schema: record.json}}\nsamples: [sample.json]\n"
    );
    let file = folder.path().join("probe.yaml");
    std::fs::write(folder.path().join("record.json"), r#"{"not": {"const": "never"}}"#).unwrap();
    std::fs::write(folder.path().join("sample.json"), sample.to_string()).unwrap();
    std::fs::write(&file, &spec).unwrap();
    let connector = forebay::connector::load::load(&file).unwrap_or_else(|error| panic!("{error}\n{spec}"));
    endpoint(stage::instance(Arc::new(connector), "fuzz", &[("key", KEY)])).unwrap()
}

/// The end of an instance that nobody listens at.
fn endpoint(instance: Arc<Instance>) -> forebay::error::Result<Arc<Endpoint>> {
    let limits = Limits { inflated: INFLATED, ..Limits::default() };
    let (clock, queue) = (Arc::new(Still), Arc::new(Memory::default()));
    let caller = Arc::new(Caller::new(Arc::new(Nobody), clock.clone(), Pace::default()));
    Endpoint::new(instance, queue, clock, Reach { caller, deeds: None }, &limits)
}

/// What becomes of a body behind verification and inflation.
fn decoded(endpoint: &Endpoint, body: &[u8]) -> Batch {
    let letter = DeadLetter {
        what: DeadWhat::Body,
        reason: DeadReason::Undecodable,
        detail: String::new(),
        bytes: Bytes::copy_from_slice(body),
        id: None,
        sink: None,
        at: Still.now(),
    };
    decode_again(endpoint, letter)
}

/// Whether a request proves its sender, and why not.
fn who(endpoint: &std::sync::Arc<Endpoint>, request: http::Request<Bytes>) -> Result<(), &'static str> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(forebay::receive::who(endpoint, request)).map(drop)
}

/// Plays a target: what is kept of it, then so many cases that are made.
fn play<S>(target: &'static str, cases: u32, inputs: fn() -> S, check: fn(&[u8]))
where
    S: Strategy<Value = Vec<u8>> + 'static,
{
    let seed = seed("FOREBAY_FUZZ_SEED");
    let chosen = std::env::var("FOREBAY_FUZZ_CASES").ok();
    let cases = chosen.map_or(cases, |n| n.parse().expect("FOREBAY_FUZZ_CASES is a number"));
    println!("{target}: {cases} cases of FOREBAY_FUZZ_SEED={seed}");
    let current = Arc::new(Mutex::new(Vec::new()));
    let (tell, told) = mpsc::channel();
    let playing = {
        let current = current.clone();
        std::thread::spawn(move || {
            let each = |input: &[u8]| {
                *current.lock().unwrap() = input.to_vec();
                let _ = tell.send(());
                check(input);
            };
            for (file, input) in corpus(target) {
                println!("{target}: {}", file.display());
                each(&input);
            }
            let mut runner = TestRunner::new(ProptestConfig {
                cases,
                rng_seed: RngSeed::Fixed(seed),
                failure_persistence: None,
                max_shrink_iters: 400,
                ..ProptestConfig::default()
            });
            runner.run(&inputs(), |input| {
                each(&input);
                Ok(())
            })
        })
    };
    watch(target, seed, &told, &current);
    match playing.join() {
        Ok(Ok(())) => {}
        Ok(Err(TestError::Fail(why, input))) => panic!("{why}\n{}", again(target, seed, &input)),
        Ok(Err(TestError::Abort(why))) => panic!("{target}: {why}"),
        Err(_) => panic!("{}", again(target, seed, &current.lock().unwrap())),
    }
    // Each test has a process of its own under nextest; elsewhere the memory is that of many.
    if std::env::var_os("NEXTEST").is_some() {
        let peak = peak_kib();
        println!("{target}: {} MiB at most", peak >> 10);
        assert!(peak < MEMORY_KIB, "{target} took {} MiB", peak >> 10);
    }
}

/// Returns when the last case is over; panics where one never is.
fn watch(target: &str, seed: u64, told: &mpsc::Receiver<()>, current: &Mutex<Vec<u8>>) {
    let mut waited = 0;
    loop {
        match told.recv_timeout(Duration::from_secs(1)) {
            Ok(()) => waited = 0,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => waited += 1,
        }
        // Whoever plays may have panicked with it in hand.
        let input = || current.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        assert!(waited < PATIENCE, "a case never ends\n{}", again(target, seed, &input()));
    }
}

/// The kept inputs of a target, in the order of their names.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = root().join("tests/fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

/// Keeps the input of a failure, and says what to do with it.
fn again(target: &str, seed: u64, input: &[u8]) -> String {
    let file = std::env::temp_dir().join(format!("forebay-fuzz-{target}-{}", std::process::id()));
    std::fs::write(&file, input).unwrap();
    format!(
        "the input: {}\nto play it again: FOREBAY_FUZZ_SEED={seed} cargo test --test main fuzz::\n\
         to keep it: cp {} tests/fuzz/corpus/{target}/NAME",
        String::from_utf8_lossy(&input[..input.len().min(4000)]),
        file.display()
    )
}

/// The most memory that this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
