//! Public keys as vendors publish them: PEM, certificates, JSON Web Keys and their bytes as text, each spoiled, given to
//! a request that is verified with them. No document breaks a reader, and none proves a request that nobody signed.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use forebay::call::caller::Caller;
use forebay::call::retry::Pace;
use forebay::call::{Request, Response, Transport, TransportError};
use forebay::connector::instance::Instance;
use forebay::receive::{Endpoint, Limits, Reach};
use proptest::prelude::*;
use serde_json::json;

use super::spoil::spoiled;
use super::{Still, probe, who};
use crate::receiving::stage::Memory;

const BODY: &str = r#"{"id":"1","type":"s"}"#;

/// A vendor whose every document is this one.
pub struct Publishes(pub Bytes);

#[async_trait]
impl Transport for Publishes {
    async fn send(&self, _: Request) -> Result<Response, TransportError> {
        let (status, headers) = (http::StatusCode::OK, http::HeaderMap::new());
        Ok(Response { status, headers, body: self.0.clone() })
    }
}

/// A way to be given a key, and a request that its holder never signed.
struct Reader {
    verify: String,
    instance: Arc<Instance>,
    sign: String,
}

impl Reader {
    fn of(verify: String, sign: String) -> Self {
        let receiver = format!("  verify: {{{verify}}}\n  decode: {{format: json}}\n  event: {{id: /id}}\n");
        let instance = probe(&receiver, &serde_json::from_str(BODY).unwrap()).instance.clone();
        Self { verify, instance, sign }
    }

    fn key(algorithm: &str, format: &str) -> Self {
        let verify = format!(
            "kind: public_key, algorithm: {algorithm}, key_url: {{url: \"https://keys.example.com/a.pem\", \
             only: 'https://keys\\.example\\.com/a\\.pem'}}, key_format: {format}, message: \"{{{{ request.body }}}}\", \
             signature: {{header: X-Sign, encoding: base64}}"
        );
        Self::of(verify, BASE64.encode(&[7; 64]))
    }

    fn token() -> Self {
        let verify = "kind: jwt, header: X-Sign, scheme: Bearer, algorithms: [ES256, RS256], \
                      jwks_url: \"https://keys.example.com/jwks\", issuer: us, audience: us";
        let part = |json: serde_json::Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
        let claims = json!({"iss": "us", "aud": "us", "exp": super::NOW + 60});
        let token = format!(
            "{}.{}.{}",
            part(json!({"alg": "ES256", "kid": "a"})),
            part(claims),
            BASE64URL_NOPAD.encode(&[7; 64])
        );
        Self::of(verify.to_owned(), format!("Bearer {token}"))
    }

    /// Tells whether a vendor that publishes this document makes the unsigned request pass.
    fn takes(&self, document: &[u8]) -> bool {
        let clock = Arc::new(Still);
        let vendor = Arc::new(Publishes(Bytes::copy_from_slice(document)));
        let caller = Arc::new(Caller::new(vendor, clock.clone(), Pace::default()));
        let reach = Reach { caller, deeds: None };
        let queue = Arc::new(Memory::default());
        let endpoint = Endpoint::new(self.instance.clone(), queue, clock, reach, &Limits::default()).unwrap();
        let request = http::Request::post("/in")
            .header("x-sign", &self.sign)
            .body(Bytes::from_static(BODY.as_bytes()))
            .unwrap();
        who(&endpoint, request).is_ok()
    }
}

static READERS: LazyLock<Vec<Reader>> = LazyLock::new(|| {
    let formats = ["pem", "jwk", "base64", "hex"];
    let mut all: Vec<Reader> = formats.iter().map(|format| Reader::key("ed25519", format)).collect();
    all.extend(
        ["ecdsa-p256-sha256", "rsa-pkcs1-sha256"].iter().map(|algorithm| Reader::key(algorithm, "pem")),
    );
    all.push(Reader::token());
    all
});

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der)).into_bytes()
}

/// Documents that hold a key.
static GOOD: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let ed25519 = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let raw = ed25519.public_key().as_ref().to_vec();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
    let ecdsa = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
    let point = ecdsa.public_key().as_ref().to_vec();
    // SubjectPublicKeyInfo of a P-256 key (RFC 5480): a fixed head, then the point.
    let head = HEXLOWER.decode(b"3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
    let spki = [head, point.clone()].concat();
    let certificate = rcgen::generate_simple_self_signed(vec!["keys.example.com".to_owned()]).unwrap();
    let url = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let ec =
        json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": url(&point[1..33]), "y": url(&point[33..])});
    let rsa = json!({"kty": "RSA", "kid": "b", "n": url(&[0xc5; 256]), "e": "AQAB", "use": "sig"});
    vec![
        pem("PUBLIC KEY", &spki),
        pem("CERTIFICATE", certificate.cert.der()),
        certificate.cert.pem().into_bytes(),
        json!({"keys": [ec, rsa]}).to_string().into_bytes(),
        json!({"kty": "OKP", "crv": "Ed25519", "x": url(&raw)}).to_string().into_bytes(),
        BASE64.encode(&raw).into_bytes(),
        HEXLOWER.encode(&raw).into_bytes(),
    ]
});

fn documents() -> impl Strategy<Value = Vec<u8>> {
    let good = any::<prop::sample::Index>().prop_map(|at| at.get(&GOOD).clone());
    // The same DER with bytes spoiled below the PEM, which a spoiled text seldom reaches.
    let inner = spoiled(
        any::<prop::sample::Index>().prop_map(|at| {
            let text = String::from_utf8(at.get(&GOOD[..2]).clone()).unwrap();
            let packed: String = text.lines().filter(|line| !line.starts_with('-')).collect();
            BASE64.decode(packed.as_bytes()).unwrap()
        }),
        3,
    );
    let wrapped = (inner, prop::sample::select(&["PUBLIC KEY", "CERTIFICATE"][..]))
        .prop_map(|(der, label)| pem(label, &der));
    prop_oneof![1 => spoiled(good, 3), 1 => wrapped]
}

pub fn check(input: &[u8]) {
    let mut documents = vec![input.to_vec()];
    // DER below the PEM, which a change of the text seldom reaches.
    if input.starts_with(&[0x30]) {
        documents.extend(["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"].map(|label| pem(label, input)));
    }
    for (reader, document) in READERS.iter().flat_map(|reader| documents.iter().map(move |d| (reader, d))) {
        assert!(!reader.takes(document), "{} took a request that is not signed", reader.verify);
    }
}

#[test]
fn no_published_key_breaks_verification() {
    super::play("keys", 600, documents, check);
}
