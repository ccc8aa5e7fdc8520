//! A configuration as meant: everything that `run`, `plan` and `destroy` are told, checked and complete.
//!
//! `cli` makes it out of flags, environment and file ([`file`] reads forebay.yaml); nothing changes it later.
//! Secrets stand in it in types that cannot be printed.

pub mod file;
mod notation;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::connector::instance::{Instance, InstanceId};
use crate::connector::secret::{self, MAX_VALUES, Secret, SharedSecret};
use crate::connector::settings::pattern_fault;
use crate::deliver::config::SinkConfig;
use crate::files::{self, Admit, Unread};
use crate::{queue, receive};

pub use notation::Lines;

/// How long a former value of a secret is accepted once the vendor has the new one.
pub const OVERLAP: Duration = Duration::from_secs(60 * 60);

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
    /// How often the log gets the summary; zero is never.
    pub summary: Duration,
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
    /// The authorities of senders' certificates, PEM; `None` asks senders for none.
    pub client_ca: Option<PathBuf>,
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
    /// From where requests are admitted; from everywhere if it is empty.
    pub allowed_sources: Vec<receive::Network>,
    /// At least one; their names differ.
    pub sinks: Vec<SinkConfig>,
    /// How long a former value of a secret is accepted once the vendor has the new one; zero ends it at once.
    pub overlap: Duration,
}

/// The secrets that came from files, and can be read again.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// One for each secret that has a value in a file.
    pub secrets: Vec<Origin>,
    /// Headers of sinks that have their value in a file.
    pub headers: Vec<HeaderOrigin>,
    /// The file with the URL of the proxy.
    pub proxy: Option<PathBuf>,
}

/// Where the value of a header of a sink is.
#[derive(Debug, Clone)]
pub struct HeaderOrigin {
    /// How messages name it.
    pub what: String,
    /// Its value, which the sink uses.
    pub value: SharedSecret,
    /// Its file.
    pub path: PathBuf,
    /// What several lines mean.
    pub lines: Lines,
}

/// Where the values of one secret are.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Whose.
    pub instance: Arc<Instance>,
    /// Its name.
    pub name: String,
    /// Its values, in their order.
    pub places: Vec<Place>,
}

/// Where a value is.
#[derive(Debug, Clone)]
pub enum Place {
    /// It cannot be read again: the environment, a pipe.
    Fixed(Secret),
    /// A file of one value, or of one a line.
    File(PathBuf, Lines),
}

/// What reading the files again gave.
#[derive(Debug, Default)]
pub struct Reread {
    /// All values of the secrets that have one in a file, by instance.
    pub secrets: BTreeMap<InstanceId, BTreeMap<String, Vec<Secret>>>,
    /// Instances whose files cannot be read or hold no secret: nothing of them changes. The sentences.
    pub failed: BTreeMap<InstanceId, String>,
    /// New values of headers of sinks, and how messages name them.
    pub headers: Vec<(SharedSecret, Secret, String)>,
    /// Headers of sinks, and the proxy, that could not be read again: they keep their values. The sentences.
    pub failed_headers: Vec<String>,
    /// The URL of the proxy.
    pub proxy: Option<Url>,
    /// Files that do not answer.
    pub blocked: BTreeSet<PathBuf>,
}

impl Sources {
    /// Reads every file again, on the calling thread, which may wait for a few seconds for each file that does not answer.
    pub fn reread(&self) -> Reread {
        let mut read = Reread::default();
        for Origin { instance, name, places } in &self.secrets {
            let mut values = Vec::new();
            for place in places {
                let found = match place {
                    Place::Fixed(secret) => Ok(vec![secret.clone()]),
                    Place::File(path, lines) => secrets_of_file(path, *lines, Admit::Regular)
                        .map(|found| found.secrets)
                        .map_err(|e| {
                            if e.blocked {
                                read.blocked.insert(path.clone());
                            }
                            e.sentence
                        }),
                };
                let spec = instance.connector.secrets.iter().find(|spec| spec.name == *name);
                let found = found.and_then(|found| {
                    let wrong = spec.and_then(|spec| found.iter().find_map(|one| pattern_fault(spec, one)));
                    wrong.map_or(Ok(found), Err)
                });
                match found {
                    Ok(found) => values.extend(found),
                    Err(why) => {
                        let said = read.failed.entry(instance.id.clone()).or_default();
                        let and = if said.is_empty() { "" } else { "; " };
                        said.push_str(&format!("{and}the secret `{name}`: {why}"));
                    }
                }
            }
            let known: &mut Vec<Secret> =
                read.secrets.entry(instance.id.clone()).or_default().entry(name.clone()).or_default();
            known.extend(values);
        }
        read.secrets.retain(|id, _| !read.failed.contains_key(id));
        for HeaderOrigin { what, value, path, lines } in &self.headers {
            let found = secrets_of_file(path, *lines, Admit::Regular);
            if found.as_ref().is_err_and(|none| none.blocked) {
                read.blocked.insert(path.clone());
            }
            let found = found.map_err(|none| none.sentence).and_then(|mut found| {
                let fits = |secret: &Secret| http::HeaderValue::try_from(secret.expose()).is_ok();
                let fit = found.secrets.pop().filter(|secret| found.secrets.is_empty() && fits(secret));
                fit.ok_or_else(|| format!("{} holds no value of a header", path.display()))
            });
            match found {
                Ok(secret) => read.headers.push((value.clone(), secret, what.clone())),
                Err(why) => read.failed_headers.push(format!("{what}: {why}")),
            }
        }
        if let Some(path) = &self.proxy {
            let found = secrets_of_file(path, Lines::Whole, Admit::Regular);
            if found.as_ref().is_err_and(|none| none.blocked) {
                read.blocked.insert(path.clone());
            }
            let url = found.map_err(|none| none.sentence).and_then(|found| {
                let text = found.secrets.first().map(Secret::expose).unwrap_or_default();
                Url::parse(text.trim()).map_err(|_| format!("{} holds no URL", path.display()))
            });
            match url {
                Ok(url) => read.proxy = Some(url),
                Err(why) => read.failed_headers.push(format!("the proxy: {why}")),
            }
        }
        read
    }
}

/// The secrets of a file.
pub struct FileSecrets {
    /// One, or one a line.
    pub secrets: Vec<Secret>,
    /// Whether it can be read again.
    pub again: bool,
}

/// Why a file gave no secret.
#[derive(Debug)]
pub struct NoSecret {
    /// What is wrong, which begins with the path.
    pub sentence: String,
    /// Whether it does not answer.
    pub blocked: bool,
}

/// Reads the secret that a file holds: its text, but for one line break at the end. Waits for a few seconds for a
/// file that does not answer.
pub fn secrets_of_file(path: &Path, lines: Lines, admit: Admit) -> Result<FileSecrets, NoSecret> {
    let shown = path.display();
    let wrong = |sentence: String| NoSecret { sentence, blocked: false };
    let contents = files::read(path, MAX_SECRET, admit, files::READ_TIME).map_err(|unread| match unread {
        Unread::TooLarge(_) => wrong(format!("{shown} has more than 64 KiB, which is no secret")),
        unread => NoSecret { sentence: format!("{shown} {unread}"), blocked: unread.is_blocked() },
    })?;
    let read = match std::str::from_utf8(&contents.bytes) {
        Ok(text) => secrets_of_text(text, lines).map_err(|why| wrong(format!("{shown} {why}"))),
        Err(_) => Err(wrong(format!("{shown} is not UTF-8 text"))),
    };
    secret::wipe(contents.bytes);
    Ok(FileSecrets { secrets: read?, again: !contents.pipe })
}

/// The secrets in the text of a file; the error goes on after its path.
fn secrets_of_text(text: &str, lines: Lines) -> Result<Vec<Secret>, String> {
    let empty = || "is empty: an empty secret is never a secret".to_owned();
    let cut = |text: &str| -> Option<Secret> {
        Secret::new(text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text)))
    };
    if lines == Lines::Each {
        let values: Vec<Secret> = text.lines().filter_map(Secret::new).collect();
        return match values.len() {
            0 => Err(empty()),
            1..=MAX_VALUES => Ok(values),
            more => Err(format!("has {more} lines: a secret has at most {MAX_VALUES} values")),
        };
    }
    let structured = text.trim_start().starts_with("-----BEGIN ") || text.trim_start().starts_with('{');
    let several = text.lines().filter(|line| !line.trim().is_empty()).count() > 1;
    if lines == Lines::Unsaid && several && !structured {
        return Err("has several lines: write {file: PATH, each_line: true} in forebay.yaml or --secret NAME=lines:PATH if each is a value, and each_line: false if they are one".to_owned());
    }
    cut(text).map(|secret| vec![secret]).ok_or_else(empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str, lines: Lines) -> Result<Vec<String>, String> {
        let secrets = secrets_of_text(text, lines)?;
        Ok(secrets.iter().map(|secret| secret.expose().to_owned()).collect())
    }

    #[test]
    fn file_with_several_lines_is_a_list_only_where_declared() {
        assert_eq!(values("one\n", Lines::Unsaid).unwrap(), ["one"]);
        assert_eq!(values("one\r\n", Lines::Unsaid).unwrap(), ["one"]);
        assert!(values("one\ntwo\n", Lines::Unsaid).unwrap_err().contains("has several lines"));
        assert_eq!(values("one\ntwo\n", Lines::Each).unwrap(), ["one", "two"]);
        assert_eq!(values("one\r\n\n two\n", Lines::Each).unwrap(), ["one", " two"]);
        assert_eq!(values("one\ntwo\n", Lines::Whole).unwrap(), ["one\ntwo"]);
        for text in ["-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n", "{\n\"a\": 1\n}\n"] {
            assert_eq!(values(text, Lines::Unsaid).unwrap(), [text.trim_end()]);
        }
        assert!(values("\n", Lines::Unsaid).unwrap_err().contains("is empty"));
        assert!(values("\n\n", Lines::Each).unwrap_err().contains("is empty"));
        assert!(values(&"a\n".repeat(9), Lines::Each).unwrap_err().contains("at most 8 values"));
    }
}
