//! A receiver on a socket of its own, with a queue in memory that tests can look into, fill and hold up.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use forebay::call::caller::Caller;
use forebay::call::retry::Pace;
use forebay::call::{Request, Response, Transport, TransportError};
use forebay::connector::clock::{Clock, SystemClock};
use forebay::connector::instance::{Instance, InstanceId};
use forebay::connector::model::Connector;
use forebay::connector::secret::{LiveSecret, Secret};
use forebay::queue::{Batch, Chunk, DeadLetter, Progress, Queue, Receipt, Refusal, SinkKey};
use forebay::receive::{Endpoint, Limits, Reach, Router, Tls, serve};
use serde_json::{Map, Value as Json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What was stored, and how the next batches fare.
#[derive(Default)]
pub struct Memory {
    pub records: Mutex<Vec<(Bytes, Bytes)>>,
    pub dead: Mutex<Vec<DeadLetter>>,
    pub refuse: Mutex<Option<fn() -> Refusal>>,
    /// While it is held, batches wait.
    pub hold: tokio::sync::Mutex<()>,
    pub waiting: std::sync::atomic::AtomicUsize,
}

impl Memory {
    pub fn bodies(&self) -> Vec<String> {
        let records = self.records.lock().unwrap();
        records.iter().map(|(_, bytes)| String::from_utf8(bytes.to_vec()).unwrap()).collect()
    }
    pub fn ids(&self) -> Vec<String> {
        let records = self.records.lock().unwrap();
        records.iter().map(|(id, _)| String::from_utf8(id.to_vec()).unwrap()).collect()
    }
    pub fn letters(&self) -> Vec<DeadLetter> {
        self.dead.lock().unwrap().clone()
    }
}

#[async_trait]
impl Queue for Memory {
    async fn append(&self, batch: Batch) -> Result<Receipt, Refusal> {
        self.waiting.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let _held = self.hold.lock().await;
        if let Some(refusal) = *self.refuse.lock().unwrap() {
            return Err(refusal());
        }
        let mut receipt = Receipt { dead: batch.dead.len() as u32, ..Receipt::default() };
        let mut known: HashMap<Bytes, Bytes> = self.records.lock().unwrap().iter().cloned().collect();
        for record in batch.records {
            if known.insert(record.id().clone(), record.bytes().clone()).is_some() {
                receipt.duplicates += 1;
            } else {
                receipt.stored += 1;
                self.records.lock().unwrap().push((record.id().clone(), record.bytes().clone()));
            }
        }
        self.dead.lock().unwrap().extend(batch.dead);
        Ok(receipt)
    }
    async fn read(&self, _: &SinkKey, _: usize, _: usize) -> forebay::error::Result<Option<Chunk>> {
        Ok(None)
    }
    async fn advance(&self, _: &SinkKey, _: &Chunk, _: Progress) -> forebay::error::Result<()> {
        Ok(())
    }
}

/// A connector from a spec, with a schema that asks for a text `type`.
pub fn connector(receiver: &str) -> Arc<Connector> {
    connector_of(&format!("receiver:\n{receiver}"))
}

/// The same from a receiver and whatever stands before it.
pub fn connector_of(parts: &str) -> Arc<Connector> {
    connector_with(parts, "")
}

/// The same with more of `output`.
pub fn connector_with(parts: &str, output: &str) -> Arc<Connector> {
    let schema = r#"{"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}}"#;
    connector_checking(parts, output, schema)
}

/// The same with a schema of its own.
pub fn connector_checking(parts: &str, output: &str, schema: &str) -> Arc<Connector> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("record.json"), schema).unwrap();
    std::fs::write(path.join("sample.json"), r#"{"id": "1", "a": "1", "b": "2", "type": "s"}"#).unwrap();
    let spec = format!(
        "forebay: 1\nname: probe\ntitle: Probe\nvendor: Nobody\nsummary: Probes.\n\
         secrets:\n  key: {{title: Key, description: The key.}}\n  other: {{title: Other, description: Another.}}\n  \
         third: {{title: Third, description: One more.}}\n\
         {parts}\n\
         output: {{schema: record.json{output}}}\nsamples: [sample.json]\n"
    );
    std::fs::write(path.join("connector.yaml"), spec).unwrap();
    match forebay::connector::load::load(&path) {
        Ok(connector) => Arc::new(connector),
        Err(error) => panic!("{error}"),
    }
}

/// The connector that ships.
pub fn auth0() -> Arc<Connector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/auth0-log-stream");
    match forebay::connector::load::load(&path) {
        Ok(connector) => Arc::new(connector),
        Err(error) => panic!("{error}"),
    }
}

pub fn instance(connector: Arc<Connector>, id: &str, secrets: &[(&str, &str)]) -> Arc<Instance> {
    let secrets: BTreeMap<_, _> = secrets
        .iter()
        .map(|(name, value)| ((*name).to_owned(), LiveSecret::new(Secret::new(value).unwrap())))
        .collect();
    let settings: Map<String, Json> = connector
        .settings
        .iter()
        .filter_map(|setting| Some((setting.name.clone(), setting.default.clone()?)))
        .collect();
    Arc::new(Instance {
        id: InstanceId::parse(id).unwrap(),
        connector,
        settings,
        secrets: RwLock::new(Arc::new(secrets)),
        receiver_url: Some("https://logs.example.com/in".parse().unwrap()),
    })
}

/// A receiver at work; stopped when dropped.
pub struct Stage {
    pub address: SocketAddr,
    pub memory: Arc<Memory>,
    pub endpoint: Arc<Endpoint>,
    pub shutdown: watch::Sender<bool>,
    pub served: JoinHandle<forebay::error::Result<()>>,
}

/// A vendor that nobody asks.
struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    async fn send(&self, _: Request) -> Result<Response, TransportError> {
        panic!("nothing is to be fetched")
    }
}

/// What an endpoint reaches: a vendor that is asked for keys.
fn reach(vendor: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Reach {
    Reach { caller: Arc::new(Caller::new(vendor, clock, Pace::default())), deeds: None }
}

/// What an endpoint reaches that asks nobody.
pub fn nowhere() -> Reach {
    reach(Arc::new(Nowhere), Arc::new(SystemClock))
}

/// The end of an instance that nobody listens at.
pub fn endpoint(instance: Arc<Instance>) -> Arc<Endpoint> {
    let clock = Arc::new(SystemClock);
    let reach = reach(Arc::new(Nowhere), clock.clone());
    Endpoint::new(instance, Arc::new(Memory::default()), clock, reach, &Limits::default()).unwrap()
}

/// The same, which asks a vendor for keys.
pub fn endpoint_asking(instance: Arc<Instance>, vendor: Arc<dyn Transport>) -> Arc<Endpoint> {
    let clock = Arc::new(SystemClock);
    let reach = reach(vendor, clock.clone());
    Endpoint::new(instance, Arc::new(Memory::default()), clock, reach, &Limits::default()).unwrap()
}

/// The key of every instance here.
pub const KEY: &str = "correct horse battery staple";

impl Stage {
    pub async fn auth0() -> Self {
        Self::with(instance(auth0(), "acme", &[("monad_api_key", KEY)]), Limits::default(), None).await
    }

    pub async fn auth0_within(limits: Limits) -> Self {
        Self::with(instance(auth0(), "acme", &[("monad_api_key", KEY)]), limits, None).await
    }

    pub async fn probe(receiver: &str) -> Self {
        Self::with(instance(connector(receiver), "probe", &[("key", KEY)]), Limits::default(), None).await
    }

    pub async fn with(instance: Arc<Instance>, limits: Limits, tls: Option<Arc<Tls>>) -> Self {
        let memory = Arc::new(Memory::default());
        Self::on(instance, limits, tls, memory.clone(), memory).await
    }

    /// `vendor` is whom the receiver asks for keys, at the time of a clock.
    pub async fn asking(instance: Arc<Instance>, vendor: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Self {
        let reach = reach(vendor, clock.clone());
        Self::reaching(instance, clock, reach).await
    }

    /// With what its rules reach.
    pub async fn reaching(instance: Arc<Instance>, clock: Arc<dyn Clock>, reach: Reach) -> Self {
        let memory = Arc::new(Memory::default());
        let limits = Limits::default();
        let endpoint = Endpoint::new(instance, memory.clone(), clock, reach, &limits).unwrap();
        Self::of(endpoint, limits, None, memory).await
    }

    pub async fn on(
        instance: Arc<Instance>,
        limits: Limits,
        tls: Option<Arc<Tls>>,
        queue: Arc<dyn Queue>,
        memory: Arc<Memory>,
    ) -> Self {
        let clock = Arc::new(SystemClock);
        let reach = reach(Arc::new(Nowhere), clock.clone());
        let endpoint = Endpoint::new(instance, queue, clock, reach, &limits).unwrap();
        Self::of(endpoint, limits, tls, memory).await
    }

    async fn of(endpoint: Arc<Endpoint>, limits: Limits, tls: Option<Arc<Tls>>, memory: Arc<Memory>) -> Self {
        Self::several(vec![endpoint], limits, tls, memory).await
    }

    /// A receiver of several instances; `endpoint` is the first.
    pub async fn several(
        endpoints: Vec<Arc<Endpoint>>,
        limits: Limits,
        tls: Option<Arc<Tls>>,
        memory: Arc<Memory>,
    ) -> Self {
        let endpoint = endpoints[0].clone();
        let router = Arc::new(Router::new(endpoints).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, stopping) = watch::channel(false);
        let served = tokio::spawn(serve(listener, router, limits, tls, stopping));
        Self { address, memory, endpoint, shutdown, served }
    }

    /// A request with the key in `x-api-key`.
    pub async fn post(&self, body: impl AsRef<[u8]>) -> Reply {
        self.send(&[("x-api-key", KEY)], body).await
    }

    pub async fn send(&self, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
        let path = self.endpoint.path.clone();
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        exchange(&mut stream, &request("POST", &path, headers, body.as_ref())).await
    }

    /// Bytes over a connection of their own, and everything that comes back until it is closed.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The other side may close before it has read everything: what it said is what counts.
        let _ = stream.write_all(bytes.as_ref()).await;
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("it never closed");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// An HTTP/1.1 request as bytes.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        let start = format!("{name}: ");
        self.head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().starts_with(&start).then(|| &line[start.len()..]))
    }
}

/// Writes, and reads one answer with its length announced.
pub async fn exchange<S>(stream: &mut S, bytes: &[u8]) -> Reply
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        let _ = write.write_all(bytes).await;
        let _ = write.flush().await;
    };
    let (reply, ()) = tokio::join!(read_reply(&mut read), writing);
    reply.expect("the connection was closed without an answer")
}

/// Reads one answer; `None` where the connection is closed before one came.
pub async fn read_reply<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> Option<Reply> {
    let mut bytes = Vec::new();
    let reading = async {
        loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                let reply = Reply { status: head[9..12].parse().unwrap(), head, body: String::new() };
                let length: usize = reply.header("content-length").map_or(0, |n| n.parse().unwrap());
                if bytes.len() >= end + 4 + length {
                    let body = String::from_utf8_lossy(&bytes[end + 4..end + 4 + length]).into_owned();
                    return Some(Reply { body, ..reply });
                }
            }
            match stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("no answer in time")
}
