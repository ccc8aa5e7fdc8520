//! Public keys as vendors publish them: PEM, certificates, JSON Web Keys, or their bytes as text.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use rustls::pki_types::CertificateDer;

use super::encoding::base64;
use super::jwk;
use super::public_key::PublicKey;
use crate::connector::certificates;
use crate::connector::model::KeyFormat;

/// Bytes that a key, a certificate or a set of keys may have.
const LONGEST: usize = 256 << 10;
/// Public keys that one document may hold.
const MOST: usize = 64;

/// Reads keys; a set of them may have several. The error completes "the key … is".
pub(super) fn read(text: &[u8], format: Option<KeyFormat>) -> Result<Vec<PublicKey>, String> {
    if text.len() > LONGEST {
        return Err(format!("longer than {LONGEST} bytes"));
    }
    let text = text.trim_ascii();
    let alone = |bytes: Option<Vec<u8>>, word: &str| match bytes.filter(|bytes| !bytes.is_empty()) {
        Some(bytes) => Ok(vec![PublicKey { id: None, algorithm: None, bytes }]),
        None => Err(format!("not {word}")),
    };
    match format.unwrap_or_else(|| look(text)) {
        KeyFormat::Hex => alone(HEXLOWER_PERMISSIVE.decode(text).ok(), "hexadecimal"),
        KeyFormat::Base64 => alone(base64(text), "base64"),
        KeyFormat::Pem => match public(text).or_else(|| certified(text).map(|key| vec![key])) {
            Some(keys) => {
                Ok(keys.into_iter().map(|bytes| PublicKey { id: None, algorithm: None, bytes }).collect())
            }
            None => Err("not a public key in PEM, with nothing before or after it".to_owned()),
        },
        KeyFormat::X509Pem => alone(certified(text), "a certificate in PEM, with nothing before or after it"),
        KeyFormat::Jwk => jwk::read(text),
    }
}

/// How a key is written that nobody said it of.
fn look(text: &[u8]) -> KeyFormat {
    match text {
        [b'-', ..] => KeyFormat::Pem,
        [b'{', ..] => KeyFormat::Jwk,
        _ => KeyFormat::Base64,
    }
}

/// The public keys of a document that is PEM (RFC 7468) as a whole.
fn public(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = std::str::from_utf8(text).ok()?.trim_ascii();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let label = ["PUBLIC KEY", "RSA PUBLIC KEY"].into_iter().find(|label| {
            rest.strip_prefix("-----BEGIN ").is_some_and(|rest| rest.starts_with(&format!("{label}-----")))
        })?;
        let inner = rest.strip_prefix(&format!("-----BEGIN {label}-----"))?;
        let (inner, after) = inner.split_once(&format!("-----END {label}-----"))?;
        let packed: String = inner.split_ascii_whitespace().collect();
        found.push(BASE64.decode(packed.as_bytes()).ok().filter(|der| !der.is_empty())?);
        rest = after.trim_ascii_start();
    }
    (!found.is_empty() && found.len() <= MOST).then_some(found)
}

/// The certificates of a document, the sender's own first; empty where it holds none.
pub(super) fn chain(text: &[u8]) -> Vec<Vec<u8>> {
    certificates::pem(text).unwrap_or_default()
}

/// The SubjectPublicKeyInfo of the first certificate. Who issued it and how long it is good is checked where the
/// spec says by whom: see [`certificates`].
fn certified(text: &[u8]) -> Option<Vec<u8>> {
    let der = CertificateDer::from(certificates::pem(text)?.into_iter().next()?);
    let parsed = rustls::server::ParsedCertificate::try_from(&der).ok()?;
    Some(parsed.subject_public_key_info().as_ref().to_vec())
}
