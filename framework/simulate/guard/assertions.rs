//! Tokens that a client signed, checked as a vendor does that has the public half of its key.
//!
//! Asked by the token endpoints and, where such a token signs calls itself, for every call.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::signature::{self, KeyPair, UnparsedPublicKey, VerificationAlgorithm};
use aws_lc_rs::{constant_time, hmac};
use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json};

use crate::call::assertion::SigningKey;
use crate::connector::model::{Algorithm, Assertion, JwtAlgorithm};
use crate::connector::template::{Scope, Tree};
use crate::error::Result;
use crate::simulate::sign::hmac_algorithm;

/// How far the clocks may lie apart, in seconds.
const LEEWAY: i64 = 60;
/// Claims that change from one token to the next, and are checked by what they mean.
const TIMES: &[&str] = &["iat", "exp", "nbf", "jti"];

/// The ids of assertions that were taken: none is taken twice.
#[derive(Debug, Default)]
pub(super) struct Taken(Mutex<BTreeSet<String>>);

/// What a token must be.
pub(super) struct Expected<'a> {
    /// How it is signed, and what it says.
    pub(super) assertion: &'a Assertion,
    /// What it says besides.
    pub(super) added: Map<String, Json>,
    /// The names of its texts.
    pub(super) scope: &'a Scope,
    /// The time.
    pub(super) now: Timestamp,
}

impl Taken {
    /// Whether nobody brought this one before.
    fn is_new(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned())
    }
}

impl Expected<'_> {
    /// Why a token is refused; `None` where it is not. Where `taken` is given, it serves once.
    pub(super) fn refusal(&self, token: &str, taken: Option<&Taken>) -> Result<Option<String>> {
        let mut parts = token.split('.');
        let (Some(head), Some(claims), Some(tag), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Ok(Some("the assertion is no JSON Web Token".to_owned()));
        };
        let signed = token.len() - tag.len() - 1;
        if !self.signs(token.get(..signed).unwrap_or_default(), tag)? {
            return Ok(Some("the signature of the assertion is not good".to_owned()));
        }
        let (Some(head), Some(claims)) = (read(head), read(claims)) else {
            return Ok(Some("the assertion cannot be read".to_owned()));
        };
        let mut wanted = Map::new();
        wanted.insert("alg".to_owned(), self.assertion.algorithm.name().into());
        wanted.insert("typ".to_owned(), "JWT".into());
        let wrong = self.differs(wanted, &self.assertion.header, &head)?;
        let wrong = match wrong {
            None => self.differs(self.added.clone(), &self.assertion.claims, &claims)?,
            wrong => wrong,
        };
        Ok(wrong.or_else(|| self.wrong_time(&claims)).or_else(|| {
            let id = claims.get("jti").and_then(Json::as_str)?;
            let taken = taken?;
            (!taken.is_new(id)).then(|| "this assertion was used before".to_owned())
        }))
    }

    fn signs(&self, message: &str, tag: &str) -> Result<bool> {
        let Ok(tag) = BASE64URL_NOPAD.decode(tag.as_bytes()) else { return Ok(false) };
        let key = self.assertion.key.render_bytes(self.scope)?;
        Ok(match self.assertion.algorithm {
            JwtAlgorithm::Shared(hash) => {
                let own = hmac::sign(&hmac::Key::new(hmac_algorithm(hash), &key), message.as_bytes());
                constant_time::verify_slices_are_equal(own.as_ref(), &tag).is_ok()
            }
            JwtAlgorithm::Private(algorithm) => {
                let public = match SigningKey::read(&key, algorithm)? {
                    SigningKey::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
                    SigningKey::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
                    SigningKey::Rsa(pair, _) => pair.public_key().as_ref().to_vec(),
                };
                UnparsedPublicKey::new(verification(algorithm), public)
                    .verify(message.as_bytes(), &tag)
                    .is_ok()
            }
        })
    }

    /// What of a part is not as the spec says it. What is worked out anew each time only has to be there.
    fn differs(&self, mut wanted: Map<String, Json>, tree: &Tree, given: &Json) -> Result<Option<String>> {
        let later = self.now.saturating_add(SignedDuration::from_hours(25)).unwrap_or(self.now);
        let (one, other) = (tree.render(self.scope)?, tree.render(&self.scope.with_now(later))?);
        let (Some(Json::Object(one)), Some(other)) = (one, other) else { return Ok(None) };
        for (name, value) in one {
            let fixed = other.get(&name) == Some(&value);
            wanted.insert(name, if fixed { value } else { Json::Null });
        }
        let wrong =
            wanted.iter().filter(|(name, _)| !TIMES.contains(&name.as_str())).find(|(name, value)| {
                let given = given.get(name.as_str());
                if value.is_null() { given.is_none() } else { given != Some(*value) }
            });
        let unknown = given.as_object().and_then(|given| {
            given.keys().find(|name| !wanted.contains_key(*name) && !TIMES.contains(&name.as_str()))
        });
        let wrong = wrong.map(|(name, _)| format!("`{name}` of the assertion is not what it must be"));
        Ok(wrong.or_else(|| unknown.map(|name| format!("nobody knows what `{name}` in the assertion means"))))
    }

    fn wrong_time(&self, claims: &Json) -> Option<String> {
        let now = self.now.as_second();
        let number = |name: &str| claims.get(name).and_then(Json::as_i64);
        let (Some(issued), Some(ends)) = (number("iat"), number("exp")) else {
            return Some("the assertion says not when it was issued and when it ends".to_owned());
        };
        let most = i64::try_from(self.assertion.lifetime.as_secs()).unwrap_or(i64::MAX);
        if issued > now + LEEWAY {
            return Some("the assertion is issued in the future".to_owned());
        }
        if ends <= now {
            return Some("the assertion is expired".to_owned());
        }
        (ends > now.saturating_add(most).saturating_add(LEEWAY))
            .then(|| "the assertion is good for longer than is allowed".to_owned())
    }
}

fn read(part: &str) -> Option<Json> {
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).ok()?).ok()
}

fn verification(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::Ed25519 => &signature::ED25519,
        Algorithm::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::RsaPkcs1Sha1 | Algorithm::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RsaPkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RsaPkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
    }
}
