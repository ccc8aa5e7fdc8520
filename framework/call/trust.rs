//! Whom a call trusts: the public roots, those of `--ca-file`, and what is said of a certificate by others.
//!
//! `transport` takes its TLS settings from here. Nothing is read from the platform or the environment.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::{Error, Kind, Result, escaped};

/// The public roots and those of `--ca-file`, with the provider named: nothing of the platform.
pub fn config(extra_roots_pem: Option<&[u8]>) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = extra_roots_pem {
        let no_roots = |why: String| {
            Error::new(
                Kind::Configuration,
                format!("--ca-file holds no certificates that can be used: {why}"),
            )
            .help("give a file with one or more PEM blocks `BEGIN CERTIFICATE`")
        };
        let mut added = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| no_roots(error.to_string()))?;
            roots.add(certificate).map_err(|error| no_roots(error.to_string()))?;
            added += 1;
        }
        if added == 0 {
            return Err(no_roots("no PEM block of a certificate is in it".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Kind::Io, "TLS cannot be set up").because(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The rustls error in an error. An `io::Error` hands out the source of what it wraps, not what it wraps, and one
/// may wrap another.
pub fn failure<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(error);
    }
    failure(cause.downcast_ref::<std::io::Error>()?.get_ref()?)
}

/// What it means, and whether it may pass: a certificate that is refused stays refused.
pub fn told(error: &rustls::Error, host: &str) -> (String, bool) {
    use rustls::CertificateError as Bad;
    let rustls::Error::InvalidCertificate(bad) = error else {
        let sentence = format!("TLS with {host} failed: {}", escaped(&error.to_string(), 200));
        return (sentence, true);
    };
    let why = match bad {
        // An authority of the same name but with another key shows as a bad signature.
        Bad::UnknownIssuer | Bad::BadSignature => {
            "is signed by nobody known; if it is your own authority's, give its certificate with --ca-file"
                .to_owned()
        }
        Bad::Expired | Bad::ExpiredContext { .. } => "has expired".to_owned(),
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            "is not valid yet; is the clock of this machine right?".to_owned()
        }
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "is for another name".to_owned(),
        other => format!("is refused: {}", escaped(&format!("{other:?}"), 120)),
    };
    (format!("the certificate of {host} {why}"), false)
}
