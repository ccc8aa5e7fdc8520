//! The http sink: what each status means, and that a bad record never takes good ones with it.

use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay::call::transport::{HttpTransport, Options};
use forebay::connector::secret::Secret;
use forebay::deliver::config::{HttpFormat, HttpTarget, SinkConfig, Target};
use forebay::deliver::sinks::{Outside, check};
use forebay::deliver::{Outcome, Sink, SinkStatus};
use http_body_util::Full;

use super::queue::MemoryQueue;
use super::server::{Answer, Got, Server, status};
use super::{Work, outside, record, sink, until};

const KEY: &str = "Splunk 5e54-very-secret-5e54";

pub fn target(server: &Server) -> HttpTarget {
    HttpTarget {
        url: server.url.clone(),
        headers: vec![("authorization".to_owned(), Secret::new(KEY).unwrap().into())],
        format: HttpFormat::JsonLines,
        gzip: false,
        count: 100,
        bytes: 1 << 20,
        age: Duration::ZERO,
    }
}

fn calling() -> Outside {
    let options =
        Options { operators_own: true, total_timeout: Duration::from_secs(5), ..Options::default() };
    Outside { transport: Arc::new(HttpTransport::new(options).unwrap()), ..outside() }
}

pub fn http(target: HttpTarget) -> Box<dyn Sink> {
    sink(Target::Http(target), &calling())
}

/// Records of all requests that were answered 200, in order.
type Kept = Arc<Mutex<Vec<Vec<u8>>>>;

/// A server that judges the records it is given; what it takes is kept.
async fn judging(judge: impl Fn(usize, &Got) -> u16 + Send + Sync + 'static) -> (Server, Kept) {
    let kept = Kept::default();
    let keeps = kept.clone();
    let server = Server::start(move |n, got| {
        let code = judge(n, got);
        if code == 200 {
            keeps.lock().unwrap().extend(got.lines());
        }
        status(code)
    })
    .await;
    (server, kept)
}

#[tokio::test]
async fn every_status_means_what_the_table_says() {
    enum Means {
        Done,
        Again,
        Blocked,
        Refused,
    }
    use Means::{Again, Blocked, Done, Refused};
    let table = [
        (200, Done),
        (201, Done),
        (202, Done),
        (204, Done),
        (301, Blocked),
        (302, Blocked),
        (304, Blocked),
        (307, Blocked),
        (400, Refused),
        (401, Blocked),
        (403, Blocked),
        (404, Blocked),
        (405, Blocked),
        (408, Again),
        (409, Blocked),
        (410, Blocked),
        (413, Refused),
        (415, Blocked),
        (422, Refused),
        (429, Again),
        (500, Again),
        (502, Again),
        (503, Again),
        (504, Again),
        (599, Again),
    ];
    let queue = MemoryQueue::holding(0..1);
    let chunk = queue.chunk_at(0, 10, 1 << 20).unwrap();
    for (code, means) in table {
        let server = Server::start(move |_, _| status(code)).await;
        let said = http(target(&server)).deliver(&chunk).await;
        let right = match (&means, &said) {
            (Done, Outcome::Done { done: 1, refused, .. }) => refused.is_empty(),
            (Refused, Outcome::Done { done: 1, refused, .. }) => refused.len() == 1,
            (Again, Outcome::RetryAfter { blocked, .. }) => !blocked,
            (Blocked, Outcome::RetryAfter { blocked, .. }) => *blocked,
            _ => false,
        };
        assert!(right, "{code}: {said:?}");
        assert_eq!(server.count(), 1, "{code} is answered once: nothing follows a redirect");
    }
}

#[tokio::test]
async fn bad_records_are_found_by_halving_and_the_others_arrive_in_order() {
    for code in [400, 422] {
        let bad = |n: &usize| [3, 4, 77, 149].contains(n);
        let (server, kept) = judging(move |_, got| {
            if got.lines().iter().any(|l| (0..150).filter(bad).any(|n| *l == record(n))) { code } else { 200 }
        })
        .await;
        let queue = MemoryQueue::holding(0..150);
        let work = Work::start(http(target(&server)), &queue);
        until("all are done", || queue.position() == 150).await;
        work.stop().await.unwrap();
        let expected: Vec<_> = (0..150).filter(|n| !bad(n)).map(record).collect();
        assert!(*kept.lock().unwrap() == expected);
        let dead: Vec<_> = queue.dead.lock().unwrap().iter().map(|dead| dead.bytes.to_vec()).collect();
        assert!(dead == (0..150).filter(bad).map(record).collect::<Vec<_>>());
        assert!(server.count() < 40, "halving takes few requests: {}", server.count());
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved_and_a_record_that_is_too_large_is_refused() {
    let (server, kept) = judging(|_, got| if got.body.len() > 2000 { 413 } else { 200 }).await;
    let queue = MemoryQueue::holding(0..100);
    let giant = [b"{\"giant\":\"", &vec![b'x'; 3000][..], b"\"}"].concat();
    queue.push([giant.clone()]);
    queue.push((100..200).map(record));
    let work = Work::start(http(target(&server)), &queue);
    until("all are done", || queue.position() == 201).await;
    work.stop().await.unwrap();
    assert!(*kept.lock().unwrap() == (0..200).map(record).collect::<Vec<_>>());
    let dead = queue.dead.lock().unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].bytes, giant);
    assert!(dead[0].detail.contains("413"), "{}", dead[0].detail);
}

#[tokio::test]
async fn an_error_of_the_server_is_never_success_and_the_same_batch_keeps_its_key() {
    // 500, a broken connection, 429, then all is well.
    let server = Server::start(|n, _| match n {
        0 => status(500),
        1 => None,
        2 => status(429),
        _ => status(200),
    })
    .await;
    let queue = MemoryQueue::holding(0..10);
    let work = Work::start(http(target(&server)), &queue);
    until("all are done", || queue.position() == 10).await;
    queue.push((10..20).map(record));
    until("the next are done", || queue.position() == 20).await;
    work.stop().await.unwrap();
    let got = server.got.lock().unwrap();
    assert_eq!(got.len(), 5);
    let keys: Vec<_> = got.iter().map(|got| got.header("idempotency-key").to_owned()).collect();
    assert!(keys[..4].iter().all(|key| *key == keys[0] && key.len() == 32), "{keys:?}");
    assert_ne!(keys[4], keys[0]);
    assert!(got[..4].iter().all(|again| again.body == got[0].body));
    assert!(queue.dead.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_sink_comes_back_no_sooner_than_it_was_asked_to() {
    let server = Server::start(|n, _| {
        let mut answer = status(if n == 0 { 429 } else { 200 })?;
        answer.headers_mut().insert("retry-after", "1".parse().unwrap());
        Some(answer)
    })
    .await;
    let queue = MemoryQueue::holding(0..10);
    let before = Instant::now();
    let work = Work::start(http(target(&server)), &queue);
    until("all are done", || queue.position() == 10).await;
    work.stop().await.unwrap();
    assert!(before.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn a_held_sink_is_tried_until_somebody_mends_it() {
    let server = Server::start(|n, _| status(if n < 5 { 401 } else { 200 })).await;
    let queue = MemoryQueue::holding(0..10);
    let mut work = Work::start(http(target(&server)), &queue);
    work.status
        .wait_for(|status| matches!(status, SinkStatus::Blocked(why) if why.contains("401")))
        .await
        .unwrap();
    until("all are done", || queue.position() == 10).await;
    work.stop().await.unwrap();
    assert_eq!(server.count(), 6);
}

#[tokio::test]
async fn portions_are_bounded_by_count_and_by_bytes() {
    for format in [HttpFormat::JsonLines, HttpFormat::Array] {
        let server = Server::start(|_, _| status(200)).await;
        let target = HttpTarget { count: 30, bytes: 2000, format, ..target(&server) };
        let queue = MemoryQueue::holding(0..200);
        let work = Work::start(http(target), &queue);
        until("all are done", || queue.position() == 200).await;
        work.stop().await.unwrap();
        let got = server.got.lock().unwrap();
        assert!(got.iter().all(|got| got.body.len() <= 2000));
        assert!(got.len() < 15, "requests are filled: {}", got.len());
    }
}

#[tokio::test]
async fn bodies_are_lines_or_arrays_plain_or_gzip_byte_for_byte() {
    let odd = br#"{"n":1.0,"big":1635984900418,"a":1,"a":2,"esc":"\u00e9\/"}"#.to_vec();
    for (format, gzip) in [
        (HttpFormat::JsonLines, false),
        (HttpFormat::JsonLines, true),
        (HttpFormat::Array, false),
        (HttpFormat::Array, true),
    ] {
        let server = Server::start(|_, _| status(200)).await;
        let queue = Arc::new(MemoryQueue::default());
        queue.push([odd.clone(), record(1)]);
        let work = Work::start(http(HttpTarget { format, gzip, ..target(&server) }), &queue);
        until("all are done", || queue.position() == 2).await;
        work.stop().await.unwrap();
        let got = server.got.lock().unwrap()[0].clone();
        let (media, expected) = match format {
            HttpFormat::JsonLines => ("application/x-ndjson", [&odd[..], b"\n", &record(1), b"\n"].concat()),
            HttpFormat::Array => ("application/json", [b"[", &odd[..], b",", &record(1), b"]"].concat()),
        };
        assert_eq!(got.header("content-type"), media);
        assert_eq!(got.header("content-encoding"), if gzip { "gzip" } else { "" });
        assert_eq!(got.header("authorization"), KEY);
        let mut body = got.body.to_vec();
        if gzip {
            body.clear();
            flate2::read::GzDecoder::new(&got.body[..]).read_to_end(&mut body).unwrap();
        }
        assert_eq!(body, expected);
    }
}

/// An answer that repeats the secret it was sent.
fn echo(code: u16, got: &Got) -> Answer {
    let mut answer = status(code)?;
    *answer.body_mut() =
        Full::new(Bytes::from(format!("no {} \u{1b}[31m here", got.header("authorization"))));
    Some(answer)
}

#[tokio::test]
async fn a_private_header_is_sent_and_nowhere_printed() {
    let log: Arc<Mutex<Vec<u8>>> = Arc::default();
    let out: Arc<Mutex<dyn Write + Send>> = log.clone();
    let subscriber =
        forebay::run::log::subscriber(out, forebay::run::log::Format::Json, tracing::Level::TRACE);
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Server::start(|n, got| echo([401, 500, 400][n.min(2)], got)).await;
    let queue = MemoryQueue::holding(0..1);
    let mut work = Work::start(http(target(&server)), &queue);
    let held = work.status.wait_for(|status| matches!(status, SinkStatus::Blocked(_))).await.unwrap().clone();
    until("it is a dead letter", || queue.position() == 1).await;
    work.stop().await.unwrap();
    assert!(server.got.lock().unwrap().iter().all(|got| got.header("authorization") == KEY));
    let detail = queue.dead.lock().unwrap()[0].detail.clone();
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(log.contains("sink_blocked"), "{log}");
    for text in [format!("{held:?}"), detail, log] {
        assert!(text.contains("****"), "the sentence is there: {text}");
        assert!(!text.contains("very-secret") && !text.contains('\u{1b}'), "{text}");
        assert!(!text.contains("source=forebay"), "a query may hold a secret: {text}");
    }
    assert!(!format!("{:?}", target(&server)).contains("very-secret"));
}

#[tokio::test]
async fn a_server_that_never_answers_stops_neither_another_sink_nor_the_end() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (server, kept) = judging(|_, _| 200).await;
    let dead_end = HttpTarget {
        url: format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap(),
        ..target(&server)
    };
    let (one, other) = (MemoryQueue::holding(0..50), MemoryQueue::holding(0..50));
    let pace = forebay::deliver::backoff::Pace { drain: Duration::from_millis(100), ..super::quick() };
    let stuck = Work::named("stuck", http(dead_end), &one, one.cursor(), pace);
    let work = Work::start(http(target(&server)), &other);
    until("all are done", || other.position() == 50).await;
    assert_eq!(kept.lock().unwrap().len(), 50);
    let before = Instant::now();
    stuck.stop().await.unwrap();
    work.stop().await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(3));
    assert_eq!(one.position(), 0);
    assert_eq!(one.advances.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_before_anything_starts() {
    let server = Server::start(|_, _| status(200)).await;
    let secret = |text| Secret::new(text).unwrap();
    let with = |name: &str, value| HttpTarget {
        headers: vec![(name.to_owned(), secret(value).into())],
        ..target(&server)
    };
    let wrong = [
        (with("bad name", "x"), "no name of an HTTP header"),
        (with("x-key", "hidden-value\n"), "characters that no header can have"),
        (with("Host", "x"), "set by the sink itself"),
        (HttpTarget { url: "ftp://h/".parse().unwrap(), ..target(&server) }, "neither https nor http"),
        (
            HttpTarget { url: "https://me:hidden-value@h/".parse().unwrap(), ..target(&server) },
            "a user or a password",
        ),
    ];
    for (target, why) in wrong {
        let error = check(&SinkConfig { name: "siem".to_owned(), target: Target::Http(target) }).unwrap_err();
        let said = error.to_string();
        assert!(
            said.starts_with("sink siem: ") && said.contains(why) && !said.contains("hidden-value"),
            "{said}"
        );
    }
    check(&SinkConfig { name: "siem".to_owned(), target: Target::Http(target(&server)) }).unwrap();
}

#[tokio::test]
async fn taken_records_stay_taken_however_long_the_answer_is() {
    let long = |code: u16| {
        let mut response = http::Response::new(Full::new(Bytes::from(vec![b'a'; 9 << 20])));
        *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
        Some(response)
    };
    let queue = MemoryQueue::holding(0..1);
    let chunk = queue.chunk_at(0, 10, 1 << 20).unwrap();
    let server = Server::start(move |_, _| long(200)).await;
    let said = http(target(&server)).deliver(&chunk).await;
    assert!(matches!(&said, Outcome::Done { done: 1, refused, .. } if refused.is_empty()), "{said:?}");
    let server = Server::start(move |_, _| long(503)).await;
    let said = http(target(&server)).deliver(&chunk).await;
    assert!(matches!(&said, Outcome::RetryAfter { blocked: false, .. }), "{said:?}");
}
