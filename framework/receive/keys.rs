//! The values that verification compares with: rendered once a generation of the secrets, not once a request.
//!
//! While a secret is being changed it has two live values, and both are expected. A text that names the
//! request itself is rendered for each.

use crate::connector::model::{Hash, KeyEncoding, Verify};
use crate::connector::secret::Secret;
use crate::connector::template::{Scope, Text};
use crate::error::{Error, Kind, Result};
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER_PERMISSIVE;

/// What verification compares with.
pub(super) struct Keys {
    /// The live values.
    pub expected: Expected,
}

/// The live values; never empty.
pub(super) enum Expected {
    /// Tokens, or `user:password`.
    Texts(Vec<Secret>),
    /// Keys of a hash.
    Hashes(Vec<hmac::Key>),
}

impl Keys {
    /// Renders what verification compares with, in a scope for each generation of the secrets. The error
    /// says what is not known yet.
    pub(super) fn new(verify: &Verify, scopes: &[Scope]) -> Result<Self> {
        let expected = match verify {
            Verify::Token { equals, .. } => texts(scopes, |scope| equals.render(scope))?,
            Verify::Basic { username, password } => {
                texts(scopes, |scope| Ok(format!("{}:{}", username.render(scope)?, password.render(scope)?)))?
            }
            Verify::Hmac { hash, keys, key_encoding, key_prefix, .. } => {
                let prefix = key_prefix.as_deref().unwrap_or_default();
                hashes(scopes, keys, |text| {
                    let bytes = key_bytes(text, prefix, *key_encoding)?;
                    Ok(hmac::Key::new(algorithm(*hash), &bytes))
                })?
            }
        };
        Ok(Self { expected })
    }
}

fn texts(scopes: &[Scope], render: impl Fn(&Scope) -> Result<String>) -> Result<Expected> {
    let mut values: Vec<Secret> = Vec::new();
    for scope in scopes {
        let text = render(scope)?;
        let secret = Secret::new(&text).ok_or_else(empty)?;
        if !values.iter().any(|known| known.expose() == text) {
            values.push(secret);
        }
    }
    Ok(Expected::Texts(values))
}

fn hashes(scopes: &[Scope], keys: &[Text], key: impl Fn(&str) -> Result<hmac::Key>) -> Result<Expected> {
    let mut seen: Vec<Secret> = Vec::new();
    let mut made = Vec::new();
    for scope in scopes {
        for text in keys {
            let text = text.render(scope)?;
            let secret = Secret::new(&text).ok_or_else(empty)?;
            if !seen.iter().any(|known| known.expose() == text) {
                made.push(key(&text)?);
                seen.push(secret);
            }
        }
    }
    Ok(Expected::Hashes(made))
}

fn empty() -> Error {
    Error::new(Kind::Configuration, "the key that requests are verified with is empty")
}

fn key_bytes(text: &str, prefix: &str, encoding: KeyEncoding) -> Result<Vec<u8>> {
    let text = text.strip_prefix(prefix).unwrap_or(text);
    let bytes = match encoding {
        KeyEncoding::Text => Some(text.as_bytes().to_vec()),
        KeyEncoding::Hex => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok(),
        KeyEncoding::Base64 => super::verify::base64(text.as_bytes()),
    };
    let word = match encoding {
        KeyEncoding::Text => "text",
        KeyEncoding::Hex => "hexadecimal",
        KeyEncoding::Base64 => "base64",
    };
    let bytes = bytes.ok_or_else(|| {
        Error::new(Kind::Configuration, format!("the key that requests are verified with is not {word}"))
            .help("Give the secret as the vendor shows it")
    })?;
    if bytes.is_empty() { Err(empty()) } else { Ok(bytes) }
}

fn algorithm(hash: Hash) -> hmac::Algorithm {
    match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha512 => hmac::HMAC_SHA512,
    }
}
