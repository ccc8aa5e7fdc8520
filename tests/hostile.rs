//! Hostile senders: whatever arrives, memory and time are bounded, and who has the key is served.

mod health;
mod memory;
mod siege;

use std::time::{Duration, Instant};

use forebay::queue::{DeadLetter, DeadReason, DeadWhat};
use forebay::receive::{Limits, decode_again};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::receiving::stage::{self, KEY, Stage};

const EVENT: &str = r#"{"log_id":"1","data":{"date":"d","type":"s","log_id":"1"}}"#;

async fn connect(stage: &Stage) -> TcpStream {
    TcpStream::connect(stage.address).await.unwrap()
}

/// Whether the other side closed the connection, and what it had said before.
async fn closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let reading = async {
        // A connection that is reset is closed too.
        let _ = stream.read_to_end(&mut said).await;
    };
    tokio::time::timeout(Duration::from_secs(15), reading).await.expect("it was never closed");
    String::from_utf8_lossy(&said).into_owned()
}

fn head(stage: &Stage, rest: &str) -> String {
    format!("POST {} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n{rest}", stage.endpoint.path)
}

#[tokio::test]
async fn a_head_that_comes_a_byte_at_a_time_is_cut_off() {
    let limits = Limits { header_time: Duration::from_millis(400), ..Limits::default() };
    let stage = Stage::auth0_within(limits).await;
    let mut stream = connect(&stage).await;
    let begin = Instant::now();
    let trickle = async {
        loop {
            if stream.write_all(b"P").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), trickle).await.expect("it may trickle for ever");
    assert!(begin.elapsed() >= Duration::from_millis(350));
    let mut silent = connect(&stage).await;
    closed(&mut silent).await;
}

#[tokio::test]
async fn an_idle_connection_ends_and_a_head_after_an_answer_has_its_time_too() {
    let limits = Limits {
        header_time: Duration::from_millis(300),
        idle: Duration::from_millis(900),
        ..Limits::default()
    };
    let stage = Stage::auth0_within(limits).await;
    let request = stage::request("POST", &stage.endpoint.path, &[("x-api-key", KEY)], EVENT.as_bytes());
    let mut idle = connect(&stage).await;
    assert_eq!(stage::exchange(&mut idle, &request).await.status, 200);
    // Longer than a head may take: between requests there is more time.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(stage::exchange(&mut idle, &request).await.status, 200);
    let begin = Instant::now();
    closed(&mut idle).await;
    assert!(begin.elapsed() >= Duration::from_millis(800), "{:?}", begin.elapsed());

    let mut slow = connect(&stage).await;
    assert_eq!(stage::exchange(&mut slow, &request).await.status, 200);
    slow.write_all(b"POST").await.unwrap();
    let begin = Instant::now();
    closed(&mut slow).await;
    assert!(begin.elapsed() < Duration::from_millis(800), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_body_that_never_ends_is_408_and_one_that_is_too_slow_too() {
    let limits = Limits { body_time: Duration::from_millis(600), ..Limits::default() };
    let stage = Stage::auth0_within(limits).await;
    let mut stream = connect(&stage).await;
    stream.write_all(head(&stage, "content-length: 100\r\n\r\n{").as_bytes()).await.unwrap();
    let reply = stage::read_reply(&mut stream).await.unwrap();
    assert_eq!(reply.status, 408);
    assert!(reply.json().is_object());

    let limits = Limits { body_time: Duration::from_secs(6), least_rate: 1_000_000, ..Limits::default() };
    let stage = Stage::auth0_within(limits).await;
    let mut stream = connect(&stage).await;
    stream.write_all(head(&stage, "content-length: 1000000\r\n\r\n").as_bytes()).await.unwrap();
    let begin = Instant::now();
    let (mut read, mut write) = stream.split();
    let trickle = async {
        while write.write_all(b"          ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        reply = stage::read_reply(&mut read) => assert_eq!(reply.unwrap().status, 408),
        () = trickle => panic!("closed without an answer"),
    }
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert!(stage.memory.bodies().is_empty() && stage.memory.letters().is_empty());
}

#[tokio::test]
async fn what_is_larger_than_allowed_is_413_however_it_is_announced_and_never_cut() {
    let limits = Limits { body: 10_000, ..Limits::default() };
    let stage = Stage::auth0_within(limits).await;
    let pad = |length: usize| format!("{EVENT}{}", " ".repeat(length - EVENT.len()));
    assert_eq!(stage.post(pad(10_000)).await.status, 200);
    assert_eq!(stage.post(pad(10_001)).await.status, 413);

    let mut stream = connect(&stage).await;
    stream.write_all(head(&stage, "content-length: 99999999999\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(stage::read_reply(&mut stream).await.unwrap().status, 413);

    for (length, status) in [(10_000, 200), (10_001, 413)] {
        let chunk = format!("{length:x}\r\n{}\r\n0\r\n\r\n", pad(length));
        let chunked = head(&stage, &format!("transfer-encoding: chunked\r\n\r\n{chunk}"));
        let mut stream = connect(&stage).await;
        assert_eq!(stage::exchange(&mut stream, chunked.as_bytes()).await.status, status, "{length}");
    }

    let mut stream = connect(&stage).await;
    stream.write_all(head(&stage, "transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.split();
    let endless = async {
        let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
        while write.write_all(chunk.as_bytes()).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    tokio::select! {
        reply = stage::read_reply(&mut read) => assert_eq!(reply.unwrap().status, 413),
        () = endless => {}
    }
    assert_eq!(stage.memory.bodies().len(), 1);
    assert!(stage.memory.letters().is_empty());
}

#[tokio::test]
async fn a_body_that_breaks_off_stores_nothing() {
    let stage = Stage::auth0().await;
    for rest in [
        format!("content-length: 500\r\n\r\n{EVENT}"),
        format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{EVENT}\r\n", EVENT.len()),
        format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{EVENT}\r\nzz\r\n", EVENT.len()),
    ] {
        let mut stream = connect(&stage).await;
        stream.write_all(head(&stage, &rest).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let said = closed(&mut stream).await;
        assert!(!said.contains("HTTP/1.1 2"), "{said}");
    }
    assert!(stage.memory.bodies().is_empty() && stage.memory.letters().is_empty());
}

#[tokio::test]
async fn heads_that_make_no_sense_are_4xx_and_harm_nobody() {
    let stage = Stage::auth0().await;
    let path = stage.endpoint.path.clone();
    let long = "x".repeat(200_000);
    let many: String = (0..500).map(|n| format!("a{n}: b\r\n")).collect();
    let heads = [
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nbig: {long}\r\n\r\n"),
        format!("POST {path} HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        format!("POST /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
        head(&stage, &format!("content-length: {}\r\ncontent-length: 3\r\n\r\n{EVENT}", EVENT.len())),
        head(&stage, "content-length: -1\r\n\r\n"),
        head(&stage, "content-length: 1e3\r\n\r\n"),
        head(&stage, "content-length: 99999999999999999999999\r\n\r\n"),
        format!("POST path-without-slash HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n\r\n"),
        "CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "\r\n\r\n\0\0\0".to_owned(),
    ];
    for bytes in heads {
        let mut stream = connect(&stage).await;
        let _ = stream.write_all(bytes.as_bytes()).await;
        let _ = stream.shutdown().await;
        let said = closed(&mut stream).await;
        let start: String = bytes.chars().take(60).collect();
        assert!(said.starts_with("HTTP/1.1 4"), "{start}: {said}");
    }
    assert!(stage.memory.bodies().is_empty() && stage.memory.letters().is_empty());
    assert_eq!(stage.post(EVENT).await.status, 200);
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let stage = Stage::auth0().await;
    let mut bytes = Vec::new();
    for n in 0..100 {
        let key = if n % 2 == 0 { KEY } else { "wrong" };
        let event = EVENT.replace("\"1\"", &format!("\"{n}\""));
        bytes.extend(stage::request("POST", &stage.endpoint.path, &[("x-api-key", key)], event.as_bytes()));
    }
    let last = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    bytes.extend_from_slice(last.as_bytes());
    let said = stage.raw(bytes).await;
    assert_eq!(said.matches("HTTP/1.1 ").count(), 101);
    let order: Vec<String> = said.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_owned()).collect();
    for (n, status) in order.iter().take(100).enumerate() {
        assert_eq!(status, if n % 2 == 0 { "200" } else { "401" }, "{n}");
    }
    assert_eq!(stage.memory.bodies().len(), 50);
}

#[tokio::test]
async fn who_closes_its_side_after_the_request_still_gets_the_answer() {
    let stage = Stage::auth0().await;
    let mut stream = connect(&stage).await;
    let request = stage::request("POST", &stage.endpoint.path, &[("x-api-key", KEY)], EVENT.as_bytes());
    stream.write_all(&request).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(closed(&mut stream).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(stage.memory.bodies().len(), 1);
}

#[tokio::test]
async fn who_reads_no_answers_is_cut_off() {
    let limits = Limits { body_time: Duration::from_millis(500), ..Limits::default() };
    let stage = Stage::auth0_within(limits).await;
    let mut stream = connect(&stage).await;
    let request = stage::request("POST", &stage.endpoint.path, &[("x-api-key", "wrong")], b"");
    let flood = async { while stream.write_all(&request).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(20), flood).await.expect("it may go on for ever");
    assert_eq!(stage.post(EVENT).await.status, 200);
}

#[tokio::test]
async fn thousands_of_idle_strangers_keep_no_vendor_out() {
    let limits = Limits { connections: 64, header_time: Duration::from_secs(600), ..Limits::default() };
    let stage = Stage::auth0_within(limits).await;
    let request = stage::request("POST", &stage.endpoint.path, &[("x-api-key", KEY)], EVENT.as_bytes());
    let mut kept = connect(&stage).await;
    assert_eq!(stage::exchange(&mut kept, &request).await.status, 200);
    let mut strangers = Vec::new();
    for n in 0..2000 {
        let mut stranger = connect(&stage).await;
        if n % 2 == 0 {
            let _ = stranger.write_all(b"POST / HTTP/1.1\r\n").await;
        }
        strangers.push(stranger);
        if n % 200 == 0 {
            // On a connection of its own, and on the one that it kept open.
            assert_eq!(stage.post(EVENT).await.status, 200, "{n}");
            assert_eq!(stage::exchange(&mut kept, &request).await.status, 200, "{n}");
        }
    }
    assert_eq!(stage.post(EVENT).await.status, 200);
    closed(&mut strangers[0]).await;
}

/// The process has few file handles, and strangers want them all: accepting fails, and must neither end nor
/// spin, and who has the key gets in.
#[test]
fn a_lack_of_file_handles_keeps_no_vendor_out() {
    let folder = tempfile::tempdir().unwrap();
    let run = crate::main_job::manual(folder.path());
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 60; exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args());
    command.env_clear().envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(crate::support::root()).stdin(std::process::Stdio::null());
    let running = crate::support::Running::start(&mut command, 1);
    let url = running.urls[0].clone();
    let address = url.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let strangers: Vec<_> = (0..200).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let (before, begin) = (ticks(), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    // A hundred ticks are one second of one core.
    assert!(ticks() - before < 50, "the accept loop spins");
    for n in 0..5 {
        let event = crate::main_job::event(&n.to_string());
        let headers = [("x-api-key", crate::main_job::KEY)];
        let answer = crate::support::post(&url, &headers, event.as_bytes());
        assert_eq!(answer.map(|(status, _)| status), Some(200), "{}", running.said());
    }
    // Strangers that say nothing are closed after ten seconds: it must not have come to that.
    assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
    drop(strangers);
    assert!(running.stop().success());
}

/// An endpoint whose requests prove by their bodies alone who sent them.
async fn proven_by_bodies(limits: Limits) -> Stage {
    let receiver = "  path: /in\n  verify: {kind: hmac, hash: sha256, key: \"{{ secrets.key }}\", message: \"{{ request.body }}\", \
                    signature: {header: x-sign, encoding: hex}}\n  decode: {format: json}\n  event: {id: /id}\n  \
                    respond: {accepted: {status: 200, json: {n: \"{{ batch.accepted }}\"}}}\n";
    let instance = stage::instance(stage::connector(receiver), "probe", &[("key", KEY)]);
    Stage::with(instance, limits, None).await
}

#[tokio::test]
async fn strangers_who_trickle_bodies_keep_no_vendor_out_where_the_body_is_the_proof() {
    let limits = Limits { body: 4096, in_flight_strangers: 16 << 10, ..Limits::default() };
    let stage = proven_by_bodies(limits).await;
    let mut strangers = Vec::new();
    for _ in 0..50 {
        let mut stranger = connect(&stage).await;
        let start =
            format!("POST /in HTTP/1.1\r\nhost: x\r\ncontent-length: 4096\r\n\r\n{}", "x".repeat(2000));
        stranger.write_all(start.as_bytes()).await.unwrap();
        strangers.push(stranger);
    }
    let body = format!(r#"{{"id":"1","type":"s","x":"{}"}}"#, "y".repeat(3000));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, KEY.as_bytes());
    let tag = data_encoding::HEXLOWER.encode(aws_lc_rs::hmac::sign(&key, body.as_bytes()).as_ref());
    for _ in 0..5 {
        assert_eq!(stage.send(&[("x-sign", &tag)], &body).await.status, 200);
    }
    // The first of them lost its place to those who came after it.
    assert_eq!(stage::read_reply(&mut strangers[0]).await.unwrap().status, 503);
}

#[tokio::test]
async fn strangers_heads_take_of_their_room_too() {
    let limits = Limits { body: 4096, in_flight_strangers: 64 << 10, ..Limits::default() };
    let stage = proven_by_bodies(limits).await;
    let head: String = (0..80).map(|n| format!("x-{n}: 1\r\n")).collect();
    let mut strangers = Vec::new();
    for _ in 0..20 {
        let mut stranger = connect(&stage).await;
        let start = format!("POST /in HTTP/1.1\r\nhost: x\r\ncontent-length: 4096\r\n{head}\r\n");
        stranger.write_all(start.as_bytes()).await.unwrap();
        strangers.push(stranger);
    }
    // The first of them lost its place before it sent a byte of a body.
    assert_eq!(stage::read_reply(&mut strangers[0]).await.unwrap().status, 503);
}

#[tokio::test]
async fn a_million_brackets_and_bombs_are_dead_letters() {
    let stage = Stage::auth0().await;
    let open = "[".repeat(1_000_000);
    let nested = format!("{open}{}", "]".repeat(1_000_000));
    let objects = r#"{"a":"#.repeat(200_000) + "1" + &"}".repeat(200_000);
    let wrapped = format!(r#"{{"log_id":"1","data":{nested}}}"#);
    let beside = format!(r#"{{"x":{nested},"logs":[{EVENT}]}}"#);
    for body in [&open, &nested, &objects, &wrapped] {
        let reply = stage.post(body).await;
        assert_eq!((reply.status, reply.json()["dead"].as_u64()), (200, Some(1)));
    }
    assert_eq!(stage.post(&beside).await.status, 200);
    assert!(
        stage
            .memory
            .letters()
            .iter()
            .all(|letter| { matches!(letter.reason, DeadReason::TooDeep | DeadReason::Undecodable) })
    );
    assert_eq!(stage.memory.letters().len(), 4);
    assert_eq!(stage.memory.bodies().len(), 1);
}

#[tokio::test]
async fn more_items_than_memory_has_room_for_are_one_dead_letter() {
    let stage = Stage::auth0().await;
    let body = "1\n".repeat(300_000);
    let reply = stage.post(&body).await;
    assert_eq!((reply.status, reply.json()["dead"].as_u64()), (200, Some(1)));
    let array = format!("[{}1]", "1,".repeat(300_000));
    assert_eq!(stage.post(&array).await.json()["dead"].as_u64(), Some(1));
    let letters = stage.memory.letters();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].bytes, body);
}

/// Id and bytes.
type Decoded = (Vec<u8>, Vec<u8>);

/// The same code that requests go through, without a socket.
fn decode(stage: &Stage, bytes: Vec<u8>) -> (Vec<Decoded>, Vec<DeadLetter>) {
    let letter = DeadLetter {
        what: DeadWhat::Body,
        reason: DeadReason::Undecodable,
        detail: String::new(),
        bytes: bytes.into(),
        id: None,
        sink: None,
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    let batch = decode_again(&stage.endpoint, letter);
    let records = batch.records.iter().map(|record| (record.id().to_vec(), record.bytes().to_vec()));
    (records.collect(), batch.dead)
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec(("log_id|data|type|date|logs|.*", inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

fn probe() -> (tokio::runtime::Runtime, Stage) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stage = runtime.block_on(Stage::auth0());
    (runtime, stage)
}

#[test]
fn form_feed_is_no_white_space_of_json() {
    let (_runtime, stage) = probe();
    let event = r#"{"log_id":"1","data":{"type":"s","date":"d","log_id":"1"}}"#;
    for (body, records, dead) in [
        ("\x0c".to_owned(), 0, 1),
        (format!("\x0c{event}"), 0, 1),
        (format!("{event}\x0c"), 0, 1),
        (format!("{event}\n\x0c\n"), 1, 1),
        (format!(" \t\r\n{event} \r\n\t"), 1, 0),
    ] {
        let found = decode(&stage, body.clone().into_bytes());
        assert_eq!((found.0.len(), found.1.len()), (records, dead), "{body:?}");
    }
}

#[test]
fn no_bytes_make_decoding_panic_and_nothing_vanishes() {
    let (_runtime, stage) = probe();
    proptest!(|(bytes in prop::collection::vec(any::<u8>(), 0..300))| {
        let blank = bytes.iter().all(|byte| b" \t\r\n".contains(byte));
        let (records, dead) = decode(&stage, bytes.clone());
        if !blank && !bytes.starts_with(b"\xEF\xBB\xBF") {
            let empty = serde_json::from_slice::<Vec<()>>(&bytes).is_ok_and(|list| list.is_empty());
            prop_assert!(empty || !records.is_empty() || !dead.is_empty(), "{:?} vanished", bytes);
        }
    });
    // Text that is nearly JSON goes further in.
    proptest!(|(text in "[\\[\\]{}\",:0-9a-f\\\\nulltrue \n\r.eE+-]{0,60}")| {
        let (records, dead) = decode(&stage, text.clone().into_bytes());
        let lines = text.split('\n').filter(|line| !line.trim().is_empty()).count();
        prop_assert!(lines == 0 || text.contains("[") || !records.is_empty() || !dead.is_empty());
        prop_assert!(records.len() + dead.len() <= text.len());
    });
}

#[test]
fn what_is_json_is_told_from_what_is_not_as_another_reader_tells_it() {
    let (_runtime, stage) = probe();
    let undecodable = |text: &str| {
        let (_, dead) = decode(&stage, text.as_bytes().to_vec());
        dead.iter().any(|letter| letter.reason == DeadReason::Undecodable)
    };
    proptest!(|(value in json(), cut in any::<prop::sample::Index>(), byte in any::<u8>(), tamper in any::<bool>())| {
        let mut text = serde_json::json!({"log_id": "1", "x": value}).to_string().into_bytes();
        if tamper {
            let at = cut.index(text.len());
            text[at] = byte;
        }
        if let Ok(text) = String::from_utf8(text)
            && !text.contains(['\n', '\r'])
            && serde_json::from_str::<serde_json::Value>(&text).is_ok() == undecodable(&text)
        {
            // What the other reader cannot hold is allowed all the same.
            let lone = text.contains("\\u") || text.contains("\\U");
            let range = serde_json::from_str::<serde_json::Value>(&text)
                .is_err_and(|error| error.to_string().contains("out of range"));
            prop_assert!(lone || range, "{}", text);
        }
    });
}

#[test]
fn any_record_leaves_byte_for_byte() {
    let (_runtime, stage) = probe();
    proptest!(|(value in json(), n in any::<u64>(), form in 0..3)| {
        let record = format!(
            r#"{{"type":"s","date":"d","log_id":"{n}","x":{value},"f":1.0,"e":1E2 , "dup":1,"dup":2}}"#
        );
        let item = format!(r#"{{"log_id":"{n}" , "data" : {record} }}"#);
        let body = match form {
            0 => item.clone(),
            1 => format!("{item}\n\n{item}\r\n"),
            _ => format!("[{item},\n{item}]"),
        };
        let (records, dead) = decode(&stage, body.into_bytes());
        prop_assert!(dead.is_empty(), "{:?}", dead);
        prop_assert_eq!(records.len(), if form == 0 { 1 } else { 2 });
        for (id, bytes) in records {
            prop_assert_eq!(&bytes, record.as_bytes());
            prop_assert_eq!(id, n.to_string().into_bytes());
        }
    });
}
