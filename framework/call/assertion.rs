//! JSON Web Tokens that we sign: assertions for token endpoints, and tokens that are used as they are.
//!
//! `auth` and `oauth` ask for one. Keys come as PEM, as people have them; neither a key nor a token is printed.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RsaEncoding,
};
use aws_lc_rs::{hmac, rand};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json, json};

use crate::connector::model::{Algorithm, Assertion, Hash, JwtAlgorithm, KeyKind};
use crate::connector::template::Scope;
use crate::error::{Error, Kind, Result};

/// The labels of PEM that a private key may stand under.
const LABELS: &[&str] = &["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/// A token of these claims, signed. `added` are claims that stand where the spec says nothing of them.
pub fn signed(
    assertion: &Assertion,
    added: Map<String, Json>,
    scope: &Scope,
    now: Timestamp,
) -> Result<String> {
    let mut head = json!({"alg": assertion.algorithm.name(), "typ": "JWT"});
    let mut claims = Json::Object(added);
    let lifetime = SignedDuration::try_from(assertion.lifetime).unwrap_or(SignedDuration::ZERO);
    claims["iat"] = Json::from(now.as_second());
    claims["exp"] = Json::from(now.saturating_add(lifetime).unwrap_or(now).as_second());
    for (target, tree) in [(&mut head, &assertion.header), (&mut claims, &assertion.claims)] {
        if let (Json::Object(target), Some(Json::Object(own))) = (target, tree.render(scope)?) {
            target.extend(own);
        }
    }
    let part = |value: &Json| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", part(&head), part(&claims));
    let key = assertion.key.render_bytes(scope)?;
    let tag = sign(assertion.algorithm, &key, message.as_bytes())?;
    Ok(format!("{message}.{}", BASE64URL_NOPAD.encode(&tag)))
}

/// An id that nothing else has. Without randomness it is empty, and no assertion can be signed either.
pub fn fresh_id() -> String {
    let mut bytes = [0; 16];
    if rand::fill(&mut bytes).is_err() {
        return String::new();
    }
    HEXLOWER.encode(&bytes)
}

fn sign(algorithm: JwtAlgorithm, key: &[u8], message: &[u8]) -> Result<Vec<u8>> {
    let algorithm = match algorithm {
        JwtAlgorithm::Shared(hash) => {
            let hash = match hash {
                Hash::Sha1 | Hash::Sha256 => hmac::HMAC_SHA256,
                Hash::Sha384 => hmac::HMAC_SHA384,
                Hash::Sha512 => hmac::HMAC_SHA512,
            };
            if key.is_empty() {
                return Err(Error::new(Kind::Configuration, "the shared secret of an assertion is empty"));
            }
            return Ok(hmac::sign(&hmac::Key::new(hash, key), message).as_ref().to_vec());
        }
        JwtAlgorithm::Private(algorithm) => algorithm,
    };
    let failed = |_| Error::new(Kind::Configuration, "the private key cannot sign");
    match SigningKey::read(key, algorithm)? {
        SigningKey::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        SigningKey::Ecdsa(pair) => {
            Ok(pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec())
        }
        SigningKey::Rsa(pair, encoding) => {
            let mut tag = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), message, &mut tag).map_err(failed)?;
            Ok(tag)
        }
    }
}

/// A private key that fits its algorithm.
pub enum SigningKey {
    /// Ed25519.
    Ed25519(Box<Ed25519KeyPair>),
    /// ECDSA; signatures are r and s one after the other.
    Ecdsa(Box<EcdsaKeyPair>),
    /// RSA, and how it signs.
    Rsa(Box<rsa::KeyPair>, &'static dyn RsaEncoding),
}

impl SigningKey {
    /// Reads a key from PEM: PKCS#8 (RFC 5958), PKCS#1 (RFC 8017) or SEC 1 (RFC 5915). The error says what it
    /// is instead, and shows nothing of it.
    pub fn read(text: &[u8], algorithm: Algorithm) -> Result<Self> {
        let wrong = |what: String| {
            Error::new(Kind::Configuration, what).help(
                "give the private key as PEM, with its BEGIN and END lines: `openssl pkey -in key.pem -text -noout` shows its kind",
            )
        };
        let der = from_pem(text).map_err(|what| wrong(what.to_owned()))?;
        let ecdsa =
            |curve| EcdsaKeyPair::from_private_key_der(curve, &der).map(Box::new).ok().map(Self::Ecdsa);
        let rsa = |encoding| {
            let pair = rsa::KeyPair::from_pkcs8(&der).or_else(|_| rsa::KeyPair::from_der(&der));
            pair.ok().map(|pair| Self::Rsa(Box::new(pair), encoding))
        };
        let read = match algorithm {
            Algorithm::Ed25519 => {
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(Box::new).ok().map(Self::Ed25519)
            }
            Algorithm::EcdsaP256Sha256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::EcdsaP384Sha384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            // No name of a token's algorithm leads to SHA-1.
            Algorithm::RsaPkcs1Sha1 | Algorithm::RsaPkcs1Sha256 => rsa(&signature::RSA_PKCS1_SHA256),
            Algorithm::RsaPkcs1Sha384 => rsa(&signature::RSA_PKCS1_SHA384),
            Algorithm::RsaPkcs1Sha512 => rsa(&signature::RSA_PKCS1_SHA512),
            Algorithm::RsaPssSha256 => rsa(&signature::RSA_PSS_SHA256),
            Algorithm::RsaPssSha384 => rsa(&signature::RSA_PSS_SHA384),
            Algorithm::RsaPssSha512 => rsa(&signature::RSA_PSS_SHA512),
        };
        read.ok_or_else(|| {
            let (name, needed) = (JwtAlgorithm::Private(algorithm).name(), needed(algorithm));
            wrong(format!("{name} signs with {needed}, and the private key is {}", kind(&der)))
        })
    }
}

/// What an algorithm signs with.
fn needed(algorithm: Algorithm) -> &'static str {
    match algorithm.key_kind() {
        KeyKind::Ed25519 => "an Ed25519 key",
        KeyKind::P256 => "an EC key of the curve P-256",
        KeyKind::P384 => "an EC key of the curve P-384",
        KeyKind::Rsa => "an RSA key of 2048 bits or more",
    }
}

/// What a key is, as far as it can be told.
fn kind(der: &[u8]) -> &'static str {
    let rsa = rsa::KeyPair::from_pkcs8(der).or_else(|_| rsa::KeyPair::from_der(der));
    if rsa.is_ok() {
        return "an RSA key";
    }
    if Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).is_ok() {
        return "an Ed25519 key";
    }
    if EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der).is_ok() {
        return "an EC key of the curve P-256";
    }
    if EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, der).is_ok() {
        return "an EC key of the curve P-384";
    }
    "none that is known, or too short"
}

/// The bytes of the first private key in PEM (RFC 7468). Line breaks may have become blanks or `\n`, as they
/// do on their way through environments and forms.
fn from_pem(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "the private key is no text")?.replace("\\n", "\n");
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(
            "the private key is encrypted with a passphrase: decrypt it first, `openssl pkey -in key.pem -out plain.pem`",
        );
    }
    for label in LABELS {
        let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
        let Some((_, rest)) = text.split_once(&begin) else { continue };
        let Some((body, _)) = rest.split_once(&end) else {
            return Err("the private key is cut off: its END line is missing");
        };
        let body: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        return BASE64.decode(&body).map_err(|_| "what stands in the private key is no base64");
    }
    if text.contains("-----BEGIN") {
        return Err("this is PEM, and no private key");
    }
    Err("the private key is no PEM")
}
