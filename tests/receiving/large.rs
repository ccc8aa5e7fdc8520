//! Signed bodies that hold much: whatever fits into the body limit is verified, and what cannot be is 413, never 401.

use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use forebay::receive::{Endpoint, who};
use std::sync::{Arc, Mutex};

use super::stage::{self, KEY, Stage};

const TAIL: &str = "  decode: {format: json}\n  event: {id: /id}\n  respond: {accepted: {status: 202}}\n";

fn tag(message: impl AsRef<[u8]>) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    HEXLOWER.encode(hmac::sign(&key, message.as_ref()).as_ref())
}

fn receiver(message: &str, more: &str) -> String {
    format!(
        "  path: /in\n  verify:\n    kind: hmac\n    hash: sha256\n    key: \"{{{{ secrets.key }}}}\"\n    \
         message: \"{message}\"\n    signature: {{header: X-Sign, encoding: hex}}\n{more}{TAIL}"
    )
}

async fn proof(endpoint: &Arc<Endpoint>, tag: &str, body: &Bytes) -> Result<(), &'static str> {
    let request = http::Request::builder().method("POST").uri("/in").header("x-sign", tag);
    who(endpoint, request.body(body.clone()).unwrap()).await.map(|_| ())
}

fn endpoint(receiver: &str) -> Arc<Endpoint> {
    stage::endpoint(stage::instance(stage::connector(receiver), "probe", &[("key", KEY)]))
}

#[tokio::test]
async fn signed_json_of_any_number_of_values_is_verified() {
    let message = "{{ request.json.id }}.{{ request.json.last[2] }}.{{ request.body | sha256 | hex }}";
    let required = "    require: [\"request.json.type == 's'\", \"request.json.many[3] == 1\"]\n";
    let endpoint = endpoint(&receiver(message, required));
    for values in [500_000, 2_500_000, 7_500_000] {
        let many = "1,".repeat(values);
        let body = format!(r#"{{"id":"1","many":[{many}1],"type":"s","last":["a","b","c"]}}"#);
        let body = Bytes::from(body);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        let right = tag(format!("1.c.{}", HEXLOWER.encode(hash.as_ref())));
        assert_eq!(proof(&endpoint, &right, &body).await, Ok(()), "{values} values");
        assert_eq!(proof(&endpoint, &tag("another"), &body).await, Err("key_wrong"));
    }
}

#[tokio::test]
async fn items_of_a_large_list_are_verified_one_by_one() {
    let verify = "  path: /in\n  verify: {kind: token, body: /unused, equals: \"{{ secrets.key }}\"}\n";
    let verify = verify.replace("body: /unused", "item: /key, each: /items, require: [item.type == 's']");
    let endpoint = endpoint(&format!("{verify}{TAIL}"));
    let many = "1,".repeat(3_000_000);
    let item = |kind: &str| format!(r#"{{"key":"{KEY}","many":[{many}1],"type":"{kind}"}}"#);
    let good = Bytes::from(format!(r#"{{"items":[{}]}}"#, item("s")));
    assert_eq!(proof(&endpoint, "", &good).await, Ok(()));
    let bad = Bytes::from(format!(r#"{{"items":[{}]}}"#, item("t")));
    assert_eq!(proof(&endpoint, "", &bad).await, Err("required"));
}

#[tokio::test]
async fn signed_form_of_many_fields_is_verified() {
    let message = "{{ request.form.id }}{{ request.url }}{{ request.form | form_concat }}";
    let receiver = receiver(message, "").replace("{format: json}", "{format: form}");
    let endpoint = endpoint(&receiver);
    for fields in [100, 10_001, 240_000] {
        let mut all: Vec<(String, String)> =
            (0..fields).map(|n| (format!("f{n}"), format!("v {n} {}", "x".repeat(30)))).collect();
        all.push(("id".to_owned(), "7".to_owned()));
        let mut encoder = url::form_urlencoded::Serializer::new(String::new());
        let body = Bytes::from(encoder.extend_pairs(&all).finish());
        all.sort();
        let concat: String = all.iter().map(|(name, value)| format!("{name}{value}")).collect();
        let right = tag(format!("7https://logs.example.com/in{concat}"));
        assert_eq!(proof(&endpoint, &right, &body).await, Ok(()), "{fields} fields");
        assert_eq!(proof(&endpoint, &tag("another"), &body).await, Err("key_wrong"));
    }
}

#[tokio::test]
async fn signed_body_beyond_a_bound_is_413_and_never_401() {
    let message = "{{ request.url }}{{ request.form | form_concat }}";
    let stage = Stage::probe(&receiver(message, "").replace("{format: json}", "{format: form}")).await;
    let body = "a=1&".repeat(260_000) + "type=s";
    let reply = stage.send(&[("x-sign", &tag("https://logs.example.com/ina1types"))], &body).await;
    assert_eq!(reply.status, 413);
    assert!(reply.body.contains("more values than can be checked"), "{reply:?}");
    let (_, reason) = stage.endpoint.tally().last_rejected.unwrap();
    assert_eq!(reason, "too_much_work");
    // A condition that takes too much is no wrong proof either.
    let require = "    require: [\"request.body | split(',') | length == 0\"]\n";
    let stage = Stage::probe(&receiver("{{ request.body }}", require)).await;
    let body = format!(r#"{{"id":"1","type":"s","many":[{}1]}}"#, "1,".repeat(150_000));
    assert_eq!(stage.send(&[("x-sign", &tag(&body))], &body).await.status, 413);
    assert_eq!(stage.send(&[("x-sign", &tag("another"))], &body).await.status, 401);
}

/// A hash over the greatest body by each of many keys, and small requests meanwhile: one thread serves.
#[tokio::test(flavor = "current_thread")]
async fn hash_of_a_large_body_holds_up_no_other_request() {
    let keys: Vec<String> = (0..64).map(|n| format!("\"{{{{ secrets.key }}}}{n}\"")).collect();
    let verify = receiver("{{ request.body }}", "").replace(
        "key: \"{{ secrets.key }}\"",
        &format!("key: [{}, \"{{{{ secrets.key }}}}\"]", keys.join(", ")),
    );
    let stage = Stage::probe(&verify).await;
    let large = format!("\"{}\"", "a".repeat(15 << 20));
    let (over, gate) = (Mutex::new(false), tokio::sync::Notify::new());
    let attack = async {
        gate.notify_one();
        let status = stage.send(&[("x-sign", &tag("another"))], &large).await.status;
        *over.lock().unwrap() = true;
        status
    };
    let body = r#"{"id":"1","type":"s"}"#;
    let right = tag(body);
    let vendor = async {
        gate.notified().await;
        let mut waits = Vec::new();
        while !*over.lock().unwrap() {
            let begin = std::time::Instant::now();
            assert_eq!(stage.send(&[("x-sign", &right)], body).await.status, 202);
            waits.push(begin.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        waits
    };
    let (status, waits) = tokio::join!(attack, vendor);
    assert_eq!(status, 401);
    let longest = waits.iter().max().unwrap();
    let whole: Duration = waits.iter().sum();
    assert!(waits.len() > 10 && *longest < whole / 2, "{waits:?}");
}
