//! The servers to compare with: warp that reads a body and forgets it, and warp that parses it too.
//!
//! The benchmark starts itself as one of them, in a process of its own, so that its CPU time can be told from the
//! generator's. Neither checks, keeps or delivers anything.

use std::io;
use std::str::FromStr;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use warp::Filter;
use warp::http::StatusCode;

use crate::events::KEY;

/// What such a server does with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Reads it.
    Read,
    /// Reads it, and parses each of its lines with sonic-rs.
    Parse,
}

impl FromStr for Work {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "read" => Ok(Self::Read),
            "parse" => Ok(Self::Parse),
            _ => Err("`read` or `parse`".to_owned()),
        }
    }
}

impl Work {
    /// The name that the child is started with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Parse => "parse",
        }
    }

    /// How many events the body holds; `None` where one of them is no JSON.
    fn events(self, body: &[u8]) -> Option<usize> {
        let mut lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        match self {
            Self::Read => Some(0),
            Self::Parse => {
                lines.try_fold(0, |n, line| sonic_rs::from_slice::<sonic_rs::Value>(line).ok().map(|_| n + 1))
            }
        }
    }
}

/// Serves until it is killed; says where on stderr, as Forebay does.
pub fn serve(work: Work) -> io::Result<()> {
    let routes = warp::post()
        .and(warp::header::exact("x-api-key", KEY))
        .and(warp::body::bytes())
        .map(move |body: Bytes| answer(work.events(&body)));
    let service = TowerToHyperService::new(warp::service(routes));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/{}", listener.local_addr()?, work.name());
        io::Write::write_all(&mut io::stderr(), format!("ready: receiving nothing at {url}\n").as_bytes())?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                // A client that goes away is no news.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

fn answer(events: Option<usize>) -> impl warp::Reply {
    match events {
        Some(count) => warp::reply::with_status(format!(r#"{{"count":{count}}}"#), StatusCode::OK),
        None => warp::reply::with_status(r#"{"error":"no JSON"}"#.to_owned(), StatusCode::BAD_REQUEST),
    }
}
