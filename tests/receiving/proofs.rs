//! Proofs of every kind: how signatures may be written, items one by one, several checks together.

use aws_lc_rs::{digest, hmac};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value as Json, json};

use super::stage::{KEY, Stage, connector_with, instance};

const TAIL: &str = "  decode: {format: json}\n  event: {id: /id}\n  respond: {accepted: {status: 202}}\n";
pub(super) const BODY: &str = r#"{"id":"1","type":"s"}"#;

pub(super) fn receiver(verify: &str) -> String {
    format!("  path: /in\n  verify:\n{verify}{TAIL}")
}

pub(super) async fn stage(verify: &str) -> Stage {
    let secrets = [("key", KEY), ("other", "another secret")];
    Stage::with(
        instance(
            connector_with(&format!("receiver:\n{}", receiver(verify)), ", remove: [/key]"),
            "probe",
            &secrets,
        ),
        Default::default(),
        None,
    )
    .await
}

fn mac(key: &str, message: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
}

pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Sends each header value, and says which were taken.
async fn taken(stage: &Stage, header: &str, values: &[String]) -> Vec<bool> {
    let mut taken = Vec::new();
    for value in values {
        let status = stage.send(&[(header, value)], BODY).await.status;
        assert!(status == 202 || status == 401, "{value}: {status}");
        taken.push(status == 202);
    }
    taken
}

#[tokio::test]
async fn pairs_are_read_by_their_names_and_a_time_that_stands_twice_is_refused() {
    let stage = stage(
        "    kind: hmac\n    hash: sha256\n    key: \"{{ secrets.key }}\"\n    \
         message: \"{{ timestamp }}.{{ request.body }}\"\n    \
         signature: {header: X-Sign, format: pairs, separator: \",\", key: v1, encoding: hex}\n    \
         timestamp: {key: t, format: unix, tolerance: 5m}\n",
    )
    .await;
    let t = now();
    let good = HEXLOWER.encode(&mac(KEY, &format!("{t}.{BODY}")));
    let other = "00".repeat(32);
    let yes = [
        format!("t={t},v1={good}"),
        format!("v1={good},t={t}"),
        format!(" t = {t} , v0=abc, v1={other}, v1={good} "),
        format!("t={t},t={t},v1=\"{}\"", good.to_uppercase()),
        format!("t={t},v1=zz,v1={good},=,x"),
    ];
    assert_eq!(taken(&stage, "x-sign", &yes).await, [true; 5]);
    let later = t + 1;
    let no = [
        format!("t={t},v1={other}"),
        format!("t={t},v0={good}"),
        format!("t={t}"),
        format!("v1={good}"),
        format!("t=,v1={good}"),
        format!("t={t},t={later},v1={good}"),
        format!("t={later},v1={good}"),
        good.clone(),
        format!("t={t}{}", format!(",v1={other}").repeat(40)) + &format!(",v1={good}"),
    ];
    assert_eq!(taken(&stage, "x-sign", &no).await, [false; 9]);
}

#[tokio::test]
async fn any_key_any_header_and_any_message_accepts_and_what_is_not_ours_is_passed_over() {
    let stage = stage(
        "    kind: hmac\n    hash: sha256\n    \
         key: [\"{{ secrets.key }}\", \"{{ secrets.other | sha256 }}\", \"{{ secrets.third | default(omit) }}\"]\n    \
         message: [\"{{ request.body }}\", \"{{ request.url | explicit_port }}{{ request.body }}\", \"{{ request.headers['x-never'] }}\"]\n    \
         signature: {header: [X-Sign, X-Sign-2], format: list, separator: \" \", prefix: \"v1,\", encoding: base64}\n",
    )
    .await;
    let own = BASE64.encode(&mac(KEY, BODY));
    let derived = digest::digest(&digest::SHA256, b"another secret");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()), BODY.as_bytes());
    let derived = BASE64.encode(tag.as_ref());
    let ported = BASE64.encode(&mac(KEY, &format!("https://logs.example.com:443/in{BODY}")));
    let unpadded = own.trim_end_matches('=').to_owned();
    let yes = [&own, &derived, &ported, &unpadded].map(|tag| format!("v2,AAAA v1,!!! v1,{tag}"));
    assert_eq!(taken(&stage, "x-sign", &yes).await, [true; 4]);
    assert_eq!(taken(&stage, "x-sign-2", &yes).await, [true; 4]);
    let no = [own.clone(), format!("v2,{own}"), format!("v1,{own}x"), String::new(), "v1,".to_owned()];
    assert_eq!(taken(&stage, "x-sign", &no).await, [false; 5]);
}

#[tokio::test]
async fn every_item_must_prove_itself_and_none_proves_nothing() {
    let stage = stage(
        "    kind: hmac\n    hash: sha256\n    key: \"{{ secrets.key }}\"\n    each: /items\n    \
         message: \"{{ item.id }}:{{ item.type }}\"\n    signature: {item: /mac, encoding: base64}\n",
    )
    .await;
    let item = |id: &str, signed: &str| json!({"id": id, "type": "s", "mac": BASE64.encode(&mac(KEY, &format!("{signed}:s")))});
    let send = async |body: Json| stage.send(&[], body.to_string()).await.status;
    assert_eq!(send(json!({"items": [item("1", "1"), item("2", "2")]})).await, 202);
    assert_eq!(send(json!({"items": [item("1", "1"), item("3", "2")]})).await, 401);
    assert_eq!(send(json!({"items": [item("1", "1"), {"id": "2", "type": "s"}]})).await, 401);
    assert_eq!(send(json!({"items": [item("1", "1"), 7]})).await, 401);
    for empty in [json!({"items": []}), json!({"items": item("1", "1")}), json!({}), json!([])] {
        assert_eq!(send(empty.clone()).await, 401, "{empty}");
    }
    assert_eq!(stage.send(&[], "{\"items\": [").await.status, 401);
}

#[tokio::test]
async fn all_of_wants_every_check_and_any_of_one() {
    let token = "{kind: token, header: X-Key, equals: \"{{ secrets.key }}\"}";
    let hash = "{kind: digest, hash: sha256, message: \"{{ request.body }}\", signature: {header: Digest, prefix: \"SHA-256=\", encoding: base64}}";
    let sum = format!("SHA-256={}", BASE64.encode(digest::digest(&digest::SHA256, BODY.as_bytes()).as_ref()));
    let all = stage(&format!("    kind: all_of\n    of:\n      - {token}\n      - {hash}\n")).await;
    let send = async |stage: &Stage, headers: &[(&str, &str)]| stage.send(headers, BODY).await.status;
    assert_eq!(send(&all, &[("x-key", KEY), ("digest", &sum)]).await, 202);
    assert_eq!(send(&all, &[("x-key", KEY)]).await, 401);
    assert_eq!(send(&all, &[("digest", &sum)]).await, 401);
    assert_eq!(send(&all, &[("x-key", KEY), ("digest", "SHA-256=AAAA")]).await, 401);

    let bearer = "{kind: token, header: Authorization, scheme: Bearer, equals: [\"{{ secrets.other }}\", \"{{ secrets.key }}\"]}";
    let body = "{kind: token, body: /key, equals: \"{{ secrets.key }}\"}";
    let form = "{kind: token, form: key, equals: \"{{ secrets.key }}\"}";
    let basic = "{kind: basic, password: \"{{ secrets.key }}\"}";
    let any = stage(&format!(
        "    kind: any_of\n    of:\n      - {bearer}\n      - {body}\n      - {form}\n      - {basic}\n"
    ))
    .await;
    for value in [format!("Bearer {KEY}"), format!("bearer  {KEY}"), "BEARER another secret".to_owned()] {
        assert_eq!(send(&any, &[("authorization", &value)]).await, 202, "{value}");
    }
    for user in ["", "anybody"] {
        let value = format!("Basic {}", BASE64.encode(format!("{user}:{KEY}").as_bytes()));
        assert_eq!(send(&any, &[("authorization", &value)]).await, 202, "{user}");
    }
    for value in [
        KEY.to_owned(),
        format!("Bearer{KEY}"),
        "Bearer ".to_owned(),
        format!("Basic {}", BASE64.encode(KEY.as_bytes())),
    ] {
        assert_eq!(send(&any, &[("authorization", &value)]).await, 401, "{value}");
    }
    assert_eq!(any.send(&[], json!({"id": "1", "type": "s", "key": KEY}).to_string()).await.status, 202);
    assert_eq!(any.send(&[], json!({"id": "1", "type": "s", "key": "x"}).to_string()).await.status, 401);
    let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("key", KEY).finish();
    assert_eq!(any.send(&[], form).await.status, 202);
    assert_eq!(send(&any, &[]).await, 401);
}

#[tokio::test]
async fn what_is_required_besides_must_hold() {
    let stage = stage(
        "    kind: token\n    header: X-Key\n    equals: \"{{ secrets.key }}\"\n    \
         require: [\"request.headers['x-sum'] == request.body | sha256 | hex\", \"request.json.type != request.headers['x-not']\"]\n",
    )
    .await;
    let sum = HEXLOWER.encode(digest::digest(&digest::SHA256, BODY.as_bytes()).as_ref());
    let send = async |headers: &[(&str, &str)]| stage.send(headers, BODY).await.status;
    assert_eq!(send(&[("x-key", KEY), ("x-sum", &sum), ("x-not", "t")]).await, 202);
    assert_eq!(send(&[("x-key", KEY), ("x-sum", &sum), ("x-not", "s")]).await, 401);
    assert_eq!(send(&[("x-key", KEY), ("x-sum", "0")]).await, 401);
    assert_eq!(send(&[("x-key", KEY)]).await, 401);
    assert_eq!(send(&[("x-sum", &sum)]).await, 401);
}
