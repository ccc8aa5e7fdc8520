//! Our own Auth0-like tenant on loopback, as strict as the real one's contract: an unknown field is a 400, a
//! missing scope a 403, a third stream a 409, and a PATCH without `pii_config` loses it.
//!
//! Any test may start one; it records every request, so that a test can say what was sent and what was not.

#![allow(dead_code)]

mod answers;
mod rules;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use self::answers::{Answer, Outcome};

/// The client that the tenant knows.
pub const CLIENT_ID: &str = "tenant-client";
/// Its secret.
pub const CLIENT_SECRET: &str = "tenant-client-secret";
/// A token that is good without being fetched, with every scope.
pub const ACCESS_TOKEN: &str = "tenant-access-token";
/// What a client may be granted.
pub const SCOPES: [&str; 4] =
    ["read:log_streams", "create:log_streams", "update:log_streams", "delete:log_streams"];

/// What goes wrong next. Faults wait in line; each meets the first request that it fits.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The next call of the Management API gets this answer and does nothing.
    Answer(u16, Json),
    /// The next call gets 429 with this Retry-After.
    TooMany(u64),
    /// The next create makes the stream, and the connection is cut before the answer.
    CutAfterCreate,
    /// The next create is cut before anything is made.
    CutBeforeCreate,
    /// The next create makes the stream at once and answers so much later.
    SlowCreate(Duration),
    /// The next create waits so long before it is looked at, and then makes the stream.
    LateCreate(Duration),
    /// Every token given so far is worthless: the next call with one gets 401.
    ExpireTokens,
    /// The next token request gets this answer.
    Token(u16, Json),
    /// The next call with this method meets this.
    On(Method, Box<Fault>),
}

/// One request as it came, and the status of its answer (0: cut).
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Json,
    pub status: u16,
}

struct Inner {
    streams: Vec<Json>,
    requests: Vec<Asked>,
    faults: VecDeque<Fault>,
    tokens: Vec<(String, Vec<String>)>,
    scopes: Vec<String>,
    limit: usize,
    redacted: bool,
    next: u64,
}

/// A running tenant; it ends when dropped.
pub struct Tenant {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    task: JoinHandle<()>,
}

impl Drop for Tenant {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tenant {
    /// Starts one with no streams, every scope, and room for two.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(Inner {
            streams: Vec::new(),
            requests: Vec::new(),
            faults: VecDeque::new(),
            tokens: Vec::new(),
            scopes: SCOPES.map(str::to_owned).to_vec(),
            limit: 2,
            redacted: false,
            next: 2466,
        }));
        let task = tokio::spawn(accept(listener, inner.clone()));
        Self { address, inner, task }
    }

    /// `base_url`: plain http on loopback, with the last slash.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Every stream of the tenant, as it really is.
    pub fn streams(&self) -> Vec<Json> {
        self.lock().streams.clone()
    }

    /// The streams of type http.
    pub fn http_streams(&self) -> Vec<Json> {
        self.streams().into_iter().filter(|stream| stream["type"] == "http").collect()
    }

    /// Everything that was asked so far, in order.
    pub fn requests(&self) -> Vec<Asked> {
        self.lock().requests.clone()
    }

    /// What was asked of the Management API to change something: `POST /api/v2/log-streams` and so on.
    pub fn writes(&self) -> Vec<Asked> {
        self.requests()
            .into_iter()
            .filter(|r| r.path.starts_with("/api/") && r.method != Method::GET)
            .collect()
    }

    /// How many tokens were fetched.
    pub fn tokens(&self) -> usize {
        self.requests().iter().filter(|r| r.path == "/oauth/token").count()
    }

    /// Forgets what was asked.
    pub fn forget_requests(&self) {
        self.lock().requests.clear();
    }

    /// Lets something go wrong.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push_back(fault);
    }

    /// Nothing goes wrong any more.
    pub fn forget_faults(&self) {
        self.lock().faults.clear();
    }

    /// The scopes of tokens from now on.
    pub fn grant(&self, scopes: &[&str]) {
        self.lock().scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
    }

    /// How many regular streams there may be.
    pub fn allow(&self, streams: usize) {
        self.lock().limit = streams;
    }

    /// Whether secrets are shown as stars.
    pub fn redact(&self, redacted: bool) {
        self.lock().redacted = redacted;
    }

    /// A stream that somebody else made; gives its id.
    pub fn add(&self, mut stream: Json) -> String {
        let mut inner = self.lock();
        let id = inner.new_id();
        stream["id"] = json!(id);
        inner.streams.push(stream);
        id
    }

    /// What a person does to a stream by hand.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut Json)) {
        change(
            self.lock().streams.iter_mut().find(|stream| stream["id"] == id).expect("a stream of this id"),
        );
    }

    /// A stream that a person deletes by hand.
    pub fn remove(&self, id: &str) {
        self.lock().streams.retain(|stream| stream["id"] != id);
    }

    /// Fails where a request carried what Auth0 does not know (its answer was 400).
    pub fn assert_no_strange_request(&self) {
        for asked in self.requests() {
            assert_ne!(asked.status, 400, "{} {} was refused: {}", asked.method, asked.path, asked.text);
        }
    }

    /// Waits until every request whose bytes had arrived is handled: requests of its own go through the same listener
    /// after them.
    pub async fn quiet(&self) {
        for _ in 0..3 {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(b"GET /quiet HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&answer));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

/// A stream of another type, beside ours: its sink has no endpoint.
pub fn eventbridge() -> Json {
    json!({
        "name": "audit to AWS", "type": "eventbridge", "status": "active",
        "sink": {"awsAccountId": "999999999999", "awsRegion": "eu-west-1", "awsPartnerEventSource": "aws.partner/x"}
    })
}

async fn accept(listener: TcpListener, inner: Arc<Mutex<Inner>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let inner = inner.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| serve(request, inner.clone()));
            // A cut connection is an error here, and what was wanted.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The connection is cut instead of an answer.
#[derive(Debug)]
struct Cut;
impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut")
    }
}
impl std::error::Error for Cut {}

async fn serve(
    request: http::Request<Incoming>,
    inner: Arc<Mutex<Inner>>,
) -> Result<http::Response<Full<Bytes>>, Cut> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut asked = Asked {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: serde_json::from_str(&text).unwrap_or(Json::Null),
        text,
        status: 0,
    };
    let late = inner.lock().unwrap().take_late(&asked);
    if let Some(late) = late {
        tokio::time::sleep(late).await;
    }
    let Outcome { answer, delay } = {
        let mut inner = inner.lock().unwrap();
        let outcome = inner.handle(&asked, parts.uri.query());
        asked.status = outcome.answer.as_ref().map_or(0, |answer| answer.status);
        inner.requests.push(asked);
        outcome
    };
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    answer.map(Answer::into_http).ok_or(Cut)
}
