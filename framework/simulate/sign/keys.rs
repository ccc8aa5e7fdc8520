//! The keys that the stand-in signs with, and what it publishes of them.

use aws_lc_rs::hmac;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use http::Method;
use serde_json::json;

use super::pairs;
use crate::connector::instance::Instance;
use crate::connector::model::{
    Algorithm, AlgorithmChoice, Connector, Demand, Hash, Jwt, JwtAlgorithm, KeyEncoding, KeyFormat,
    KeySource, KeyTexts, Proof,
};
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
pub fn hmac_algorithm(hash: Hash) -> hmac::Algorithm {
    match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
        Hash::Sha512 => hmac::HMAC_SHA512,
    }
}

/// How the stand-in signs a token.
pub(super) fn token_algorithm(jwt: &Jwt) -> Option<JwtAlgorithm> {
    jwt.algorithms.first().copied()
}

/// The private keys that a check takes: how they sign, where their public halves are found, and how those are
/// written. `None` where it takes none.
fn asymmetric(demand: &Demand) -> Option<(Vec<Algorithm>, &KeySource, Option<KeyFormat>)> {
    match &demand.proof {
        Proof::PublicKey { algorithm, keys, format, .. } => {
            let all = match algorithm {
                AlgorithmChoice::Fixed(algorithm) => vec![*algorithm],
                AlgorithmChoice::By { map, .. } => map.values().copied().collect(),
            };
            Some((all, keys, *format))
        }
        Proof::Jwt(jwt) => {
            let all = jwt.algorithms.iter().filter_map(|known| match known {
                JwtAlgorithm::Private(algorithm) => Some(*algorithm),
                JwtAlgorithm::Shared(_) => None,
            });
            let all: Vec<Algorithm> = all.collect();
            // Tokens are mostly checked with a set of keys.
            let fetched = matches!(jwt.keys, KeySource::Fetched(_));
            let format = jwt.format.or(fetched.then_some(KeyFormat::Jwk));
            (!all.is_empty()).then_some((all, &jwt.keys, format))
        }
        Proof::Token { .. } | Proof::Basic { .. } | Proof::Hmac { .. } | Proof::Digest { .. } => None,
    }
}

/// The stand-in's public key, where a name of the spec (`secrets.public_key`) is such a key.
pub fn made_for(connector: &Connector, name: &str) -> Result<Option<String>> {
    let checks = connector.receiver.verify.checks();
    for (algorithms, source, format) in checks.into_iter().filter_map(asymmetric) {
        let KeySource::Named(keys) = source else { continue };
        if keys.texts.iter().any(|text| text.names().iter().any(|known| known == name)) {
            let prefix = keys.prefix.as_deref().unwrap_or_default();
            return Ok(Some(format!("{prefix}{}", written(&algorithms, format)?)));
        }
    }
    Ok(None)
}

/// What is published at a URL where the vendor's keys are looked for.
pub fn published(instance: &Instance, method: &Method, host: &str, path: &str) -> Result<Option<String>> {
    if *method != Method::GET {
        return Ok(None);
    }
    let asked = format!("https://{host}{path}");
    let scope = instance.scope();
    for (algorithms, source, format) in
        instance.connector.receiver.verify.checks().into_iter().filter_map(asymmetric)
    {
        let KeySource::Fetched(url) = source else { continue };
        let here = match &url.only {
            Some(only) => only.is_match(&asked),
            None => url.url.render(&scope).is_ok_and(|known| known.split('?').next() == Some(&asked)),
        };
        if here && let Some(rules) = &url.certificate {
            let names = rules.names.iter().filter_map(|name| name.render_bytes_if(&scope).transpose());
            let names = names.collect::<Result<Vec<_>>>()?;
            let key = pairs::public(first(&algorithms)?)?;
            return Ok(Some(pem("CERTIFICATE", &certificate(&key, &names)?)));
        }
        if here {
            return written(&algorithms, format).map(Some);
        }
    }
    Ok(None)
}

/// Has a connector that is simulated trust the certificates of the mock vendor.
pub fn trust(connector: &Connector) -> Result<()> {
    for demand in connector.receiver.verify.checks() {
        if let Some((_, KeySource::Fetched(url), _)) = asymmetric(demand)
            && let Some(rules) = &url.certificate
        {
            let root = pem("CERTIFICATE", &authority()?);
            let failed =
                |why| Error::new(Kind::Io, format!("the mock vendor's root cannot be trusted: {why}"));
            rules.issuers.rehearse(root.as_bytes()).map_err(failed)?;
        }
    }
    Ok(())
}

/// The first of these algorithms that the mock vendor signs with.
fn first(algorithms: &[Algorithm]) -> Result<Algorithm> {
    let none = || Error::new(Kind::Finding, "verify names no algorithm that the stand-in can sign with");
    algorithms.iter().find(|known| pairs::can_sign(**known)).copied().ok_or_else(none)
}

/// The public key of these algorithms, which share one where there is one.
fn written(algorithms: &[Algorithm], format: Option<KeyFormat>) -> Result<String> {
    let key = pairs::public(first(algorithms)?)?;
    Ok(match format.unwrap_or(KeyFormat::Base64) {
        KeyFormat::Hex => HEXLOWER.encode(&key),
        KeyFormat::Base64 => BASE64.encode(&key),
        KeyFormat::Pem => pem("PUBLIC KEY", &key),
        KeyFormat::X509Pem => pem("CERTIFICATE", &certificate(&key, &[])?),
        KeyFormat::Jwk => {
            let mut keys = Vec::new();
            for algorithm in algorithms.iter().filter(|known| pairs::can_sign(**known)) {
                let jwk = pairs::jwk(*algorithm)?;
                if !keys.contains(&jwk) {
                    keys.push(jwk);
                }
            }
            json!({"keys": keys}).to_string()
        }
    })
}

/// A key in PEM (RFC 7468).
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).filter_map(|at| text.get(at..text.len().min(at + 64))).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// How the mock vendor's authority signs.
const AUTHORITY: Algorithm = Algorithm::RsaPkcs1Sha256;

/// The certificate of a key for these names, issued by the mock vendor's authority.
fn certificate(key: &[u8], names: &[Vec<u8>]) -> Result<Vec<u8>> {
    let names = names.iter().map(|name| der(0x82, name)).collect::<Vec<_>>().concat();
    let usage = extension(&[0x55, 0x1d, 0x0f], true, &der(0x03, &[7, 0x80]));
    let mut extensions = usage;
    if !names.is_empty() {
        extensions.extend(extension(&[0x55, 0x1d, 0x11], false, &der(0x30, &names)));
    }
    issued("mock vendor", key, &extensions)
}

/// The certificate of the mock vendor's authority, issued by itself.
fn authority() -> Result<Vec<u8>> {
    let basic = extension(&[0x55, 0x1d, 0x13], true, &der(0x30, &der(0x01, &[0xff])));
    issued(ISSUER, &pairs::public(AUTHORITY)?, &basic)
}

const ISSUER: &str = "mock vendor's authority";

/// A certificate (RFC 5280 section 4.1), signed by the authority's key.
fn issued(subject: &str, key: &[u8], extensions: &[u8]) -> Result<Vec<u8>> {
    // sha256WithRSAEncryption
    let algorithm = der(
        0x30,
        &[der(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b]), der(0x05, &[])].concat(),
    );
    let name = |text: &str| {
        let common = [der(0x06, &[0x55, 0x04, 0x03]), der(0x0c, text.as_bytes())].concat();
        der(0x30, &der(0x31, &der(0x30, &common)))
    };
    let validity = der(0x30, &[der(0x17, b"100101000000Z"), der(0x17, b"491231235959Z")].concat());
    let version = der(0xa0, &der(0x02, &[2]));
    let extensions = der(0xa3, &der(0x30, extensions));
    let parts = [
        version,
        der(0x02, &[1]),
        algorithm.clone(),
        name(ISSUER),
        validity,
        name(subject),
        key.to_vec(),
        extensions,
    ];
    let signed = der(0x30, &parts.concat());
    let tag = [vec![0], pairs::sign(AUTHORITY, &signed)?].concat();
    Ok(der(0x30, &[signed, algorithm, der(0x03, &tag)].concat()))
}

/// An extension (RFC 5280 section 4.2).
fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { der(0x01, &[0xff]) } else { Vec::new() };
    der(0x30, &[der(0x06, id), critical, der(0x04, value)].concat())
}

/// One value of DER.
fn der(tag: u8, inner: &[u8]) -> Vec<u8> {
    let length = u16::try_from(inner.len()).expect("a certificate of one key is short").to_be_bytes();
    let mut out = vec![tag];
    match (inner.len(), length) {
        (0..0x80, [_, low]) => out.push(low),
        (0x80..0x100, [_, low]) => out.extend([0x81, low]),
        (_, [high, low]) => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(inner);
    out
}
