//! TLS of the listener: certificate and key from PEM files, read again when their content changes.
//!
//! A pair that does not fit together is refused; while the process runs, the pair before it stays in use
//! and the log says so. `server` asks for the configuration anew for every connection.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::pair;
use crate::condition::{Code, Conditions, Subject};
use crate::connector::secret;
use crate::error::{Error, Kind, Result};
use crate::files::{self, Admit, Unread};

/// Bytes of a chain of certificates, or of a key.
const MAX_FILE: u64 = 1 << 20;

/// The certificate and key of a listener.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    /// How often the files are looked at.
    pub(super) every: Duration,
    /// What the files held when they were last looked at, good or bad.
    seen: Mutex<Vec<u8>>,
    config: RwLock<Arc<ServerConfig>>,
    conditions: OnceLock<Arc<Conditions>>,
}

/// What became of a look at the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// They hold what they held before.
    Same,
    /// The new pair is in use from the next connection on.
    New,
}

impl Tls {
    /// Reads a certificate chain and its key from PEM files, which are looked at again every so often.
    pub fn load(certificate: &Path, key: &Path, every: Duration) -> Result<Arc<Self>> {
        let (chain, secret) = (read(certificate)?, read(key)?);
        let config = configuration(certificate, key, &chain, &secret)?;
        Ok(Arc::new(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            every,
            seen: Mutex::new(fingerprint(&chain, &secret)),
            config: RwLock::new(Arc::new(config)),
            conditions: OnceLock::new(),
        }))
    }

    /// Looks at the files, and takes a changed pair into use if it is good. The error says what is wrong
    /// with a bad one, once; the pair before it stays in use.
    pub fn reload(&self) -> Result<Reloaded> {
        self.renew(&read(&self.certificate)?, &read(&self.key)?)
    }

    /// Has what is wrong with the files said there too.
    pub fn report_to(&self, conditions: Arc<Conditions>) {
        let _ = self.conditions.set(conditions);
    }

    fn renew(&self, chain: &[u8], secret: &[u8]) -> Result<Reloaded> {
        let print = fingerprint(chain, secret);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == print {
                return Ok(Reloaded::Same);
            }
            *seen = print;
        }
        let config = configuration(&self.certificate, &self.key, chain, secret)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(Reloaded::New)
    }

    /// [`Self::reload`] without blocking a thread that serves, with its outcome in the log.
    pub(super) async fn look(&self) {
        let chain = self.read_again(&self.certificate).await;
        let secret = self.read_again(&self.key).await;
        let renewed = chain.and_then(|chain| {
            let secret = secret?;
            let renewed = self.renew(&chain, &secret);
            secret::wipe(secret);
            renewed
        });
        match renewed {
            Ok(Reloaded::Same) => {}
            Ok(Reloaded::New) => {
                let certificate = self.certificate.display();
                tracing::info!(%certificate, "the new certificate is in use");
            }
            Err(error) => {
                tracing::error!(%error, "the new certificate is not used; the one before stays in use");
            }
        }
    }

    async fn read_again(&self, path: &Path) -> Result<Vec<u8>> {
        let read = files::read_async(path, MAX_FILE, Admit::Regular, files::READ_TIME).await;
        if let Some(conditions) = self.conditions.get() {
            let subject = Subject::process().item(path.display());
            if matches!(&read, Err(unread) if unread.is_blocked()) {
                let message =
                    format!("{} does not answer: the certificate before stays in use", path.display());
                conditions.raise(Code::FileBlocked, subject, message);
            } else {
                conditions.clear(Code::FileBlocked, &subject);
            }
        }
        contents(path, read)
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    contents(path, files::read(path, MAX_FILE, Admit::Regular, files::READ_TIME))
}

fn contents(path: &Path, read: Result<files::Contents, Unread>) -> Result<Vec<u8>> {
    let contents = read.map_err(|unread| {
        let sentence = match &unread {
            Unread::Refused(_) => "the file cannot be read".to_owned(),
            unread => format!("the file {unread}"),
        };
        let error = Error::new(Kind::Configuration, sentence).at(path.display().to_string());
        if let Unread::Refused(cause) = unread { error.because(cause) } else { error }
    })?;
    Ok(contents.bytes)
}

/// Told apart by a hash: the key is not kept.
fn fingerprint(chain: &[u8], secret: &[u8]) -> Vec<u8> {
    let hash = |bytes| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    [hash(chain).as_ref(), hash(secret).as_ref()].concat()
}

fn configuration(certificate: &Path, key: &Path, chain: &[u8], secret: &[u8]) -> Result<ServerConfig> {
    let wrong = |path: &Path, sentence: &str| {
        Error::new(Kind::Configuration, sentence).at(path.display().to_string())
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(certificate, "the certificate is no PEM").because(error))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "there is no certificate in the file")
            .help("It must hold the certificate and those it is signed with, as PEM, its own first"));
    }
    let secret = PrivateKeyDer::from_pem_slice(secret).map_err(|error| match pair::key_trouble(secret) {
        Some((sentence, help)) => wrong(key, sentence).help(help),
        None => wrong(key, "there is no private key in the file")
            .because(error)
            .help("It must hold the key as PEM"),
    })?;
    let (all, own) = (chain.clone(), secret.clone_key());
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(certificate, "TLS cannot be set up").because(error))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| match pair::certificate_of(&all, &own) {
            Some(number) => wrong(
                certificate,
                &format!("the chain is in the wrong order: the certificate of the key is number {number}, expected it first"),
            )
            .help("put the certificate's own first, then the one that issued it, and so on"),
            None => wrong(certificate, "certificate and key do not fit together")
                .because(error)
                .help(format!("The key is read from {}", key.display())),
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
