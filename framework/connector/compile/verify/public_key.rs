//! A signature by a private key that only the sender has.

use super::super::at::At;
use super::super::compiler::Compiler;
use super::super::names::Here;
use super::keys::key_format;
use crate::connector::model::{Algorithm, AlgorithmChoice, KeySource, Proof, Signed};
use crate::connector::template::{Condition, Text};
use crate::spec::mistake::{Code, Mistake, Place};

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
        if let (Some(KeySource::Fetched(_)), Some(signed)) = (&keys, &signed) {
            self.is_meant_for_us(at, signed);
        }
        Some(Proof::PublicKey { algorithm: algorithm?, keys: keys?, format: key_format(at), signed: signed? })
    }

    /// A key that the vendor publishes signs for all of its customers: something of ours should be in what it
    /// signs, or in what is required besides.
    fn is_meant_for_us(&mut self, at: &At<'_>, signed: &Signed) {
        let mut all: Vec<String> = signed.messages.iter().flat_map(Text::names).collect();
        let conditions = at.get("require").map(|at| at.one_or_many()).unwrap_or_default();
        let compiled = conditions.iter().filter_map(|at| Condition::compile(at.text()?).ok());
        all.extend(compiled.flat_map(|condition| condition.names()));
        let ours = |name: &str| {
            let root = name.split('.').next().unwrap_or_default();
            matches!(root, "settings" | "secrets" | "state" | "receiver" | "instance")
                || name == "request.url"
        };
        if self.defined.through_vars(&all).iter().any(|(name, _)| ours(name)) {
            return;
        }
        self.report(
            Mistake::new(
                Code::AnyCustomer,
                Place::key(&at.path.join("key_url")),
                "the vendor signs for its other customers with this key too, and nothing says that a request is ours",
            )
            .help("hold what names us against what we know, `require: [request.json.account == settings.account]`"),
        );
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
