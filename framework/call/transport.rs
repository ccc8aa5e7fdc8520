//! The way out: reqwest with rustls, and nothing of the environment. The only file that imports reqwest.
//!
//! https alone (plain http to literal loopback addresses where they are allowed), no redirects, no cookies,
//! no decompression, answers bounded while they are read. The address that is connected to is checked after
//! resolving: the resolver hands out checked addresses only, so that a name cannot be bound anew in between.
//! Behind a proxy it is the proxy that resolves; then literal addresses and `localhost` alone can be checked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::{Host, Url};

use super::address::{is_loopback, refused};
use super::{Request, Response, Transport, TransportError};
use crate::error::{Error, Kind, Result, escaped};

/// What a transport is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--allow-loopback`: loopback addresses are admitted, and plain http to them.
    pub allow_loopback: bool,
    /// The servers are the operator's own word (sinks), not a spec's: private addresses and plain http are
    /// called too.
    pub operators_own: bool,
    /// `--proxy`: everything but loopback goes through it.
    pub proxy: Option<Url>,
    /// `--ca-file`: roots beside the public ones, as PEM.
    pub extra_roots_pem: Option<Vec<u8>>,
    /// For resolving, connecting and the TLS handshake together.
    pub connect_timeout: Duration,
    /// For the whole exchange.
    pub total_timeout: Duration,
    /// The largest body that is read.
    pub max_answer_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_loopback: false,
            operators_own: false,
            proxy: None,
            extra_roots_pem: None,
            connect_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(30),
            max_answer_bytes: 8 << 20,
        }
    }
}

impl Options {
    fn loopback(&self) -> bool {
        self.allow_loopback || self.operators_own
    }

    /// Why an address is not called.
    fn refused(&self, ip: IpAddr) -> Option<&'static str> {
        if self.operators_own { None } else { refused(ip, self.allow_loopback) }
    }
}

/// The real transport. One per process; connections are kept and shared.
pub struct HttpTransport {
    direct: reqwest::Client,
    proxied: Option<reqwest::Client>,
    options: Options,
}

impl HttpTransport {
    /// Refuses roots that are no certificates and a proxy that is no http or https URL (configuration).
    pub fn new(options: Options) -> Result<Self> {
        let tls = tls(options.extra_roots_pem.as_deref())?;
        let direct = client(&options, tls.clone(), None)?;
        let proxied = match &options.proxy {
            None => None,
            Some(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => {
                Some(client(&options, tls, Some(url))?)
            }
            Some(_) => {
                return Err(Error::new(Kind::Configuration, "the proxy is no http or https URL")
                    .help("give --proxy as http://host:port"));
            }
        };
        Ok(Self { direct, proxied, options })
    }

    /// The client for a URL that may be called.
    fn admit(&self, url: &Url) -> Result<&reqwest::Client, TransportError> {
        let host = match url.host() {
            Some(host) => host,
            None => return Err(refusal("the URL has no host".to_owned())),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refusal(format!("a URL with a user or password is not called ({host})")));
        }
        let ip = match host {
            Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
            Host::Domain(_) => None,
        };
        let loopback = ip.is_some_and(is_loopback);
        match url.scheme() {
            "https" => {}
            "http" if self.options.operators_own => {}
            "http" if loopback && self.options.allow_loopback => {}
            "http" if loopback => {
                return Err(refusal(format!(
                    "plain http to {host} is refused: loopback is called only with --allow-loopback"
                )));
            }
            other => {
                return Err(refusal(format!(
                    "{} to {host} is refused: only https is called (plain http only to 127.0.0.0/8 and [::1], with --allow-loopback)",
                    if other == "http" { "plain http" } else { other }
                )));
            }
        }
        if let Some(why) = ip.and_then(|ip| self.options.refused(ip)) {
            return Err(refusal(refused_sentence(&host.to_string(), None, why)));
        }
        match (&self.proxied, &host) {
            // The proxy's loopback is not ours.
            (Some(_), Host::Domain(name)) if is_localhost(name) && !self.options.loopback() => {
                Err(refusal(refused_sentence(name, None, "loopback")))
            }
            (Some(_), Host::Domain(name)) if is_localhost(name) => Ok(&self.direct),
            (Some(proxied), _) if !loopback => Ok(proxied),
            _ => Ok(&self.direct),
        }
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let client = self.admit(&request.url)?;
        let host = shown_host(&request.url);
        let sent = client
            .request(request.method, request.url)
            .headers(request.headers)
            .body(request.body)
            .send()
            .await
            .map_err(|error| told(&error, &host))?;
        self.read(sent, &host).await
    }
}

impl HttpTransport {
    /// Reads an answer whole, counting while it comes.
    async fn read(&self, mut answer: reqwest::Response, host: &str) -> Result<Response, TransportError> {
        let most = self.options.max_answer_bytes;
        let too_large = || TransportError {
            sent: true,
            passing: false,
            sentence: format!("the answer of {host} is larger than {most} bytes"),
        };
        if answer.content_length().is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| told(&error, host))? {
            if body.len() + chunk.len() > most {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        let headers = std::mem::take(answer.headers_mut());
        Ok(Response { status: answer.status(), headers, body: body.freeze() })
    }
}

/// A client of its own settings: none of them comes from the environment.
fn client(options: &Options, tls: rustls::ClientConfig, proxy: Option<&Url>) -> Result<reqwest::Client> {
    let resolver = CheckedResolver {
        options: options.clone(),
        // The proxy is the operator's own word, and mostly in a private network.
        trusted: proxy.and_then(|url| url.host_str()).map(str::to_owned),
    };
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        // Whether a request is sent again is decided in one place, and that is not here.
        .retry(reqwest::retry::never())
        .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(resolver))
        .connect_timeout(options.connect_timeout)
        .timeout(options.total_timeout)
        .pool_idle_timeout(Duration::from_secs(30));
    if let Some(url) = proxy {
        let proxy = reqwest::Proxy::all(url.clone())
            .map_err(|_| Error::new(Kind::Configuration, "the proxy's URL cannot be used"))?;
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|error| {
        Error::new(Kind::Io, "the HTTP client cannot be made").because(error.without_url().to_string())
    })
}

/// The public roots and those of `--ca-file`, with the provider named: nothing of the platform.
fn tls(extra_roots_pem: Option<&[u8]>) -> Result<rustls::ClientConfig> {
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

/// Resolves by the system and hands out only what may be connected to.
struct CheckedResolver {
    options: Options,
    trusted: Option<String>,
}

impl reqwest::dns::Resolve for CheckedResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let options = self.options.clone();
        let trusted = self.trusted.as_deref() == Some(name.as_str());
        Box::pin(async move {
            let name = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0))
                .await
                .map_err(|error| Unresolved {
                    passing: true,
                    sentence: format!("the name {} does not resolve: {error}", escaped(name, 253)),
                })?
                .collect();
            let mut why = None;
            let open: Vec<SocketAddr> = found
                .into_iter()
                .filter(|at| match options.refused(at.ip()) {
                    Some(reason) if !trusted => {
                        why.get_or_insert((at.ip(), reason));
                        false
                    }
                    _ => true,
                })
                .collect();
            match why {
                Some((ip, reason)) if open.is_empty() => {
                    let sentence = refused_sentence(&escaped(name, 253), Some(ip), reason);
                    Err(Unresolved { passing: false, sentence }.into())
                }
                _ => Ok(Box::new(open.into_iter()) as reqwest::dns::Addrs),
            }
        })
    }
}

/// Why a name led nowhere.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
struct Unresolved {
    passing: bool,
    sentence: String,
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

fn refused_sentence(host: &str, ip: Option<IpAddr>, why: &str) -> String {
    let address = ip.map(|ip| format!(" resolves to {ip}, which")).unwrap_or_default();
    let flag = if why == "loopback" { " (--allow-loopback admits it)" } else { "" };
    format!("{host}{address} is no public address but {why}, and is not called{flag}")
}

fn refusal(sentence: String) -> TransportError {
    TransportError { sent: false, passing: false, sentence }
}

fn shown_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// What a reqwest error means. Its own text is not shown: it can hold the whole URL.
fn told(error: &reqwest::Error, host: &str) -> TransportError {
    let sent = !(error.is_connect() || error.is_builder());
    let mut last = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(unresolved) = cause.downcast_ref::<Unresolved>() {
            let sentence = unresolved.sentence.clone();
            return TransportError { sent: false, passing: unresolved.passing, sentence };
        }
        if let Some(tls) = tls_error(cause) {
            return tls_told(tls, host, sent);
        }
        last = escaped(&cause.to_string(), 200);
        source = cause.source();
    }
    let what = match (error.is_timeout(), sent) {
        (true, false) => format!("{host} could not be reached in time"),
        (true, true) => format!("{host} did not answer in time"),
        (false, false) => format!("{host} could not be reached: {last}"),
        (false, true) => format!("the connection to {host} broke before the answer was whole: {last}"),
    };
    TransportError { sent, passing: true, sentence: what }
}

/// The rustls error in an error. An `io::Error` hands out the source of what it wraps, not what it wraps, and one
/// may wrap another.
fn tls_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(error);
    }
    tls_error(cause.downcast_ref::<std::io::Error>()?.get_ref()?)
}

fn tls_told(error: &rustls::Error, host: &str, sent: bool) -> TransportError {
    use rustls::CertificateError as Bad;
    let rustls::Error::InvalidCertificate(bad) = error else {
        let sentence = format!("TLS with {host} failed: {}", escaped(&error.to_string(), 200));
        return TransportError { sent, passing: true, sentence };
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
    TransportError { sent, passing: false, sentence: format!("the certificate of {host} {why}") }
}
