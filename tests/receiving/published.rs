//! Proofs by keys that a vendor publishes: tokens, sets of keys, where they may be fetched and how often.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
};
use aws_lc_rs::{digest, hmac, rand::SystemRandom};
use bytes::Bytes;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use forebay::call::{Request, Response, Transport, TransportError};
use forebay::connector::clock::Clock;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::proofs::{BODY, now, receiver, stage};
use super::stage::{KEY, Stage, connector, instance};

/// A vendor that publishes what it is told to, and counts.
#[derive(Default)]
struct Published {
    document: Mutex<Option<String>>,
    calls: AtomicUsize,
    /// While it is held, answers wait.
    hold: tokio::sync::Mutex<()>,
}

impl Published {
    fn says(&self, document: Option<String>) {
        *self.document.lock().unwrap() = document;
    }
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

struct To(Arc<Published>);

#[async_trait]
impl Transport for To {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        assert_eq!(request.method, "GET");
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let _hold = self.0.hold.lock().await;
        let document = self.0.document.lock().unwrap().clone();
        let sentence = "it is down".to_owned();
        let body = document.ok_or(TransportError { sent: true, passing: true, sentence })?;
        let (status, headers) = (http::StatusCode::OK, http::HeaderMap::new());
        Ok(Response { status, headers, body: Bytes::from(body) })
    }
}

struct Issuer {
    pair: EcdsaKeyPair,
    id: &'static str,
}

impl Issuer {
    fn new(id: &'static str) -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), id }
    }
    fn jwk(&self) -> Json {
        let point = self.pair.public_key().as_ref();
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "alg": "ES256", "x": text(&point[1..33]), "y": text(&point[33..])})
    }
    fn token(&self, head: &Json, claims: &Json) -> String {
        let part = |value: &Json| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let message = format!("{}.{}", part(head), part(claims));
        let tag = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("Bearer {message}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
    }
    fn good(&self) -> String {
        self.token(&json!({"alg": "ES256", "kid": self.id}), &claims())
    }
}

fn claims() -> Json {
    json!({"iss": "https://issuer.example", "aud": ["x", "https://logs.example.com/in"], "exp": now() + 60, "iat": now()})
}

fn set(issuers: &[&Issuer]) -> Option<String> {
    let keys: Vec<Json> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    Some(json!({"keys": keys}).to_string())
}

const JWT: &str = "    kind: jwt\n    header: Authorization\n    scheme: Bearer\n    algorithms: [ES256, RS256]\n    \
    jwks_url: https://issuer.example/keys\n    issuer: https://issuer.example\n    audience: \"{{ receiver.url }}\"\n";

/// A clock that tests put forward.
#[derive(Default)]
struct Later(AtomicI64);

impl Later {
    fn by(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for Later {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(now() + self.0.load(Ordering::SeqCst)).unwrap()
    }
}

async fn with_keys(verify: &str, published: &Arc<Published>) -> Stage {
    at(verify, published, Arc::default()).await
}

async fn at(verify: &str, published: &Arc<Published>, clock: Arc<Later>) -> Stage {
    let instance =
        instance(connector(&receiver(verify)), "probe", &[("key", KEY), ("other", "another secret")]);
    Stage::asking(instance, Arc::new(To(published.clone())), clock).await
}

async fn with(stage: &Stage, token: &str) -> u16 {
    stage.send(&[("authorization", token)], BODY).await.status
}

#[tokio::test]
async fn a_token_is_taken_for_what_it_says_and_for_nothing_else() {
    let (issuer, stranger) = (Issuer::new("a"), Issuer::new("a"));
    let published = Arc::new(Published::default());
    published.says(set(&[&issuer]));
    let stage = with_keys(JWT, &published).await;
    assert_eq!(with(&stage, &issuer.good()).await, 202);
    let head = json!({"alg": "ES256", "kid": "a"});
    let changed = |name: &str, value: Json| {
        let mut claims = claims();
        claims[name] = value;
        issuer.token(&head, &claims)
    };
    // Within the leeway of a minute, and an audience that is a text alone.
    for good in [
        changed("exp", json!(now() - 50)),
        changed("nbf", json!(now() + 50)),
        changed("aud", json!("https://logs.example.com/in")),
        issuer.token(&json!({"alg": "ES256"}), &claims()),
    ] {
        assert_eq!(with(&stage, &good).await, 202);
    }
    let mut endless = claims();
    endless.as_object_mut().unwrap().remove("exp");
    let good = issuer.good();
    let (message, _) = good.rsplit_once('.').unwrap();
    let der = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let tag = der.sign(&SystemRandom::new(), message.trim_start_matches("Bearer ").as_bytes()).unwrap();
    for (what, bad) in [
        ("another key", stranger.good()),
        ("expired", changed("exp", json!(now() - 70))),
        ("no number", changed("exp", json!("soon"))),
        ("not yet", changed("nbf", json!(now() + 70))),
        ("no end", issuer.token(&head, &endless)),
        ("another issuer", changed("iss", json!("https://other.example"))),
        ("no issuer", changed("iss", Json::Null)),
        ("another audience", changed("aud", json!(["https://other.example"]))),
        ("no audience", changed("aud", Json::Null)),
        ("none", issuer.token(&json!({"alg": "none"}), &claims())),
        ("a shared secret", issuer.token(&json!({"alg": "HS256"}), &claims())),
        ("another algorithm", issuer.token(&json!({"alg": "RS256", "kid": "a"}), &claims())),
        ("crit", issuer.token(&json!({"alg": "ES256", "kid": "a", "crit": ["b64"]}), &claims())),
        ("no signature", format!("{message}.")),
        ("DER", format!("{message}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))),
        ("padding", format!("{good}=")),
        ("two parts", message.to_owned()),
        ("four parts", format!("{good}.x")),
        ("no scheme", good.trim_start_matches("Bearer ").to_owned()),
        ("long", format!("Bearer {}", "a".repeat(17 << 10))),
        ("nothing", "Bearer ".to_owned()),
        ("no claims", issuer.token(&head, &json!([]))),
    ] {
        assert!([400, 401, 431].contains(&with(&stage, &bad).await), "{what}");
    }
    assert_eq!(published.calls(), 1, "the keys are kept");
}

#[tokio::test]
async fn token_for_a_former_public_url_is_accepted_until_that_ends() {
    let issuer = Issuer::new("a");
    let published = Arc::new(Published::default());
    published.says(set(&[&issuer]));
    let stage = with_keys(JWT, &published).await;
    let token = |audience: &str| {
        let mut claims = claims();
        claims["aud"] = json!(audience);
        issuer.token(&json!({"alg": "ES256", "kid": "a"}), &claims)
    };
    let (former, newest) = ("https://former.example.com/in", "https://logs.example.com/in");
    assert_eq!((with(&stage, &token(newest)).await, with(&stage, &token(former)).await), (202, 401));
    stage.endpoint.accept_urls(vec![former.parse().unwrap()]);
    assert_eq!((with(&stage, &token(newest)).await, with(&stage, &token(former)).await), (202, 202));
    assert_eq!(with(&stage, &token("https://other.example.com/in")).await, 401);
    // The overlap ends, or an operator ends it.
    stage.endpoint.accept_urls(Vec::new());
    assert_eq!((with(&stage, &token(newest)).await, with(&stage, &token(former)).await), (202, 401));
}

#[tokio::test]
async fn hs_tokens_take_the_hash_that_they_name_and_the_body_that_they_hash() {
    let stage = stage(
        "    kind: jwt\n    header: X-Token\n    algorithms: [HS256, HS512]\n    key: \"{{ secrets.key }}\"\n    \
         max_age: 5m\n    require: [claims.sum == request.body | sha256 | hex]\n",
    )
    .await;
    let sum = HEXLOWER.encode(digest::digest(&digest::SHA256, BODY.as_bytes()).as_ref());
    let token = |name: &str, algorithm, claims: Json| {
        let part = |value: Json| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let message = format!("{}.{}", part(json!({"alg": name})), part(claims));
        let tag = hmac::sign(&hmac::Key::new(algorithm, KEY.as_bytes()), message.as_bytes());
        format!("{message}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
    };
    let send = async |token: String| stage.send(&[("x-token", &token)], BODY).await.status;
    let good = json!({"iat": now(), "sum": sum});
    assert_eq!(send(token("HS256", hmac::HMAC_SHA256, good.clone())).await, 202);
    assert_eq!(send(token("HS512", hmac::HMAC_SHA512, good.clone())).await, 202);
    assert_eq!(send(token("HS512", hmac::HMAC_SHA256, good.clone())).await, 401);
    assert_eq!(send(token("HS384", hmac::HMAC_SHA384, good)).await, 401);
    for bad in [
        json!({"iat": now() - 301, "sum": sum}),
        json!({"iat": now() + 90, "sum": sum}),
        json!({"exp": now() + 60, "sum": sum}),
        json!({"iat": now(), "sum": "0"}),
        json!({"iat": now()}),
    ] {
        assert_eq!(send(token("HS256", hmac::HMAC_SHA256, bad.clone())).await, 401, "{bad}");
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_had_is_503_and_strangers_do_not_make_calls() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let published = Arc::new(Published::default());
    let stage = with_keys(JWT, &published).await;
    // Not to be had: ours to say, and not asked again at once.
    let reply = stage.send(&[("authorization", &old.good())], BODY).await;
    assert_eq!((reply.status, reply.header("retry-after").is_some()), (503, true));
    assert_eq!(with(&stage, &old.good()).await, 503);
    assert_eq!(published.calls(), 1);
    // Those who bring no token of the right shape never lead to a call.
    for bad in ["", "Bearer x", "Bearer a.b.c"] {
        assert_eq!(with(&stage, bad).await, 401);
    }
    assert_eq!(published.calls(), 1);

    let published = Arc::new(Published::default());
    published.says(set(&[&old]));
    let stage = with_keys(JWT, &published).await;
    assert_eq!(with(&stage, &old.good()).await, 202);
    // A key nobody knows, asked for just after the set came: it is not in there, and nobody is called.
    for _ in 0..20 {
        assert_eq!(with(&stage, &new.good()).await, 401);
    }
    assert_eq!(published.calls(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_after_a_while_and_an_old_set_serves_while_the_vendor_is_down() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let published = Arc::new(Published::default());
    published.says(set(&[&old]));
    let clock = Arc::new(Later::default());
    // Tokens that are good for long: it is the keys that grow old.
    let verify = format!("{JWT}    cache: 10m\n    leeway: 1d\n");
    let stage = at(&verify, &published, clock.clone()).await;
    assert_eq!(with(&stage, &old.good()).await, 202);
    published.says(set(&[&old, &new]));
    clock.by(31);
    assert_eq!(with(&stage, &new.good()).await, 202);
    assert_eq!(published.calls(), 2);
    // Too old, and the vendor is down: what is known serves as long again, and no longer.
    published.says(None);
    clock.by(601);
    assert_eq!(with(&stage, &new.good()).await, 202);
    clock.by(601);
    assert_eq!(with(&stage, &new.good()).await, 503);
    published.says(set(&[&new]));
    clock.by(6);
    assert_eq!(with(&stage, &new.good()).await, 202);
    assert_eq!(with(&stage, &old.good()).await, 401);
}

#[tokio::test]
async fn requests_that_wait_for_one_key_share_one_call() {
    let issuer = Issuer::new("a");
    let published = Arc::new(Published::default());
    published.says(set(&[&issuer]));
    let stage = with_keys(JWT, &published).await;
    let hold = published.hold.lock().await;
    let token = issuer.good();
    let headers = [("authorization", token.as_str())];
    let sending = eight(&stage, &headers);
    let release = async {
        while published.calls() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(hold);
    };
    let (statuses, ()) = tokio::join!(sending, release);
    assert_eq!(statuses, [202; 8]);
    assert_eq!(published.calls(), 1);
}

/// Eight requests at once.
async fn eight(stage: &Stage, headers: &[(&str, &str)]) -> [u16; 8] {
    let one = || async { stage.send(headers, BODY).await.status };
    let (a, b, c, d, e, f, g, h) = tokio::join!(one(), one(), one(), one(), one(), one(), one(), one());
    [a, b, c, d, e, f, g, h]
}

#[tokio::test]
async fn a_key_is_fetched_from_the_vendors_own_host_alone_and_so_often() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let published = Arc::new(Published::default());
    published.says(Some(HEXLOWER.encode(pair.public_key().as_ref())));
    let verify = "    kind: public_key\n    algorithm: ecdsa-p256-sha256\n    key_format: hex\n    \
                  key_url: {url: \"{{ request.headers['x-key-url'] }}\", only: 'https://keys\\.vendor\\.example/[a-z0-9]+'}\n    \
                  message: \"{{ request.body }}\"\n    signature: {header: X-Sign, encoding: base64}\n";
    let stage = with_keys(verify, &published).await;
    let tag = BASE64.encode(pair.sign(&SystemRandom::new(), BODY.as_bytes()).unwrap().as_ref());
    let send = async |url: &str| stage.send(&[("x-sign", &tag), ("x-key-url", url)], BODY).await.status;
    for url in [
        "http://keys.vendor.example/a",
        "https://keys.vendor.example/a?b",
        "https://keys.vendor.example.other.example/a",
        "https://other.example/https://keys.vendor.example/a",
        "https://keys.vendor.example/../a",
        "x https://keys.vendor.example/a",
    ] {
        assert_eq!(send(url).await, 401, "{url}");
    }
    assert_eq!(stage.send(&[("x-sign", &tag)], BODY).await.status, 401);
    assert_eq!(published.calls(), 0);
    assert_eq!(send("https://keys.vendor.example/a").await, 202);
    assert_eq!(send("https://keys.vendor.example/a").await, 202);
    assert_eq!(published.calls(), 1);
    // Whoever makes up names of keys gets so many calls a minute, and does not push out the key in use.
    for n in 0..60 {
        let status = send(&format!("https://keys.vendor.example/made{n}")).await;
        assert!(status == 202 || status == 503, "{status}");
    }
    assert_eq!(published.calls(), 5);
    assert_eq!(send("https://keys.vendor.example/a").await, 202);
    assert_eq!(published.calls(), 5);
}

#[tokio::test]
async fn where_a_key_may_be_is_held_against_what_is_called_and_not_only_what_is_written() {
    let published = Arc::new(Published::default());
    let verify = "    kind: public_key\n    algorithm: ecdsa-p256-sha256\n    key_format: hex\n    \
                  key_url: {url: \"{{ request.headers['x-key-url'] }}\", only: 'https://keys\\.[a-z.\\\\]+\\.vendor\\.example/[a-z]+'}\n    \
                  message: \"{{ request.body }}\"\n    signature: {header: X-Sign, encoding: base64}\n";
    let stage = with_keys(verify, &published).await;
    // To whoever reads URLs a backslash is a slash, and a host ends there.
    for url in [
        "https://keys.evil.example\\.vendor.example/a",
        "https://keys.evil.example?.vendor.example/a",
        "https://keys.evil.example#.vendor.example/a",
    ] {
        let status = stage.send(&[("x-sign", "AAAA"), ("x-key-url", url)], BODY).await.status;
        assert_eq!((status, published.calls()), (401, 0), "{url}");
    }
    stage.send(&[("x-sign", "AAAA"), ("x-key-url", "https://keys.eu.vendor.example/a")], BODY).await;
    assert_eq!(published.calls(), 1);
}
