//! Who is tortured: an instance of the connector with settings and secrets that are made up, as a file that
//! `run` reads.
//!
//! Called once before the first round, and once a round for the configuration of that round. Choices are made so
//! that nothing is provisioned; where a connector always provisions, its calls end at our own door.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use url::Url;

use crate::connector::instance::{Instance, InstanceId};
use crate::connector::model::Connector;
use crate::error::{Error, Kind, Result};
use crate::simulate::configure::{self, Filled};

/// The base of the receiver's URL as the vendor knows it: a name that is nobody's (RFC 2606).
const PUBLIC_URL: &str = "https://forebay.example/";
/// The sink whose file is ours.
pub const FILE: &str = "file";
/// The sink that posts to us.
pub const HTTP: &str = "http";
/// Bytes of the file system that stay free.
const MIN_FREE: &str = "64MiB";

/// The instance, in three roles.
pub struct Subject {
    /// As the vendor knows it: what signs.
    pub instance: Instance,
    /// The same with other secrets: what a stranger signs with.
    pub stranger: Instance,
    filled: Filled,
    folder: PathBuf,
    collector: SocketAddr,
    extra: Vec<(String, PathBuf)>,
}

impl Subject {
    /// Makes it up, and writes its secrets into files of the folder.
    pub fn new(
        connector: Connector,
        given: Map<String, Json>,
        folder: &Path,
        collector: SocketAddr,
        extra: &[PathBuf],
    ) -> Result<Self> {
        let connector = Arc::new(connector);
        let fill = || configure::fill(&connector, given.clone(), BTreeMap::new(), false);
        let filled = fill()?;
        let base = Url::parse(PUBLIC_URL).expect("a constant that is a URL");
        let id =
            InstanceId::parse(&connector.name).expect("a connector's name is checked when it is compiled");
        let instance = |filled: Filled| {
            configure::instance(connector.clone(), id.clone(), filled, "the torture")?.at_base(&base)
        };
        for (name, secret) in &filled.secrets {
            write(&folder.join(format!("secret-{name}")), secret.as_bytes())?;
        }
        let extra = extra.iter().enumerate();
        Ok(Self {
            instance: instance(filled.clone())?,
            stranger: instance(fill()?)?,
            filled,
            folder: folder.to_owned(),
            collector,
            extra: extra.map(|(n, path)| (format!("{FILE}-{}", n + 2), path.clone())).collect(),
        })
    }

    /// The sinks that keep a file, and their files.
    pub fn files(&self) -> Vec<(String, PathBuf)> {
        let own = (FILE.to_owned(), self.folder.join("records.jsonl"));
        std::iter::once(own).chain(self.extra.iter().cloned()).collect()
    }

    /// The public URL of the receiver.
    pub fn public_url(&self) -> &Url {
        self.instance.receiver_url.as_ref().expect("`at_base` gave it one")
    }

    /// Where the configuration stands.
    pub fn config(&self) -> PathBuf {
        self.folder.join("forebay.yaml")
    }

    /// Writes the configuration of the next run; JSON, which is YAML.
    pub fn configure(&self, max_bytes: Option<u64>) -> Result<()> {
        let secrets: Map<String, Json> = self
            .filled
            .secrets
            .keys()
            .map(|name| (name.clone(), json!({"file": format!("secret-{name}")})))
            .collect();
        let url = format!("http://{}/", self.collector);
        let mut sinks =
            vec![json!({"name": HTTP, "http": {"url": url, "batch": {"count": 200, "age": "20ms"}}})];
        sinks.extend(self.files().iter().map(|(name, path)| json!({"name": name, "file": {"path": path}})));
        let mut queue = json!({"min_free": MIN_FREE});
        if let (Some(bytes), Some(queue)) = (max_bytes, queue.as_object_mut()) {
            queue.insert("max_bytes".to_owned(), Json::from(bytes));
        }
        let connector = std::path::absolute(&self.instance.connector.file)
            .map_err(|e| Error::new(Kind::Io, "the connector's place is unknown").because(e))?;
        let configuration = json!({
            "data_dir": self.folder,
            "receiver": {"listen": "127.0.0.1:0", "public_url": PUBLIC_URL},
            "queue": queue,
            "instances": [{
                "connector": connector,
                "settings": self.filled.settings,
                "secrets": secrets,
                "sinks": sinks,
            }],
        });
        write(&self.config(), format!("{configuration:#}\n").as_bytes())
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|e| Error::new(Kind::Io, "cannot be written").at(path.display().to_string()).because(e))
}
