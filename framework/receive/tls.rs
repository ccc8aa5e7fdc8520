//! TLS of the listener: certificate and key from PEM files, read again when their content changes.
//!
//! A pair that does not fit together is refused; while the process runs, the pair before it stays in use
//! and the log says so. `server` asks for the configuration anew for every connection. With a file of authorities for
//! clients, a sender without a certificate that one of them signed gets no connection.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

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
    /// Who signs the certificates of senders.
    client_ca: Option<PathBuf>,
    /// How often the files are looked at.
    pub(super) every: Duration,
    /// What the files held when they were last looked at, good or bad.
    seen: Mutex<Vec<u8>>,
    config: RwLock<Arc<ServerConfig>>,
    /// The certificate in use, DER.
    leaf: RwLock<Arc<[u8]>>,
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
        Self::load_for(certificate, key, None, every)
    }

    /// The same for senders that show a certificate which one of the authorities in `client_ca` (PEM) signed; `None` is
    /// for all senders.
    pub fn load_for(
        certificate: &Path,
        key: &Path,
        client_ca: Option<&Path>,
        every: Duration,
    ) -> Result<Arc<Self>> {
        let (certificate, key, client_ca) =
            (certificate.to_owned(), key.to_owned(), client_ca.map(Path::to_owned));
        let files = Files::read(&certificate, &key, client_ca.as_deref())?;
        let config = configuration(&files)?;
        let seen = Mutex::new(files.fingerprint());
        let leaf = RwLock::new(leaf(&files.certificate.1));
        let (config, conditions) = (RwLock::new(Arc::new(config)), OnceLock::new());
        Ok(Arc::new(Self { certificate, key, client_ca, every, seen, config, leaf, conditions }))
    }

    /// Looks at the files, and takes a changed pair into use if it is good. The error says what is wrong
    /// with a bad one, once; the pair before it stays in use.
    pub fn reload(&self) -> Result<Reloaded> {
        self.renew(&Files::read(&self.certificate, &self.key, self.client_ca.as_deref())?)
    }

    /// Has what is wrong with the files said there too.
    pub fn report_to(&self, conditions: Arc<Conditions>) {
        let _ = self.conditions.set(conditions);
    }

    fn renew(&self, files: &Files<'_>) -> Result<Reloaded> {
        let print = files.fingerprint();
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == print {
                return Ok(Reloaded::Same);
            }
            *seen = print;
        }
        let config = configuration(files)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        *self.leaf.write().unwrap_or_else(PoisonError::into_inner) = leaf(&files.certificate.1);
        Ok(Reloaded::New)
    }

    /// [`Self::reload`] without blocking a thread that serves, with its outcome in the log.
    pub(super) async fn look(&self) {
        let renewed = self.read_all_again().await.and_then(|mut files| {
            let renewed = self.renew(&files);
            secret::wipe(std::mem::take(&mut files.key.1));
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

    async fn read_all_again(&self) -> Result<Files<'_>> {
        let certificate = (self.certificate.as_path(), self.read_again(&self.certificate).await?);
        let client_ca = match &self.client_ca {
            Some(path) => Some((path.as_path(), self.read_again(path).await?)),
            None => None,
        };
        // The key last: nothing that fails leaves it behind.
        let key = (self.key.as_path(), self.read_again(&self.key).await?);
        Ok(Files { certificate, key, client_ca })
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

    /// Returns the certificate in use, DER.
    pub fn leaf(&self) -> Arc<[u8]> {
        self.leaf.read().unwrap_or_else(PoisonError::into_inner).clone()
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

/// The first certificate of a chain that was taken.
fn leaf(chain: &[u8]) -> Arc<[u8]> {
    let first = CertificateDer::pem_slice_iter(chain).next().and_then(Result::ok);
    first.map_or_else(|| Arc::from([].as_slice()), |first| Arc::from(first.as_ref()))
}

/// What the files hold at one moment.
struct Files<'a> {
    certificate: (&'a Path, Vec<u8>),
    key: (&'a Path, Vec<u8>),
    client_ca: Option<(&'a Path, Vec<u8>)>,
}

impl<'a> Files<'a> {
    fn read(certificate: &'a Path, key: &'a Path, client_ca: Option<&'a Path>) -> Result<Self> {
        let whole = |path: &'a Path| read(path).map(|bytes| (path, bytes));
        Ok(Self {
            certificate: whole(certificate)?,
            key: whole(key)?,
            client_ca: client_ca.map(whole).transpose()?,
        })
    }

    /// Told apart by a hash: the key is not kept.
    fn fingerprint(&self) -> Vec<u8> {
        let hash = |bytes: &[u8]| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let authorities = self.client_ca.as_ref().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
        [hash(&self.certificate.1).as_ref(), hash(&self.key.1).as_ref(), hash(authorities).as_ref()].concat()
    }
}

fn wrong(path: &Path, sentence: &str) -> Error {
    Error::new(Kind::Configuration, sentence).at(path.display().to_string())
}

/// The certificates of a PEM file; at least one.
fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(path, "the certificate is no PEM").because(error))?;
    if chain.is_empty() {
        return Err(wrong(path, "there is no certificate in the file"));
    }
    Ok(chain)
}

fn configuration(files: &Files<'_>) -> Result<ServerConfig> {
    let ((certificate, chain), (key, secret)) = (&files.certificate, &files.key);
    let chain = certificates(certificate, chain).map_err(|error| {
        error.help("It must hold the certificate and those it is signed with, as PEM, its own first")
    })?;
    let secret = PrivateKeyDer::from_pem_slice(secret).map_err(|error| match pair::key_trouble(secret) {
        Some((sentence, help)) => wrong(key, sentence).help(help),
        None => wrong(key, "there is no private key in the file")
            .because(error)
            .help("It must hold the key as PEM"),
    })?;
    let (all, own) = (chain.clone(), secret.clone_key());
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(certificate, "TLS cannot be set up").because(error))?;
    let builder =
        match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some((path, bytes)) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(path, bytes)? {
                    roots.add(authority).map_err(|error| {
                        wrong(path, "a certificate in the file cannot be an authority").because(error)
                    })?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| {
                    wrong(path, "the authorities of senders cannot be used").because(error)
                })?)
            }
        };
    let mut config = builder.with_single_cert(chain, secret).map_err(|error| match pair::certificate_of(&all, &own) {
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
