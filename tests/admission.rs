//! Admission to the public listener: who loses a place or a budget first, over real sockets. Addresses of 127.0.0.0/8
//! stand for different clients.

mod budgets;
mod grammar;
pub mod http2;
mod instances;
mod proxies;
mod resets;
mod tls;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use forebay::receive::Limits;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::receiving::stage::{self, KEY, Stage};

const EVENT: &str = r#"{"log_id":"1","data":{"date":"d","type":"s","log_id":"1"}}"#;

/// Connects from an address of this machine.
async fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// An endpoint whose requests prove by their bodies alone who sent them.
async fn proven_by_bodies(limits: Limits) -> Stage {
    let receiver = "  path: /in\n  verify: {kind: hmac, hash: sha256, key: \"{{ secrets.key }}\", message: \"{{ request.body }}\", \
                    signature: {header: x-sign, encoding: hex}}\n  decode: {format: json}\n  event: {id: /id}\n  \
                    respond: {accepted: {status: 200, json: {n: \"{{ batch.accepted }}\"}}}\n";
    let instance = stage::instance(stage::connector(receiver), "probe", &[("key", KEY)]);
    Stage::with(instance, limits, None).await
}

/// A body of so many bytes that [`proven_by_bodies`] takes, and its signature.
fn signed(id: &str, length: usize) -> (String, String) {
    let start = format!(r#"{{"id":"{id}","type":"s","x":""#);
    let body = format!("{start}{}\"}}", "y".repeat(length.saturating_sub(start.len() + 2)));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, KEY.as_bytes());
    let tag = data_encoding::HEXLOWER.encode(aws_lc_rs::hmac::sign(&key, body.as_bytes()).as_ref());
    (body, tag)
}

/// H3: connects alone, with no byte sent, from an address that is not the vendor's: several times as many as there are
/// places, between the vendor's connect and its request.
#[tokio::test(flavor = "multi_thread")]
async fn connects_of_one_address_keep_no_other_out() {
    let limits = Limits { connections: 64, ..Limits::default() };
    let stage = Stage::auth0_within(limits).await;
    let request = stage::request("POST", &stage.endpoint.path, &[("x-api-key", KEY)], EVENT.as_bytes());
    for _ in 0..3 {
        let mut vendor = connect_from("127.0.0.1", stage.address).await;
        let mut flood = Vec::new();
        for _ in 0..300 {
            flood.push(connect_from("127.0.0.2", stage.address).await);
        }
        // All of them were accepted: the last one is served.
        let last = flood.last_mut().unwrap();
        assert_eq!(stage::exchange(last, &request).await.status, 200);
        assert_eq!(stage::exchange(&mut vendor, &request).await.status, 200);
    }
}

/// M11: a captured request on every connection.
#[tokio::test(flavor = "multi_thread")]
async fn captured_request_on_every_connection_keeps_no_vendor_out() {
    for attacker in ["127.0.0.2", "127.0.0.1"] {
        let limits = Limits { connections: 64, ..Limits::default() };
        let stage = Stage::auth0_within(limits).await;
        let request = stage::request("POST", &stage.endpoint.path, &[("x-api-key", KEY)], EVENT.as_bytes());
        let mut held = Vec::new();
        for _ in 0..64 {
            let mut stream = connect_from(attacker, stage.address).await;
            assert_eq!(stage::exchange(&mut stream, &request).await.status, 200);
            held.push(stream);
        }
        let begin = Instant::now();
        for _ in 0..5 {
            let mut vendor = connect_from("127.0.0.1", stage.address).await;
            assert_eq!(stage::exchange(&mut vendor, &request).await.status, 200);
        }
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    }
}

/// H4: a connection that carried a good request gives nothing to the next one on it.
#[tokio::test(flavor = "multi_thread")]
async fn good_request_gives_the_next_on_its_connection_nothing() {
    let stage = proven_by_bodies(Limits::default()).await;
    let mut held = Vec::new();
    for n in 0..5 {
        let (body, tag) = signed(&format!("good-{n}"), 100);
        let mut stream = connect_from("127.0.0.1", stage.address).await;
        let good = stage::request("POST", "/in", &[("x-sign", &tag)], body.as_bytes());
        assert_eq!(stage::exchange(&mut stream, &good).await.status, 200);
        let head = format!(
            "POST /in HTTP/1.1\r\nhost: x\r\nx-sign: {}\r\ncontent-length: {}\r\n\r\n",
            "0".repeat(64),
            16 << 20
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 65536]).await.unwrap();
        held.push(stream);
    }
    for n in 0..6 {
        let (body, tag) = signed(&format!("after-{n}"), 100);
        let begin = Instant::now();
        assert_eq!(stage.send(&[("x-sign", &tag)], &body).await.status, 200);
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn requests_come_from_allowed_sources_alone() {
    let stage = Stage::auth0().await;
    stage.endpoint.admit_only(vec!["127.0.0.2".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]);
    let request = stage::request("POST", &stage.endpoint.path, &[("x-api-key", KEY)], EVENT.as_bytes());
    for (from, status) in [("127.0.0.2", 200), ("127.0.0.1", 403), ("127.0.0.3", 403)] {
        let mut stream = connect_from(from, stage.address).await;
        assert_eq!(stage::exchange(&mut stream, &request).await.status, status, "{from}");
    }
    assert_eq!(stage.endpoint.tally().last_rejected.unwrap().1, "source_not_allowed");
}

/// Whether the other side closed the connection, and what it had said before.
async fn closed<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut said = Vec::new();
    let reading = async {
        // A connection that is reset is closed too.
        let _ = stream.read_to_end(&mut said).await;
    };
    tokio::time::timeout(Duration::from_secs(15), reading).await.expect("it was never closed");
    String::from_utf8_lossy(&said).into_owned()
}
