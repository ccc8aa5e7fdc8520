//! HTTP/2 streams that are reset while their sender is proven, a key is fetched, a value is captured or a rule calls:
//! nothing stays held, and what belongs to all is done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use forebay::call::caller::Caller;
use forebay::call::retry::Pace;
use forebay::call::{Request, Response, Transport, TransportError};
use forebay::connector::clock::{Clock, SystemClock};
use forebay::connector::instance::InstanceId;
use forebay::provision::state::Memory as Kept;
use forebay::queue::State;
use forebay::receive::{Deeds, Endpoint, Limits, Reach};
use forebay::run::ruling::Ruling;
use h2::Reason;
use h2::client::SendRequest;
use jiff::Timestamp;
use serde_json::Value as Json;

use super::http2::{begin, plain, send, status};
use super::tls::over_tls;
use crate::provisioning::bench::Remembered;
use crate::receiving::stage::{self, KEY, Memory, Stage};
use crate::tls::Pair;

/// A vendor that counts what it is asked, and answers while it is not held.
#[derive(Default)]
struct Vendor {
    document: Mutex<String>,
    asked: AtomicUsize,
    hold: tokio::sync::Mutex<()>,
}

#[async_trait]
impl Transport for Vendor {
    async fn send(&self, _: Request) -> Result<Response, TransportError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let _held = self.hold.lock().await;
        let body = Bytes::from(self.document.lock().unwrap().clone());
        Ok(Response { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body })
    }
}

/// State in memory, which takes its time to save while it is held.
#[derive(Default)]
struct SlowState {
    kept: Remembered,
    saving: AtomicUsize,
    hold: tokio::sync::Mutex<()>,
}

#[async_trait]
impl State for SlowState {
    async fn load(&self, id: &InstanceId) -> forebay::error::Result<Option<Json>> {
        self.kept.load(id).await
    }
    async fn save(
        &self,
        id: &InstanceId,
        was: Option<&Json>,
        document: &Json,
    ) -> forebay::error::Result<bool> {
        self.saving.fetch_add(1, Ordering::SeqCst);
        let _held = self.hold.lock().await;
        self.kept.save(id, was, document).await
    }
    async fn latest_event_time(&self, _: &InstanceId) -> forebay::error::Result<Option<Timestamp>> {
        Ok(None)
    }
}

const TOKEN: &str =
    "  path: /in\n  verify: {kind: token, header: x-api-key, equals: \"{{ secrets.key }}\"}\n";
const REST: &str = "  decode: {format: json}\n  event: {id: /id}\n  respond: {accepted: {status: 202}}\n";

/// A listener, in plain or over TLS, and a connection to it.
struct Reached {
    stage: Stage,
    client: SendRequest<Bytes>,
}

impl Reached {
    async fn of(receiver: &str, vendor: Arc<Vendor>, state: Option<Arc<SlowState>>, tls: bool) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let instance = stage::instance(stage::connector(receiver), "probe", &[("key", KEY)]);
        let deeds = match state {
            None => None,
            Some(state) => {
                let memory = Kept::new(instance.id.clone(), state);
                let ruling = Ruling::new(instance.clone(), memory, clock.clone()).await.unwrap();
                Some(ruling as Arc<dyn Deeds>)
            }
        };
        let caller = Arc::new(Caller::new(vendor, clock.clone(), Pace::default()));
        let (memory, limits) = (Arc::new(Memory::default()), small());
        let reach = Reach { caller, deeds };
        let endpoint = Endpoint::new(instance, memory.clone(), clock, reach, &limits).unwrap();
        let (pair, certificate) = Pair::new();
        let pair = tls.then(|| pair.load(Duration::from_secs(60)));
        let stage = Stage::several(vec![endpoint], limits, pair, memory).await;
        let client = if tls { over_tls(&stage, &certificate).await } else { plain(&stage).await };
        Self { stage, client }
    }

    /// Sends a whole request, and resets its stream once `reached` holds.
    async fn reset(&mut self, headers: &[(&str, &str)], body: &Bytes, mut reached: impl FnMut() -> bool) {
        let (answer, mut stream) = begin(&mut self.client, "/in", headers, false).await;
        send(&mut stream, body.clone(), true).await;
        let begun = Instant::now();
        while !reached() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the request never got there");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stream.send_reset(Reason::CANCEL);
        drop(answer);
    }

    async fn answered(&mut self, headers: &[(&str, &str)], body: &Bytes) -> u16 {
        let (answer, mut stream) = begin(&mut self.client, "/in", headers, false).await;
        send(&mut stream, body.clone(), true).await;
        status(answer).await
    }

    /// Returns when everything that was sent before on this connection, resets too, has been read: frames are read in
    /// their order.
    async fn all_read(&mut self) {
        let (answer, _stream) = begin(&mut self.client, "/nowhere", &[], true).await;
        assert_eq!(status(answer).await, 404);
    }
}

/// Room for one body of a mebibyte: what a reset leaves held would keep the next one out.
fn small() -> Limits {
    let body = 1 << 20;
    Limits { body, inflated: body, in_flight: body, in_flight_strangers: body, ..Limits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_reset_while_they_are_verified_leave_nothing_held() {
    for tls in [false, true] {
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = HEXLOWER.encode(pair.public_key().as_ref());
        let verify = format!(
            "  path: /in\n  verify:\n    kind: public_key\n    algorithm: ed25519\n    key_format: hex\n    key: \"{key}\"\n    \
             message: \"{{{{ request.body }}}}\"\n    signature: {{header: X-Sign, encoding: base64, format: list, separator: ' '}}\n"
        );
        let mut reached = Reached::of(&format!("{verify}{REST}"), Arc::default(), None, tls).await;
        let body = Bytes::from(format!(r#"{{"id":"1","type":"s","x":"{}"}}"#, "y".repeat(300 << 10)));
        let wrong = vec![BASE64.encode(&[7; 64]); 32].join(" ");
        for round in 0..20_u64 {
            // Sometimes before the work began, sometimes while it goes on.
            let begun = Instant::now();
            let past = || begun.elapsed() >= Duration::from_millis(round % 20);
            reached.reset(&[("x-sign", &wrong)], &body, past).await;
        }
        let good = BASE64.encode(pair.sign(&body).as_ref());
        let begun = Instant::now();
        assert_eq!(reached.answered(&[("x-sign", &good)], &body).await, 202, "TLS: {tls}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_reset_during_a_key_fetch_leaves_the_fetch_to_others() {
    for tls in [false, true] {
        let pair = Ed25519KeyPair::generate().unwrap();
        let vendor = Arc::new(Vendor::default());
        *vendor.document.lock().unwrap() = HEXLOWER.encode(pair.public_key().as_ref());
        let verify = "  path: /in\n  verify:\n    kind: public_key\n    algorithm: ed25519\n    key_format: hex\n    \
                      key_url: {url: \"https://keys.vendor.example/a\", only: 'https://keys\\.vendor\\.example/a'}\n    \
                      message: \"{{ request.body }}\"\n    signature: {header: X-Sign, encoding: base64}\n";
        let mut reached = Reached::of(&format!("{verify}{REST}"), vendor.clone(), None, tls).await;
        let body = Bytes::from(format!(r#"{{"id":"1","type":"s","x":"{}"}}"#, "y".repeat(300 << 10)));
        let hold = vendor.hold.lock().await;
        for _ in 0..8 {
            let asked = || vendor.asked.load(Ordering::SeqCst) > 0;
            reached.reset(&[("x-sign", "AAAA")], &body, asked).await;
        }
        reached.all_read().await;
        drop(hold);
        let good = BASE64.encode(pair.sign(&body).as_ref());
        assert_eq!(reached.answered(&[("x-sign", &good)], &body).await, 202, "TLS: {tls}");
        assert_eq!(vendor.asked.load(Ordering::SeqCst), 1, "one fetch serves all");
    }
}

/// What the vendor sent once is kept, though nobody waits for the answer any more.
#[tokio::test(flavor = "multi_thread")]
async fn stream_reset_during_a_capture_loses_no_captured_value() {
    let rules = "  rules:\n    - name: secret\n      when: request.json.secret is defined\n      \
         capture: {hook.secret: {body: /secret}}\n      respond: {status: 200}\n      sample: {json: {secret: abc}}\n";
    for tls in [false, true] {
        let state = Arc::new(SlowState::default());
        let mut reached =
            Reached::of(&format!("{TOKEN}{rules}{REST}"), Arc::default(), Some(state.clone()), tls).await;
        let body = Bytes::from_static(br#"{"secret":"the-captured-secret"}"#);
        let hold = state.hold.lock().await;
        let saving = || state.saving.load(Ordering::SeqCst) > 0;
        reached.reset(&[("x-api-key", KEY)], &body, saving).await;
        reached.all_read().await;
        assert!(state.kept.document.lock().unwrap().is_none(), "it was saved while the save was held");
        drop(hold);
        let memory = Kept::new(reached.stage.endpoint.instance.id.clone(), state.clone());
        let begun = Instant::now();
        while memory.read().await.unwrap().names()["hook"]["secret"] != "the-captured-secret" {
            assert!(begun.elapsed() < Duration::from_secs(20), "TLS: {tls}: the captured secret is lost");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(reached.answered(&[("x-api-key", KEY)], &body).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_reset_during_a_rule_call_give_back_its_turn() {
    let rules = "  rules:\n    - name: confirm\n      when: request.json.confirm is defined\n      \
        run: {call: \"GET {{ request.json.confirm }}\", only: 'https://api\\.example\\.com/confirm\\?.*'}\n      \
        respond: {status: 200}\n      sample: {json: {confirm: \"https://api.example.com/confirm?a\"}}\n";
    for tls in [false, true] {
        let vendor = Arc::new(Vendor::default());
        *vendor.document.lock().unwrap() = "{}".to_owned();
        let mut reached = Reached::of(&format!("{TOKEN}{rules}{REST}"), vendor.clone(), None, tls).await;
        let body = Bytes::from_static(br#"{"confirm":"https://api.example.com/confirm?a"}"#);
        let hold = vendor.hold.lock().await;
        // More than may be under way at once.
        for n in 0..10 {
            let asked = || vendor.asked.load(Ordering::SeqCst) > n;
            reached.reset(&[("x-api-key", KEY)], &body, asked).await;
            reached.all_read().await;
        }
        drop(hold);
        assert_eq!(reached.answered(&[("x-api-key", KEY)], &body).await, 200, "TLS: {tls}");
    }
}
