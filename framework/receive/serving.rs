//! One connection from its first byte to its last: PROXY header, TLS, HTTP/1 or HTTP/2, and its end.
//!
//! `server` calls [`connection`] for every connection that it accepts, with a function that answers requests. Plain
//! HTTP/2 (h2c) is told by its preface, and has the bounds that HTTP/2 has over TLS.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::accept::Gate;
use super::budget::Ticket;
use super::client::Client;
use super::connections::{Peer, Place};
use super::heads::{Heads, Held};
use super::meters;
use super::pace::{Paced, Progress};
use super::proxy_header;

/// Bytes of the head of a request.
const HEAD: usize = 16 << 10;
/// Bytes that are read ahead on a connection where memory is set aside for them; `Paced` gives others far less.
const AHEAD: usize = 128 << 10;
/// Bytes that an HTTP/2 sender may send ahead on one request, and on one connection.
pub(super) const WINDOWS: (u32, u32) = (64 << 10, 256 << 10);
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// How HTTP/2 begins.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection is served with.
pub(super) struct Listening {
    /// For TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// When to end.
    pub closing: watch::Receiver<bool>,
}

/// What the requests of one connection share.
#[derive(Clone)]
pub(super) struct Talk {
    pub gate: Arc<Gate>,
    pub peer: Arc<Peer>,
    /// Who is at its other end.
    pub client: Client,
    pub progress: Arc<Progress>,
    pub h2: bool,
}

/// Where a request leaves its ticket for as long as its answer is on its way.
pub(super) type Slot = Arc<OnceLock<Ticket>>;

/// The body of an answer. What the request takes of the listener is given back when this is dropped: over HTTP/2 an
/// answer may wait for long until it is read.
pub(super) struct Sent<B> {
    /// What is sent.
    pub body: B,
    /// The ticket of the request.
    pub _slot: Slot,
}

/// Returns when `shutdown` is true, or its sender is gone.
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// One connection, from its first byte to its last.
pub(super) async fn connection<B, A>(
    mut stream: TcpStream,
    place: Place,
    mut client: Client,
    mut listening: Listening,
    gate: Arc<Gate>,
    respond: impl Fn(Talk, Request<Incoming>) -> A + Clone,
) where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    A: Future<Output = Result<Response<Sent<B>>, Infallible>> + Send + 'static,
{
    let peer = place.peer.clone();
    let _ = stream.set_nodelay(true);
    let serving = async {
        if gate.limits.proxies.protocol {
            let header = timeout(gate.limits.header_time, proxy_header::read(&mut stream));
            match header.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(Some(address)) => client = gate.limits.proxies.of_connection(address),
                Ok(None) => {}
                Err(error) => {
                    metrics::counter!("forebay_proxy_header_errors_total").increment(1);
                    tracing::debug!(peer = %peer.address, %error, "connection closed: no PROXY protocol header");
                    return;
                }
            }
            place.belongs_to(client);
        }
        let talk = |h2| Talk { gate: gate.clone(), peer: peer.clone(), client, progress: Arc::default(), h2 };
        match listening.tls.take() {
            None => http(stream, talk(false), listening.closing, respond).await,
            Some(tls) => {
                let hello = timeout(gate.limits.header_time, TlsAcceptor::from(tls).accept(stream));
                let shaken = tokio::select! {
                    shaken = hello => shaken,
                    () = stopped(&mut listening.closing) => return,
                };
                match shaken {
                    Ok(Ok(stream)) => {
                        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        http(stream, talk(h2), listening.closing, respond).await;
                    }
                    Ok(Err(error)) => {
                        metrics::counter!("forebay_tls_errors_total").increment(1);
                        tracing::debug!(peer = %peer.address, %client, %error, "no TLS");
                    }
                    Err(_) => metrics::counter!("forebay_tls_errors_total").increment(1),
                }
            }
        }
    };
    tokio::select! { () = serving => {}, () = place.peer.has_to_end() => {} }
}

/// HTTP on one connection.
async fn http<S, B, A>(
    stream: S,
    mut talk: Talk,
    mut closing: watch::Receiver<bool>,
    respond: impl Fn(Talk, Request<Incoming>) -> A,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    A: Future<Output = Result<Response<Sent<B>>, Infallible>> + Send + 'static,
{
    let address = talk.peer.address;
    let mut paced = Paced::new(stream, talk.progress.clone(), talk.peer.clone(), &talk.gate.limits);
    let ahead = if talk.h2 {
        Bytes::new()
    } else {
        let first = tokio::select! {
            first = first_bytes(&mut paced) => first,
            () = stopped(&mut closing) => return,
        };
        let Ok((ahead, h2)) = first else { return };
        talk.h2 = h2;
        ahead
    };
    let h2 = talk.h2;
    if h2 {
        paced.speaks_h2();
    }
    let io = TokioIo::new(Held::new(ahead, paced, (!h2).then(Heads::default)));
    let service = service_fn(move |request| respond(talk.clone(), request));
    macro_rules! drive {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopped(&mut closing) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                unread(&error, address);
            }
        }};
    }
    if h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD as u32);
        drive!(builder.serve_connection(io, service));
    } else {
        let mut builder = http1::Builder::new();
        // Times are kept by `Paced`. Who closes its side after a request still gets an answer.
        builder.timer(TokioTimer::new()).header_read_timeout(None).half_close(true);
        builder.max_header_size(HEAD).max_buf_size(AHEAD);
        drive!(builder.serve_connection(io, service));
    }
}

/// Reads until it is clear whether HTTP/2 begins; gives what was read.
async fn first_bytes<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(Bytes, bool)> {
    let mut bytes = [0; PREFACE.len()];
    let mut length = 0;
    loop {
        let read = stream.read(bytes.get_mut(length..).unwrap_or_default()).await?;
        length += read;
        let begun = bytes.get(..length).unwrap_or_default();
        if read == 0 || length == PREFACE.len() || !PREFACE.starts_with(begun) {
            return Ok((Bytes::copy_from_slice(begun), begun == PREFACE));
        }
    }
}

/// Counts the heads that HTTP itself refuses (400, 431), which `accept` never sees.
fn unread(error: &hyper::Error, peer: SocketAddr) {
    if error.is_parse() {
        meters::head_refused(if error.is_parse_too_large() { "head_too_large" } else { "head_malformed" });
    }
    tracing::debug!(%peer, %error, "connection ended");
}

impl<B: Body<Data = Bytes> + Unpin> Body for Sent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    /// Nothing to send is the end, however the body says so: over HTTP/2 it would wait for room that is not needed.
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() || self.body.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
