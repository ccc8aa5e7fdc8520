//! How a request proves who sent it: one check, or several of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::settings::Encoding;
use crate::connector::certificates::Issuers;
use crate::connector::pick::{Pick, Pointer, TimeFormat};
use crate::connector::template::{Condition, Text};

/// How a request proves who sent it.
#[derive(Debug)]
pub enum Verify {
    /// One check.
    One(Box<Demand>),
    /// Every one of them has to pass.
    AllOf(Vec<Verify>),
    /// One of them is enough.
    AnyOf(Vec<Verify>),
}

/// One check: what is demanded of a request.
#[derive(Debug)]
pub struct Demand {
    /// Its place among the checks of the spec, counted from 0.
    pub number: usize,
    /// What is looked at.
    pub proof: Proof,
    /// The list in the body whose items are each looked at; none: the request is.
    pub each: Option<Pointer>,
    /// What must hold besides.
    pub require: Vec<Condition>,
}

/// What a check looks at.
#[derive(Debug)]
pub enum Proof {
    /// A secret value at a place. Told from the head where the place is a header or the query.
    Token {
        /// Where it stands.
        place: Pick,
        /// The authentication scheme before it (RFC 9110 section 11.4), taken in any case: `Bearer`.
        scheme: Option<String>,
        /// What it must equal; any of them accepts.
        equals: Vec<Text>,
    },
    /// HTTP Basic.
    Basic {
        /// The user; `None`: any.
        username: Option<Text>,
        /// The password.
        password: Text,
    },
    /// A keyed hash of a message made from the request.
    Hmac {
        /// The hash.
        hash: Hash,
        /// The keys; any of them accepts.
        keys: KeyTexts,
        /// What is signed, and where the signature stands.
        signed: Signed,
    },
    /// A plain hash of a message made from the request.
    Digest {
        /// The hash.
        hash: Hash,
        /// What is hashed, and where the hash stands.
        signed: Signed,
    },
    /// A signature by a private key that only the sender has.
    PublicKey {
        /// How it is signed.
        algorithm: AlgorithmChoice,
        /// The public keys.
        keys: KeySource,
        /// How they are written.
        format: Option<KeyFormat>,
        /// What is signed, and where the signature stands.
        signed: Signed,
    },
    /// A JSON Web Token (RFC 7519) in compact form.
    Jwt(Jwt),
}

/// Keys as the spec names them.
#[derive(Debug)]
pub struct KeyTexts {
    /// One or several.
    pub texts: Vec<Text>,
    /// How each is written.
    pub encoding: KeyEncoding,
    /// What stands before a key and is cut off (`whsec_`); a key without it is taken too.
    pub prefix: Option<String>,
}

/// What is signed, and where the signature stands.
#[derive(Debug)]
pub struct Signed {
    /// What is signed; of several any one accepts.
    pub messages: Vec<Text>,
    /// Where the signature stands.
    pub signature: Signature,
    /// When it was signed.
    pub timestamp: Option<SignedTime>,
}

/// A JSON Web Token and what it must say.
#[derive(Debug)]
pub struct Jwt {
    /// Where it stands.
    pub place: Pick,
    /// The authentication scheme before it, taken in any case.
    pub scheme: Option<String>,
    /// The algorithms that are taken.
    pub algorithms: Vec<JwtAlgorithm>,
    /// The keys.
    pub keys: KeySource,
    /// How keys of the spec are written.
    pub format: Option<KeyFormat>,
    /// Who may have issued it; empty: anybody who has the key.
    pub issuers: Vec<Text>,
    /// Whom it may be meant for; empty: anybody.
    pub audiences: Vec<Text>,
    /// How long ago it may have been issued; `None`: it must say when it expires.
    pub max_age: Option<Duration>,
    /// How far the clocks may lie apart.
    pub leeway: Duration,
}

/// Where keys come from.
#[derive(Debug)]
pub enum KeySource {
    /// The spec names them.
    Named(KeyTexts),
    /// They are fetched.
    Fetched(KeyUrl),
}

/// Where keys are fetched.
#[derive(Debug)]
pub struct KeyUrl {
    /// The URL.
    pub url: Text,
    /// What the whole URL must match; `None` where nobody but the spec decides on it.
    pub only: Option<regex::Regex>,
    /// The host that it must have besides.
    pub host: Option<Text>,
    /// How long what was fetched is taken as it is.
    pub cache: Duration,
    /// What the certificate there must be; `None`: its key is taken for the place that it stands at.
    pub certificate: Option<CertificateRules>,
}

/// What a sender's certificate must be.
#[derive(Debug)]
pub struct CertificateRules {
    /// The names that it may be issued for; one that is `omit` is none.
    pub names: Vec<Text>,
    /// The issuers that it may come from.
    pub issuers: Issuers,
}

/// A hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, for vendors that know nothing newer.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// How a key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyEncoding {
    /// Its bytes are the text's.
    #[default]
    Text,
    /// Hexadecimal.
    Hex,
    /// Base64, padded or not.
    Base64,
    /// URL-safe base64, padded or not.
    Base64Url,
}

/// How a public key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFormat {
    /// Hexadecimal, of the key alone or of its SubjectPublicKeyInfo.
    Hex,
    /// Base64 of the same.
    Base64,
    /// PEM: PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE.
    Pem,
    /// PEM of a certificate.
    X509Pem,
    /// A JSON Web Key, or a set of them (RFC 7517).
    Jwk,
}

/// How a private key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256 with SHA-256; the signature as DER, or as r and s one after the other.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384; likewise.
    EcdsaP384Sha384,
    /// RSA, PKCS#1 v1.5, SHA-1, for vendors that know nothing newer.
    RsaPkcs1Sha1,
    /// RSA, PKCS#1 v1.5, SHA-256.
    RsaPkcs1Sha256,
    /// RSA, PKCS#1 v1.5, SHA-384.
    RsaPkcs1Sha384,
    /// RSA, PKCS#1 v1.5, SHA-512.
    RsaPkcs1Sha512,
    /// RSA-PSS with SHA-256.
    RsaPssSha256,
    /// RSA-PSS with SHA-384.
    RsaPssSha384,
    /// RSA-PSS with SHA-512.
    RsaPssSha512,
}

/// The keys that an algorithm takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA.
    Rsa,
}

impl Algorithm {
    /// Its name in JSON Web Tokens and Keys (RFC 7518, RFC 8037); those that they do not have, have none.
    pub fn jwt_name(self) -> Option<&'static str> {
        match self {
            Self::Ed25519 => Some("EdDSA"),
            Self::EcdsaP256Sha256 => Some("ES256"),
            Self::EcdsaP384Sha384 => Some("ES384"),
            Self::RsaPkcs1Sha1 => None,
            Self::RsaPkcs1Sha256 => Some("RS256"),
            Self::RsaPkcs1Sha384 => Some("RS384"),
            Self::RsaPkcs1Sha512 => Some("RS512"),
            Self::RsaPssSha256 => Some("PS256"),
            Self::RsaPssSha384 => Some("PS384"),
            Self::RsaPssSha512 => Some("PS512"),
        }
    }

    /// The keys that it takes.
    pub fn key_kind(self) -> KeyKind {
        match self {
            Self::Ed25519 => KeyKind::Ed25519,
            Self::EcdsaP256Sha256 => KeyKind::P256,
            Self::EcdsaP384Sha384 => KeyKind::P384,
            Self::RsaPkcs1Sha1
            | Self::RsaPkcs1Sha256
            | Self::RsaPkcs1Sha384
            | Self::RsaPkcs1Sha512
            | Self::RsaPssSha256
            | Self::RsaPssSha384
            | Self::RsaPssSha512 => KeyKind::Rsa,
        }
    }
}

/// Which algorithm it is.
#[derive(Debug)]
pub enum AlgorithmChoice {
    /// Always the same.
    Fixed(Algorithm),
    /// By a value of the request; a value that is not listed is refused.
    By {
        /// The value.
        value: Text,
        /// The algorithm for each.
        map: BTreeMap<String, Algorithm>,
    },
}

/// How a token is signed (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// A shared secret: HS256, HS384, HS512.
    Shared(Hash),
    /// A private key.
    Private(Algorithm),
}

impl JwtAlgorithm {
    /// Its name in a token's head.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared(Hash::Sha1 | Hash::Sha256) => "HS256",
            Self::Shared(Hash::Sha384) => "HS384",
            Self::Shared(Hash::Sha512) => "HS512",
            // No name leads to SHA-1.
            Self::Private(algorithm) => algorithm.jwt_name().unwrap_or("RS256"),
        }
    }

    /// The algorithm of a name in a token's head; `none` is no algorithm.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Shared(Hash::Sha256),
            "HS384" => Self::Shared(Hash::Sha384),
            "HS512" => Self::Shared(Hash::Sha512),
            "RS256" => Self::Private(Algorithm::RsaPkcs1Sha256),
            "RS384" => Self::Private(Algorithm::RsaPkcs1Sha384),
            "RS512" => Self::Private(Algorithm::RsaPkcs1Sha512),
            "PS256" => Self::Private(Algorithm::RsaPssSha256),
            "PS384" => Self::Private(Algorithm::RsaPssSha384),
            "PS512" => Self::Private(Algorithm::RsaPssSha512),
            "ES256" => Self::Private(Algorithm::EcdsaP256Sha256),
            "ES384" => Self::Private(Algorithm::EcdsaP384Sha384),
            "EdDSA" => Self::Private(Algorithm::Ed25519),
            _ => return None,
        })
    }
}

/// Where a signature stands.
#[derive(Debug)]
pub struct Signature {
    /// The places; each may hold signatures, and any of them accepts.
    pub places: Vec<Pick>,
    /// What stands there.
    pub grammar: Grammar,
    /// What stands before it: `sha256=`. In a list, members that lack it are none of ours.
    pub prefix: Option<String>,
    /// How it is written.
    pub encoding: Encoding,
}

/// What stands in the place of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grammar {
    /// The signature alone.
    Plain,
    /// Several.
    List {
        /// What stands between them.
        separator: String,
    },
    /// Names and values, `t=1,v1=abc`.
    Pairs {
        /// What stands between them.
        separator: String,
        /// The name of those that are signatures.
        name: String,
    },
}

/// When a request was signed.
#[derive(Debug)]
pub struct SignedTime {
    /// The place.
    pub place: TimePlace,
    /// How it is written.
    pub format: TimeFormat,
    /// How far it may lie from now, either way.
    pub tolerance: Duration,
}

/// Where the time of signing stands.
#[derive(Debug)]
pub enum TimePlace {
    /// At the first of these places that there is.
    At(Vec<Pick>),
    /// Among the pairs of the signature, under this name.
    Pair(String),
}

impl Verify {
    /// Every check, in the order of the spec.
    pub fn checks(&self) -> Vec<&Demand> {
        match self {
            Self::One(check) => vec![check],
            Self::AllOf(all) | Self::AnyOf(all) => all.iter().flat_map(Self::checks).collect(),
        }
    }
}

impl Proof {
    /// What is signed, where a message is.
    pub fn signed(&self) -> Option<&Signed> {
        match self {
            Self::Hmac { signed, .. } | Self::Digest { signed, .. } | Self::PublicKey { signed, .. } => {
                Some(signed)
            }
            Self::Token { .. } | Self::Basic { .. } | Self::Jwt(_) => None,
        }
    }

    /// What the certificate of its key must be, where there is one.
    pub fn certificate(&self) -> Option<&CertificateRules> {
        match self {
            Self::PublicKey { keys: KeySource::Fetched(url), .. }
            | Self::Jwt(Jwt { keys: KeySource::Fetched(url), .. }) => url.certificate.as_ref(),
            Self::Token { .. }
            | Self::Basic { .. }
            | Self::Hmac { .. }
            | Self::Digest { .. }
            | Self::PublicKey { .. }
            | Self::Jwt(_) => None,
        }
    }

    /// The texts that its keys and expected values are made of.
    pub fn key_texts(&self) -> Vec<&Text> {
        match self {
            Self::Token { equals, .. } => equals.iter().collect(),
            Self::Basic { username, password } => username.iter().chain([password]).collect(),
            Self::Hmac { keys, .. } => keys.texts.iter().collect(),
            Self::Digest { .. } => Vec::new(),
            Self::PublicKey { keys, .. } | Self::Jwt(Jwt { keys, .. }) => match keys {
                KeySource::Named(keys) => keys.texts.iter().collect(),
                KeySource::Fetched(_) => Vec::new(),
            },
        }
    }
}
