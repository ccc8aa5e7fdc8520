//! Memory of bodies: senders wait before they are refused, and can read their answer.

use std::time::{Duration, Instant};

use forebay::receive::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::{EVENT, connect_from, proven_by_bodies, signed};
use crate::receiving::stage::{self, KEY, Stage};

/// M3: forty deliveries of 1 MiB at once, each over a while, of a vendor that proves itself by the body.
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_beyond_the_budget_wait_and_are_accepted() {
    let stage = proven_by_bodies(Limits::default()).await;
    let address = stage.address;
    let mut deliveries = JoinSet::new();
    for n in 0..40 {
        deliveries.spawn(async move {
            let (body, tag) = signed(&n.to_string(), 1 << 20);
            let mut stream = connect_from("127.0.0.1", address).await;
            let bytes = stage::request("POST", "/in", &[("x-sign", &tag)], body.as_bytes());
            for part in bytes.chunks(bytes.len() / 10 + 1) {
                stream.write_all(part).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            stage::read_reply(&mut stream).await.unwrap().status
        });
    }
    assert_eq!(deliveries.join_all().await, [200; 40]);
}

/// L8: what just fits is taken where the head does not prove the sender.
#[tokio::test]
async fn body_of_the_greatest_size_is_accepted_on_an_idle_server() {
    let limits = Limits { body: 3 << 20, ..Limits::default() };
    let stage = proven_by_bodies(limits).await;
    for less in [0, 1, 100, 700, 5000] {
        let (body, tag) = signed(&less.to_string(), (3 << 20) - less);
        assert_eq!(stage.send(&[("x-sign", &tag)], &body).await.status, 200, "{less} bytes less");
    }
    let (body, tag) = signed("more", (3 << 20) + 1);
    assert_eq!(stage.send(&[("x-sign", &tag)], &body).await.status, 413);
}

/// Who is refused in the middle of its body can finish sending and read why.
#[tokio::test]
async fn sender_that_is_refused_early_reads_its_answer() {
    let stage = Stage::auth0().await;
    let path = &stage.endpoint.path;
    for length in [1 << 20, 4 << 20] {
        let mut stream = connect_from("127.0.0.1", stage.address).await;
        let bytes = stage::request("POST", path, &[("x-api-key", "wrong")], &vec![b'x'; length]);
        for part in bytes.chunks(64 << 10) {
            stream.write_all(part).await.expect("the connection was closed before everything was sent");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(stage::read_reply(&mut stream).await.unwrap().status, 401);
    }
    // Also where HTTP itself refuses the head.
    let mut stream = connect_from("127.0.0.1", stage.address).await;
    stream.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
    for _ in 0..10 {
        stream
            .write_all(&[b'x'; 10_000])
            .await
            .expect("the connection was closed before everything was sent");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut said = vec![0; 12];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(said, b"HTTP/1.1 400");
}

/// M2: two bodies that inflate to nearly the bound come one after the other; small ones pass meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn large_compressed_bodies_take_turns_and_small_ones_pass() {
    const MOST: usize = 6 << 20;
    let limits = Limits { body: 4 << 20, inflated: MOST, in_flight: MOST, ..Limits::default() };
    let stage = Stage::auth0_within(limits).await;
    let noise = |length: usize| {
        let mut bytes = vec![0; length];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        data_encoding::BASE64.encode(&bytes)
    };
    let body = || {
        let line = |n: usize| {
            format!(
                r#"{{"log_id":"{n}","data":{{"date":"d","type":"s","log_id":"{n}","x":"{}{}"}}}}"#,
                noise(4000),
                "a".repeat(5000)
            )
        };
        let lines: Vec<String> = (0..500).map(line).collect();
        let plain = lines.join("\n");
        assert!(plain.len() > MOST * 3 / 4 && plain.len() < MOST, "{}", plain.len());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, plain.as_bytes()).unwrap();
        gzip.finish().unwrap()
    };
    let bodies: Vec<Vec<u8>> = (0..4).map(|_| body()).collect();
    let headers = [("x-api-key", KEY), ("content-encoding", "gzip")];
    let large = async {
        let send = |body| stage.send(&headers, body);
        let (a, b, c, d) =
            tokio::join!(send(&bodies[0]), send(&bodies[1]), send(&bodies[2]), send(&bodies[3]));
        [a.status, b.status, c.status, d.status]
    };
    let small = async {
        for _ in 0..20 {
            let begin = Instant::now();
            assert_eq!(stage.post(EVENT).await.status, 200);
            assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (statuses, ()) = tokio::join!(large, small);
    assert_eq!(statuses, [200; 4]);
}
