//! The keys that the stand-in signs with.

use aws_lc_rs::hmac;
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

use crate::connector::model::{Hash, KeyEncoding, KeyTexts};
use crate::connector::template::Scope;
use crate::error::{Error, Kind, Result};

/// The first of the keys that sender and receiver share.
pub(super) fn shared(keys: &KeyTexts, scope: &Scope) -> Result<Vec<u8>> {
    let bad = |what: &str| Error::new(Kind::Configuration, format!("the key of the signature is no {what}"));
    let Some(key) = keys.texts.first() else { return Err(Error::new(Kind::Finding, "verify names no key")) };
    let text = key.render_bytes(scope)?;
    let prefix = keys.prefix.as_deref().unwrap_or_default().as_bytes();
    let text = text.strip_prefix(prefix).unwrap_or(&text);
    let unpadded = || {
        let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
        text.get(..end).unwrap_or_default()
    };
    match keys.encoding {
        KeyEncoding::Text => Ok(text.to_vec()),
        KeyEncoding::Hex => HEXLOWER_PERMISSIVE.decode(text).map_err(|_| bad("hexadecimal text")),
        KeyEncoding::Base64 => BASE64_NOPAD.decode(unpadded()).map_err(|_| bad("base64 text")),
        KeyEncoding::Base64Url => BASE64URL_NOPAD.decode(unpadded()).map_err(|_| bad("URL-safe base64 text")),
    }
}

/// The algorithm of a keyed hash.
pub(super) fn hmac_algorithm(hash: Hash) -> hmac::Algorithm {
    match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
        Hash::Sha512 => hmac::HMAC_SHA512,
    }
}
