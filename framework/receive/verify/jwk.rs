//! JSON Web Keys and sets of them (RFC 7517, RFC 7518 section 6, RFC 8037): public keys for signatures alone.
//!
//! Keys of a kind that nobody here verifies with are passed over; a set without any other is an error.

use serde_json::Value as Json;

use super::encoding::decode;
use super::public_key::PublicKey;
use crate::connector::model::Encoding;

/// Keys that a set may have.
const MOST: usize = 64;

/// Reads a key, or a set under `keys`.
pub(super) fn read(text: &[u8]) -> Result<Vec<PublicKey>, String> {
    let document: Json = serde_json::from_slice(text).map_err(|_| "not a JSON Web Key".to_owned())?;
    let all = match document.get("keys") {
        Some(Json::Array(keys)) => keys.iter().collect(),
        Some(_) => Vec::new(),
        None => vec![&document],
    };
    if all.len() > MOST {
        return Err(format!("a set of more than {MOST}"));
    }
    let keys: Vec<PublicKey> = all.into_iter().filter_map(key).collect();
    if keys.is_empty() { Err("no JSON Web Key that can verify a signature".to_owned()) } else { Ok(keys) }
}

fn key(jwk: &Json) -> Option<PublicKey> {
    let text = |name: &str| jwk.get(name).and_then(Json::as_str);
    let bytes = |name: &str| decode(Encoding::Base64Url, text(name)?.as_bytes());
    if text("use").is_some_and(|what| what != "sig") {
        return None;
    }
    let bytes = match (text("kty")?, text("crv")) {
        ("RSA", _) => rsa(&bytes("n")?, &bytes("e")?),
        ("EC", Some("P-256")) => point(&bytes("x")?, &bytes("y")?, 32)?,
        ("EC", Some("P-384")) => point(&bytes("x")?, &bytes("y")?, 48)?,
        ("OKP", Some("Ed25519")) => bytes("x").filter(|x| x.len() == 32)?,
        _ => return None,
    };
    let owned = |name: &str| text(name).map(str::to_owned);
    Some(PublicKey { id: owned("kid"), algorithm: owned("alg"), bytes })
}

/// An uncompressed point (SEC 1 section 2.3.3).
fn point(x: &[u8], y: &[u8], width: usize) -> Option<Vec<u8>> {
    (x.len() == width && y.len() == width).then(|| [&[4], x, y].concat())
}

/// RSAPublicKey in DER (RFC 8017 appendix A.1.1).
fn rsa(n: &[u8], e: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        let mut positive = bytes.get(start..).unwrap_or_default().to_vec();
        if positive.first().is_none_or(|first| *first >= 0x80) {
            positive.insert(0, 0);
        }
        tagged(2, &positive)
    };
    tagged(0x30, &[integer(n), integer(e)].concat())
}

/// One value of DER: a tag, a length and what is in it.
fn tagged(tag: u8, inner: &[u8]) -> Vec<u8> {
    let length = inner.len().to_be_bytes();
    let digits = length.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &length[at..]);
    let mut out = vec![tag];
    match (inner.len(), u8::try_from(digits.len())) {
        (0..0x80, _) | (_, Err(_)) => out.push(digits.first().copied().unwrap_or(0)),
        (_, Ok(count)) => {
            out.push(0x80 | count);
            out.extend_from_slice(digits);
        }
    }
    out.extend_from_slice(inner);
    out
}
