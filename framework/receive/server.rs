//! warp behind our own accept loop: connections, a graceful stop, and every request as `accept` takes it.
//!
//! The only file that imports warp. `run` calls [`serve`], which returns only after every connection ended; what
//! happens on one connection is in `serving`.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, EXPECT, RETRY_AFTER};
use http::{HeaderValue, Request, Response, Uri};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tower_service::Service;
use warp::Filter;

use super::accept::{Gate, accept};
use super::body::linger;
use super::connections::Connections;
use super::limits::Limits;
use super::request::{Head, Incoming, Raw};
use super::router::Router;
use super::serving::{Listening, Sent, Slot, Talk, WINDOWS, connection, stopped};
use super::tls::Tls;
use crate::error::Result;

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
) -> Infallible {
    loop {
        tokio::select! {
            accepted = async { connections.room().await; listener.accept().await } => match accepted {
                Ok((stream, address)) => {
                    let proxies = &gate.limits.proxies;
                    let client = proxies.of_connection(address.ip());
                    if proxies.protocol && !proxies.trusts(address.ip()) {
                        metrics::counter!("forebay_proxy_header_errors_total").increment(1);
                        tracing::debug!(peer = %address, "connection closed: the peer is no trusted proxy");
                        continue;
                    }
                    let place = connections.place(address, client);
                    let listening = Listening { tls: tls.map(Tls::config), closing: closing.clone() };
                    tasks.spawn(connection(stream, place, client, listening, gate.clone(), respond));
                }
                Err(error) => trouble(&error, connections).await,
            },
            Some(ended) = tasks.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a connection ended in a fault of our own");
            },
        }
    }
}

/// A connection that broke before it was accepted is no loss; anything else is a lack of something that passes, and a
/// connection is closed to make room.
async fn trouble(error: &io::Error, connections: &Connections) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        return;
    }
    let freed = connections.end_one();
    metrics::counter!("forebay_accept_errors_total").increment(1);
    tracing::debug!(%error, freed, "a connection could not be accepted");
    sleep(REST).await;
}

/// warp panics on a target without a path (CONNECT has none): it gets one that nobody receives at.
fn with_path<B>(mut request: Request<B>) -> Request<B> {
    if request.uri().path().is_empty() {
        *request.uri_mut() = Uri::from_static("/");
    }
    request
}

/// Answers a request of a connection, whatever its method and path: `accept` routes it.
async fn respond(
    talk: Talk,
    request: Request<hyper::body::Incoming>,
) -> std::result::Result<
    Response<Sent<impl http_body::Body<Data = Bytes, Error = warp::Error> + Unpin + Send + 'static>>,
    Infallible,
> {
    let slot = Slot::default();
    let left = slot.clone();
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let routes = warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method, path: warp::path::FullPath, query, headers, body| {
            let head = Head { method, path: path.as_str().to_owned(), query, headers };
            let body = Stream { stream: body, ended: false };
            answer(talk.clone(), left.clone(), head, body.boxed_unsync())
        });
    let response = warp::service(routes).call(with_path(request)).await?;
    Ok(response.map(|body| Sent { body, _slot: slot }))
}

async fn answer(talk: Talk, slot: Slot, head: Head, body: Incoming) -> Response<Bytes> {
    let _open = talk.progress.open();
    let expects = head.headers.contains_key(EXPECT);
    let client = talk.gate.limits.proxies.of_request(talk.client, &head.headers);
    let ahead = if talk.h2 { WINDOWS.0 as usize } else { 0 };
    let head = Arc::new(head);
    let mut raw = Raw { head, peer: talk.peer, client, ahead, body, read: None, ticket: None };
    let mut answer = accept(&talk.gate, &mut raw).await;
    if let Some(ticket) = raw.ticket.take() {
        // Nothing is counted for it any more: over HTTP/2, where an answer may wait for long, all of it is its head.
        if talk.h2 && ticket.is_turned_away() {
            let mut head = Response::new(Bytes::new());
            *head.status_mut() = answer.status();
            head.headers_mut()
                .extend(answer.headers_mut().remove(RETRY_AFTER).map(|after| (RETRY_AFTER, after)));
            return head;
        }
        ticket.answered();
        let _ = slot.set(ticket);
    }
    if talk.gate.stopping() && !talk.h2 {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // A sender that waits for `100 Continue` sends nothing after this answer; another may still be at it.
    if !http_body::Body::is_end_stream(&raw.body) && !expects {
        talk.progress.leaves_unread();
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
