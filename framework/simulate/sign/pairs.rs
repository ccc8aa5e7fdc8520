//! Key pairs of the stand-in: made once a process, for every way to sign that the language has.
//!
//! Called by `sign` for signatures and by `keys` for what is published of them. The private halves never
//! leave this file.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RsaEncoding,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value as Json, json};

use crate::connector::model::{Algorithm, KeyKind};
use crate::error::{Error, Kind, Result};

/// What the stand-in's keys are called in a set.
pub(super) const KEY_ID: &str = "stand-in";

static ED25519: LazyLock<Option<Ed25519KeyPair>> = LazyLock::new(|| Ed25519KeyPair::generate().ok());
static P256: LazyLock<Option<EcdsaKeyPair>> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok());
static P384: LazyLock<Option<EcdsaKeyPair>> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).ok());
static RSA: LazyLock<Option<rsa::KeyPair>> = LazyLock::new(|| rsa::KeyPair::generate(KeySize::Rsa2048).ok());

/// The key pair of an algorithm.
enum Pair {
    Ed25519(&'static Ed25519KeyPair),
    Ecdsa(&'static EcdsaKeyPair),
    Rsa(&'static rsa::KeyPair),
}

fn pair(algorithm: Algorithm) -> Result<Pair> {
    let made = match algorithm.key_kind() {
        KeyKind::Ed25519 => ED25519.as_ref().map(Pair::Ed25519),
        KeyKind::P256 => P256.as_ref().map(Pair::Ecdsa),
        KeyKind::P384 => P384.as_ref().map(Pair::Ecdsa),
        KeyKind::Rsa => RSA.as_ref().map(Pair::Rsa),
    };
    made.ok_or_else(|| Error::new(Kind::Io, "the stand-in's key pair cannot be made"))
}

/// Whether the stand-in can sign so: nobody makes SHA-1 signatures any more.
pub(super) fn can_sign(algorithm: Algorithm) -> bool {
    algorithm != Algorithm::RsaPkcs1Sha1
}

/// Signs; ECDSA as r and s one after the other.
pub(super) fn sign(algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
    let failed = |_| Error::new(Kind::Finding, "the stand-in cannot sign in this way");
    let random = SystemRandom::new();
    match pair(algorithm)? {
        Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        Pair::Ecdsa(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
        Pair::Rsa(pair) => {
            let mut tag = vec![0; pair.public_modulus_len()];
            pair.sign(rsa_encoding(algorithm)?, &random, message, &mut tag).map_err(failed)?;
            Ok(tag)
        }
    }
}

fn rsa_encoding(algorithm: Algorithm) -> Result<&'static dyn RsaEncoding> {
    match algorithm {
        Algorithm::RsaPkcs1Sha256 => Ok(&signature::RSA_PKCS1_SHA256),
        Algorithm::RsaPkcs1Sha384 => Ok(&signature::RSA_PKCS1_SHA384),
        Algorithm::RsaPkcs1Sha512 => Ok(&signature::RSA_PKCS1_SHA512),
        Algorithm::RsaPssSha256 => Ok(&signature::RSA_PSS_SHA256),
        Algorithm::RsaPssSha384 => Ok(&signature::RSA_PSS_SHA384),
        Algorithm::RsaPssSha512 => Ok(&signature::RSA_PSS_SHA512),
        Algorithm::RsaPkcs1Sha1
        | Algorithm::Ed25519
        | Algorithm::EcdsaP256Sha256
        | Algorithm::EcdsaP384Sha384 => {
            Err(Error::new(Kind::Finding, "the stand-in makes no SHA-1 signatures, which nobody should")
                .help("Let the samples name another algorithm"))
        }
    }
}

/// SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
pub(super) fn public(algorithm: Algorithm) -> Result<Vec<u8>> {
    let der = match pair(algorithm)? {
        Pair::Ed25519(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()),
        Pair::Ecdsa(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()),
        Pair::Rsa(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()),
    };
    let der = der.map_err(|_| Error::new(Kind::Io, "the stand-in's public key cannot be written"))?;
    Ok(der.as_ref().to_vec())
}

/// A JSON Web Key (RFC 7517).
pub(super) fn jwk(algorithm: Algorithm) -> Result<Json> {
    let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let mut jwk = match pair(algorithm)? {
        Pair::Ed25519(pair) => {
            json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
        }
        Pair::Ecdsa(pair) => {
            // An uncompressed point: one byte, then x and y.
            let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
            let (x, y) = point.split_at(point.len() / 2);
            let curve = if x.len() == 32 { "P-256" } else { "P-384" };
            json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
        }
        Pair::Rsa(pair) => {
            // RSAPublicKey of 2048 bits and the exponent 65537 has its modulus at the 10th byte, always.
            let modulus = pair.public_key().as_ref().get(9..265).unwrap_or_default();
            json!({"kty": "RSA", "n": text(modulus), "e": "AQAB"})
        }
    };
    jwk["kid"] = Json::from(KEY_ID);
    jwk["use"] = Json::from("sig");
    Ok(jwk)
}
