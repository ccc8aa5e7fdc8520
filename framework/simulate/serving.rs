//! The loop of a server on loopback that plays somebody else: the vendor, or a sink of the torture.
//!
//! It has no limits, since who calls it is our own process. It never says why a connection ended.

use std::error::Error;
use std::future::Future;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Answers requests until `shutdown` turns true, then closes every connection. An error of `answer` breaks the
/// connection without an answer.
pub async fn serve<A, F, B, E>(listener: TcpListener, mut shutdown: watch::Receiver<bool>, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let service = hyper::service::service_fn(answer.clone());
                let mut server = hyper::server::conn::http1::Builder::new();
                let serving = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
                // A connection that breaks is the other side's affair, which will say so, or was meant to.
                connections.spawn(async move { drop(serving.await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}
