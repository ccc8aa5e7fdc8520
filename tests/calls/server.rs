//! A server that answers what a test tells it to and remembers what it was asked: one request a connection,
//! over plain TCP or TLS, bytes as they are on the wire.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Request line and headers, with their line ends.
    pub head: String,
    pub body: String,
}

impl Seen {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// The value of a header that is there at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.head.lines().skip(1).filter_map(|line| {
            let (given, value) = line.split_once(':')?;
            given.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        let value = found.next();
        assert!(found.next().is_none(), "{name} came twice: {}", self.head);
        value
    }
}

/// What the server does with a request.
pub enum Act {
    /// Writes these bytes and closes.
    Write(Vec<u8>),
    /// Closes without a word.
    Close,
    /// Holds the connection and says nothing.
    Stall,
}

/// An answer with a length.
pub fn answer(status: u16, headers: &str, body: &str) -> Act {
    let head = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    Act::Write([head.as_bytes(), body.as_bytes()].concat())
}

pub fn json(status: u16, body: &str) -> Act {
    answer(status, "content-type: application/json\r\n", body)
}

type Script = dyn Fn(&Seen, usize) -> Act + Send + Sync;

/// Stops when it is dropped.
pub struct Server {
    pub at: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    opened: Arc<Mutex<usize>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// The script gets each request with its number, from 0.
    pub async fn start(script: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static) -> Self {
        Self::listen(None, Arc::new(script)).await
    }

    pub async fn start_tls(
        tls: rustls::ServerConfig,
        script: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(tokio_rustls::TlsAcceptor::from(Arc::new(tls))), Arc::new(script)).await
    }

    async fn listen(tls: Option<tokio_rustls::TlsAcceptor>, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let opened = Arc::new(Mutex::new(0));
        let (kept, count) = (seen.clone(), opened.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *count.lock().unwrap() += 1;
                let (tls, script, kept) = (tls.clone(), script.clone(), kept.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &*script, &kept).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &*script, &kept).await;
                            }
                        }
                    }
                });
            }
        });
        Self { at, seen, opened, task }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The first lines of all requests.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(|seen| seen.line().to_owned()).collect()
    }

    /// Connections that were accepted, whatever came of them.
    pub fn opened(&self) -> usize {
        *self.opened.lock().unwrap()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: &Script, kept: &Mutex<Vec<Seen>>) {
    let Some(request) = read(&mut stream).await else { return };
    let number = {
        let mut kept = kept.lock().unwrap();
        kept.push(request.clone());
        kept.len() - 1
    };
    match script(&request, number) {
        Act::Write(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Act::Close => {}
        Act::Stall => std::future::pending().await,
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut seen = Seen { head, body: String::new() };
    let length: usize = seen.header("content-length").map_or(0, |n| n.parse().unwrap());
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    seen.body = String::from_utf8(bytes[end..].to_vec()).unwrap();
    Some(seen)
}

/// A proxy that knows CONNECT alone and leads every name to one address. It keeps the names.
pub struct Proxy {
    pub at: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        let task = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let kept = kept.clone();
                tokio::spawn(async move {
                    let Some(seen) = read(&mut client).await else { return };
                    kept.lock().unwrap().push(seen.line().to_owned());
                    let mut server = TcpStream::connect(target).await.unwrap();
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { at, asked, task }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}
