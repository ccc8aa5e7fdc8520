//! warp behind our own accept loop: TLS, the number of connections, and a graceful stop.
//!
//! The only file that imports warp. `run` calls [`serve`], which returns only after every connection ended.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Response, Uri};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;
use warp::Filter;

use super::accept::{Gate, accept};
use super::body::linger;
use super::connections::{Connections, Peer, Seat};
use super::limits::Limits;
use super::meters;
use super::pace::{Paced, Progress};
use super::request::{Head, Incoming, Raw};
use super::router::Router;
use super::tls::Tls;
use crate::error::Result;

/// Bytes of the head of a request.
const HEAD: usize = 16 << 10;
/// Bytes that are read ahead on one connection that has shown the key; `Paced` gives others far less.
const AHEAD: usize = 128 << 10;
/// Bytes that an HTTP/2 sender may send ahead on one request, and on one connection.
const WINDOWS: (u32, u32) = (128 << 10, 256 << 10);
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// How long the accept loop rests when the system has no file handle or memory for another connection.
const REST: Duration = Duration::from_millis(50);

/// Receives until `shutdown`: then new requests are refused with 503, those taken in are finished, and
/// what is still open after `limits.drain` is cut off.
pub async fn serve(
    listener: TcpListener,
    router: Arc<Router>,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<()> {
    let gate = Arc::new(Gate::new(router, limits));
    let connections = Arc::new(Connections::new(gate.limits.connections));
    let (close, closing) = watch::channel(false);
    let mut tasks = JoinSet::new();
    // Beside the accept loop: a file that does not answer must not keep connections out.
    let watching = tls.clone().map(|tls| tokio::spawn(watch(tls, closing.clone())));

    // 1. Take connections in until the process stops.
    {
        let taking = take(&listener, &gate, &connections, tls.as_deref(), &closing, &mut tasks);
        tokio::select! { never = taking => match never {}, () = stopped(&mut shutdown) => {} }
    }
    // 2. Refuse what is new, finish what was taken in.
    gate.stop();
    let deadline = Instant::now() + gate.limits.drain;
    {
        let taking = take(&listener, &gate, &connections, tls.as_deref(), &closing, &mut tasks);
        tokio::select! {
            never = taking => match never {},
            _ = timeout_at(deadline, gate.quiet()) => {}
        }
    }
    // 3. Close: the listener first, then every connection when its last answer is out.
    drop(listener);
    let _ = close.send(true);
    if let Some(watching) = watching {
        watching.abort();
    }
    let ended = timeout_at(deadline, async { while tasks.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(connections = tasks.len(), "connections cut off: they did not end in time");
        tasks.shutdown().await;
    }
    Ok(())
}

/// Returns when `shutdown` is true, or nobody is left who could say so.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Looks at the files of the certificate every so often, until connections are closed.
async fn watch(tls: Arc<Tls>, mut closing: watch::Receiver<bool>) {
    loop {
        tokio::select! { () = stopped(&mut closing) => return, () = sleep(tls.every) => {} }
        tls.look().await;
    }
}

/// The accept loop. No error of one connection ends it, and no lack of handles makes it spin.
async fn take(
    listener: &TcpListener,
    gate: &Arc<Gate>,
    connections: &Arc<Connections>,
    tls: Option<&Tls>,
    closing: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> std::convert::Infallible {
    loop {
        tokio::select! {
            accepted = async { connections.room().await; listener.accept().await } => match accepted {
                Ok((stream, address)) => {
                    let seat = connections.seat(address);
                    let tls = tls.map(|tls| TlsAcceptor::from(tls.config()));
                    tasks.spawn(connection(stream, seat, tls, gate.clone(), closing.clone()));
                }
                Err(error) => trouble(&error, connections).await,
            },
            Some(ended) = tasks.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a connection ended in a fault of our own");
            },
        }
    }
}

/// A connection that broke before it was accepted is nobody's loss; anything else is a lack of something
/// that passes, and a stranger's connection is closed to make room.
async fn trouble(error: &io::Error, connections: &Connections) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        return;
    }
    let freed = connections.send_one_away();
    metrics::counter!("forebay_accept_errors_total").increment(1);
    tracing::debug!(%error, freed, "a connection could not be accepted");
    sleep(REST).await;
}

/// One connection, from its first byte to its last.
async fn connection(
    stream: TcpStream,
    seat: Seat,
    tls: Option<TlsAcceptor>,
    gate: Arc<Gate>,
    mut closing: watch::Receiver<bool>,
) {
    let peer = seat.peer.clone();
    let _ = stream.set_nodelay(true);
    let serving = async {
        match tls {
            None => http(stream, false, peer.clone(), gate, closing).await,
            Some(tls) => {
                let hello = timeout(gate.limits.header_time, tls.accept(stream));
                let shaken =
                    tokio::select! { shaken = hello => shaken, () = stopped(&mut closing) => return };
                match shaken {
                    Ok(Ok(stream)) => {
                        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        http(stream, h2, peer.clone(), gate, closing).await;
                    }
                    Ok(Err(error)) => {
                        metrics::counter!("forebay_tls_errors_total").increment(1);
                        tracing::debug!(peer = %peer.address, %error, "no TLS");
                    }
                    Err(_) => metrics::counter!("forebay_tls_errors_total").increment(1),
                }
            }
        }
    };
    tokio::select! { () = serving => {}, () = seat.peer.told_to_leave() => {} }
}

/// HTTP on one connection.
async fn http<S>(stream: S, h2: bool, peer: Arc<Peer>, gate: Arc<Gate>, mut closing: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (progress, address) = (Arc::new(Progress::default()), peer.address);
    let io = TokioIo::new(Paced::new(stream, progress.clone(), peer.clone(), &gate.limits, !h2));
    let routed = warp::service(routes(Talk { gate, peer, progress, h2 }));
    let service = service_fn(move |request| routed.clone().call(with_path(request)));
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

/// Counts the heads that HTTP itself refuses (400, 431), which nobody here gets to see.
fn unread(error: &hyper::Error, peer: SocketAddr) {
    if error.is_parse() {
        meters::head_refused(if error.is_parse_too_large() { "head_too_large" } else { "head_malformed" });
    }
    tracing::debug!(%peer, %error, "connection ended");
}

/// warp panics on a target without a path (CONNECT has none): it gets one that nobody receives at.
fn with_path<B>(mut request: Request<B>) -> Request<B> {
    if request.uri().path().is_empty() {
        *request.uri_mut() = Uri::from_static("/");
    }
    request
}

/// What the requests of one connection share.
#[derive(Clone)]
struct Talk {
    gate: Arc<Gate>,
    peer: Arc<Peer>,
    progress: Arc<Progress>,
    h2: bool,
}

/// Every request of a connection, whatever its method and path: `accept` routes it.
fn routes(
    talk: Talk,
) -> impl Filter<Extract = (Response<Bytes>,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method, path: warp::path::FullPath, query, headers, body| {
            let head = Head { method, path: path.as_str().to_owned(), query, headers };
            let body = Stream { stream: body, ended: false };
            answer(talk.clone(), head, body.boxed_unsync())
        })
}

async fn answer(talk: Talk, head: Head, body: Incoming) -> Response<Bytes> {
    let _open = talk.progress.open();
    let expects = head.headers.contains_key(EXPECT);
    let mut raw = Raw { head: Arc::new(head), peer: talk.peer, body, read: None };
    let mut answer = accept(&talk.gate, &mut raw).await;
    if talk.gate.stopping() && !talk.h2 {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // A sender that waits for `100 Continue` sends nothing after this answer; another may still be at it.
    if !http_body::Body::is_end_stream(&raw.body) && !expects {
        tokio::spawn(linger(raw.body));
    }
    answer
}

/// warp's stream of a body, as a body.
struct Stream<S> {
    stream: S,
    ended: bool,
}

impl<S, B, E> http_body::Body for Stream<S>
where
    S: warp::Stream<Item = Result<B, E>> + Unpin,
    B: Buf,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = std::task::ready!(Pin::new(&mut self.stream).poll_next(cx));
        self.ended = next.as_ref().is_none_or(Result::is_err);
        let frame = next.map(|data| data.map(|mut data| Frame::data(data.copy_to_bytes(data.remaining()))));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
