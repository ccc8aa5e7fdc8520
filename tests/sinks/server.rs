//! A server on loopback that keeps what it is sent and answers as the test says.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// One request as it came.
#[derive(Clone)]
pub struct Got {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The records of a JSON Lines body.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        let body = self.body.strip_suffix(b"\n").unwrap_or(&self.body);
        body.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
    }
}

/// An answer; `None` breaks the connection.
pub type Answer = Option<Response<Full<Bytes>>>;

pub fn status(status: u16) -> Answer {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Some(response)
}

pub struct Server {
    pub url: url::Url,
    pub got: Arc<Mutex<Vec<Got>>>,
}

impl Server {
    /// Answers by a function of the request and how many came before it.
    pub async fn start(answer: impl Fn(usize, &Got) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in?source=forebay", listener.local_addr().unwrap()).parse().unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let (kept, answer) = (got.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, answer) = (kept.clone(), answer.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (kept, answer) = (kept.clone(), answer.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let got = Got { headers: head.headers, body };
                        let before = {
                            let mut kept = kept.lock().unwrap();
                            kept.push(got.clone());
                            kept.len() - 1
                        };
                        answer(before, &got).ok_or("broken off")
                    }
                });
                let serving = hyper::server::conn::http1::Builder::new();
                tokio::spawn(serving.serve_connection(TokioIo::new(stream), service));
            }
            Ok::<(), Infallible>(())
        });
        Self { url, got }
    }

    pub fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}
