//! The operator's listener: `/healthz`, `/readyz` and `/metrics`. Never on the public one.
//!
//! `run` hands it a bound listener. It answers GET and HEAD, reads no bodies, keeps no connection open, and
//! shows no secret. Connections, header sizes and times are bounded: when all places are taken, the connection that
//! has been here longest ends for the next one, so that silent ones keep no probe waiting. It has a thread of its own:
//! a probe waits for no request and no record, however many there are.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::health::{Answer, Health};
use crate::connector::clock::Clock;
use crate::error::{Error, Kind, Result};

/// Connections at once.
const CONNECTIONS: usize = 128;
/// For the head of a request.
const HEADER_TIME: Duration = Duration::from_secs(3);
/// For a whole connection: one request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the listener rests when the system has no connection to give.
const REST: Duration = Duration::from_millis(100);
/// Bytes of a request's head.
const HEAD: usize = 16 << 10;

/// What the listener shows.
#[derive(Clone)]
pub struct Admin {
    /// How everything fares.
    pub health: Arc<Health>,
    /// Gives the metrics in Prometheus' text format; also the place to set gauges just before.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What the time is.
    pub clock: Arc<dyn Clock>,
}

/// Serves on a thread of its own until the signal. What is returned ends when that thread is done.
///
/// # Errors
/// The thread cannot be started.
pub fn start(listener: TcpListener, admin: Admin, shutdown: watch::Receiver<bool>) -> Result<JoinHandle<()>> {
    let failed = |error: io::Error| Error::new(Kind::Io, "the admin listener cannot start").because(error);
    let listener = listener.into_std().map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener).map_err(failed)?
    };
    let (done, ended) = oneshot::channel();
    let serving = serve(listener, admin, shutdown);
    let thread = move || {
        runtime.block_on(serving);
        let _ = done.send(());
    };
    std::thread::Builder::new().name("forebay-admin".to_owned()).spawn(thread).map_err(failed)?;
    Ok(tokio::spawn(async move {
        if ended.await.is_err() {
            tracing::error!("the admin listener ended by a panic");
        }
    }))
}

/// Answers until the signal; then what is in flight is let go.
pub async fn serve(listener: TcpListener, admin: Admin, mut shutdown: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    // The oldest first; those that ended are taken out as they come to the front.
    let mut places: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            // An error means that the sender of the signal is gone.
            _ = shutdown.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept");
                // A lack of file handles: the oldest connection has one.
                if let Some(oldest) = places.pop_front() {
                    oldest.abort();
                }
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        places.retain(|place| !place.is_finished());
        if places.len() >= CONNECTIONS
            && let Some(oldest) = places.pop_front()
        {
            oldest.abort();
        }
        let admin = admin.clone();
        places.push_back(connections.spawn(async move {
            // A client that is slow or breaks off is its own trouble.
            let _ = tokio::time::timeout(PATIENCE, converse(stream, admin)).await;
        }));
    }
}

async fn converse(stream: TcpStream, admin: Admin) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&admin, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(answer) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn answer(admin: &Admin, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = json(StatusCode::METHOD_NOT_ALLOWED, r#"{"error":"only GET"}"#.to_owned());
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/healthz" => health(&admin.health.healthz()),
        "/readyz" => health(&admin.health.readyz(admin.clock.now())),
        "/metrics" => {
            admin.health.set_gauges(admin.clock.now());
            text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", (admin.metrics)())
        }
        _ => {
            json(StatusCode::NOT_FOUND, r#"{"error":"there are /healthz, /readyz and /metrics"}"#.to_owned())
        }
    }
}

fn health(answer: &Answer) -> Response<Full<Bytes>> {
    let status = if answer.well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, format!("{}\n", answer.document))
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    text(status, "application/json", body)
}

fn text(status: StatusCode, media: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
