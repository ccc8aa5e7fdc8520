//! Drops requests at each of their awaits, and looks for what they leave behind.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;

use super::accept::{Gate, accept};
use super::client::Client;
use super::connections::Peer;
use super::deeds::{Deeds, Reach};
use super::endpoint::Endpoint;
use super::limits::Limits;
use super::request::{Head, Raw};
use super::router::Router;
use crate::call::caller::Caller;
use crate::call::retry::Pace;
use crate::call::{Request, Response, Transport, TransportError};
use crate::connector::clock::SystemClock;
use crate::connector::coding::Coding;
use crate::connector::instance::{Instance, InstanceId};
use crate::connector::secret::{LiveSecret, Secret};
use crate::queue::{Batch, Chunk, Progress, Queue, Receipt, Refusal, SinkKey};

pub(super) const KEY: &str = "correct horse battery staple";

struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    async fn send(&self, _: Request) -> Result<Response, TransportError> {
        panic!("nothing is to be called")
    }
}

/// Takes three polls for every batch.
struct Slow;

#[async_trait]
impl Queue for Slow {
    async fn append(&self, batch: Batch) -> Result<Receipt, Refusal> {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        Ok(Receipt { stored: batch.records.len() as u32, ..Receipt::default() })
    }
    async fn read(&self, _: &SinkKey, _: usize, _: usize) -> crate::error::Result<Option<Chunk>> {
        Ok(None)
    }
    async fn advance(&self, _: &SinkKey, _: &Chunk, _: Progress) -> crate::error::Result<()> {
        Ok(())
    }
}

/// A body in pieces, each of which keeps the reader waiting once.
struct Pieces {
    left: Vec<Bytes>,
    ready: bool,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.ready = !self.ready;
        if self.ready {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready((!self.left.is_empty()).then(|| Ok(Frame::data(self.left.remove(0)))))
    }
}

/// A listener with one instance of a connector that ships, and the path of its events.
pub(super) fn gate(connector: &str, secret: &str) -> (Gate, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors").join(connector);
    gate_of(&path, secret, Arc::new(Nowhere), None)
}

/// The same of a connector in a folder, with what its keys are fetched with and what its rules reach.
pub(super) fn gate_of(
    connector: &Path,
    secret: &str,
    vendor: Arc<dyn Transport>,
    deeds: Option<Arc<dyn Deeds>>,
) -> (Gate, String) {
    let connector = crate::connector::load::load(connector).unwrap_or_else(|error| panic!("{error}"));
    let live = LiveSecret::new(Secret::new(KEY).unwrap());
    let settings = connector.settings.iter();
    let settings = settings.filter_map(|setting| Some((setting.name.clone(), setting.default.clone()?)));
    let instance = Instance {
        id: InstanceId::parse("acme").unwrap(),
        settings: settings.collect(),
        connector: Arc::new(connector),
        secrets: RwLock::new(Arc::new(BTreeMap::from([(secret.to_owned(), live)]))),
        receiver_url: None,
    };
    let (limits, clock) = (Limits::default(), Arc::new(SystemClock));
    let reach = Reach { caller: Arc::new(Caller::new(vendor, clock.clone(), Pace::default())), deeds };
    let endpoint = Endpoint::new(Arc::new(instance), Arc::new(Slow), clock, reach, &limits).unwrap();
    let path = endpoint.path.clone();
    (Gate::new(Arc::new(Router::new([endpoint]).unwrap()), limits), path)
}

/// The headers of a request whose body proves it: its signature first.
pub(super) fn signed(body: &[u8]) -> Vec<(&'static str, String)> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, KEY.as_bytes());
    let signature = data_encoding::HEXLOWER.encode(aws_lc_rs::hmac::sign(&key, body).as_ref());
    vec![
        ("x-hub-signature-256", format!("sha256={signature}")),
        ("x-github-event", "repository".to_owned()),
        ("x-github-delivery", "1".to_owned()),
    ]
}

pub(super) fn raw(path: &str, headers: &[(&str, String)], body: &Bytes, h2: bool) -> Raw {
    let mut request = http::Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let size = body.len() / 3 + 1;
    let left = body.chunks(size).map(Bytes::copy_from_slice).collect();
    let peer = Arc::new(Peer::new(std::net::SocketAddr::from(([127, 0, 0, 1], 0))));
    let client = Client::direct(peer.address.ip());
    let body = Pieces { left, ready: false }.boxed_unsync();
    let ahead = if h2 { 64 << 10 } else { 0 };
    Raw { head: Arc::new(Head::from(parts)), peer, client, ahead, body, read: None, ticket: None }
}

/// Drops a request after so many polls, and looks at what it leaves; gives its status if it had one before.
pub(super) async fn dropped_after(polls: usize, gate: &Gate, mut raw: Raw) -> Option<u16> {
    let answered = {
        let mut future = std::pin::pin!(accept(gate, &mut raw));
        let mut polled = 0;
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer.status().as_u16())),
            Poll::Pending if polled + 1 == polls => Poll::Ready(None),
            Poll::Pending => {
                polled += 1;
                Poll::Pending
            }
        })
        .await
    };
    drop(raw);
    // Work that was begun on another thread ends by itself, and holds what it takes until then.
    for _ in 0..2000 {
        if gate.is_idle() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(gate.is_idle(), "after {polls} polls something is held: {gate:?}");
    answered
}

/// Drops a request after one poll, after two and so on, until one comes to its end; gives how many that were.
async fn dropped_everywhere(gate: &Gate, request: impl Fn() -> Raw) -> usize {
    for polls in 1..1000 {
        if let Some(status) = dropped_after(polls, gate, request()).await {
            assert_eq!(status / 100, 2, "{status}");
            return polls;
        }
    }
    panic!("it never ends")
}

pub(super) fn events(count: usize) -> String {
    let event = |n| {
        format!(
            r#"{{"log_id":"{n}","data":{{"date":"d","type":"s","log_id":"{n}","x":"{}"}}}}"#,
            "y".repeat(900)
        )
    };
    (0..count).map(event).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn request_dropped_at_any_await_leaves_nothing_held() {
    let (gate, path) = gate("auth0-log-stream", "monad_api_key");
    let (small, large) = (Bytes::from(events(2)), Bytes::from(events(600)));
    let gzip = |body: &Bytes| Bytes::from(Coding::Gzip.deflate(body));
    let large_gzip = {
        let mut noise = vec![0; 40 << 10];
        aws_lc_rs::rand::fill(&mut noise).unwrap();
        let noise = data_encoding::BASE64.encode(&noise);
        gzip(&Bytes::from(format!(
            r#"{{"log_id":"1","data":{{"date":"d","type":"s","log_id":"1","x":"{noise}"}}}}"#
        )))
    };
    for (body, coding, announced, h2) in [
        (small.clone(), "identity", true, false),
        (small.clone(), "identity", false, true),
        (large.clone(), "identity", true, true),
        (large.clone(), "identity", false, false),
        (gzip(&small), "gzip", true, false),
        (gzip(&large), "gzip", true, false),
        (large_gzip, "gzip", false, true),
    ] {
        let mut headers = vec![("x-api-key", KEY.to_owned()), ("content-encoding", coding.to_owned())];
        if announced {
            headers.push(("content-length", body.len().to_string()));
        }
        let awaits = dropped_everywhere(&gate, || raw(&path, &headers, &body, h2)).await;
        assert!(awaits > 4, "{awaits}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_proven_by_its_body_dropped_at_any_await_leaves_nothing_held() {
    let (gate, path) = gate("github-webhooks", "hook_secret");
    for (length, announced) in [(100, true), (100, false), (300 << 10, true), (300 << 10, false)] {
        let body = Bytes::from(format!(r#"{{"action":"created","pad":"{}"}}"#, "x".repeat(length)));
        let mut headers = signed(&body);
        if announced {
            headers.push(("content-length", body.len().to_string()));
        }
        dropped_everywhere(&gate, || raw(&path, &headers, &body, false)).await;
    }
}
