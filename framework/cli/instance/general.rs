//! What holds for the whole process: addresses, folders, bounds, the way out.

use std::net::{Ipv4Addr, SocketAddr};

use url::Url;

use super::Gathering;
use super::given::resolve;
use crate::call::mask::without_user;
use crate::connector::units;
use crate::error::escaped;
use crate::run::config::file::{Source, UrlPlace};
use crate::run::config::{Configuration, Outgoing, Sources, Tls};

/// The variable of the environment with the URL of the proxy.
const PROXY: &str = "FOREBAY_PROXY";

/// Where vendors' requests come in unless something else is said.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// The folder of the store unless another is named.
const DATA_DIR: &str = ".forebay";

impl Gathering<'_> {
    /// The configuration without its instances.
    pub(super) fn general(&mut self) -> Configuration {
        let (flags, file) = (self.ask.flags, self.file);
        let listen = self.ask.listen.or(file.receiver.listen.as_deref());
        let listen = listen.and_then(|text| self.address("--listen", text)).unwrap_or(LISTEN);
        let admin = self.ask.admin_listen.or(file.admin.listen.as_deref());
        let admin = admin.and_then(|text| self.address("--admin-listen", text));
        if admin.is_some_and(|admin| admin == listen && admin.port() != 0) {
            let help = "what operators see never stands on the public listener: give it another port";
            self.fault(format!("--admin-listen is {listen}, where vendors' requests come in"), help);
        }
        self.check_limits();
        if let Some(text) = self.ask.rotation_overlap
            && units::duration(text).is_none()
        {
            let sentence = format!("--rotation-overlap: expected a duration, got `{}`", escaped(text, 80));
            self.fault(sentence, "write 0s, 30m, 1h or 2d");
        }
        let data_dir = match (&flags.data_dir, &file.data_dir) {
            (Some(flag), _) => flag.clone(),
            (None, Some(written)) => file.path(written),
            (None, None) => DATA_DIR.into(),
        };
        let tls = file.receiver.tls.as_ref();
        let tls = tls.map(|tls| Tls {
            certificate: file.path(&tls.certificate),
            key: file.path(&tls.key),
            client_ca: tls.client_ca.as_ref().map(|path| file.path(path)),
        });
        Configuration {
            data_dir,
            listen,
            public_url: self.public_url(),
            tls,
            receive: file.receiver.limits(),
            admin,
            queue: file.queue.limits(),
            outgoing: Outgoing {
                allow_loopback: flags.allow_loopback,
                proxy: self.proxy(),
                ca_file: flags.ca_file.clone(),
            },
            instances: Vec::new(),
            summary: file.log.summary_interval(),
            sources: Sources::default(),
        }
    }

    /// Bounds that nothing could ever pass are slips of the pen.
    fn check_limits(&mut self) {
        let (receive, queue) = (self.file.receiver.limits(), self.file.queue.limits());
        let zero = [
            ("receiver.limits.connections", receive.connections == 0),
            ("receiver.limits.body", receive.body == 0),
            ("receiver.limits.inflated", receive.inflated == 0),
            ("receiver.limits.in_flight_strangers", receive.in_flight_strangers == 0),
            ("receiver.limits.depth", receive.depth == 0),
            ("receiver.limits.header_time", receive.header_time.is_zero()),
            ("receiver.limits.body_time", receive.body_time.is_zero()),
            ("queue.max_bytes", queue.max_bytes == 0),
        ];
        for (name, _) in zero.iter().filter(|(_, zero)| *zero) {
            self.fault(
                format!("{name} is 0, and nothing could ever be received"),
                "leave it out, or give more",
            );
        }
        if receive.proxies.protocol && receive.proxies.trusted.is_empty() {
            self.fault(
                "receiver.proxy_protocol is required and receiver.trusted_proxies names no proxy: every connection would be closed",
                "name the addresses that your load balancer connects from: trusted_proxies: [10.0.0.0/8]",
            );
        }
        if receive.in_flight < receive.body {
            let help = "in_flight bounds all bodies in memory together: give it several times body";
            self.fault("receiver.limits.in_flight is less than receiver.limits.body", help);
        }
        if queue.dead_share > 100 {
            self.fault(
                "queue.dead_share is more than 100 percent",
                "it is the dead letters' share of max_bytes",
            );
        }
    }

    fn public_url(&mut self) -> Option<Url> {
        let text = self.ask.flags.public_url.as_deref().or(self.file.receiver.public_url.as_deref())?;
        let url = self.url("--public-url", text)?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            let help = "give the base alone: https://logs.example.com; the receiver's path is appended";
            self.fault("--public-url has more than a host and a path", help);
            return None;
        }
        Some(url)
    }

    /// Everything that is called through a proxy goes there: by the flag, by the environment, by the file. Its URL may
    /// hold a password, which a flag must not: every user of the machine can read it in the list of processes.
    fn proxy(&mut self) -> Option<Url> {
        const PLACES: &str = "set FOREBAY_PROXY=http://USER:PASSWORD@HOST:PORT, or write `outgoing: {proxy: {env: VAR}}` or {file: PATH} in forebay.yaml";
        let file = self.file;
        let (what, text, may_hold) =
            match (&self.ask.flags.proxy, self.environment.get(PROXY), &file.outgoing.proxy) {
                (Some(flag), ..) => ("--proxy", flag.clone(), false),
                (None, Some(variable), _) => (PROXY, variable.clone(), true),
                (None, None, Some(UrlPlace::Written(text))) => ("outgoing.proxy", text.clone(), false),
                (None, None, Some(UrlPlace::At(source))) => {
                    let source = self.located(source);
                    if let Source::File(path, _) = &source {
                        self.proxy_file = Some(path.clone());
                    }
                    let text = resolve(&source, self.environment);
                    let text =
                        text.map_err(|why| self.fault(format!("outgoing.proxy: {why}"), PLACES)).ok()?;
                    ("outgoing.proxy", text.expose().to_owned(), true)
                }
                (None, None, None) => return None,
            };
        let url = self.url(what, text.trim())?;
        if !may_hold && (!url.username().is_empty() || url.password().is_some()) {
            let who = if what == "--proxy" {
                "other users can read in the list of processes"
            } else {
                "does not stand in the configuration itself"
            };
            self.fault(format!("{what} holds a user or a password, which {who}"), PLACES);
            return None;
        }
        Some(url)
    }

    /// An absolute http or https URL. What is wrong with one is said without its user and password.
    pub(super) fn url(&mut self, what: &str, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if url.is_none() {
            let shown = escaped(&without_user(text), 120);
            let sentence = format!("{what} is `{shown}`, which is no absolute URL");
            self.fault(sentence, "write it whole: https://logs.example.com");
        }
        url
    }

    /// An address with its port; a port alone is one of 127.0.0.1.
    fn address(&mut self, what: &str, text: &str) -> Option<SocketAddr> {
        let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
        let address = match port {
            Ok(port) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            Err(_) => text.replace("localhost:", "127.0.0.1:").parse().ok(),
        };
        if address.is_none() {
            let sentence = format!("{what} is `{}`, which is no address", escaped(text, 80));
            self.fault(sentence, "write an IP address and a port: 127.0.0.1:8080, 0.0.0.0:8443, [::]:8443");
        }
        address
    }
}
