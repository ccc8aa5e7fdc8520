//! Receiving: what counts as the key, how bodies become records, and what the sender is told.

mod captured;
mod certificates;
mod decode;
mod decoded_again;
mod documented;
mod items;
mod key_calls;
mod keys;
mod large;
mod partitions;
mod proofs;
mod published;
mod records;
mod replays;
mod routes;
mod rules;
mod rules_run;
mod senders;
mod settled;
mod shapes;
pub mod stage;

use forebay::connector::secret::{LiveSecret, Secret};
use std::time::Duration;

use bytes::Bytes;
use forebay::queue::{Bound, DeadReason, DeadWhat, Refusal};
use serde_json::json;

use stage::{KEY, Reply, Stage};

fn event(id: u32) -> String {
    format!(
        r#"{{"log_id":"{id}","data":{{"date":"2021-11-04T00:15:10.706Z","type":"s","n":1635984900418,"f":1.0,"log_id":"{id}"}}}}"#
    )
}

fn data(id: u32) -> String {
    format!(r#"{{"date":"2021-11-04T00:15:10.706Z","type":"s","n":1635984900418,"f":1.0,"log_id":"{id}"}}"#)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn count(reply: &Reply) -> u64 {
    assert_eq!(reply.status, 200, "{reply:?}");
    taken(&reply.json())
}

/// Records that an answer of the Auth0 connector counts, dead letters too.
fn taken(answer: &serde_json::Value) -> u64 {
    answer["count"].as_u64().unwrap() + answer["dead"].as_u64().unwrap_or_default()
}

#[tokio::test]
async fn only_the_right_key_in_the_right_place_is_taken_and_401_says_nothing_about_why() {
    let stage = Stage::auth0().await;
    let mut answers = Vec::new();
    let wrong: &[&[(&str, &str)]] = &[
        &[],
        &[("x-api-key", "")],
        &[("x-api-key", "wrong")],
        &[("x-api-key", &KEY[1..])],
        &[("authorization", "wrong")],
        &[("x-auth-token", KEY)],
        &[("x-api-key", KEY), ("x-api-key", KEY)],
        &[("x-api-key", "wrong"), ("x-api-key", KEY)],
    ];
    for headers in wrong {
        let reply = stage.send(headers, event(1)).await;
        assert_eq!(reply.status, 401, "{headers:?}");
        answers.push(reply.body);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert!(stage.memory.bodies().is_empty() && stage.memory.letters().is_empty());
    assert_eq!(count(&stage.post(event(1)).await), 1);
    // What the dashboard of Auth0 can set is another right place.
    assert_eq!(count(&stage.send(&[("authorization", KEY)], event(2)).await), 1);
    let tally = stage.endpoint.tally();
    assert_eq!((tally.requests, tally.rejected, tally.stored), (10, 8, 2));
}

#[tokio::test]
async fn a_request_without_the_key_is_answered_before_its_body_is_read() {
    let stage = Stage::auth0().await;
    let head = format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n", stage.endpoint.path);
    let mut stream = tokio::net::TcpStream::connect(stage.address).await.unwrap();
    let reply = stage::exchange(&mut stream, head.as_bytes()).await;
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn secret_with_former_values_accepts_all_of_them() {
    let stage = Stage::auth0().await;
    let instance = &stage.endpoint.instance;
    let secret = |text: &str| Secret::new(text).unwrap();
    let live = |former: &[&str]| LiveSecret {
        former: former.iter().map(|text| secret(text)).collect(),
        ..LiveSecret::new(secret("brand new key"))
    };
    instance.set_secrets([("monad_api_key".to_owned(), live(&["older still", KEY]))]);
    assert_eq!(stage.post(event(1)).await.status, 200);
    assert_eq!(stage.send(&[("x-api-key", "brand new key")], event(2)).await.status, 200);
    assert_eq!(stage.send(&[("x-api-key", "older still")], event(5)).await.status, 200);
    instance.set_secrets([("monad_api_key".to_owned(), live(&[]))]);
    assert_eq!(stage.post(event(3)).await.status, 401);
    assert_eq!(stage.send(&[("x-api-key", "brand new key")], event(4)).await.status, 200);
}

#[tokio::test]
async fn while_the_key_is_not_known_the_answer_is_503_and_not_401() {
    let instance = stage::instance(stage::auth0(), "acme", &[]);
    let stage = Stage::with(instance, forebay::receive::Limits::default(), None).await;
    let reply = stage.post(event(1)).await;
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some());
    let secret = Secret::new(KEY).unwrap();
    stage.endpoint.instance.set_secret("monad_api_key", secret);
    assert_eq!(stage.post(event(1)).await.status, 200);
}

#[tokio::test]
async fn records_leave_byte_for_byte_in_every_format() {
    let stage = Stage::auth0().await;
    let lines = format!("{}\n{}\n", event(1), event(2));
    let no_newline = format!("{}\n{}", event(3), event(4));
    let crlf = format!("\r\n\r\n  {}\r\n\r\n{}  \r\n \r\n", event(5), event(6));
    let bom = format!("\u{feff}{}\n{}", event(7), event(8));
    let array = format!(" [{} , {}]\n", event(9), event(10));
    let array_bom = format!("\u{feff}[\n{},\n{}\n]", event(11), event(12));
    let wrapped = format!(r#"{{"logs":[{},{}],"x":null}}"#, event(13), event(14));
    let bodies = [lines, no_newline, crlf, bom, array, array_bom, wrapped];
    for body in bodies {
        assert_eq!(count(&stage.post(&body).await), 2, "{body}");
    }
    assert_eq!(count(&stage.post(event(15)).await), 1);
    // A flat item is its own record.
    assert_eq!(count(&stage.post(data(16)).await), 1);
    let expected: Vec<String> = (1..=16).map(data).collect();
    assert_eq!(stage.memory.bodies(), expected);
    assert_eq!(stage.memory.ids(), (1..=16).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(stage.memory.letters().is_empty());
}

#[tokio::test]
async fn only_raw_line_breaks_between_tokens_are_taken_out() {
    let stage = Stage::auth0().await;
    let pretty = "{\n  \"log_id\": \"1\",\r\n  \"data\": {\n    \"type\" : \"s\", \"a\\n\": \"\\u0041 \\r\\n\",\r\n\t\"date\":\"x\",\n\"log_id\": \"1\"\n  }\n}\n";
    assert_eq!(count(&stage.post(pretty).await), 1);
    let record = "{    \"type\" : \"s\", \"a\\n\": \"\\u0041 \\r\\n\",\t\"date\":\"x\",\"log_id\": \"1\"  }";
    assert_eq!(stage.memory.bodies(), [record]);
}

#[tokio::test]
async fn keys_that_stand_twice_mean_one_thing_to_id_schema_and_slice() {
    let stage = Stage::auth0().await;
    // The last one counts: for the id, for the record, and for what the schema sees of it.
    let good = r#"{"data":{"type":7},"log_id":"a","log_id":"b","data":{"type":"x","type":"s","date":"d","log_id":"b"}}"#;
    let bad = r#"{"data":{"type":"s","date":"d","log_id":"c"},"log_id":"c","data":{"type":"s","type":7,"date":"d","log_id":"c"}}"#;
    assert_eq!(count(&stage.post(format!("{good}\n{bad}")).await), 2);
    assert_eq!(stage.memory.ids(), ["b"]);
    assert_eq!(stage.memory.bodies(), [r#"{"type":"x","type":"s","date":"d","log_id":"b"}"#]);
    let letters = stage.memory.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, DeadReason::Schema);
    assert!(letters[0].detail.contains("/type"), "{}", letters[0].detail);
    assert_eq!(letters[0].bytes, bad);
}

#[tokio::test]
async fn one_bad_line_in_a_hundred_is_one_dead_letter_and_ninety_nine_records() {
    let stage = Stage::auth0().await;
    let lines: Vec<String> =
        (0..100).map(|n| if n == 41 { event(n)[..40].to_owned() } else { event(n) }).collect();
    assert_eq!(count(&stage.post(lines.join("\n")).await), 100);
    assert_eq!(stage.memory.bodies().len(), 99);
    let letters = stage.memory.letters();
    assert_eq!(
        (letters.len(), letters[0].what, letters[0].reason),
        (1, DeadWhat::Body, DeadReason::Undecodable)
    );
    assert_eq!(letters[0].bytes, event(41)[..40]);
}

#[tokio::test]
async fn a_first_line_that_is_bad_costs_one_line() {
    let stage = Stage::auth0().await;
    assert_eq!(count(&stage.post(format!("{}\n{}\n{}", &event(1)[..30], event(2), event(3))).await), 3);
    assert_eq!(stage.memory.bodies(), [data(2), data(3)]);
    assert_eq!(stage.memory.letters().len(), 1);
}

#[tokio::test]
async fn a_broken_array_is_one_dead_letter_that_holds_the_body() {
    let stage = Stage::auth0().await;
    for broken in ["[", "[1", "[1,]", "[{},", "[1]x", "[nul]", "[{\"log_id\":\"1\"},{\"a\"}]"] {
        let reply = stage.post(broken).await;
        assert_eq!(count(&reply), 1, "{broken}");
        let letters = stage.memory.letters();
        let last = letters.last().unwrap();
        assert_eq!((last.what, last.reason), (DeadWhat::Body, DeadReason::Undecodable));
        assert_eq!(last.bytes, broken);
    }
    assert!(stage.memory.bodies().is_empty());
}

#[tokio::test]
async fn what_the_schema_refuses_is_a_dead_letter_with_the_failing_pointer_and_no_value() {
    let stage = Stage::auth0().await;
    let bad = r#"{"log_id":"1","data":{"type":{"deep":"topsecret"},"date":"d","log_id":"1"}}"#;
    assert_eq!(count(&stage.post(format!("{bad}\n{}", event(2))).await), 2);
    let letter = &stage.memory.letters()[0];
    assert_eq!((letter.what, letter.reason), (DeadWhat::Record, DeadReason::Schema));
    assert_eq!(letter.id.as_deref(), Some(&b"1"[..]));
    assert!(letter.detail.starts_with("/type: "), "{}", letter.detail);
    assert!(!letter.detail.contains("topsecret"), "{}", letter.detail);
    assert_eq!(stage.memory.bodies(), [data(2)]);
}

#[tokio::test]
async fn nesting_is_bounded_a_record_at_a_time() {
    let stage = Stage::auth0().await;
    let nested = |n: u32, depth: usize| {
        let deep = "[".repeat(depth) + &"]".repeat(depth);
        format!(r#"{{"log_id":"{n}","data":{{"type":"s","date":"d","log_id":"{n}","x":{deep}}}}}"#)
    };
    let body = format!("[{},{},{}]", nested(1, 62), nested(2, 100_000), nested(3, 1));
    assert_eq!(count(&stage.post(&body).await), 3);
    assert_eq!(count(&stage.post(format!("{}\n{}", nested(4, 90), nested(5, 2))).await), 2);
    assert_eq!(stage.memory.ids(), ["1", "3", "5"]);
    assert!(stage.memory.letters().iter().all(|letter| letter.reason == DeadReason::TooDeep));
    assert_eq!(stage.memory.letters().len(), 2);
}

#[tokio::test]
async fn bytes_that_are_no_utf8_cost_their_line_alone() {
    let stage = Stage::auth0().await;
    let body = [event(1).as_bytes(), b"\n{\"log_id\":\"\xff\"}\n", event(2).as_bytes()].concat();
    assert_eq!(count(&stage.post(&body).await), 3);
    assert_eq!(stage.memory.bodies(), [data(1), data(2)]);
    assert_eq!(stage.memory.letters()[0].bytes, &b"{\"log_id\":\"\xff\"}"[..]);
    let array = [b"[".as_slice(), event(3).as_bytes(), b",\"\xff\"]"].concat();
    assert_eq!(count(&stage.post(&array).await), 1);
}

#[tokio::test]
async fn nothing_is_zero_records() {
    let stage = Stage::auth0().await;
    for body in ["", "\n", " \r\n\t\n", "\u{feff}", "[]", " [ ] ", r#"{"logs":[]}"#] {
        assert_eq!(count(&stage.post(body).await), 0, "{body:?}");
    }
    assert_eq!(stage.memory.waiting.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn gzip_is_undone_after_verification_alone_and_bounded() {
    let limits = forebay::receive::Limits { inflated: 100_000, ..Default::default() };
    let stage = Stage::auth0_within(limits).await;
    let headers = [("x-api-key", KEY), ("content-encoding", "gzip")];
    let body = format!("{}\n{}", event(1), event(2));
    assert_eq!(count(&stage.send(&headers, gzip(body.as_bytes())).await), 2);
    let two = [gzip(format!("{}\n", event(3)).as_bytes()), gzip(event(4).as_bytes())].concat();
    assert_eq!(count(&stage.send(&headers, &two).await), 2);
    assert_eq!(stage.memory.bodies(), [data(1), data(2), data(3), data(4)]);
    let bomb = gzip(&vec![b' '; 10_000_000]);
    assert_eq!(stage.send(&headers, &bomb).await.status, 413);
    assert_eq!(stage.send(&[("content-encoding", "gzip")], &bomb).await.status, 401);
    let torn = &two[..two.len() - 5];
    assert_eq!(count(&stage.send(&headers, torn).await), 1);
    assert_eq!(stage.memory.letters()[0].bytes, torn);
    let identity = [("x-api-key", KEY), ("content-encoding", "identity")];
    assert_eq!(count(&stage.send(&identity, event(5)).await), 1);
    let unknown = [("x-api-key", KEY), ("content-encoding", "br")];
    let reply = stage.send(&unknown, event(6)).await;
    let said = "this Content-Encoding is not accepted: expected gzip, deflate, zstd or identity";
    assert_eq!((reply.status, &reply.json()), (415, &json!({"status": "error", "message": said})));
    assert_eq!(reply.header("retry-after"), None, "the same body is refused again");
}

#[tokio::test]
async fn every_answer_has_a_small_json_body_and_says_what_it_must() {
    let stage = Stage::auth0().await;
    let path = stage.endpoint.path.clone();
    let get = stage.raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
    assert!(get.starts_with("HTTP/1.1 405 "), "{get}");
    assert!(get.to_ascii_lowercase().contains("allow: post"), "{get}");
    for target in ["/nowhere", "/", "*", "//", "/%", "/%00", "/..;/x?y", "http://x/nowhere", "http://x"] {
        let answer = stage
            .raw(format!(
                "POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 40"), "{target}: {answer}");
    }
    let absolute = format!(
        "POST http://x{path}?a=b HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    assert!(stage.raw(absolute).await.starts_with("HTTP/1.1 200 "));
    for body in [stage.send(&[], "").await, stage.post("").await, stage.post(event(1)).await] {
        assert!(body.json().is_object());
        assert_eq!(body.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn no_content_type_is_refused() {
    let stage = Stage::auth0().await;
    for kind in ["", "text/plain", "application/x-ndjson", "nonsense"] {
        let headers = [("x-api-key", KEY), ("content-type", kind)];
        assert_eq!(count(&stage.send(&headers, event(1)).await), 1, "{kind}");
    }
}

#[tokio::test]
async fn our_own_trouble_is_503_with_retry_after_and_the_retry_is_taken() {
    let stage = Stage::auth0().await;
    let troubles: [fn() -> Refusal; 3] = [
        || Refusal::Full {
            retry_after: Duration::from_secs(7),
            bound: Bound::MaxBytes,
            detail: "full".to_owned(),
        },
        || Refusal::Broken(forebay::error::Error::new(forebay::error::Kind::Io, "disk on fire")),
        || Refusal::Closing,
    ];
    for trouble in troubles {
        *stage.memory.refuse.lock().unwrap() = Some(trouble);
        let reply = stage.post(event(1)).await;
        assert_eq!(reply.status, 503);
        assert!(reply.header("retry-after").is_some());
        assert!(!reply.body.contains("fire"), "{reply:?}");
    }
    *stage.memory.refuse.lock().unwrap() = None;
    assert_eq!(count(&stage.post(event(1)).await), 1);
    assert_eq!(stage.memory.bodies(), [data(1)]);
}

/// The documented range: the wait, up to twice as long.
#[tokio::test]
async fn retry_after_lies_in_its_range_and_is_spread() {
    /// What the store refuses with, and the seconds that the answer may name.
    type Trouble = (fn() -> Refusal, std::ops::RangeInclusive<u64>);
    let stage = Stage::auth0().await;
    let troubles: [Trouble; 2] = [
        (|| Refusal::Closing, 5..=10),
        (
            || Refusal::Full {
                retry_after: Duration::from_secs(30),
                bound: Bound::MaxBytes,
                detail: "full".to_owned(),
            },
            30..=60,
        ),
    ];
    for (trouble, range) in troubles {
        *stage.memory.refuse.lock().unwrap() = Some(trouble);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let reply = stage.post(event(1)).await;
            seen.insert(reply.header("retry-after").unwrap().parse::<u64>().unwrap());
        }
        assert!(seen.iter().all(|wait| range.contains(wait)), "{seen:?} outside of {range:?}");
        assert!(seen.len() >= 4, "all come back together: {seen:?}");
    }
}

#[tokio::test]
async fn accepted_counts_every_record_taken_charge_of() {
    let stage = Stage::auth0().await;
    assert_eq!(count(&stage.post(event(1)).await), 1);
    assert_eq!(count(&stage.post(format!("{}\n{}\nbroken", event(1), event(2))).await), 3);
    let tally = stage.endpoint.tally();
    assert_eq!((tally.stored, tally.duplicates, tally.dead), (2, 1, 1));
}

#[tokio::test]
async fn ids_are_texts_numbers_or_several_joined_and_a_hash_where_there_is_none() {
    let receiver = |id: &str| {
        format!(
            "  path: /in\n  verify: {{kind: token, header: x-api-key, equals: \"{{{{ secrets.key }}}}\"}}\n  \
             decode: {{format: json_lines, also: [json]}}\n  event: {{id: {id}, type: /type}}\n  \
             respond: {{accepted: {{status: 200, json: {{count: \"{{{{ batch.accepted }}}}\"}}}}}}\n"
        )
    };
    let stage = Stage::probe(&receiver("/id")).await;
    let body = r#"[{"id":"x","type":"a"},{"id":7,"type":"a"},{"id":-7,"type":"a"},{"id":18446744073709551617,"type":"a"},{"id":18446744073709551618,"type":"a"},{"id":1.50,"type":"a"}]"#;
    assert_eq!(count(&stage.post(body).await), 6);
    assert_eq!(stage.memory.ids(), ["x", "7", "-7", "18446744073709551617", "18446744073709551618", "1.50"]);
    for missing in ["null", "\"\"", "[]", "true"] {
        assert_eq!(count(&stage.post(format!(r#"{{"id":{missing},"type":"a"}}"#)).await), 1);
    }
    let ids = stage.memory.ids();
    assert!(ids[6..].iter().all(|id| id.starts_with("sha256:") && id.ends_with(":0")), "{ids:?}");
    // The same body again is the same event; another record of the same body is another.
    let twins = r#"[{"type":"a"},{"type":"a"}]"#;
    assert_eq!(stage.post(twins).await.status, 200);
    assert_eq!(stage.post(twins).await.status, 200);
    assert_eq!(stage.memory.ids().len(), 12);

    let joined = Stage::probe(&receiver("[/a, /b]")).await;
    let body = r#"[{"a":"x|","b":"y","type":"a"},{"a":"x","b":"|y","type":"a"},{"a":"x","type":"a"}]"#;
    assert_eq!(count(&joined.post(body).await), 3);
    let ids = joined.memory.ids();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0], "x\\||y");
}

#[tokio::test]
async fn a_graceful_stop_finishes_what_is_in_flight_and_refuses_what_is_new() {
    let stage = Stage::auth0().await;
    let held = stage.memory.hold.lock().await;
    let (first, ()) = tokio::join!(stage.post(event(1)), async {
        let waiting = || stage.memory.waiting.load(std::sync::atomic::Ordering::SeqCst);
        while waiting() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stage.shutdown.send(true).unwrap();
        // Until the flag is seen a request may still be taken in; then each is refused.
        let refused = async {
            loop {
                let late = tokio::time::timeout(Duration::from_millis(200), stage.post(event(2))).await;
                if let Ok(reply) = late {
                    return reply;
                }
            }
        };
        let reply = tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
        assert_eq!(reply.status, 503);
        assert!(reply.header("retry-after").is_some());
        assert_eq!(reply.header("connection"), Some("close"));
        drop(held);
    });
    assert_eq!(count(&first), 1);
    let mut stage = stage;
    let served = tokio::time::timeout(Duration::from_secs(10), &mut stage.served).await;
    served.expect("it did not stop").unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(stage.address).await.is_err());
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_it_may() {
    let limits = forebay::receive::Limits { drain: Duration::from_millis(300), ..Default::default() };
    let mut stage = Stage::auth0_within(limits).await;
    let memory = stage.memory.clone();
    let _held = memory.hold.lock().await;
    let mut stream = tokio::net::TcpStream::connect(stage.address).await.unwrap();
    let bytes = stage::request("POST", &stage.endpoint.path, &[("x-api-key", KEY)], event(1).as_bytes());
    tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
    while stage.memory.waiting.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stage.shutdown.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(10), &mut stage.served).await.unwrap().unwrap().unwrap();
    assert!(stage::read_reply(&mut stream).await.is_none());
}

#[test]
fn dead_letters_are_decoded_again_by_the_same_code() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let stage = Stage::auth0().await;
        let item = r#"{"log_id":"5","data":{"type":5,"date":"d","log_id":"5"}}"#;
        stage.post(format!("{item}\nbroken")).await;
        for letter in stage.memory.letters() {
            let batch = forebay::receive::decode_again(&stage.endpoint, letter.clone());
            assert_eq!((batch.records.len(), batch.dead.len()), (0, 1));
            assert_eq!(batch.dead[0].reason, letter.reason);
            assert_eq!(batch.dead[0].bytes, letter.bytes);
            let mended = Bytes::from(item.replace(":5,", ":\"s\","));
            let batch = forebay::receive::decode_again(
                &stage.endpoint,
                forebay::queue::DeadLetter { bytes: mended, ..letter },
            );
            assert_eq!((batch.records.len(), batch.dead.len()), (1, 0));
            assert_eq!(batch.records[0].id(), "5");
        }
    });
}

#[test]
fn the_answer_is_what_the_spec_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let stage = Stage::auth0().await;
        assert_eq!(stage.post(event(1)).await.json(), json!({"status": "success", "count": 1}));
    });
}
