//! Who sent it: tokens, basic and hmac, with published vectors and with faults.

use aws_lc_rs::hmac;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

use super::stage::{KEY, Stage};

const TAIL: &str = "  decode: {format: json}\n  event: {id: /id}\n  respond: {accepted: {status: 202, json: {n: \"{{ batch.accepted }}\"}}}\n";
const BODY: &str = r#"{"id":"1","type":"s"}"#;

async fn stage(verify: &str) -> Stage {
    Stage::probe(&format!("  path: /in\n{verify}{TAIL}")).await
}

fn sign(algorithm: hmac::Algorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec()
}

#[tokio::test]
async fn a_token_may_stand_in_a_header_with_a_word_before_it_or_in_the_query() {
    let bearer =
        stage("  verify: {kind: token, header: Authorization, equals: \"Bearer {{ secrets.key }}\"}\n").await;
    let good = format!("Bearer {KEY}");
    assert_eq!(bearer.send(&[("authorization", &good)], BODY).await.status, 202);
    for wrong in ["Bearer", "Bearer ", KEY, &format!("bearer {KEY}"), &format!("{good} ")[..4]] {
        assert_eq!(bearer.send(&[("authorization", wrong)], BODY).await.status, 401, "{wrong}");
    }

    let query = stage("  verify: {kind: token, query: token, equals: \"{{ secrets.key }}\"}\n").await;
    let send = async |target: &str| {
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        query.raw(head).await
    };
    let encoded = KEY.replace(' ', "%20");
    assert!(send(&format!("/in?a=b&token={encoded}")).await.starts_with("HTTP/1.1 202 "));
    for wrong in ["/in", "/in?token=", "/in?token=x", &format!("/in?token={encoded}&token={encoded}")] {
        assert!(send(wrong).await.starts_with("HTTP/1.1 401 "), "{wrong}");
    }
}

#[tokio::test]
async fn basic_is_read_as_rfc_7617_has_it() {
    let stage = stage("  verify: {kind: basic, username: vendor, password: \"{{ secrets.key }}\"}\n").await;
    let encode = |text: &str| BASE64.encode(text.as_bytes());
    let good = encode(&format!("vendor:{KEY}"));
    for scheme in ["Basic", "basic", "BASIC"] {
        let value = format!("{scheme} {good}");
        assert_eq!(stage.send(&[("authorization", &value)], BODY).await.status, 202, "{scheme}");
    }
    let wrong = [
        "Basic".to_owned(),
        "Basic !!!".to_owned(),
        format!("Bearer {good}"),
        format!("Basic {}", encode("vendor:")),
        format!("Basic {}", encode(&format!("other:{KEY}"))),
        format!("Basic {}", encode(KEY)),
    ];
    for value in &wrong {
        let reply = stage.send(&[("authorization", value)], BODY).await;
        assert_eq!(reply.status, 401, "{value}");
        assert!(reply.header("www-authenticate").unwrap().starts_with("Basic"));
    }
}

#[tokio::test]
async fn the_signature_that_a_vendor_publishes_is_taken_and_one_other_byte_is_not() {
    // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    let verify = "  verify: {kind: hmac, hash: sha256, key: \"{{ secrets.key }}\", message: \"{{ request.body }}\", \
                  signature: {header: X-Hub-Signature-256, prefix: \"sha256=\", encoding: hex}}\n";
    let connector = super::stage::connector(&format!("  path: /in\n{verify}{TAIL}"));
    let instance = super::stage::instance(connector, "probe", &[("key", "It's a Secret to Everybody")]);
    let stage = Stage::with(instance, forebay::receive::Limits::default(), None).await;
    let tag = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let send =
        async |value: &str, body: &str| stage.send(&[("x-hub-signature-256", value)], body).await.status;
    // The body is no JSON: verified all the same, and kept as a dead letter.
    assert_eq!(send(&format!("sha256={tag}"), "Hello, World!").await, 202);
    assert_eq!(send(&format!("sha256={}", tag.to_uppercase()), "Hello, World!").await, 202);
    assert_eq!(stage.memory.letters().len(), 2);
    assert_eq!(send(&format!("sha256={tag}"), "Hello, World?").await, 401);
    for wrong in ["", "sha256=", tag, "sha1=00", &format!("sha256={}", &tag[2..]), "sha256=zz"] {
        assert_eq!(send(wrong, "Hello, World!").await, 401, "{wrong}");
    }
    let value = format!("sha256={tag}");
    let twice = [("x-hub-signature-256", value.as_str()), ("x-hub-signature-256", value.as_str())];
    assert_eq!(stage.send(&twice, "Hello, World!").await.status, 401);
    assert_eq!(stage.send(&[], "Hello, World!").await.status, 401);
}

/// Hash, its algorithm, how the key is written, the secret, and how a signature is written.
type Way<'a> = (&'a str, hmac::Algorithm, &'a str, String, fn(&[u8]) -> String);

#[tokio::test]
async fn hashes_keys_and_signatures_are_written_in_every_way() {
    let key = b"\x01\x02\xff\xfe and more";
    let ways: Vec<Way<'_>> = vec![
        ("sha1", hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, "hex", HEXLOWER.encode(key), |tag| {
            HEXLOWER.encode(tag)
        }),
        ("sha256", hmac::HMAC_SHA256, "hex", HEXUPPER.encode(key), |tag| HEXUPPER.encode(tag)),
        ("sha256", hmac::HMAC_SHA256, "base64", BASE64.encode(key), |tag| BASE64.encode(tag)),
        ("sha512", hmac::HMAC_SHA512, "base64", format!("whsec_{}", BASE64.encode(key)), |tag| {
            BASE64URL_NOPAD.encode(tag)
        }),
    ];
    for (n, (hash, algorithm, key_encoding, secret, write)) in ways.into_iter().enumerate() {
        let encoding = ["hex", "hex", "base64", "base64url"][n];
        let verify = format!(
            "  verify: {{kind: hmac, hash: {hash}, key: \"{{{{ secrets.key }}}}\", key_encoding: {key_encoding}, \
             key_prefix: whsec_, message: \"v0:{{{{ request.headers['X-Id'] }}}}:{{{{ request.body }}}}\", \
             signature: {{header: x-sign, encoding: {encoding}}}}}\n"
        );
        let connector = super::stage::connector(&format!("  path: /in\n{verify}{TAIL}"));
        let instance = super::stage::instance(connector, "probe", &[("key", &secret)]);
        let stage = Stage::with(instance, forebay::receive::Limits::default(), None).await;
        // Bytes that are no text are signed as they are.
        let body = b"{\"id\":\"\xff\xfe\",\"type\":\"s\"}";
        let tag = write(&sign(algorithm, key, &[b"v0:7:", body.as_slice()].concat()));
        let send =
            async |id: &str, tag: &str| stage.send(&[("x-id", id), ("x-sign", tag)], body).await.status;
        assert_eq!(send("7", &tag).await, 202, "{hash} {encoding}");
        assert_eq!(send("8", &tag).await, 401);
        assert_eq!(stage.send(&[("x-sign", &tag)], body).await.status, 401, "what is missing was not signed");
    }
}

#[tokio::test]
async fn a_signature_is_good_for_its_time_alone_either_way() {
    let stage = stage(
        "  verify: {kind: hmac, hash: sha256, key: \"{{ secrets.key }}\", \
         message: \"{{ request.headers['x-time'] }}.{{ request.body }}\", \
         signature: {header: x-sign, encoding: hex}, timestamp: {header: x-time, format: unix, tolerance: 5m}}\n",
    )
    .await;
    let now = jiff::Timestamp::now().as_second();
    let send = async |time: &str| {
        let tag =
            HEXLOWER.encode(&sign(hmac::HMAC_SHA256, KEY.as_bytes(), format!("{time}.{BODY}").as_bytes()));
        stage.send(&[("x-time", time), ("x-sign", &tag)], BODY).await.status
    };
    for good in [now, now - 290, now + 290] {
        assert_eq!(send(&good.to_string()).await, 202, "{}", good - now);
    }
    for bad in [now - 310, now + 310, 0] {
        assert_eq!(send(&bad.to_string()).await, 401, "{}", bad - now);
    }
    assert_eq!(send("").await, 401);
    assert_eq!(send("yesterday").await, 401);
    let tag =
        HEXLOWER.encode(&sign(hmac::HMAC_SHA256, KEY.as_bytes(), format!("{now}, {now}.{BODY}").as_bytes()));
    let time = now.to_string();
    let twice = [("x-time", time.as_str()), ("x-time", time.as_str()), ("x-sign", tag.as_str())];
    assert_eq!(stage.send(&twice, BODY).await.status, 401);
}

#[tokio::test]
async fn rules_answer_handshakes_before_and_pings_after_verification() {
    let rules = "  rules:\n    - name: challenge\n      method: GET\n      when: request.query.challenge != ''\n      verify: skip\n      \
                 respond: {status: 200, json: {challenge: \"{{ request.query.challenge }}\"}}\n      sample: {method: GET, query: {challenge: x}}\n    \
                 - name: ping\n      when: request.json.kind == 'ping'\n      respond: {status: 200, text: pong}\n      sample: {json: {kind: ping}}\n";
    let verify = "  verify: {kind: token, header: x-api-key, equals: \"{{ secrets.key }}\"}\n";
    let stage = stage(&format!("{verify}{rules}")).await;
    let get = async |target: &str| {
        stage.raw(format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
    };
    let answer = get("/in?challenge=a%22b").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(r#"{"challenge":"a\"b"}"#), "{answer}");
    assert!(!get("/in").await.starts_with("HTTP/1.1 2"));
    let ping = r#"{"kind":"ping"}"#;
    assert_eq!(stage.send(&[], ping).await.status, 401);
    let reply = stage.post(ping).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "pong"));
    assert_eq!(stage.post(BODY).await.status, 202);
    assert_eq!(stage.memory.bodies(), [BODY]);
}
