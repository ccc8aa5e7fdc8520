//! Public keys as vendors publish them: PEM, certificates, JSON Web Keys, or their bytes as text.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use rustls::pki_types::CertificateDer;

use super::encoding::base64;
use super::jwk;
use super::public_key::PublicKey;
use crate::connector::model::KeyFormat;

/// Bytes that a key, a certificate or a set of keys may have.
const LONGEST: usize = 256 << 10;

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
        KeyFormat::Pem => {
            alone(pem(text, &["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"]), "a public key in PEM")
        }
        KeyFormat::X509Pem => alone(pem(text, &["CERTIFICATE"]), "a certificate in PEM"),
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

/// The first block of PEM (RFC 7468) with one of these labels; of a certificate the key in it.
fn pem(text: &[u8], labels: &[&str]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    labels.iter().find_map(|label| {
        let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
        let (inner, _) = rest.split_once(&format!("-----END {label}-----"))?;
        let packed: String = inner.split_ascii_whitespace().collect();
        let der = BASE64.decode(packed.as_bytes()).ok()?;
        if *label == "CERTIFICATE" { of_certificate(der) } else { Some(der) }
    })
}

/// The SubjectPublicKeyInfo of a certificate. Who issued it and how long it is good does not count here: what
/// is trusted is the place it was fetched from.
fn of_certificate(der: Vec<u8>) -> Option<Vec<u8>> {
    let der = CertificateDer::from(der);
    let parsed = rustls::server::ParsedCertificate::try_from(&der).ok()?;
    Some(parsed.subject_public_key_info().as_ref().to_vec())
}
