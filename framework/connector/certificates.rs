//! X.509 certificates of senders: read from PEM, and checked against the issuers that a connector bundles.
//!
//! `compile` reads a connector's file of issuers here; `receive` checks what it fetched from a key URL. `x509-cert`
//! reads certificates and `rustls-webpki` builds and proves the chain: nothing here parses DER by itself. Revocation
//! is not checked: senders publish a new certificate at a new URL.
//!
//! A file of issuers is PEM with comments: lines that begin with `#`. A certificate that issued itself is a root, any
//! other an intermediate.

use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use data_encoding::BASE64;
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

/// Certificates that one document may hold.
const MAX_CERTIFICATES: usize = 64;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Why a certificate does not prove a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untrusted {
    /// It cannot be read.
    Malformed,
    /// It is issued for another name.
    Name,
    /// It is not valid yet.
    NotYetValid,
    /// It has expired.
    Expired,
    /// Its key is not for signatures.
    Usage,
    /// The issuer that it names did not sign it.
    Forged,
    /// No issuer of the connector issued it. It may be genuine: the connector's file may be too old.
    Issuer,
}

impl Untrusted {
    /// Completes "the certificate …".
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "cannot be read",
            Self::Name => "is issued for another name",
            Self::NotYetValid => "is not valid yet",
            Self::Expired => "has expired",
            Self::Usage => "is not for signatures",
            Self::Forged => "is not signed by the issuer that it names",
            Self::Issuer => "ends at no issuer that the connector bundles",
        }
    }
}

/// The roots and intermediates that a chain may end at and lead through.
#[derive(Default)]
pub struct Issuers {
    roots: Vec<TrustAnchor<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
    /// Roots of a simulation or a case, never of a run.
    rehearsed: RwLock<Rehearsed>,
}

/// Roots that were added after the file was read.
#[derive(Default)]
struct Rehearsed {
    roots: Vec<TrustAnchor<'static>>,
    /// The same in PEM.
    text: String,
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuers({} roots, {} intermediates)", self.roots.len(), self.intermediates.len())
    }
}

impl Issuers {
    /// Reads a connector's file. The error says what is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let bare: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let all = pem(bare.join("\n").as_bytes()).ok_or("it is not certificates in PEM and nothing else")?;
        let mut issuers = Self::default();
        for (number, der) in all.into_iter().enumerate() {
            let wrong = |what: &str| format!("certificate {} {what}", number + 1);
            let certificate = Certificate::from_der(&der).map_err(|_| wrong("cannot be read"))?;
            let tbs = certificate.tbs_certificate();
            let authority =
                matches!(tbs.get_extension::<BasicConstraints>(), Ok(Some((_, basic))) if basic.ca);
            if !authority {
                return Err(wrong("is not the certificate of an authority"));
            }
            let der = CertificateDer::from(der);
            if tbs.issuer() == tbs.subject() {
                issuers.roots.push(root(&der).ok_or_else(|| wrong("cannot be a root"))?);
            } else {
                issuers.intermediates.push(der);
            }
        }
        if issuers.roots.is_empty() { Err("it holds no root".to_owned()) } else { Ok(issuers) }
    }

    /// Trusts these roots too: those of the mock vendor, or of a case. A run never calls this.
    pub fn rehearse(&self, text: &[u8]) -> Result<(), String> {
        let all = pem(text).ok_or("these are not certificates in PEM")?;
        let mut rehearsed = self.rehearsed.write().unwrap_or_else(PoisonError::into_inner);
        for der in all {
            let packed = BASE64.encode(&der);
            let root = root(&CertificateDer::from(der)).ok_or("a certificate cannot be a root")?;
            if !rehearsed.roots.contains(&root) {
                rehearsed.roots.push(root);
                rehearsed.text.push_str(&format!("{BEGIN}\n{packed}\n{END}\n"));
            }
        }
        Ok(())
    }

    /// Returns the roots of a simulation or a case in PEM; empty in a run. A recorded case needs them.
    pub fn rehearsed(&self) -> String {
        self.rehearsed.read().unwrap_or_else(PoisonError::into_inner).text.clone()
    }

    /// Checks that the first certificate of `chain` is valid at `now`, is issued for one of `names`, is for
    /// signatures, and leads to a root of this list. The others of `chain` may serve as intermediates.
    pub fn check(&self, chain: &[Vec<u8>], names: &[String], now: Timestamp) -> Result<(), Untrusted> {
        let (first, others) = chain.split_first().ok_or(Untrusted::Malformed)?;
        let certificate = Certificate::from_der(first).map_err(|_| Untrusted::Malformed)?;
        let der = CertificateDer::from(first.as_slice());
        let leaf = webpki::EndEntityCert::try_from(&der).map_err(|_| Untrusted::Malformed)?;
        let is_for = |name: &String| {
            ServerName::try_from(name.as_str())
                .is_ok_and(|name| leaf.verify_is_valid_for_subject_name(&name).is_ok())
        };
        if !names.iter().any(is_for) {
            return Err(Untrusted::Name);
        }
        let tbs = certificate.tbs_certificate();
        let seconds = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
        if seconds < tbs.validity().not_before.to_unix_duration() {
            return Err(Untrusted::NotYetValid);
        }
        if seconds > tbs.validity().not_after.to_unix_duration() {
            return Err(Untrusted::Expired);
        }
        match tbs.get_extension::<KeyUsage>() {
            Ok(Some((_, usage))) if !usage.digital_signature() => return Err(Untrusted::Usage),
            Ok(_) => {}
            Err(_) => return Err(Untrusted::Malformed),
        }
        let others = others.iter().map(|der| CertificateDer::from(der.as_slice()));
        let intermediates: Vec<CertificateDer<'_>> =
            self.intermediates.iter().map(|der| CertificateDer::from(der.as_ref())).chain(others).collect();
        let mut roots = self.roots.clone();
        roots.extend(self.rehearsed.read().unwrap_or_else(PoisonError::into_inner).roots.iter().cloned());
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &roots,
            &intermediates,
            UnixTime::since_unix_epoch(seconds),
            webpki::KeyUsage::server_auth(),
            None,
            None,
        )
        .map(|_| ())
        .map_err(|error| untrusted(&error))
    }
}

/// Returns from when to when a certificate (DER) is valid; `None` if it cannot be read.
pub fn validity(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let certificate = Certificate::from_der(der).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let time = |since: Duration| Timestamp::from_second(i64::try_from(since.as_secs()).ok()?).ok();
    Some((time(validity.not_before.to_unix_duration())?, time(validity.not_after.to_unix_duration())?))
}

/// Returns whether a certificate (DER) is issued for a host.
pub fn is_for(der: &[u8], host: &str) -> bool {
    let der = CertificateDer::from(der);
    let (Ok(leaf), Ok(name)) = (webpki::EndEntityCert::try_from(&der), ServerName::try_from(host)) else {
        return false;
    };
    leaf.verify_is_valid_for_subject_name(&name).is_ok()
}

/// Sorts what the chain lacks: what is wrong with the certificate itself, or an issuer that is not known.
fn untrusted(error: &webpki::Error) -> Untrusted {
    use webpki::Error;
    match error {
        Error::InvalidSignatureForPublicKey => Untrusted::Forged,
        Error::CaUsedAsEndEntity
        | Error::EmptyEkuExtension
        | Error::RequiredEkuNotFoundContext(_)
        | Error::ExtensionValueInvalid => Untrusted::Usage,
        Error::BadDer | Error::BadDerTime | Error::InvalidCertValidity | Error::MalformedExtensions => {
            Untrusted::Malformed
        }
        _ => Untrusted::Issuer,
    }
}

fn root(der: &CertificateDer<'_>) -> Option<TrustAnchor<'static>> {
    webpki::anchor_from_trusted_cert(der).ok().map(|anchor| anchor.to_owned())
}

/// Returns the certificates of a document that is PEM (RFC 7468) as a whole: one certificate or several, with nothing
/// but white space before, between and after them.
pub fn pem(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = std::str::from_utf8(text.trim_ascii()).ok()?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (inner, after) = rest.strip_prefix(BEGIN)?.split_once(END)?;
        let packed: String = inner.split_ascii_whitespace().collect();
        found.push(BASE64.decode(packed.as_bytes()).ok().filter(|der| !der.is_empty())?);
        rest = after.trim_ascii_start();
        if found.len() > MAX_CERTIFICATES {
            return None;
        }
    }
    (!found.is_empty()).then_some(found)
}
