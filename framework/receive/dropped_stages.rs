//! Requests that are dropped at each await of a stage beyond body, decoding and store: the fetch of a key, rules, what
//! they capture and call, proofs of each item.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use serde_json::json;

use super::accept::{Gate, accept};
use super::cancelled::{KEY, dropped_after, gate_of, raw};
use super::deeds::{Captured, Deeds, Kept};
use crate::call::{Request, Response, Transport, TransportError};
use crate::connector::model::Lifecycle;
use crate::error::Result;

/// More awaits than a request has: reaching it means that the loop no longer ends.
const MAX_POLLS: usize = 1000;
/// How often a request is dropped at one await: more often than calls of rules may be under way.
const DROPS: usize = 6;

/// A vendor that takes a few polls for every answer.
#[derive(Default)]
struct Vendor {
    document: String,
    asked: AtomicUsize,
}

#[async_trait]
impl Transport for Vendor {
    async fn send(&self, _: Request) -> std::result::Result<Response, TransportError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        let (status, headers) = (http::StatusCode::OK, http::HeaderMap::new());
        Ok(Response { status, headers, body: self.document.clone().into() })
    }
}

/// Takes a few polls for every value, and counts those that were safe.
#[derive(Default)]
struct SlowDeeds {
    begun: AtomicUsize,
    safe: AtomicUsize,
}

#[async_trait]
impl Deeds for SlowDeeds {
    async fn capture(&self, _: &str, _: &[Kept], _: bool) -> Result<Captured> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        self.safe.fetch_add(1, Ordering::SeqCst);
        Ok(Captured::Saved)
    }
    fn run(&self, _: &str, _: Lifecycle) {}
}

const TOKEN: &str = "  verify: {kind: token, header: x-api-key, equals: \"{{ secrets.key }}\"}\n";
const REST: &str = "  decode: {format: json}\n  event: {id: /id}\n  respond: {accepted: {status: 202}}\n";

/// A connector with this receiver, in a folder of that folder.
fn connector(receiver: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("probe")).unwrap();
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join("probe").join(name), text).unwrap();
    write("record.json", r#"{"type": "object"}"#);
    write("sample.json", r#"{"id": "1", "type": "s"}"#);
    let secret = "secrets: {key: {title: Key, description: The key.}}\n";
    let head = "forebay: 1\nname: probe\ntitle: Probe\nvendor: Probe\nsummary: Probes.\n";
    let shown = if receiver.contains("item: /state") { ", remove: [/state]" } else { "" };
    let tail = format!("output: {{schema: record.json{shown}}}\nsamples: [sample.json]\n");
    let used = if receiver.contains("secrets.key") { secret } else { "" };
    write("connector.yaml", &format!("{head}{used}receiver:\n  path: /in\n{receiver}{tail}"));
    folder
}

/// Drops a request several times at each of its awaits, each of them at a listener of its own, and has the listener serve
/// another after that. Gives how many polls the request took.
async fn dropped_at_each_stage(
    connector: &Path,
    vendor: impl Fn() -> Arc<Vendor>,
    deeds: impl Fn() -> Option<Arc<dyn Deeds>>,
    (headers, body): (&[(&str, String)], &Bytes),
    check: impl Fn(&Vendor),
) -> usize {
    for polls in 1..MAX_POLLS {
        let asked = vendor();
        let (gate, path) = gate_of(connector, "key", asked.clone(), deeds());
        // What is captured is known to the receiver at once, as far as its requests can tell.
        gate.router.find(&path)[0].endpoint.learn(json!({"hook": {"secret": "abcdefgh"}}));
        let mut ended = None;
        for _ in 0..DROPS {
            ended = dropped_after(polls, &gate, raw(&path, headers, body, true)).await.or(ended);
        }
        assert_eq!(
            served(&gate, &path, headers, body).await / 100,
            2,
            "dropped {DROPS} times after {polls} polls"
        );
        check(&asked);
        if let Some(status) = ended {
            assert_eq!(status / 100, 2, "{status}");
            return polls;
        }
    }
    panic!("it never ends")
}

async fn served(gate: &Gate, path: &str, headers: &[(&str, String)], body: &Bytes) -> u16 {
    accept(gate, &mut raw(path, headers, body, true)).await.status().as_u16()
}

fn none() -> Option<Arc<dyn Deeds>> {
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn key_fetch_dropped_at_any_await_ends_for_the_next() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let receiver = "  verify:\n    kind: public_key\n    algorithm: ed25519\n    key_format: hex\n    \
        key_url: {url: \"https://keys.vendor.example/a\", only: 'https://keys\\.vendor\\.example/a'}\n    \
        message: \"{{ request.body }}\"\n    signature: {header: X-Sign, encoding: base64}\n";
    let connector = connector(&format!("{receiver}{REST}"));
    let vendor = || {
        let document = HEXLOWER.encode(pair.public_key().as_ref());
        Arc::new(Vendor { document, asked: AtomicUsize::new(0) })
    };
    for length in [10, 100 << 10] {
        let body = Bytes::from(format!(r#"{{"id":"1","x":"{}"}}"#, "y".repeat(length)));
        let headers = [("x-sign", BASE64.encode(pair.sign(&body).as_ref()))];
        let once =
            |vendor: &Vendor| assert_eq!(vendor.asked.load(Ordering::SeqCst), 1, "one fetch serves all");
        let polls =
            dropped_at_each_stage(&connector.path().join("probe"), vendor, none, (&headers, &body), once)
                .await;
        assert!(polls > 4, "{polls}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_dropped_at_any_await_leaves_nothing_held() {
    let rules = "  rules:\n    - name: ping\n      when: request.json.ping is defined\n      \
        respond: {status: 200}\n      sample: {json: {ping: 1}}\n";
    let connector = connector(&format!("{TOKEN}{rules}{REST}"));
    for length in [10, 100 << 10] {
        let body = Bytes::from(format!(r#"{{"ping":1,"x":"{}"}}"#, "y".repeat(length)));
        let headers = [("x-api-key", KEY.to_owned())];
        let polls = dropped_at_each_stage(
            &connector.path().join("probe"),
            Arc::default,
            none,
            (&headers, &body),
            |_| {},
        )
        .await;
        assert!(polls > 2, "{polls}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_dropped_at_any_await_is_done_by_the_next() {
    let rules = "  rules:\n    - name: secret\n      when: request.json.secret is defined\n      verify: skip\n      \
        capture: {hook.secret: {body: /secret}}\n      respond: {status: 200}\n      sample: {json: {secret: abc}}\n";
    let connector = connector(&format!("{TOKEN}{rules}{REST}"));
    let body = Bytes::from_static(br#"{"secret":"abcdefgh"}"#);
    let kept = Arc::new(SlowDeeds::default());
    let deeds = || -> Option<Arc<dyn Deeds>> { Some(kept.clone()) };
    let safe =
        |_: &Vendor| assert!(kept.safe.swap(0, Ordering::SeqCst) > 0, "an answer came before it was safe");
    let polls =
        dropped_at_each_stage(&connector.path().join("probe"), Arc::default, deeds, (&[], &body), safe).await;
    assert!(polls > 5 && kept.begun.load(Ordering::SeqCst) > polls, "{polls}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_call_dropped_at_any_await_gives_back_its_turn() {
    let rules = "  rules:\n    - name: confirm\n      when: request.json.confirm is defined\n      \
        run: {call: \"GET {{ request.json.confirm }}\", only: 'https://api\\.example\\.com/confirm\\?.*'}\n      \
        respond: {status: 200}\n      sample: {json: {confirm: \"https://api.example.com/confirm?a\"}}\n";
    let connector = connector(&format!("{TOKEN}{rules}{REST}"));
    let body = Bytes::from_static(br#"{"confirm":"https://api.example.com/confirm?a"}"#);
    let headers = [("x-api-key", KEY.to_owned())];
    let vendor = || Arc::new(Vendor { document: "{}".to_owned(), ..Vendor::default() });
    let asked = |vendor: &Vendor| assert!(vendor.asked.load(Ordering::SeqCst) > 0);
    let polls =
        dropped_at_each_stage(&connector.path().join("probe"), vendor, none, (&headers, &body), asked).await;
    assert!(polls > 5, "{polls}");
}

#[tokio::test(flavor = "multi_thread")]
async fn proof_of_each_item_dropped_at_any_await_leaves_nothing_held() {
    let receiver = "  verify: {kind: token, each: /value, item: /state, equals: \"{{ secrets.key }}\"}\n  \
        decode: {format: json}\n  records: {each: /value}\n  event: {id: /id}\n";
    let connector = connector(receiver);
    for items in [2, 3000] {
        let item = |n: usize| format!(r#"{{"id":"{n}","state":"{KEY}","x":"{}"}}"#, "y".repeat(20));
        let items: Vec<String> = (0..items).map(item).collect();
        let body = Bytes::from(format!(r#"{{"value":[{}]}}"#, items.join(",")));
        let polls =
            dropped_at_each_stage(&connector.path().join("probe"), Arc::default, none, (&[], &body), |_| {})
                .await;
        assert!(polls > 4, "{polls}");
    }
}
