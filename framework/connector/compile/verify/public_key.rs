//! A signature by a private key that only the sender has.

use super::super::names::Here;
use super::super::reader::{At, Compiler};
use super::keys::key_format;
use crate::connector::model::{Algorithm, AlgorithmChoice, KeySource, Proof};

impl Compiler {
    /// A signature by a private key.
    pub(super) fn public_key(&mut self, at: &At<'_>) -> Option<Proof> {
        let algorithm = match at.get("algorithm_by") {
            Some(by) => self.algorithm_by(&by),
            None => at.text_of("algorithm").and_then(named).map(AlgorithmChoice::Fixed),
        };
        let keys = match at.get("key_url") {
            Some(url) => self.key_url(&url),
            None => self.public_keys(at).map(KeySource::Named),
        };
        let signed = self.signed(at);
        Some(Proof::PublicKey { algorithm: algorithm?, keys: keys?, format: key_format(at), signed: signed? })
    }

    fn algorithm_by(&mut self, at: &At<'_>) -> Option<AlgorithmChoice> {
        let value = self.text_of(at, "value", Here::Request);
        let map = at.get("map")?;
        let map = map.entries().filter_map(|(name, at)| Some((name.to_owned(), named(at.text()?)?)));
        Some(AlgorithmChoice::By { map: map.collect(), value: value? })
    }
}

/// The algorithm of a name.
fn named(name: &str) -> Option<Algorithm> {
    Some(match name {
        "ed25519" => Algorithm::Ed25519,
        "ecdsa-p256-sha256" => Algorithm::EcdsaP256Sha256,
        "ecdsa-p384-sha384" => Algorithm::EcdsaP384Sha384,
        "rsa-pkcs1-sha1" => Algorithm::RsaPkcs1Sha1,
        "rsa-pkcs1-sha256" => Algorithm::RsaPkcs1Sha256,
        "rsa-pkcs1-sha384" => Algorithm::RsaPkcs1Sha384,
        "rsa-pkcs1-sha512" => Algorithm::RsaPkcs1Sha512,
        "rsa-pss-sha256" => Algorithm::RsaPssSha256,
        "rsa-pss-sha384" => Algorithm::RsaPssSha384,
        "rsa-pss-sha512" => Algorithm::RsaPssSha512,
        _ => return None,
    })
}
