//! Two instances of one listener: requests for one of them, from many clients, keep no vendor of the other one out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::connector::clock::SystemClock;
use forebay::receive::{Endpoint, Limits};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::proxies::behind;
use super::{connect_from, signed};
use crate::receiving::stage::{self, KEY, Memory, Stage};

const VENDOR: &str = "192.0.2.1";

/// Two instances, at `/in/a` and `/in/b`, whose requests are proven by their bodies or by their heads.
async fn two(verify: &str, limits: Limits) -> Stage {
    let receiver = format!(
        "  path: /in/{{{{ instance.id }}}}\n  verify: {verify}\n  decode: {{format: json}}\n  event: {{id: /id}}\n  \
         respond: {{accepted: {{status: 200}}}}\n"
    );
    let (connector, memory) = (stage::connector(&receiver), Arc::new(Memory::default()));
    let endpoint = |id: &str| {
        let instance = stage::instance(connector.clone(), id, &[("key", KEY)]);
        let (queue, clock) = (memory.clone(), Arc::new(SystemClock));
        Endpoint::new(instance, queue, clock, stage::nowhere(), &limits).unwrap()
    };
    let endpoints = vec![endpoint("a"), endpoint("b")];
    Stage::several(endpoints, limits, None, memory).await
}

const BODY: &str = "{kind: hmac, hash: sha256, key: \"{{ secrets.key }}\", message: \"{{ request.body }}\", \
                    signature: {header: x-sign, encoding: hex}}";
const HEAD: &str = "{kind: token, header: x-api-key, equals: \"{{ secrets.key }}\"}";

/// Requests for instance `a` that announce a body and send a byte of it a second. Each comes from a client of its own,
/// and comes again from another when it was refused.
fn flood(stage: &Stage, count: usize, head: &'static str) -> JoinSet<()> {
    let (address, mut flood) = (stage.address, JoinSet::new());
    for n in 0..count {
        flood.spawn(async move {
            for again in 0.. {
                let mut stream = connect_from("127.0.0.1", address).await;
                let client = 10_000 * again + n;
                let from = format!("10.{}.{}.{}", client >> 16 & 255, client >> 8 & 255, client & 255);
                let start =
                    format!("POST /in/a HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {from}\r\n{head}\r\n\r\n");
                let mut sent = stream.write_all(start.as_bytes()).await;
                while sent.is_ok() {
                    tokio::select! {
                        _ = stage::read_reply(&mut stream) => break,
                        () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    }
                    sent = stream.write_all(b"x").await;
                }
            }
        });
    }
    flood
}

/// The vendor of instance `b`: sends its body in ten parts over a time.
async fn deliver(stage: &Stage, n: usize, length: usize, time: Duration) -> (u16, Duration) {
    let (body, tag) = signed(&n.to_string(), length);
    let headers = [("x-forwarded-for", VENDOR), ("x-sign", &tag), ("x-api-key", KEY)];
    let bytes = stage::request("POST", "/in/b", &headers, body.as_bytes());
    let mut stream: TcpStream = connect_from("127.0.0.1", stage.address).await;
    let begin = Instant::now();
    for part in bytes.chunks(bytes.len() / 10 + 1) {
        if stream.write_all(part).await.is_err() {
            break;
        }
        tokio::time::sleep(time / 10).await;
    }
    let status = stage::read_reply(&mut stream).await.map_or(0, |reply| reply.status);
    (status, begin.elapsed())
}

async fn vendor_gets_through(stage: &Stage, length: usize) {
    for n in 0..4 {
        let (status, took) = deliver(stage, n, length, Duration::from_millis(1500)).await;
        assert_eq!(status, 200, "delivery {n} of {length} bytes, after {took:?}");
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
}

/// Small bodies: the vendor begins first and is slow, so that by age it would lose first.
#[tokio::test(flavor = "multi_thread")]
async fn small_requests_for_one_instance_leave_another_its_room() {
    let stage = two(BODY, Limits { in_flight_strangers: 1 << 20, ..behind(false, "127.0.0.1") }).await;
    let vendor = deliver(&stage, 99, 3000, Duration::from_secs(3));
    let floods = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        flood(&stage, 400, "x-sign: 00\r\ncontent-length: 4096")
    };
    let ((status, took), flood) = tokio::join!(vendor, floods);
    assert_eq!(status, 200, "after {took:?}");
    vendor_gets_through(&stage, 3000).await;
    drop(flood);
}

#[tokio::test(flavor = "multi_thread")]
async fn middling_requests_for_one_instance_leave_another_its_room() {
    let stage = two(BODY, behind(false, "127.0.0.1")).await;
    let flood = flood(&stage, 300, "x-sign: 00\r\ncontent-length: 70000");
    tokio::time::sleep(Duration::from_secs(1)).await;
    vendor_gets_through(&stage, 3 << 19).await;
    drop(flood);
}

#[tokio::test(flavor = "multi_thread")]
async fn authenticated_requests_of_one_instance_leave_another_its_room() {
    let limits = Limits { in_flight: 16 << 20, ..behind(false, "127.0.0.1") };
    let stage = two(HEAD, limits).await;
    let flood = flood(&stage, 300, "x-api-key: correct horse battery staple\r\ncontent-length: 500000");
    tokio::time::sleep(Duration::from_secs(1)).await;
    vendor_gets_through(&stage, 2 << 20).await;
    drop(flood);
}
