//! A configuration as meant: everything that `run`, `plan` and `destroy` are told, checked and complete.
//!
//! `cli` makes it out of flags, environment and file ([`file`] reads forebay.yaml); nothing changes it later.
//! Secrets stand in it in types that cannot be printed.

pub mod file;
mod notation;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use crate::connector::instance::{Instance, InstanceId};
use crate::connector::secret::Secret;
use crate::connector::settings::{Fault, pattern_fault};
use crate::deliver::config::SinkConfig;
use crate::error::Result;
use crate::{queue, receive};

/// Bytes that a file with a secret may have.
const MAX_SECRET: u64 = 64 << 10;

/// Everything a process is told.
#[derive(Debug)]
pub struct Configuration {
    /// The folder of the store; made with mode 0700 by who opens it.
    pub data_dir: PathBuf,
    /// Where vendors' requests come in; port 0 picks one.
    pub listen: SocketAddr,
    /// The base of the public URL, without the receivers' paths.
    pub public_url: Option<Url>,
    /// The listener's certificate; `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// The listener's bounds.
    pub receive: receive::limits::Limits,
    /// Where operators look; `None` is nowhere.
    pub admin: Option<SocketAddr>,
    /// The store's bounds.
    pub queue: queue::limits::Limits,
    /// How calls get out.
    pub outgoing: Outgoing,
    /// At least one; their ids and their receivers' paths differ.
    pub instances: Vec<Configured>,
    /// Where secrets can be read again on SIGHUP.
    pub sources: Sources,
}

/// The files of a TLS listener.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
}

/// How calls get out.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    /// Loopback addresses are admitted, and plain http to them.
    pub allow_loopback: bool,
    /// Everything goes through it.
    pub proxy: Option<Url>,
    /// Roots beside the public ones, PEM.
    pub ca_file: Option<PathBuf>,
}

/// One instance and where its records go.
#[derive(Debug, Clone)]
pub struct Configured {
    /// Settings checked, defaults filled in, the receiver's URL worked out where there is a public URL.
    pub instance: Arc<Instance>,
    /// Whether the vendor's side is ours: `provision` is there and its `when` holds.
    pub automatic: bool,
    /// The path that the vendor posts to.
    pub path: String,
    /// At least one; their names differ.
    pub sinks: Vec<SinkConfig>,
}

/// The secrets that came from files, and can be read again.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Whose, its name, where.
    pub files: Vec<(Arc<Instance>, String, PathBuf)>,
}

impl Sources {
    /// Reads every file again. Where one cannot be read or holds no secret, that is the error and nothing
    /// is to change: all that is wrong is said at once.
    pub fn reread(&self) -> Result<Vec<(InstanceId, String, Secret)>> {
        let mut faults = Vec::new();
        let mut read = Vec::new();
        for (instance, name, path) in &self.files {
            let spec = instance.connector.secrets.iter().find(|spec| spec.name == *name);
            match secret_of_file(path) {
                Ok(secret) => match spec.and_then(|spec| pattern_fault(spec, &secret)) {
                    None => read.push((instance.id.clone(), name.clone(), secret)),
                    Some(why) => {
                        faults.push(Fault::new(format!("{}: the secret `{name}` {why}", instance.id)))
                    }
                },
                Err(why) => faults.push(Fault::new(format!("{}: the secret `{name}`: {why}", instance.id))),
            }
        }
        Fault::together(faults).map_or(Ok(read), Err)
    }
}

/// The secret that a file holds: its text, but for one line break at the end. The error is a sentence.
pub fn secret_of_file(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|e| format!("{shown} cannot be read: {e}"))?.len();
    if size > MAX_SECRET {
        return Err(format!("{shown} has more than 64 KiB, which is no secret"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Secret::new(text).ok_or_else(|| format!("{shown} is empty: an empty secret is never a secret"))
}
