//! Signatures by a private key, verified with public keys.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value as Json;

use super::failure::Failure;
use super::matter::Matter;
use super::rejection::Rejection;
use super::{digest as hashed, signed};
use crate::connector::model::{Algorithm, AlgorithmChoice, Signed};
use crate::connector::template::Parts;

/// Bytes that the tries of one request may hash where each try hashes the whole message (Ed25519); few tries of a
/// large message, and every try of a small one.
const MAX_HASHED: usize = 64 << 20;
/// Tries that any message gets: the signatures of a sender that changes its key, with the keys of both sides.
const MIN_TRIES: usize = 4;

/// A public key, as it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    /// What it is called in a set of keys.
    pub id: Option<String>,
    /// The one algorithm that it is for, as RFC 7518 names it.
    pub algorithm: Option<String>,
    /// The key alone, or its SubjectPublicKeyInfo.
    pub bytes: Vec<u8>,
}

impl PublicKey {
    /// Whether an algorithm can verify with it.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.is_for(algorithm) && ParsedPublicKey::new(verifier(algorithm, &[]), &self.bytes).is_ok()
    }

    /// Whether it verifies a signature.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], tag: &[u8]) -> bool {
        self.is_for(algorithm)
            && UnparsedPublicKey::new(verifier(algorithm, tag), &self.bytes).verify(message, tag).is_ok()
    }

    /// Whether it verifies a signature of a message that was hashed already.
    fn verifies_hashed(&self, algorithm: Algorithm, message: &digest::Digest, tag: &[u8]) -> bool {
        self.is_for(algorithm)
            && UnparsedPublicKey::new(verifier(algorithm, tag), &self.bytes)
                .verify_digest(message, tag)
                .is_ok()
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithm.as_deref().is_none_or(|only| algorithm.jwt_name() == Some(only))
    }
}

/// What a request brings, before any key is looked at.
pub(super) struct Given {
    algorithm: Algorithm,
    given: signed::Given,
    messages: signed::Messages,
}

impl Given {
    /// Reads it.
    pub(super) fn read(
        matter: &Matter<'_>,
        algorithm: &AlgorithmChoice,
        signed: &Signed,
    ) -> Result<Self, Failure> {
        let algorithm = match algorithm {
            AlgorithmChoice::Fixed(algorithm) => *algorithm,
            AlgorithmChoice::By { value, map } => {
                let name = value.render(&matter.scope(&[]));
                let name = name.map_err(|error| matter.lacking(&[value], &error))?;
                *map.get(&name).ok_or(Rejection::Algorithm)?
            }
        };
        let given = signed::read(matter, signed)?;
        let messages = signed::messages(matter, signed, &given, 1)?;
        Ok(Self { algorithm, given, messages })
    }

    /// Checks the signature; gives the names that `require` may use.
    pub(super) fn check(self, keys: &[PublicKey]) -> Result<Vec<(&'static str, Json)>, Failure> {
        for message in &self.messages.all {
            if self.is_signed(message, keys)? {
                return Ok(self.given.names);
            }
        }
        Err(self.messages.wrong())
    }

    fn is_signed(&self, message: &Parts, keys: &[PublicKey]) -> Result<bool, Rejection> {
        let tries = || self.given.signatures.iter().flat_map(|tag| keys.iter().map(move |key| (key, tag)));
        if let Some(hash) = hash(self.algorithm) {
            let hash = hashed::of_parts(hash, message);
            return Ok(tries().any(|(key, tag)| key.verifies_hashed(self.algorithm, &hash, tag)));
        }
        let most = (MAX_HASHED / message.len().max(1)).max(MIN_TRIES);
        let message = message.joined();
        let signed = tries().take(most).any(|(key, tag)| key.verifies(self.algorithm, &message, tag));
        if !signed && tries().nth(most).is_some() { Err(Rejection::Several) } else { Ok(signed) }
    }
}

/// The hash that is signed; none where the signature hashes the message in its own way.
fn hash(algorithm: Algorithm) -> Option<&'static digest::Algorithm> {
    match algorithm {
        Algorithm::Ed25519 => None,
        Algorithm::RsaPkcs1Sha1 => Some(&digest::SHA1_FOR_LEGACY_USE_ONLY),
        Algorithm::EcdsaP256Sha256 | Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPssSha256 => {
            Some(&digest::SHA256)
        }
        Algorithm::EcdsaP384Sha384 | Algorithm::RsaPkcs1Sha384 | Algorithm::RsaPssSha384 => {
            Some(&digest::SHA384)
        }
        Algorithm::RsaPkcs1Sha512 | Algorithm::RsaPssSha512 => Some(&digest::SHA512),
    }
}

/// The verifier. ECDSA signatures are DER, or r and s one after the other, which their length tells.
fn verifier(algorithm: Algorithm, tag: &[u8]) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::Ed25519 => &signature::ED25519,
        Algorithm::EcdsaP256Sha256 if tag.len() == 64 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
        Algorithm::EcdsaP384Sha384 if tag.len() == 96 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
        Algorithm::RsaPkcs1Sha1 => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RsaPkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RsaPkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
    }
}
