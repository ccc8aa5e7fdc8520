//! What is wrong with a certificate and key that do not serve, in words for who put them there.
//!
//! `tls` asks it after a pair was refused.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a file holds no private key that can be used, and what to do; `None`: nothing more is known.
pub(super) fn key_trouble(pem: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = String::from_utf8_lossy(pem);
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Some((
            "the private key is encrypted with a passphrase",
            "decrypt it: `openssl pkey -in KEY.pem -out PLAIN.pem`, then `chmod 600 PLAIN.pem` and name that file",
        ));
    }
    if text.contains("-----BEGIN CERTIFICATE-----") && !text.contains("PRIVATE KEY-----") {
        return Some((
            "the file holds a certificate: expected a private key",
            "name the private key's file in receiver.tls.key, and the certificate's in receiver.tls.certificate",
        ));
    }
    None
}

/// Which certificate of the chain the key belongs to, counted from 1, if it is another one than the first.
pub(super) fn certificate_of(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Option<usize> {
    let fits = |certificate: &CertificateDer<'static>| {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .ok()?
            .with_no_client_auth();
        config.with_single_cert(vec![certificate.clone()], key.clone_key()).ok()
    };
    let found = chain.iter().skip(1).position(|certificate| fits(certificate).is_some())?;
    Some(found + 2)
}
