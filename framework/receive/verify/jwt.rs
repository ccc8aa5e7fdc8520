//! A JSON Web Token in compact form (RFC 7515, RFC 7519): strict, and with the algorithms of the spec alone.
//!
//! What is not known to be harmless is refused: `crit`, a token without an end, an algorithm that the spec does
//! not list. `none` is no algorithm here.

use aws_lc_rs::hmac;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use super::encoding::decode;
use super::failure::Failure;
use super::keys::{Expected, algorithm};
use super::matter::Matter;
use super::public_key::PublicKey;
use super::rejection::Rejection;
use super::subject::{Subject, after_scheme};
use crate::connector::model::{Encoding, Jwt, JwtAlgorithm, KeyKind};
use crate::connector::template::Text;
use crate::receive::request::in_head;

/// Bytes that a token in the head of a request may have, and that the head of any token may have. A token in the body
/// may be as large as the body.
const LONGEST: usize = 16 << 10;

/// A token whose signature nobody has looked at.
pub(super) struct Token {
    algorithm: JwtAlgorithm,
    key_id: Option<String>,
    /// What is signed: head and claims as they stand.
    message: Vec<u8>,
    /// Where the claims begin in it. They are decoded once the signature holds.
    claims_at: usize,
    tag: Vec<u8>,
}

impl Token {
    /// Takes it apart.
    pub(super) fn read(jwt: &Jwt, subject: &Subject<'_>) -> Result<Self, Rejection> {
        let value = subject.one(&jwt.place)?;
        let value = after_scheme(&value, jwt.scheme.as_deref())?;
        if in_head(&jwt.place) && value.len() > LONGEST {
            return Err(Rejection::Malformed);
        }
        let mut parts = value.split(|byte| *byte == b'.');
        let (Some(head), Some(claims), Some(tag), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Rejection::Malformed);
        };
        if head.len() > LONGEST || tag.len() > LONGEST {
            return Err(Rejection::Malformed);
        }
        let claims_at = head.len() + 1;
        let message = [head, b".", claims].concat();
        let head: Json = serde_json::from_slice(&unpadded(head)?).map_err(|_| Rejection::Malformed)?;
        let text = |name: &str| head.get(name).and_then(Json::as_str);
        let named = text("alg").and_then(JwtAlgorithm::named);
        let algorithm = named.filter(|named| jwt.algorithms.contains(named)).ok_or(Rejection::Algorithm)?;
        // An extension that must be understood (RFC 7515 section 4.1.11): none is.
        if head.get("crit").is_some() {
            return Err(Rejection::Malformed);
        }
        let key_id = text("kid").map(str::to_owned);
        Ok(Self { algorithm, key_id, message, claims_at, tag: unpadded(tag)? })
    }

    /// Whether a set of keys has the one that it names.
    pub(super) fn is_known_to(&self, keys: &[PublicKey]) -> bool {
        self.key_id.is_none() || keys.iter().any(|key| key.id == self.key_id)
    }

    /// Checks the signature and what the token says; gives its claims.
    pub(super) fn check(&self, matter: &Matter<'_>, jwt: &Jwt, expected: &Expected) -> Result<Json, Failure> {
        if !self.is_signed(expected) {
            return Err(Rejection::Wrong.into());
        }
        let claims = unpadded(self.message.get(self.claims_at..).unwrap_or_default())?;
        let claims: Json = serde_json::from_slice(&claims).map_err(|_| Rejection::Malformed)?;
        in_time(jwt, &claims, matter.now)?;
        let issuer: Vec<&str> = claims.get("iss").and_then(Json::as_str).into_iter().collect();
        meets(matter, &jwt.issuers, &issuer)?;
        let audience: Vec<&str> = match claims.get("aud") {
            Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).collect(),
            Some(one) => one.as_str().into_iter().collect(),
            None => Vec::new(),
        };
        meets(matter, &jwt.audiences, &audience)?;
        Ok(claims)
    }

    fn is_signed(&self, expected: &Expected) -> bool {
        match (self.algorithm, expected) {
            (JwtAlgorithm::Shared(hash), Expected::Hashes(keys)) => keys
                .iter()
                .filter(|key| key.algorithm() == algorithm(hash))
                .fold(false, |signed, key| signed | hmac::verify(key, &self.message, &self.tag).is_ok()),
            (JwtAlgorithm::Private(private), Expected::Public(keys)) => {
                // ECDSA in a token is r and s one after the other (RFC 7518 section 3.4), never DER.
                let width = match private.key_kind() {
                    KeyKind::P256 => Some(64),
                    KeyKind::P384 => Some(96),
                    KeyKind::Ed25519 | KeyKind::Rsa => None,
                };
                let named =
                    |key: &&PublicKey| self.key_id.is_none() || key.id.is_none() || key.id == self.key_id;
                width.is_none_or(|width| self.tag.len() == width)
                    && keys.iter().filter(named).any(|key| key.verifies(private, &self.message, &self.tag))
            }
            (JwtAlgorithm::Shared(_) | JwtAlgorithm::Private(_), _) => false,
        }
    }
}

/// The bytes of a part, which has no padding (RFC 7515 section 2).
fn unpadded(part: &[u8]) -> Result<Vec<u8>, Rejection> {
    let unpadded = !part.ends_with(b"=");
    unpadded.then(|| decode(Encoding::Base64Url, part)).flatten().ok_or(Rejection::Malformed)
}

/// It has begun and not ended; and it has an end, by `exp` or by its age.
fn in_time(jwt: &Jwt, claims: &Json, now: Timestamp) -> Result<(), Rejection> {
    let leeway = SignedDuration::try_from(jwt.leeway).unwrap_or(SignedDuration::ZERO);
    let ends = time(claims, "exp")?;
    if ends.is_some_and(|ends| now.duration_since(ends) >= leeway) {
        return Err(Rejection::Stale);
    }
    if time(claims, "nbf")?.is_some_and(|begins| begins.duration_since(now) > leeway) {
        return Err(Rejection::Stale);
    }
    let Some(max_age) = jwt.max_age else {
        return if ends.is_some() { Ok(()) } else { Err(Rejection::NoTime) };
    };
    let issued = time(claims, "iat")?.ok_or(Rejection::NoTime)?;
    let age = now.duration_since(issued);
    let most = SignedDuration::try_from(max_age).unwrap_or(SignedDuration::ZERO);
    if age > most || age < -leeway { Err(Rejection::Stale) } else { Ok(()) }
}

/// A NumericDate (RFC 7519 section 2); one that is no number is refused.
fn time(claims: &Json, name: &str) -> Result<Option<Timestamp>, Rejection> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    #[expect(clippy::cast_possible_truncation, reason = "a float is cut to the range of whole numbers")]
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64));
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map(Some).ok_or(Rejection::NoTime)
}

/// Whether one of the values is one of those that are wanted, where any are.
fn meets(matter: &Matter<'_>, wanted: &[Text], found: &[&str]) -> Result<(), Failure> {
    if wanted.is_empty() {
        return Ok(());
    }
    let scope = matter.scope(&[]);
    for text in wanted {
        // One that is left out by `omit` is none.
        let wanted = text.render_bytes_if(&scope).map_err(|error| matter.lacking(&[text], &error))?;
        let wanted = wanted.filter(|wanted| !wanted.is_empty());
        if wanted.is_some_and(|wanted| found.iter().any(|found| found.as_bytes() == wanted)) {
            return Ok(());
        }
    }
    Err(Rejection::Claims.into())
}
