//! Requests that are dropped while another thread works for them: what they take stays counted until that work ended.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use super::accept::{Gate, accept};
use super::cancelled::{KEY, events, gate, raw, signed};
use super::request::Raw;
use crate::connector::coding::Coding;

/// Polls a request until it waits for work on another thread.
async fn until_it_works(gate: &Gate, raw: &mut Raw) {
    let mut request = std::pin::pin!(accept(gate, raw));
    for _ in 0..2000 {
        let waited = tokio::time::timeout(Duration::from_millis(5), request.as_mut()).await;
        assert!(waited.is_err(), "it was answered before anything worked for it");
        if gate.turns() > 0 {
            return;
        }
    }
    panic!("nothing works for it: {gate:?}");
}

/// Drops a request whose work has not begun, and looks at what is held before the work, during it and after it.
fn holds_until_its_work_ended(gate: &Gate, request: impl FnOnce() -> Raw, bytes: usize) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // One thread for work, which is occupied until it is released.
    let runtime = builder.worker_threads(1).max_blocking_threads(1).enable_all().build().unwrap();
    let (release, occupied) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || occupied.recv());
    let test = async {
        {
            let mut raw = request();
            until_it_works(gate, &mut raw).await;
        }
        for _ in 0..20 {
            let held = gate.held();
            assert!(held >= bytes && gate.turns() > 0, "{held} bytes are held: {gate:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(release);
        let mut during = 0;
        // Looked at as often as can be: the work may be a matter of milliseconds. `within` ends it.
        loop {
            let held = gate.held();
            if gate.turns() == 0 {
                break;
            }
            assert!(held >= bytes, "{held} bytes are held while it works");
            during += 1;
            tokio::task::yield_now().await;
        }
        assert!(during > 3, "the work was done before it could be looked at");
        for _ in 0..2000 {
            if gate.is_idle() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("something is held after the work: {gate:?}");
    };
    runtime.block_on(within(test));
}

async fn within(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(50), test).await.expect("it does not end");
}

#[test]
fn dropped_decoding_holds_its_budget_until_it_ended() {
    let (gate, path) = gate("auth0-log-stream", "monad_api_key");
    let body = Bytes::from(events(8000));
    let headers = [("x-api-key", KEY.to_owned()), ("content-length", body.len().to_string())];
    holds_until_its_work_ended(&gate, || raw(&path, &headers, &body, false), body.len());
}

#[test]
fn dropped_inflating_holds_both_budgets_until_it_ended() {
    let (gate, path) = gate("auth0-log-stream", "monad_api_key");
    let plain = Bytes::from(events(8000));
    let body = Bytes::from(Coding::Gzip.deflate(&plain));
    let headers = [
        ("x-api-key", KEY.to_owned()),
        ("content-encoding", "gzip".to_owned()),
        ("content-length", body.len().to_string()),
    ];
    holds_until_its_work_ended(&gate, || raw(&path, &headers, &body, false), body.len() + plain.len());
}

#[test]
fn dropped_proof_holds_its_budget_until_it_ended() {
    let (gate, path) = gate("github-webhooks", "hook_secret");
    let body = Bytes::from(format!(r#"{{"action":"created","pad":"{}"}}"#, "x".repeat(15 << 20)));
    let mut headers = signed(&body);
    headers.push(("content-length", body.len().to_string()));
    holds_until_its_work_ended(&gate, || raw(&path, &headers, &body, false), body.len());
}
