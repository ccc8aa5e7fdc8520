//! What stands in headers to prove a sender: plain, in lists, in pairs, with times in every notation, tokens. Right
//! ones and spoiled ones; whatever is taken holds the right proof and a time that is near.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use forebay::receive::Endpoint;
use http::HeaderValue;
use proptest::prelude::*;
use serde_json::json;

use super::spoil::spoiled;
use super::{NOW, probe, who};
use crate::receiving::stage::KEY;

const BODY: &str = r#"{"id":"1","type":"s"}"#;
/// Times at which something was signed: now, near, and too far, either way.
const TIMES: [i64; 5] = [NOW, NOW - 60, NOW + 60, NOW - 3600, NOW + 3600];
/// How far a time may be away.
const TOLERANCE: i64 = 300;

/// How a request proves its sender.
struct Prover {
    verify: String,
    endpoint: Arc<Endpoint>,
    /// The right values of `X-Sign` and `X-Time`, and the one text without which nothing is right.
    right: Vec<Right>,
}

struct Right {
    sign: String,
    time: Option<String>,
    core: String,
    /// Whether its time is near.
    fresh: bool,
}

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn mac(message: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
}

impl Prover {
    fn of(verify: String, right: Vec<Right>) -> Self {
        let tail = "  decode: {format: json}\n  event: {id: /id}\n";
        let receiver = format!("  verify: {{{verify}}}\n{tail}");
        Self { endpoint: probe(&receiver, &serde_json::from_str(BODY).unwrap()), verify, right }
    }

    /// A hash with a shared key, in one grammar.
    fn hmac(signature: &str, sign: fn(&str) -> String, encode: fn(&[u8]) -> String) -> Self {
        let core = encode(&mac(BODY));
        let right = Right { sign: sign(&core), time: None, core, fresh: true };
        let key = "key: \"{{ secrets.key }}\", message: \"{{ request.body }}\"";
        let verify = format!("kind: hmac, hash: sha256, {key}, signature: {{header: X-Sign, {signature}}}");
        Self::of(verify, vec![right])
    }

    /// The same over a time too, which stands in the signature's pairs or beside it.
    fn timed(signature: &str, time: &str, write: fn(i64) -> String, sign: fn(&str, &str) -> String) -> Self {
        let beside = time.starts_with("header");
        let right = TIMES.iter().map(|at| {
            let time = write(*at);
            let core = HEXLOWER.encode(&mac(&format!("{time}.{BODY}")));
            let fresh = (at - NOW).abs() <= TOLERANCE;
            Right { sign: sign(&time, &core), time: beside.then_some(time), core, fresh }
        });
        let verify = format!(
            "kind: hmac, hash: sha256, key: \"{{{{ secrets.key }}}}\", message: \"{{{{ timestamp }}}}.{{{{ request.body }}}}\", \
             signature: {{header: X-Sign, {signature}, encoding: hex}}, timestamp: {{{time}, tolerance: {TOLERANCE}s}}"
        );
        Self::of(verify, right.collect())
    }

    fn token() -> Self {
        let verify = "kind: token, header: X-Sign, scheme: Bearer, equals: \"{{ secrets.key }}\"";
        let right = Right { sign: format!("Bearer {KEY}"), time: None, core: KEY.to_owned(), fresh: true };
        Self::of(verify.to_owned(), vec![right])
    }

    fn public_key() -> Self {
        let key = HEXLOWER.encode(pair().public_key().as_ref());
        let verify = format!(
            "kind: public_key, algorithm: ed25519, key: \"{key}\", key_format: hex, message: \"{{{{ request.body }}}}\", \
             signature: {{header: X-Sign, format: list, separator: \" \", prefix: \"v1a,\", encoding: base64}}"
        );
        let core = BASE64.encode(pair().sign(BODY.as_bytes()).as_ref());
        let core = core.trim_end_matches('=').to_owned();
        let right = Right { sign: format!("v1,AAAA v1a,{core}=="), time: None, core, fresh: true };
        Self::of(verify, vec![right])
    }

    fn jwt() -> Self {
        let verify = "kind: jwt, header: X-Sign, scheme: Bearer, algorithms: [HS256], key: \"{{ secrets.key }}\", audience: us, leeway: 60s";
        let of = |head: serde_json::Value, claims: serde_json::Value, fresh| {
            let part = |json: serde_json::Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
            let text = format!("{}.{}", part(head), part(claims));
            let core = format!("{text}.{}", BASE64URL_NOPAD.encode(&mac(&text)));
            Right { sign: format!("Bearer {core}"), time: None, core, fresh }
        };
        let head = || json!({"alg": "HS256", "typ": "JWT"});
        let right = vec![
            of(head(), json!({"aud": "us", "exp": NOW + 60}), true),
            of(head(), json!({"aud": ["them", "us"], "exp": NOW + 60, "nbf": NOW, "iat": NOW}), true),
            of(head(), json!({"aud": "us", "exp": NOW - 3600}), false),
            of(head(), json!({"aud": "us", "exp": NOW + 60, "nbf": NOW + 3600}), false),
            of(head(), json!({"aud": "them", "exp": NOW + 60}), false),
            of(head(), json!({"exp": NOW + 60}), false),
            of(head(), json!({"aud": "us", "exp": "soon"}), false),
            of(json!({"alg": "none"}), json!({"aud": "us", "exp": NOW + 60}), false),
            of(json!({"alg": "HS512"}), json!({"aud": "us", "exp": NOW + 60}), false),
        ];
        Self::of(verify.to_owned(), right)
    }

    /// Whether a request with these headers is taken. A value that HTTP does not carry is left out.
    fn takes(&self, sign: &[u8], time: Option<&[u8]>) -> bool {
        let mut request = http::Request::post("/in").body(Bytes::from_static(BODY.as_bytes())).unwrap();
        for (name, value) in [("x-sign", Some(sign)), ("x-time", time)] {
            if let Some(Ok(value)) = value.map(HeaderValue::from_bytes) {
                request.headers_mut().insert(name, value);
            }
        }
        who(&self.endpoint, request).is_ok()
    }
}

static PROVERS: LazyLock<Vec<Prover>> = LazyLock::new(|| {
    let hex: fn(&[u8]) -> String = |tag| HEXLOWER.encode(tag);
    let unix: fn(i64) -> String = |at| at.to_string();
    let pairs: fn(&str, &str) -> String = |time, tag| format!("t={time},v0=abc,v1={tag}");
    let beside: fn(&str, &str) -> String = |_, tag| tag.to_owned();
    vec![
        Prover::hmac("encoding: hex", str::to_owned, hex),
        Prover::hmac("prefix: \"sha256=\", encoding: hex", |tag| format!("sha256={tag}"), hex),
        Prover::hmac(
            "format: list, separator: \",\", prefix: \"v1:\", encoding: base64",
            |tag| format!("v2:AAAA, v1:{tag}="),
            |tag| BASE64.encode(tag).trim_end_matches('=').to_owned(),
        ),
        Prover::hmac(
            "format: pairs, separator: \";\", key: s, encoding: base64url",
            |tag| format!("k=1; s=\"{tag}\""),
            |tag| BASE64URL_NOPAD.encode(tag),
        ),
        Prover::timed("format: pairs, separator: \",\", key: v1", "key: t, format: unix", unix, pairs),
        Prover::timed("format: plain", "header: X-Time, format: unix_ms", |at| format!("{at}000"), beside),
        Prover::timed(
            "format: plain",
            "header: X-Time, format: rfc3339",
            |at| jiff::Timestamp::from_second(at).unwrap().to_string(),
            beside,
        ),
        Prover::timed(
            "format: plain",
            "header: X-Time, format: http_date",
            |at| {
                jiff::fmt::rfc2822::DateTimePrinter::new()
                    .timestamp_to_rfc9110_string(&jiff::Timestamp::from_second(at).unwrap())
                    .unwrap()
            },
            beside,
        ),
        Prover::token(),
        Prover::public_key(),
        Prover::jwt(),
    ]
});

/// The value of `X-Sign`, and in a second line that of `X-Time`.
fn values() -> impl Strategy<Value = Vec<u8>> {
    let right = any::<prop::sample::Index>().prop_map(|at| {
        let all: Vec<&Right> = PROVERS.iter().flat_map(|prover| &prover.right).collect();
        let Right { sign, time, .. } = at.get(&all);
        [sign.as_str(), time.as_deref().unwrap_or_default()]
            .join(if time.is_some() { "\n" } else { "" })
            .into_bytes()
    });
    let joined = prop::collection::vec(right.clone(), 1..4).prop_map(|all| all.join(&b", "[..]));
    let many = (right.clone(), 1..60_usize).prop_map(|(one, times)| one.repeat(times));
    prop_oneof![8 => spoiled(right, 3), 2 => spoiled(joined, 2), 1 => spoiled(many, 1)]
}

pub fn check(input: &[u8]) {
    let mut lines = input.splitn(2, |byte| *byte == b'\n');
    let (sign, time) = (lines.next().unwrap_or_default(), lines.next());
    let text = String::from_utf8_lossy(sign);
    for prover in PROVERS.iter() {
        if !prover.takes(sign, time) {
            continue;
        }
        // Hexadecimal may be written in any case, and one that is exact is not harmed by this.
        let holds = |right: &Right| text.to_lowercase().contains(&right.core.to_lowercase());
        let held = prover.right.iter().any(|right| right.fresh && holds(right));
        assert!(held, "{} took {text:?} with {time:?}", prover.verify);
    }
}

#[test]
fn no_header_passes_for_a_proof() {
    super::play("signatures", 3000, values, check);
}

/// What is spoiled is right as it stands: the other test would prove little without.
#[test]
fn the_right_ones_are_taken_while_their_time_is_near() {
    for prover in PROVERS.iter() {
        for right in &prover.right {
            let taken = prover.takes(right.sign.as_bytes(), right.time.as_ref().map(String::as_bytes));
            assert_eq!(taken, right.fresh, "{}: {} {:?}", prover.verify, right.sign, right.time);
        }
    }
}
