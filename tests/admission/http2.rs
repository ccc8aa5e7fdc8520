//! HTTP/2, over TLS and in plain: cut prefaces, and streams that are reset at each stage of a request.

use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay::receive::Limits;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::tls::over_tls;
use super::{EVENT, closed, connect_from, proven_by_bodies, signed};
use crate::receiving::stage::{self, KEY, Stage};
use crate::tls::Pair;

pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

pub async fn plain(stage: &Stage) -> SendRequest<Bytes> {
    handshake(connect_from("127.0.0.1", stage.address).await).await
}

/// Sends a head, and gives what its body and its answer go through.
pub async fn begin(
    client: &mut SendRequest<Bytes>,
    path: &str,
    headers: &[(&str, &str)],
    ends: bool,
) -> (ResponseFuture, SendStream<Bytes>) {
    let mut ready = client.clone().ready().await.unwrap();
    let mut request = http::Request::post(format!("http://localhost{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ready.send_request(request.body(()).unwrap(), ends).unwrap()
}

pub async fn status(answer: ResponseFuture) -> u16 {
    tokio::time::timeout(Duration::from_secs(20), answer).await.expect("no answer").unwrap().status().as_u16()
}

/// Sends as much as the window takes, so that everything is on its way when this returns.
pub async fn send(stream: &mut SendStream<Bytes>, body: Bytes, ends: bool) {
    let mut rest = body;
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(Ok(room)) = room else { return };
        let part = rest.split_to(room.min(rest.len()));
        if stream.send_data(part, ends && rest.is_empty()).is_err() {
            return;
        }
    }
}

/// D25: HTTP/2 with prior knowledge, without TLS.
#[tokio::test]
async fn plain_http2_with_prior_knowledge_is_served() {
    let stage = Stage::auth0().await;
    let mut client = plain(&stage).await;
    for (key, expected) in [(KEY, 200), ("wrong", 401)] {
        let (answer, mut body) = begin(&mut client, &stage.endpoint.path, &[("x-api-key", key)], false).await;
        send(&mut body, Bytes::from_static(EVENT.as_bytes()), true).await;
        assert_eq!(status(answer).await, expected);
    }
    assert_eq!(stage.memory.bodies().len(), 1);
}

#[tokio::test]
async fn preface_cut_at_any_byte_ends_that_connection_alone() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let limits = Limits { header_time: Duration::from_millis(200), ..Limits::default() };
    let stage = Stage::auth0_within(limits).await;
    for end in 1..=PREFACE.len() {
        let mut closes = connect_from("127.0.0.1", stage.address).await;
        closes.write_all(&PREFACE[..end]).await.unwrap();
        closes.shutdown().await.unwrap();
        let said = closed(&mut closes).await;
        assert!(!said.contains(" 200 "), "{end}: {said}");
        let mut other = connect_from("127.0.0.1", stage.address).await;
        other.write_all(&PREFACE[..end]).await.unwrap();
        other.write_all(b"XX / HTTP/1.1\r\n\r\n").await.unwrap();
        other.shutdown().await.unwrap();
        assert!(!closed(&mut other).await.contains(" 200 "), "{end}");
    }
    // In pieces it is a preface all the same.
    let mut silent = connect_from("127.0.0.1", stage.address).await;
    silent.write_all(&PREFACE[..10]).await.unwrap();
    let begin = Instant::now();
    closed(&mut silent).await;
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_eq!(stage.post(EVENT).await.status, 200);
}

/// What is left behind by a thousand resets would use up budgets that hold a few requests.
#[tokio::test(flavor = "multi_thread")]
async fn streams_reset_at_each_stage_leave_nothing_held() {
    let body = 1 << 20;
    let limits =
        Limits { body, inflated: body, in_flight: body, in_flight_strangers: 1 << 20, ..Limits::default() };
    for encrypted in [false, true] {
        let (pair, certificate) = Pair::new();
        let tls = encrypted.then(|| pair.load(Duration::from_secs(60)));
        let instance = stage::instance(stage::auth0(), "acme", &[("monad_api_key", KEY)]);
        let stage = Stage::with(instance, limits.clone(), tls).await;
        let client = if encrypted { over_tls(&stage, &certificate).await } else { plain(&stage).await };
        reset_at_each_stage(&stage, client).await;
    }
}

async fn reset_at_each_stage(stage: &Stage, mut client: SendRequest<Bytes>) {
    let event = |n: usize| {
        format!(
            r#"{{"log_id":"{n}","data":{{"date":"d","type":"s","log_id":"{n}","x":"{}"}}}}"#,
            "y".repeat(900)
        )
    };
    let large = Bytes::from((0..800).map(event).collect::<Vec<_>>().join("\n"));
    let length = large.len().to_string();
    let key = [("x-api-key", KEY), ("content-length", length.as_str())];
    for round in 0..60 {
        // Before the body, in it, and while it is decoded.
        let (_answer, mut stream) = begin(&mut client, &stage.endpoint.path, &key, false).await;
        match round % 3 {
            0 => {}
            1 => send(&mut stream, large.slice(..large.len() / 2), false).await,
            _ => send(&mut stream, large.clone(), true).await,
        }
        stream.send_reset(Reason::CANCEL);
    }
    // While the queue takes its time.
    {
        let _held = stage.memory.hold.lock().await;
        for _ in 0..20 {
            let (_answer, mut stream) = begin(&mut client, &stage.endpoint.path, &key[..1], false).await;
            send(&mut stream, Bytes::from_static(EVENT.as_bytes()), true).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            stream.send_reset(Reason::CANCEL);
        }
    }
    let begun = Instant::now();
    let (answer, mut stream) = begin(&mut client, &stage.endpoint.path, &key, false).await;
    send(&mut stream, large, true).await;
    assert_eq!(status(answer).await, 200);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

/// M4: answers that nobody reads are counted, and the connection that holds many of them ends.
#[tokio::test(flavor = "multi_thread")]
async fn unread_answers_of_one_client_end_its_connections() {
    let limits = Limits { in_flight_strangers: 1 << 20, ..Limits::default() };
    let stage = proven_by_bodies(limits).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let stream = connect_from("127.0.0.2", stage.address).await;
        let (mut client, connection) =
            h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(stream).await.unwrap();
        let ended = tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut answers = Vec::new();
        for _ in 0..32 {
            let Ok(ready) = client.clone().ready().await else { break };
            client = ready;
            let request = http::Request::post("http://localhost/in").header("x-sign", "00").body(()).unwrap();
            let Ok((answer, _)) = client.send_request(request, true) else { break };
            answers.push(answer);
        }
        held.push((client, answers, ended));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ended = held.iter().filter(|(_, _, ended)| ended.is_finished()).count();
    // 20 times 32 requests take three times the room that there is.
    assert!(ended >= 8, "{ended} connections ended");
    let (body, tag) = signed("1", 1000);
    assert_eq!(stage.send(&[("x-sign", &tag)], &body).await.status, 200);
}

#[tokio::test]
async fn http2_body_of_the_greatest_size_is_accepted() {
    let limits = Limits { body: 3 << 20, ..Limits::default() };
    let stage = proven_by_bodies(limits).await;
    let mut client = plain(&stage).await;
    for announced in [true, false] {
        let (body, tag) = signed(&announced.to_string(), 3 << 20);
        let length = body.len().to_string();
        let headers = [("x-sign", tag.as_str()), ("content-length", length.as_str())];
        let headers = if announced { &headers[..] } else { &headers[..1] };
        let (answer, mut stream) = begin(&mut client, "/in", headers, false).await;
        send(&mut stream, Bytes::from(body), true).await;
        assert_eq!(status(answer).await, 200, "announced: {announced}");
    }
}
