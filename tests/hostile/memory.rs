//! What senders without the key can make the built binary take: HTTP/2 streams, TLS, large bodies with a wrong HMAC, bodies
//! in parts, answers that nobody reads, several hundred connections of each at once. The most that is resident stays
//! below what docs/operating.md states, and so does what is left of it afterwards.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::siege::{memory, stated, with_handles};
use crate::admission::http2::send;
use crate::main_job::KEY;
use crate::receiving::stage::request;
use crate::support::{HealthWatch, Running, forebay, post, root};
use crate::tls::{Pair, config};

/// How long each attack goes on.
const ATTACK: Duration = Duration::from_secs(8);
/// HTTP/2 connections, and requests at once on each.
const CONNECTIONS: usize = 300;
const STREAMS: usize = 64;
/// HTTP/1 connections that begin a body of each size and go on slowly.
const PARTIAL: usize = 200;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Whom the senders attack, and what they saw.
struct Attack {
    address: String,
    path: String,
    tls: Option<CertificateDer<'static>>,
    over: AtomicBool,
    connected: AtomicUsize,
    streams: AtomicUsize,
    refused: AtomicUsize,
}

impl Attack {
    fn of(running: &Running, tls: Option<CertificateDer<'static>>) -> Arc<Self> {
        let rest = running.urls[0].split_once("://").unwrap().1;
        let (address, path) = rest.split_once('/').unwrap();
        let (over, connected) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (streams, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (address, path) = (address.to_owned(), format!("/{path}"));
        Arc::new(Self { address, path, tls, over, connected, streams, refused })
    }

    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// A connection, tried until it is there.
    async fn connect(&self, alpn: &[u8]) -> Box<dyn Stream> {
        loop {
            if let Ok(stream) = TcpStream::connect(&self.address).await {
                let Some(trusted) = &self.tls else {
                    self.connected.fetch_add(1, Ordering::Relaxed);
                    return Box::new(stream);
                };
                let connector = TlsConnector::from(config(trusted, &[alpn]));
                let name = ServerName::try_from("localhost").unwrap();
                if let Ok(stream) = connector.connect(name, stream).await {
                    self.connected.fetch_add(1, Ordering::Relaxed);
                    return Box::new(stream);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A connection full of streams, each with a body that does not end. With a `window` of 0 no answer has room.
    async fn h2(self: Arc<Self>, length: usize, window: u32) {
        while !self.over() {
            let stream = self.connect(b"h2").await;
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(window);
            let Ok((client, connection)) = builder.handshake::<_, Bytes>(stream).await else { continue };
            let connection = tokio::spawn(connection);
            let mut streams = JoinSet::new();
            for _ in 0..STREAMS {
                streams.spawn(self.clone().stream(client.clone(), length));
            }
            drop(client);
            streams.join_all().await;
            connection.abort();
        }
    }

    /// One request after the other that announces a body, and sends what the windows allow and never its last byte.
    async fn stream(self: Arc<Self>, client: SendRequest<Bytes>, length: usize) {
        while !self.over() {
            let Ok(mut ready) = client.clone().ready().await else { return };
            let head = http::Request::post(format!("http://localhost{}", self.path))
                .header("x-api-key", "0".repeat(64))
                .header("content-length", length)
                .body(());
            let Ok((answer, mut body)) = ready.send_request(head.unwrap(), false) else { return };
            self.streams.fetch_add(1, Ordering::Relaxed);
            let sending = async {
                send(&mut body, Bytes::from(vec![b'x'; (length - 1).min(64 << 10)]), false).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                answer = answer => match answer {
                    // Whose answer has a body, and no room for it, keeps it waiting.
                    Ok(answer) if !answer.body().is_end_stream() => {
                        self.refused.fetch_add(1, Ordering::Relaxed);
                        self.until(Box::pin(async move { let _ = answer.into_body().data().await; })).await;
                    }
                    Ok(_) => {
                        self.refused.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(_) => {}
                },
                () = sending => {}
                () = self.until(Box::pin(std::future::pending::<()>())) => {}
            }
        }
    }

    /// Returns when the attack is over, or something else is.
    async fn until(&self, mut other: std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>>) {
        while !self.over() {
            if tokio::time::timeout(Duration::from_millis(200), other.as_mut()).await.is_ok() {
                return;
            }
        }
    }

    /// Whole bodies with a wrong HMAC, one after the other.
    async fn wrong(self: Arc<Self>, length: usize) {
        let bytes = request("POST", &self.path, &[("x-api-key", &"0".repeat(64))], &vec![b'x'; length]);
        while !self.over() {
            let mut stream = self.connect(b"http/1.1").await;
            let mut said = [0; 12];
            let exchange = async {
                let _ = stream.write_all(&bytes).await;
                stream.read_exact(&mut said).await
            };
            if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(3), exchange).await {
                self.refused.fetch_add(1, Ordering::Relaxed);
                assert!(!said.starts_with(b"HTTP/1.1 2"), "a sender without the key was let in");
            }
        }
    }

    /// A large head and the beginning of a body, and then a byte now and then.
    async fn partial(self: Arc<Self>, length: usize) {
        let long = "y".repeat(12 << 10);
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nlong: {long}\r\ncontent-length: {length}\r\n\r\n",
            self.path
        );
        let start = [head.as_bytes(), &vec![b'x'; (length / 2).min(60 << 10)]].concat();
        while !self.over() {
            let mut stream = self.connect(b"http/1.1").await;
            let mut sent = stream.write_all(&start).await;
            while sent.is_ok() && !self.over() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                sent = stream.write_all(&[b'x'; 200]).await;
            }
        }
    }

    /// All of them at once.
    fn begin(self: &Arc<Self>) -> JoinSet<()> {
        let mut senders = JoinSet::new();
        for n in 0..CONNECTIONS {
            // A third of them has no room for answers.
            let (length, window) = ([64 << 10, 1 << 20, 1000][n % 3], [65_535, 65_535, 0][n % 3]);
            senders.spawn(self.clone().h2(length, window));
        }
        for (count, length) in [(6, 16 << 20), (20, 2 << 20), (40, 64 << 10)] {
            (0..count).for_each(|_| drop(senders.spawn(self.clone().wrong(length))));
        }
        for n in 0..PARTIAL {
            senders.spawn(self.clone().partial([60 << 10, 1 << 20, 16 << 20][n % 3]));
        }
        senders
    }
}

/// The binary with an instance whose requests are proven by their bodies.
fn proven_by_bodies(folder: &TempDir, tls: Option<&Pair>) -> (Running, String) {
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let tls = tls.map_or_else(String::new, |pair| {
        format!(", tls: {{certificate: {}, key: {}}}", pair.certificate().display(), pair.key().display())
    });
    let text = format!(
        "data_dir: data\nreceiver: {{listen: 127.0.0.1:0{tls}}}\nadmin: {{listen: '{admin}'}}\ninstances:\n  \
         - {{id: a, connector: {}, settings: {{authentication: hmac}}, secrets: {{secret: {{file: key}}}}, \
         sinks: [{{name: x, file: {{path: out.jsonl}}}}]}}\n",
        root().join("connectors/generic-http").display()
    );
    std::fs::write(folder.path().join("forebay.yaml"), text).unwrap();
    std::fs::write(folder.path().join("key"), KEY).unwrap();
    let mut run = forebay();
    run.args(["run", "--config"]).arg(folder.path().join("forebay.yaml"));
    (Running::start(&mut with_handles(run), 1), admin)
}

/// The bound on what stays resident afterwards that operators are told.
fn stated_afterwards() -> u64 {
    let text = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let rest = text.split("Afterwards the process keeps at most ").nth(1).expect("the page states it");
    rest.split(' ').next().unwrap().parse::<u64>().unwrap() << 20
}

async fn attacked(tls: bool) {
    let folder = TempDir::new().unwrap();
    let (pair, certificate) = Pair::new();
    let (running, admin) = proven_by_bodies(&folder, tls.then_some(&pair));
    let idle = memory(&running, "VmRSS");
    let attack = Attack::of(&running, tls.then_some(certificate));
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let health = HealthWatch::start(&admin);
    let mut senders = attack.begin();
    // For a while after all of them were there once.
    let (begun, everyone) = (Instant::now(), CONNECTIONS + PARTIAL + 66);
    while count(&attack.connected) < everyone {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?} connected", attack.connected);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(ATTACK).await;
    tokio::task::spawn_blocking(|| health.within_a_second()).await.unwrap();
    attack.over.store(true, Ordering::Relaxed);
    while let Some(ended) = senders.join_next().await {
        ended.unwrap();
    }
    // Connections end when their buffers are read; then what they took is given back.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (most, after) = (memory(&running, "VmHWM"), memory(&running, "VmRSS"));
    println!(
        "TLS {tls}: {} MB idle, {} MB at most, {} MB afterwards; {} connections, {} streams, {} refused",
        idle >> 20,
        most >> 20,
        after >> 20,
        count(&attack.connected),
        count(&attack.streams),
        count(&attack.refused)
    );
    assert!(most <= stated(), "{most} bytes were resident");
    assert!(after <= stated_afterwards(), "{after} bytes stay resident");
    assert!(count(&attack.streams) > CONNECTIONS * STREAMS / 2, "{:?} streams", attack.streams);
    assert!(count(&attack.refused) > 1000, "{:?} refused", attack.refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_without_the_key_take_bounded_memory() {
    attacked(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_without_the_key_take_bounded_memory_over_tls() {
    attacked(true).await;
}

/// A connector whose `verify` looks into JSON that comes without the key: what it takes is stated apart.
#[test]
fn json_that_a_proof_looks_into_takes_bounded_memory() {
    let folder = TempDir::new().unwrap();
    let text = format!(
        "data_dir: data\nreceiver: {{listen: 127.0.0.1:0}}\ninstances:\n  \
         - {{id: a, connector: {}, settings: {{topic_arn: 'arn:aws:sns:us-east-1:123456789012:audit'}}, \
         sinks: [{{name: x, file: {{path: out.jsonl}}}}]}}\n",
        root().join("connectors/aws-sns").display()
    );
    std::fs::write(folder.path().join("forebay.yaml"), text).unwrap();
    let mut run = forebay();
    // No key is fetched from anywhere.
    run.args(["run", "--proxy", "http://127.0.0.1:1", "--config"]).arg(folder.path().join("forebay.yaml"));
    let running = Running::start(&mut run, 1);
    let list = |bytes: usize| format!("[{}1]", "1,".repeat(bytes / 2 - 2));
    let members = |bytes: usize| format!("{{{}\"\":1}}", "\"\":1,".repeat(bytes / 5 - 2));
    // More values than one document may have are not read; the largest that are, and many that are smaller.
    let bodies =
        [list(1 << 20), list(2 << 20), list(4 << 20), members(2 << 20), members(10 << 20), list(60 << 10)];
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for n in 0..24 {
            let (url, body) = (&running.urls[0], &bodies[n % bodies.len()]);
            scope.spawn(move || {
                while begun.elapsed() < ATTACK {
                    let headers = [("x-amz-sns-message-type", "Notification")];
                    if let Some((status, _)) = post(url, &headers, body.as_bytes()) {
                        assert!(status >= 400, "{status}");
                    }
                }
            });
        }
    });
    let (most, after) = (memory(&running, "VmHWM"), memory(&running, "VmRSS"));
    println!("{} MB at most, {} MB afterwards", most >> 20, after >> 20);
    let text = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let rest = text.split("looks into JSON (`aws-sns`), it is ").nth(1).expect("the page states a bound");
    let bound = rest.split(' ').next().unwrap().parse::<u64>().unwrap() << 20;
    assert!(most <= bound, "{most} bytes were resident");
    assert!(running.stop().success());
}
