//! Behind proxies: the PROXY protocol, `Forwarded` and `X-Forwarded-For`.

use std::time::Duration;

use forebay::receive::{Limits, Proxies};
use tokio::io::AsyncWriteExt;

use super::{EVENT, closed, connect_from};
use crate::receiving::stage::{self, KEY, Stage};

pub(super) fn behind(protocol: bool, trusted: &str) -> Limits {
    let proxies = Proxies { protocol, trusted: vec![trusted.parse().unwrap()] };
    Limits { proxies, header_time: Duration::from_millis(500), ..Limits::default() }
}

pub(super) fn v2(source: [u8; 4]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    bytes.extend(source);
    bytes.extend([127, 0, 0, 1, 0, 80, 0, 80]);
    bytes
}

#[tokio::test]
async fn proxy_header_names_the_client_and_without_it_the_connection_is_closed() {
    let stage = Stage::auth0_within(behind(true, "127.0.0.1")).await;
    stage.endpoint.admit_only(vec!["192.0.2.0/24".parse().unwrap()]);
    let request = stage::request("POST", &stage.endpoint.path, &[("x-api-key", KEY)], EVENT.as_bytes());
    for (header, expected) in [
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 5 80\r\n".to_vec(), " 200 "),
        (v2([192, 0, 2, 7]), " 200 "),
        (v2([198, 51, 100, 7]), " 403 "),
        // A health check of the proxy itself.
        (b"PROXY UNKNOWN\r\n".to_vec(), " 403 "),
        (b"".to_vec(), ""),
        (b"PROXY TCP4 nonsense\r\n".to_vec(), ""),
    ] {
        let mut stream = connect_from("127.0.0.1", stage.address).await;
        stream.write_all(&[&header[..], &request].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
        let said = closed(&mut stream).await;
        let shown = header.escape_ascii();
        assert!(
            if expected.is_empty() { said.is_empty() } else { said.contains(expected) },
            "{shown}: {said}"
        );
    }
    // One that no trusted proxy made.
    let mut stream = connect_from("127.0.0.2", stage.address).await;
    let _ = stream.write_all(&[&v2([192, 0, 2, 7])[..], &request].concat()).await;
    assert_eq!(closed(&mut stream).await, "");
    // One that says nothing.
    let mut silent = connect_from("127.0.0.1", stage.address).await;
    assert_eq!(closed(&mut silent).await, "");
}

#[tokio::test]
async fn forwarded_headers_count_on_connections_of_trusted_proxies_alone() {
    let stage = Stage::auth0_within(behind(false, "127.0.0.1")).await;
    stage.endpoint.admit_only(vec!["192.0.2.0/24".parse().unwrap()]);
    let xff = "x-forwarded-for";
    for (from, headers, status) in [
        ("127.0.0.1", vec![(xff, "192.0.2.1")], 200),
        ("127.0.0.1", vec![(xff, "198.51.100.1, 192.0.2.1")], 200),
        ("127.0.0.1", vec![("forwarded", "for=192.0.2.1;proto=https")], 200),
        // What the client sent stands to the left of what the proxy added.
        ("127.0.0.1", vec![(xff, "192.0.2.1, 198.51.100.1")], 403),
        ("127.0.0.1", vec![(xff, "192.0.2.1"), (xff, "198.51.100.1")], 403),
        ("127.0.0.1", vec![("forwarded", "for=192.0.2.1"), (xff, "198.51.100.1")], 403),
        ("127.0.0.1", vec![], 403),
        ("127.0.0.2", vec![(xff, "192.0.2.1")], 403),
    ] {
        let all: Vec<_> = headers.iter().copied().chain([("x-api-key", KEY)]).collect();
        let request = stage::request("POST", &stage.endpoint.path, &all, EVENT.as_bytes());
        let mut stream = connect_from(from, stage.address).await;
        assert_eq!(stage::exchange(&mut stream, &request).await.status, status, "{from} {headers:?}");
    }
}

/// A trusted proxy's own address has no limit; its clients have theirs.
#[tokio::test]
async fn clients_behind_one_proxy_have_their_own_share() {
    let limits = Limits { body: 4096, in_flight_strangers: 300 << 10, ..behind(false, "127.0.0.1") };
    let stage = super::proven_by_bodies(limits).await;
    let begin = |from: &str| {
        format!(
            "POST /in HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {from}\r\ncontent-length: 4096\r\n\r\n{}",
            "x".repeat(2000)
        )
    };
    // The vendor begins first, and is slow.
    let (body, tag) = super::signed("1", 3000);
    let mut vendor = connect_from("127.0.0.1", stage.address).await;
    let head = format!(
        "POST /in HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.1\r\nx-sign: {tag}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    vendor.write_all(head.as_bytes()).await.unwrap();
    vendor.write_all(&body.as_bytes()[..1500]).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..100 {
        let mut stream = connect_from("127.0.0.1", stage.address).await;
        stream.write_all(begin("198.51.100.1").as_bytes()).await.unwrap();
        others.push(stream);
    }
    assert_eq!(stage::read_reply(&mut others[0]).await.unwrap().status, 503);
    vendor.write_all(&body.as_bytes()[1500..]).await.unwrap();
    assert_eq!(stage::read_reply(&mut vendor).await.unwrap().status, 200);
}
