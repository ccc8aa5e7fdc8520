//! forebay.yaml as written. [`read`] is called by `cli`; what it refuses it says with line and column.
//!
//! Secrets never stand in the file: only where they are to be found does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;

use super::notation::{Block, Size, Span};
use crate::deliver::config::Rotate;
use crate::error::{Error, Kind, Result};
use crate::files::{self, Admit, Unread};
use crate::spec::load;
use crate::{queue, receive};

pub use super::notation::{Lines, Places, Source, UrlPlace};

/// Bytes that a configuration may have.
const MAX_FILE: u64 = 1 << 20;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The folder of the store.
    pub data_dir: Option<PathBuf>,
    /// The public listener.
    #[serde(default)]
    pub receiver: Receiver,
    /// The operator's listener.
    #[serde(default)]
    pub admin: Admin,
    /// The store.
    #[serde(default)]
    pub queue: Queue,
    /// How calls get out.
    #[serde(default)]
    pub outgoing: Outgoing,
    /// How secrets change, of instances that do not say it themselves.
    #[serde(default)]
    pub rotation: Overlap,
    /// The log.
    #[serde(default)]
    pub log: Log,
    /// What runs.
    #[serde(default)]
    pub instances: Vec<Instance>,
    /// The folder that the file stands in: what its paths are relative to.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// How often the log gets the summary if nothing else is said.
const SUMMARY: Duration = Duration::from_secs(60);

/// The log.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    summary_interval: Option<Span>,
}

impl Log {
    /// How often the log gets the summary; zero is never.
    pub fn summary_interval(&self) -> Duration {
        self.summary_interval.map_or(SUMMARY, |Span(time)| time)
    }
}

/// The public listener.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// Address and port.
    pub listen: Option<String>,
    /// The base of the public URL.
    pub public_url: Option<String>,
    /// Its certificate.
    pub tls: Option<Tls>,
    /// Whether every connection begins with a PROXY protocol header.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// The proxies whose headers are believed.
    #[serde(default)]
    trusted_proxies: Vec<Block>,
    /// Its bounds.
    #[serde(default)]
    limits: ReceiveLimits,
}

/// Whether connections begin with a PROXY protocol header. It is never guessed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// None does.
    #[default]
    Off,
    /// Every one does, and comes from a trusted proxy; others are closed.
    Required,
}

/// A certificate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
    /// The authorities of senders' certificates, PEM.
    pub client_ca: Option<PathBuf>,
}

/// The operator's listener.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address and port.
    pub listen: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiveLimits {
    connections: Option<usize>,
    body: Option<Size>,
    inflated: Option<Size>,
    header_time: Option<Span>,
    body_time: Option<Span>,
    least_rate: Option<Size>,
    in_flight: Option<Size>,
    in_flight_strangers: Option<Size>,
    idle: Option<Span>,
    depth: Option<usize>,
    drain: Option<Span>,
}

/// The store.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    max_bytes: Option<Size>,
    dead_share: Option<u8>,
    min_free: Option<Size>,
    #[serde(default)]
    dedupe: Dedupe,
    /// What each instance can rely on.
    #[serde(default)]
    pub shares: Shares,
}

/// What each instance can rely on.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    reserved: Option<u8>,
    /// By the instance's id; 1 where there is none.
    #[serde(default)]
    pub weights: BTreeMap<String, u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dedupe {
    count: Option<usize>,
    age: Option<Span>,
}

/// How calls get out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outgoing {
    /// Everything goes through it.
    pub proxy: Option<UrlPlace>,
}

/// How secrets change.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlap {
    overlap: Option<Span>,
}

impl Overlap {
    /// How long a former value is accepted once the vendor has the new one.
    pub fn overlap(&self) -> Option<Duration> {
        self.overlap.map(|Span(time)| time)
    }
}

/// One instance.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Its id; the connector's name where there is none.
    pub id: Option<String>,
    /// The connector's folder or file.
    pub connector: PathBuf,
    /// By name.
    #[serde(default)]
    pub settings: BTreeMap<String, Json>,
    /// By name.
    #[serde(default)]
    pub secrets: BTreeMap<String, Places>,
    /// How its secrets change.
    #[serde(default)]
    pub rotation: Overlap,
    /// From where requests are admitted; from everywhere if it is empty.
    #[serde(default)]
    allowed_sources: Vec<Block>,
    /// Where its records go; standard output where nothing is said.
    pub sinks: Option<Vec<Sink>>,
}

/// One sink; exactly one of the targets stands there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// What its cursor is kept under.
    pub name: String,
    /// JSON Lines on standard output.
    pub stdout: Option<Stdout>,
    /// JSON Lines in a file.
    pub file: Option<FileSink>,
    /// Requests to another server.
    pub http: Option<HttpSink>,
}

/// `stdout: {}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stdout {}

/// A file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSink {
    /// The file.
    pub path: PathBuf,
    rotate: Option<Rotation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    size: Option<Size>,
    every: Option<Span>,
}

/// Another server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSink {
    /// Where to.
    pub url: UrlPlace,
    /// By name.
    #[serde(default)]
    pub headers: BTreeMap<String, Source>,
    /// `json_lines` or `array`.
    #[serde(default)]
    pub format: HttpFormat,
    /// Whether bodies are compressed.
    #[serde(default)]
    pub gzip: bool,
    /// How records are bundled.
    #[serde(default)]
    pub batch: Bundle,
}

/// How a request to a sink is written.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpFormat {
    /// One record a line.
    #[default]
    JsonLines,
    /// One JSON array.
    Array,
}

/// How records are bundled.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Records a request.
    pub count: Option<usize>,
    bytes: Option<Size>,
    age: Option<Span>,
}

/// Reads a configuration.
pub fn read(path: &Path) -> Result<File> {
    let place = path.display().to_string();
    let refused = |sentence: String| Error::new(Kind::Configuration, sentence).at(&place);
    let contents =
        files::read(path, MAX_FILE, Admit::Pipes, files::READ_TIME).map_err(|unread| match unread {
            Unread::TooLarge(_) => refused("the configuration has more than 1 MiB".to_owned()),
            unread => refused(format!("the configuration {unread}")),
        })?;
    let text = String::from_utf8(contents.bytes)
        .map_err(|_| refused("the configuration is not UTF-8 text".to_owned()))?;
    let mut file: File = load::from_yaml(&text, &place)?;
    file.folder = path.parent().map(Path::to_owned).unwrap_or_default();
    Ok(file)
}

impl File {
    /// A path of the file: relative ones are from the folder it stands in.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

impl Receiver {
    /// The bounds of the listener.
    pub fn limits(&self) -> receive::limits::Limits {
        let given = &self.limits;
        let rest = receive::limits::Limits::default();
        let size = |given: Option<Size>, rest: usize| {
            given.map_or(rest, |Size(bytes)| usize::try_from(bytes).unwrap_or(usize::MAX))
        };
        receive::limits::Limits {
            connections: given.connections.unwrap_or(rest.connections),
            body: size(given.body, rest.body),
            body_fixed: given.body.is_some(),
            inflated: size(given.inflated, rest.inflated),
            header_time: given.header_time.map_or(rest.header_time, |Span(time)| time),
            body_time: given.body_time.map_or(rest.body_time, |Span(time)| time),
            least_rate: size(given.least_rate, rest.least_rate),
            in_flight: size(given.in_flight, rest.in_flight),
            in_flight_strangers: size(given.in_flight_strangers, rest.in_flight_strangers),
            idle: given.idle.map_or(rest.idle, |Span(time)| time),
            depth: given.depth.unwrap_or(rest.depth),
            drain: given.drain.map_or(rest.drain, |Span(time)| time),
            proxies: receive::Proxies {
                protocol: self.proxy_protocol == ProxyProtocol::Required,
                trusted: self.trusted_proxies.iter().map(|Block(network)| *network).collect(),
            },
        }
    }
}

impl Instance {
    /// From where requests are admitted; from everywhere if it is empty.
    pub fn allowed_sources(&self) -> Vec<receive::Network> {
        self.allowed_sources.iter().map(|Block(network)| *network).collect()
    }
}

impl Queue {
    /// The bounds of the store.
    pub fn limits(&self) -> queue::limits::Limits {
        let rest = queue::limits::Limits::default();
        queue::limits::Limits {
            max_bytes: self.max_bytes.map_or(rest.max_bytes, |Size(bytes)| bytes),
            dead_share: self.dead_share.unwrap_or(rest.dead_share),
            min_free: self.min_free.map_or(rest.min_free, |Size(bytes)| bytes),
            dedupe_count: self.dedupe.count.unwrap_or(rest.dedupe_count),
            dedupe_age: self.dedupe.age.map_or(rest.dedupe_age, |Span(time)| time),
            shares: queue::shares::Shares {
                reserved: self.shares.reserved.unwrap_or(rest.shares.reserved),
                ..rest.shares
            },
        }
    }

    /// Whether the file says how long ids are remembered.
    pub fn has_age(&self) -> bool {
        self.dedupe.age.is_some()
    }
}

impl FileSink {
    /// When the file is set aside; `None` is never.
    pub fn rotate(&self) -> Option<Rotate> {
        let rotation = self.rotate.as_ref()?;
        let rotate = Rotate {
            size: rotation.size.map(|Size(bytes)| bytes),
            every: rotation.every.map(|Span(time)| time),
        };
        (rotate.size.is_some() || rotate.every.is_some()).then_some(rotate)
    }
}

impl Bundle {
    /// Bytes a request.
    pub fn bytes(&self) -> Option<usize> {
        self.bytes.map(|Size(bytes)| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// How long a record waits for others.
    pub fn age(&self) -> Option<Duration> {
        self.age.map(|Span(time)| time)
    }
}
