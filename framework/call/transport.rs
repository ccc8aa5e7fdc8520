//! The way out: reqwest with rustls, and nothing of the environment. The only file that imports reqwest.
//!
//! https alone (plain http to literal loopback addresses where they are allowed), no redirects, no cookies,
//! no decompression, answers bounded while they are read. The address that is connected to is checked after
//! resolving: the resolver hands out checked addresses only, so that a name cannot be bound anew in between.
//! Behind a proxy it is the proxy that resolves; then literal addresses and `localhost` alone can be checked.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use url::{Host, Url};

use super::address::{is_loopback, refused};
use super::trust;
use super::{Request, Response, Transport, TransportError};
use crate::error::{Error, Kind, Result, escaped};

/// What a transport is told. Not to be printed: a proxy's URL may hold a password.
#[derive(Clone)]
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

    /// Checks what the URL itself tells; the error is the sentence. `url` has read every way to write an
    /// address by now: octal, hexadecimal, one number.
    fn admit(&self, url: &Url) -> Result<(), String> {
        let host = url.host().ok_or("the URL has no host")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("a URL with a user or a password is not called ({host})"));
        }
        let ip = literal(url);
        let loopback = ip.is_some_and(is_loopback);
        match url.scheme() {
            "https" => {}
            "http" if self.operators_own || (loopback && self.allow_loopback) => {}
            "http" if loopback => {
                return Err(format!("plain http to {host} is refused (--allow-loopback admits it)"));
            }
            "http" => {
                return Err(format!(
                    "plain http to {host} is refused: only https is called, and with --allow-loopback plain http to 127.0.0.0/8 and [::1]"
                ));
            }
            other => return Err(format!("{other} to {host} is refused: only https is called")),
        }
        match ip.and_then(|ip| self.refused(ip)) {
            Some(why) => Err(refused_sentence(&host.to_string(), None, why)),
            None => Ok(()),
        }
    }
}

/// Who tells the addresses of a name.
#[async_trait]
pub trait Names: Send + Sync + 'static {
    /// The addresses; their ports mean nothing.
    async fn addresses(&self, name: &str) -> std::io::Result<Vec<SocketAddr>>;
}

/// The system's resolver.
struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn addresses(&self, name: &str) -> std::io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.collect())
    }
}

/// The real transport. One per process; connections are kept and shared.
pub struct HttpTransport {
    direct: reqwest::Client,
    /// Replaced when the proxy's URL changes.
    proxied: RwLock<Option<reqwest::Client>>,
    options: Options,
    names: Arc<dyn Names>,
}

impl HttpTransport {
    /// Refuses roots that are no certificates and a proxy that is no http or https URL (configuration).
    pub fn new(options: Options) -> Result<Self> {
        Self::with_names(options, Arc::new(SystemNames))
    }

    /// The same with names that somebody else resolves.
    pub fn with_names(options: Options, names: Arc<dyn Names>) -> Result<Self> {
        let tls = trust::config(options.extra_roots_pem.as_deref())?;
        let direct = client(&options, &names, tls.clone(), None)?;
        let proxied = options.proxy.as_ref().map(|url| proxied(&options, &names, tls, url)).transpose()?;
        Ok(Self { direct, proxied: RwLock::new(proxied), options, names })
    }

    /// Sends through another proxy from the next call on: its password changed.
    pub fn set_proxy(&self, url: &Url) -> Result<()> {
        let tls = trust::config(self.options.extra_roots_pem.as_deref())?;
        let client = proxied(&self.options, &self.names, tls, url)?;
        *self.proxied.write().unwrap_or_else(PoisonError::into_inner) = Some(client);
        Ok(())
    }

    fn proxied(&self) -> Option<reqwest::Client> {
        self.proxied.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The client for a URL that may be called: the proxy's loopback is not ours, so loopback goes out directly.
    fn admit(&self, url: &Url) -> Result<reqwest::Client, TransportError> {
        self.options.admit(url).map_err(refusal)?;
        match self.proxied() {
            Some(proxied) if !is_local(url) => Ok(proxied),
            Some(_) if !self.options.loopback() => {
                let host = url.host_str().unwrap_or_default();
                Err(refusal(refused_sentence(host, None, "loopback")))
            }
            _ => Ok(self.direct.clone()),
        }
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let client = self.admit(&request.url)?;
        let host = self.shown(&request.url);
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
    /// Host and port for a message, and whether the proxy stands in between.
    fn shown(&self, url: &Url) -> String {
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let by = if self.proxied().is_some() && !is_local(url) { " (by the proxy)" } else { "" };
        format!("{host}{port}{by}")
    }

    /// Reads an answer whole, counting while it comes. That of an operator's own server is cut at the bound.
    async fn read(&self, mut answer: reqwest::Response, host: &str) -> Result<Response, TransportError> {
        let most = self.options.max_answer_bytes;
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| told(&error, host))? {
            if body.len() + chunk.len() > most && self.options.operators_own {
                // The status says what became of the records: a sink's answer is for people alone.
                body.extend_from_slice(chunk.get(..most - body.len()).unwrap_or_default());
                break;
            }
            if body.len() + chunk.len() > most {
                let sentence = format!("the answer of {host} is larger than {most} bytes");
                return Err(TransportError { sent: true, passing: false, sentence });
            }
            body.extend_from_slice(&chunk);
        }
        let headers = std::mem::take(answer.headers_mut());
        Ok(Response { status: answer.status(), headers, body: body.freeze() })
    }
}

/// A client that sends through a proxy.
fn proxied(
    options: &Options,
    names: &Arc<dyn Names>,
    tls: rustls::ClientConfig,
    url: &Url,
) -> Result<reqwest::Client> {
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(Error::new(Kind::Configuration, "the proxy is no http or https URL")
            .help("give --proxy as http://host:port"));
    }
    client(options, names, tls, Some(url))
}

/// A client of its own settings: none of them comes from the environment.
fn client(
    options: &Options,
    names: &Arc<dyn Names>,
    tls: rustls::ClientConfig,
    proxy: Option<&Url>,
) -> Result<reqwest::Client> {
    let resolver = CheckedResolver {
        names: names.clone(),
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

/// Hands out only those addresses of a name that may be connected to.
struct CheckedResolver {
    names: Arc<dyn Names>,
    options: Options,
    trusted: Option<String>,
}

impl reqwest::dns::Resolve for CheckedResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let (names, options) = (self.names.clone(), self.options.clone());
        let trusted = self.trusted.as_deref() == Some(name.as_str());
        Box::pin(async move {
            let name = name.as_str();
            let found = names.addresses(name).await.map_err(|error| Unresolved {
                passing: true,
                sentence: format!("the name {} does not resolve: {error}", escaped(name, 253)),
            })?;
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

/// The address that a URL names without a name.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
        Host::Domain(_) => None,
    }
}

/// Whether a URL leads to this machine, as far as the URL itself tells.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        _ => literal(url).is_some_and(is_loopback),
    }
}

fn refused_sentence(host: &str, ip: Option<IpAddr>, why: &str) -> String {
    let address = ip.map(|ip| format!(" resolves to {ip}, which")).unwrap_or_default();
    let flag = if why == "loopback" { " (--allow-loopback admits it)" } else { "" };
    format!("{host}{address} is no public address but {why}, and is not called{flag}")
}

fn refusal(sentence: String) -> TransportError {
    TransportError { sent: false, passing: false, sentence }
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
        if let Some(error) = trust::failure(cause) {
            let (sentence, passing) = trust::told(error, host);
            return TransportError { sent, passing, sentence };
        }
        last = escaped(&cause.to_string(), 200);
        // The error's type is private to the client; a test holds its words.
        if last.contains("proxy authorization required") {
            let sentence = "the proxy refuses calls without a user and a password (407): give them in FOREBAY_PROXY=http://USER:PASSWORD@HOST:PORT, or by `outgoing.proxy` in forebay.yaml";
            return refusal(sentence.to_owned());
        }
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
