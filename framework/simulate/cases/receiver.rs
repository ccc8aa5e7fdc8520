//! The receiver of a case: the real one, on a loopback port of its own, and requests sent to it.
//!
//! Started and stopped by the player; a request of a case is sent over a real socket, and its reply compared. A
//! [`Door`] is what the script knocks at while a call is open.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::compare::{differences, text_difference};
use super::wrong::Wrong;
use crate::call::{Request, Response, Transport};
use crate::connector::clock::Clock;
use crate::connector::instance::Instance;
use crate::error::{Error, Kind, Result};
use crate::provision::state::Saved;
use crate::queue::Queue;
use crate::receive::limits::Limits;
use crate::receive::{Answered, Endpoint, Outcome, Reach, Router, Stage, Told, Witness, serve};
use crate::spec::case::{Answer, Receive, key};
use crate::spec::path::Path as CasePath;
use crate::spec::source::inside;

/// The receiver of a case.
pub struct Receiver {
    /// Where requests are sent to.
    pub door: Door,
    endpoint: Arc<Endpoint>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<Result<()>>,
    learning: JoinHandle<()>,
}

/// Where the requests of a case are sent to.
#[derive(Clone)]
pub struct Door {
    path: String,
    base: String,
    folder: PathBuf,
    /// The connector's folder, which those files stay in.
    root: PathBuf,
    loopback: Arc<dyn Transport>,
    reasons: Arc<Reasons>,
}

/// A reply, and why it is no success.
pub struct Reply(Response, Vec<String>);

/// Hears why requests are refused: a sender must not learn it, and who writes the case has to.
#[derive(Default)]
struct Reasons(Mutex<Vec<String>>);

impl Reasons {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Witness for Reasons {
    fn wants_stages(&self) -> bool {
        true
    }

    fn told(&self, told: Told) {
        if told.outcome == Outcome::Refused && told.stage != Stage::Reply {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(told.sentence);
        }
    }

    fn answered(&self, _request: &Answered<'_>) {}
}

impl Receiver {
    /// Listens on a free port of loopback, and learns what is `saved` as it becomes known. Bodies that are files
    /// stand in `folder`.
    pub async fn start(
        instance: &Arc<Instance>,
        queue: Arc<dyn Queue>,
        clock: Arc<dyn Clock>,
        (reach, mut saved): (Reach, watch::Receiver<Saved>),
        (loopback, folder): (Arc<dyn Transport>, &Path),
    ) -> Result<Self> {
        let limits = Limits::default();
        let endpoint = Endpoint::new(instance.clone(), queue, clock, reach, &limits)?;
        let reasons = Arc::new(Reasons::default());
        endpoint.watched_by(reasons.clone());
        let router = Arc::new(Router::new([endpoint.clone()])?);
        let port = |e: std::io::Error| Error::new(Kind::Io, "no port of loopback is free").because(e);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(port)?;
        let base = format!("http://{}", listener.local_addr().map_err(port)?);
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(listener, router, limits, None, stopped));
        let learner = endpoint.clone();
        let learning = tokio::spawn(async move {
            while saved.changed().await.is_ok() {
                let Saved { now, before } = saved.borrow_and_update().clone();
                learner.learn_both(now, before);
            }
        });
        let (path, folder) = (endpoint.path.clone(), folder.to_owned());
        let root = instance.connector.folder.clone();
        let door = Door { path, base, folder, root, loopback, reasons };
        Ok(Self { door, endpoint, stop, serving, learning })
    }

    /// Takes over what provisioning saved.
    pub fn learn(&self, saved: Saved) {
        self.endpoint.learn_both(saved.now, saved.before);
    }

    /// Stops, and waits until it has.
    pub async fn stop(&mut self) {
        self.learning.abort();
        let _ = self.stop.send(true);
        let _ = (&mut self.serving).await;
    }
}

impl Door {
    /// Sends one request and reads its reply; `at` is where it stands in the case.
    pub async fn send(&self, at: &CasePath, request: &Receive) -> Result<Reply> {
        let wrong = |what: String| Error::new(Kind::Finding, what).at(key(at));
        let method = request.method.as_deref().unwrap_or("POST");
        let method = Method::from_bytes(method.as_bytes()).map_err(|e| wrong(e.to_string()))?;
        let path = request.path.as_deref().unwrap_or(&self.path);
        let url = format!("{}{path}", self.base);
        let url = url::Url::parse(&url).map_err(|e| wrong(format!("path: {e}")))?;
        let mut headers = HeaderMap::new();
        for (name, values) in &request.headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|e| wrong(format!("headers: {e}")))?;
            for value in values.values() {
                let value = HeaderValue::try_from(value).map_err(|e| wrong(format!("headers: {e}")))?;
                headers.append(name.clone(), value);
            }
        }
        let body = body(request, (&self.folder, &self.root)).map_err(|e| wrong(format!("file: {e}")))?;
        let sent = self.loopback.send(Request { method, url, headers, body }).await;
        sent.map(|reply| Reply(reply, self.reasons.take()))
            .map_err(|e| Error::new(Kind::Io, e.sentence).at(key(at)))
    }
}

/// The largest body that a case sends from a file.
const MAX_BODY: u64 = 64 << 20;

/// The body of a request. `folder` is the case's, `root` the connector's: a file is named from the one and stays in
/// either.
fn body(request: &Receive, (folder, root): (&Path, &Path)) -> std::io::Result<Bytes> {
    if let Some(file) = &request.file {
        let file = folder.join(file);
        // A case that an operator plays from elsewhere has its files in its own folder.
        let file = inside(root, &file).or_else(|_| inside(folder, &file)).map_err(std::io::Error::other)?;
        if !file.is_file() {
            return Err(std::io::Error::other("it is no file"));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(file)?.take(MAX_BODY).read_to_end(&mut bytes)?;
        return Ok(bytes.into());
    }
    if let Some(lines) = &request.lines {
        let line = |line: &Json| line.as_str().map_or_else(|| line.to_string(), str::to_owned) + "\n";
        return Ok(Bytes::from(lines.iter().map(line).collect::<String>()));
    }
    Ok(match (&request.json, &request.text, &request.base64) {
        (Some(json), ..) => Bytes::from(json.to_string()),
        (None, Some(text), _) => Bytes::from(text.clone()),
        (None, None, Some(bytes)) => Bytes::from(bytes.0.clone()),
        (None, None, None) => Bytes::new(),
    })
}

impl Reply {
    /// What differs from the reply that must come; where none is stated, from a success.
    pub fn differences(&self, at: &CasePath, wanted: Option<&Answer>) -> Option<Wrong> {
        let text = String::from_utf8_lossy(&self.0.body);
        let status = self.0.status.as_u16();
        let Some(wanted) = wanted else {
            let line = format!("+ status: {status} {text}");
            let came = Some(serde_json::json!({"status": status}));
            let mut lines = vec!["- status: 2xx, since none is stated".to_owned(), line];
            lines.extend(self.why());
            let wrong = Wrong::differs(at, lines)?;
            return (!self.0.status.is_success()).then(|| wrong.fixed(at.clone(), came));
        };
        let (mut lines, mut fixes) = (Vec::new(), Vec::new());
        if status != wanted.status {
            lines.push(format!("- status: {}", wanted.status));
            lines.push(format!("+ status: {status} {text}"));
            lines.extend(self.why());
            fixes.push((at.join("status"), Some(Json::from(status))));
        }
        for (name, value) in &wanted.headers {
            let came = self.0.headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
            if came.as_ref() != Some(value) {
                lines.push(format!("- headers.{name}: {value}"));
                lines.extend(came.as_ref().map(|came| format!("+ headers.{name}: {came}")));
                fixes.push((at.join("headers").join(name.as_str()), came.map(Json::from)));
            }
        }
        self.body_differences(at, wanted, &mut lines, &mut fixes);
        let wrong = Wrong::differs(at, lines)?;
        Some(fixes.into_iter().fold(wrong, |wrong, (at, to)| wrong.fixed(at, to)))
    }

    /// Why it is no success, as `explain-request` tells it; what it came to, the last, says less than what led to it.
    fn why(&self) -> impl Iterator<Item = String> {
        let told = self.1.len().saturating_sub(1).max(1);
        self.1.iter().take(told).map(|reason| format!("  why: {}", reason.replace('\n', " ")))
    }

    fn body_differences(
        &self,
        at: &CasePath,
        wanted: &Answer,
        lines: &mut Vec<String>,
        fixes: &mut Vec<(CasePath, Option<Json>)>,
    ) {
        let text = String::from_utf8_lossy(&self.0.body);
        if let Some(json) = &wanted.json {
            match serde_json::from_str::<Json>(&text) {
                Ok(came) => {
                    let found = differences(json, &came);
                    if !found.is_empty() {
                        fixes.push((at.join("json"), Some(came)));
                    }
                    lines.extend(found);
                }
                Err(_) => {
                    lines.extend(text_difference("body", &json.to_string(), &text).unwrap_or_default());
                    fixes.push((at.join("json"), None));
                    fixes.push((at.join("text"), Some(Json::from(&*text))));
                }
            }
        }
        if let Some(found) = wanted.text.as_ref().and_then(|wanted| text_difference("text", wanted, &text)) {
            lines.extend(found);
            fixes.push((at.join("text"), Some(Json::from(&*text))));
        }
        if let Some(bytes) = wanted.base64.as_ref().filter(|bytes| bytes.0 != self.0.body) {
            let came = BASE64.encode(&self.0.body);
            lines.push(format!("- base64: {}", BASE64.encode(&bytes.0)));
            lines.push(format!("+ base64: {came}"));
            fixes.push((at.join("base64"), Some(Json::from(came))));
        }
    }
}
