//! What verification compares with: rendered once a generation of the secrets, not once a request.
//!
//! While a secret is being changed it has two live values, and both are expected. A text that names the
//! request itself is rendered for each.

use std::sync::Arc;

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER_PERMISSIVE;

use super::encoding::{base64, decode};
use super::public_key::PublicKey;
use super::published;
use crate::connector::model::{
    Algorithm, AlgorithmChoice, Demand, Encoding, Hash, Jwt, JwtAlgorithm, KeyEncoding, KeyFormat, KeySource,
    KeyTexts, Proof, Verify,
};
use crate::connector::secret::Secret;
use crate::connector::template::{Scope, Text, Vars};
use crate::error::{Error, Kind, Result};

/// What requests are verified with, a check at a time.
pub(in crate::receive) struct Keys(Vec<Kept>);

/// What is known of one check before any request.
struct Kept {
    material: Material,
    /// Whether all that it requires besides holds by the settings alone.
    settled: bool,
}

/// What one check compares with.
pub(super) enum Material {
    /// This.
    Known(Expected),
    /// It is not known yet, and why.
    Missing(String),
    /// It depends on each request.
    PerRequest,
    /// Nothing: the settings say that this check is not the one.
    Excluded,
}

/// The live values; never empty where there are any.
pub(super) enum Expected {
    /// Tokens, or `user:password`.
    Texts(Vec<Secret>),
    /// Keys of a hash.
    Hashes(Vec<hmac::Key>),
    /// Public keys.
    Public(Arc<[PublicKey]>),
    /// Nothing: the secret is in the message, or keys are fetched.
    Nothing,
}

/// For a check that has none, which cannot be.
static NONE: Kept = Kept { material: Material::Known(Expected::Nothing), settled: false };

impl Keys {
    /// Renders what every check compares with, in a scope for each generation of the secrets. Where the public
    /// URL is not known, what is made of it cannot be checked.
    pub(in crate::receive) fn new(verify: &Verify, vars: &Vars, scopes: &[Scope], url_known: bool) -> Self {
        let material = |check: &Demand| {
            // What it requires besides cannot hold, whoever asks.
            if check.require.iter().any(|condition| scopes.iter().all(|scope| condition.is_ruled_out(scope)))
            {
                return Material::Excluded;
            }
            let messages = check.proof.signed().map(|signed| signed.messages.iter().collect());
            if !url_known && all_names(messages.unwrap_or_default(), vars).any(|name| name == "request.url") {
                let why = "the vendor signs the receiver's public URL, which is not known: give --public-url";
                return Material::Missing(why.to_owned());
            }
            let mut names = all_names(check.proof.key_texts(), vars);
            if names.any(|name| matches!(name.split(['.', '[']).next(), Some("request" | "item"))) {
                return Material::PerRequest;
            }
            match Expected::new(&check.proof, scopes) {
                Ok(expected) => Material::Known(expected),
                Err(error) => Material::Missing(error.to_string()),
            }
        };
        let settled = |check: &Demand| {
            check.require.iter().all(|condition| scopes.iter().all(|scope| condition.is_settled(scope)))
        };
        let kept = |check| Kept { material: material(check), settled: settled(check) };
        Self(verify.checks().into_iter().map(kept).collect())
    }

    fn kept(&self, check: &Demand) -> &Kept {
        self.0.get(check.number).unwrap_or(&NONE)
    }

    /// What a check compares with.
    pub(super) fn of(&self, check: &Demand) -> &Material {
        &self.kept(check).material
    }

    /// Whether all that a check requires besides holds by the settings alone, whoever asks.
    pub(super) fn is_settled(&self, check: &Demand) -> bool {
        self.kept(check).settled
    }

    /// Whether the settings leave a check out.
    pub(in crate::receive) fn excludes(&self, check: &Demand) -> bool {
        matches!(self.of(check), Material::Excluded)
    }
}

/// What these texts name, and the vars too where one is among them: a var may use any other.
fn all_names(texts: Vec<&Text>, vars: &Vars) -> impl Iterator<Item = String> {
    let mut names: Vec<String> = texts.into_iter().flat_map(Text::names).collect();
    if names.iter().any(|name| name.starts_with("vars")) {
        names.extend(vars.iter().flat_map(|(_, text)| text.names()));
    }
    names.into_iter()
}

impl Expected {
    /// Renders it. The error says what is not known yet.
    pub(super) fn new(proof: &Proof, scopes: &[Scope]) -> Result<Self> {
        match proof {
            Proof::Token { equals, .. } => texts(scopes, |scope| {
                let found = equals.iter().filter_map(|text| text.render_bytes_if(scope).transpose());
                found.map(|bytes| String::from_utf8(bytes?).map_err(|_| bad_key("no text"))).collect()
            }),
            Proof::Basic { username, password } => texts(scopes, |scope| {
                let password = password.render(scope)?;
                if password.is_empty() {
                    return Err(empty());
                }
                Ok(vec![match username {
                    Some(username) => format!("{}:{password}", username.render(scope)?),
                    None => password,
                }])
            }),
            Proof::Hmac { hash, keys, .. } => {
                let keys = all_bytes(keys, scopes)?;
                Ok(Self::Hashes(keys.iter().map(|key| hmac::Key::new(algorithm(*hash), key)).collect()))
            }
            Proof::Digest { .. } => Ok(Self::Nothing),
            Proof::PublicKey { algorithm, keys, format, .. } => match keys {
                KeySource::Fetched(_) => Ok(Self::Nothing),
                KeySource::Named(keys) => match algorithm {
                    AlgorithmChoice::Fixed(algorithm) => public(keys, *format, &[*algorithm], scopes),
                    AlgorithmChoice::By { map, .. } => {
                        let algorithms: Vec<Algorithm> = map.values().copied().collect();
                        public(keys, *format, &algorithms, scopes)
                    }
                },
            },
            Proof::Jwt(jwt) => of_tokens(jwt, scopes),
        }
    }
}

fn of_tokens(jwt: &Jwt, scopes: &[Scope]) -> Result<Expected> {
    let KeySource::Named(keys) = &jwt.keys else { return Ok(Expected::Nothing) };
    let (mut hashes, mut algorithms) = (Vec::new(), Vec::new());
    for known in &jwt.algorithms {
        match known {
            JwtAlgorithm::Shared(hash) => hashes.push(*hash),
            JwtAlgorithm::Private(algorithm) => algorithms.push(*algorithm),
        }
    }
    // All of them are shared secrets, or none is: the spec was refused otherwise.
    if hashes.is_empty() {
        return public(keys, jwt.format, &algorithms, scopes);
    }
    let keys = all_bytes(keys, scopes)?;
    let made = hashes.iter().flat_map(|hash| keys.iter().map(|key| hmac::Key::new(algorithm(*hash), key)));
    Ok(Expected::Hashes(made.collect()))
}

fn texts(scopes: &[Scope], render: impl Fn(&Scope) -> Result<Vec<String>>) -> Result<Expected> {
    let mut values: Vec<Secret> = Vec::new();
    for scope in scopes {
        for text in render(scope)? {
            let secret = Secret::new(&text).ok_or_else(empty)?;
            if !values.iter().any(|known| known.matches(text.as_bytes())) {
                values.push(secret);
            }
        }
    }
    if values.is_empty() { Err(empty()) } else { Ok(Expected::Texts(values)) }
}

/// The texts of keys in every generation, without the prefix.
fn all_texts(keys: &KeyTexts, scopes: &[Scope]) -> Result<Vec<Vec<u8>>> {
    let prefix = keys.prefix.as_deref().unwrap_or_default().as_bytes();
    let mut found: Vec<Vec<u8>> = Vec::new();
    for scope in scopes {
        for text in &keys.texts {
            // A key that is worked out, `secrets.a | sha256`, is bytes and no text; one that may be left out is
            // `omit`.
            let Some(text) = text.render_bytes_if(scope)? else { continue };
            let text = text.strip_prefix(prefix).unwrap_or(&text).to_vec();
            if text.is_empty() {
                return Err(empty());
            }
            if !found.contains(&text) {
                found.push(text);
            }
        }
    }
    if found.is_empty() {
        return Err(empty());
    }
    Ok(found)
}

fn all_bytes(keys: &KeyTexts, scopes: &[Scope]) -> Result<Vec<Vec<u8>>> {
    all_texts(keys, scopes)?.iter().map(|text| key_bytes(text, keys.encoding)).collect()
}

fn public(
    keys: &KeyTexts,
    format: Option<KeyFormat>,
    algorithms: &[Algorithm],
    scopes: &[Scope],
) -> Result<Expected> {
    let mut found = Vec::new();
    for text in all_texts(keys, scopes)? {
        let read = published::read(&text, format).map_err(|why| bad_key(&why))?;
        let fits = |key: &PublicKey| algorithms.iter().any(|algorithm| key.fits(*algorithm));
        if !read.iter().any(fits) {
            return Err(bad_key("not of the kind that its algorithm takes"));
        }
        found.extend(read);
    }
    Ok(Expected::Public(found.into()))
}

fn empty() -> Error {
    Error::new(Kind::Configuration, "the key that requests are verified with is empty")
}

fn bad_key(what: &str) -> Error {
    Error::new(Kind::Configuration, format!("the key that requests are verified with is {what}"))
        .help("Give the key as the vendor shows it")
}

fn key_bytes(text: &[u8], encoding: KeyEncoding) -> Result<Vec<u8>> {
    let (bytes, word) = match encoding {
        KeyEncoding::Text => (Some(text.to_vec()), "text"),
        KeyEncoding::Hex => (HEXLOWER_PERMISSIVE.decode(text).ok(), "hexadecimal"),
        KeyEncoding::Base64 => (base64(text), "base64"),
        KeyEncoding::Base64Url => (decode(Encoding::Base64Url, text), "URL-safe base64"),
    };
    let bytes = bytes.ok_or_else(|| bad_key(&format!("not {word}")))?;
    if bytes.is_empty() { Err(empty()) } else { Ok(bytes) }
}

/// The algorithm of a hash.
pub(super) fn algorithm(hash: Hash) -> hmac::Algorithm {
    match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
        Hash::Sha512 => hmac::HMAC_SHA512,
    }
}
