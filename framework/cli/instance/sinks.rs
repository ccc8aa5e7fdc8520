//! Where records go: `--to`, and `sinks:` of the file.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::Gathering;
use super::given::resolve;
use crate::call::mask::without_user;
use crate::connector::instance::InstanceId;
use crate::connector::secret::{Secret, SharedSecret};
use crate::connector::settings::Fault;
use crate::deliver::config::{HttpFormat, HttpTarget, SinkConfig, Target};
use crate::deliver::sinks;
use crate::error::escaped;
use crate::queue::local::NAMES;
use crate::run::config::file::{self, Source, UrlPlace};
use crate::run::config::{Configured, HeaderOrigin};

/// Links that are followed in a row.
const LINKS: u8 = 40;
/// Records a request to another server unless something else is said.
const COUNT: usize = 500;
/// Bytes a request to another server unless something else is said.
const BYTES: usize = 5 << 20;
/// How long a record waits for others unless something else is said.
const AGE: Duration = Duration::from_secs(2);

/// The sink of a command that was told none.
pub(super) fn stdout() -> SinkConfig {
    SinkConfig { name: "stdout".to_owned(), target: Target::Stdout }
}

impl Gathering<'_> {
    /// The sinks that `--to` names. Each is called by its target, so that its cursor is found again.
    pub(super) fn sinks_of_flags(&mut self) -> Vec<SinkConfig> {
        self.ask.to.iter().filter_map(|text| self.sink_of_flag(text)).collect()
    }

    fn sink_of_flag(&mut self, text: &str) -> Option<SinkConfig> {
        if text == "stdout" {
            return Some(stdout());
        }
        if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            let target = Target::File { path: PathBuf::from(path), rotate: None };
            return Some(SinkConfig { name: text.to_owned(), target });
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            let url = self.url("--to", text)?;
            if let Some((name, _)) = url.query_pairs().find(|(name, _)| looks_secret(name)) {
                let sentence = format!(
                    "--to has `?{}=`, which other users can read in the list of processes",
                    escaped(&name, 80)
                );
                self.fault(sentence, "write --to env:VAR and put the URL into that variable, or give it in forebay.yaml: http: {url: {file: PATH}}");
                return None;
            }
            return Some(SinkConfig { name: name_of(&url), target: Target::Http(http(url)) });
        }
        if let Some(variable) = text.strip_prefix("env:").filter(|variable| !variable.is_empty()) {
            let what = format!("--to env:{}", escaped(variable, 80));
            let url = self.url_at(&what, &Source::Env(variable.to_owned()))?;
            return Some(SinkConfig { name: name_of(&url), target: Target::Http(http(url)) });
        }
        let sentence = format!("--to is `{}`, which is no sink", escaped(&without_user(text), 120));
        self.fault(sentence, "write stdout, file:PATH, a URL, or env:VAR for a URL in a variable");
        None
    }

    /// The URL at a place that may hold a secret: it is never shown, also where it is none.
    fn url_at(&mut self, what: &str, source: &Source) -> Option<Url> {
        let text = resolve(source, self.environment);
        let url = text.and_then(|text| {
            let url = Url::parse(text.expose().trim()).ok();
            let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            url.ok_or_else(|| "expected an absolute URL: https://siem.example.com/in".to_owned())
        });
        url.map_err(|why| self.fault(format!("{what}: {why}"), "correct it where it is kept")).ok()
    }

    /// Reports what would keep a sink from working. No two sinks write to one file, by whatever names, since each would
    /// take the other's rotation for a file that was moved away; and none writes to a file of the store in `data_dir`.
    pub(super) fn check_sinks(&mut self, instances: &[Configured], data_dir: &Path) {
        let store: BTreeSet<Identity> =
            NAMES.iter().flat_map(|name| identities(&data_dir.join(name))).collect();
        let mut files = BTreeSet::new();
        for (instance, sink) in
            instances.iter().flat_map(|one| one.sinks.iter().map(|sink| (&one.instance.id, sink)))
        {
            if let Err(error) = sinks::check(sink) {
                let place = error.place.as_deref().unwrap_or(&sink.name);
                let fault = Fault::new(format!("{instance}: {place}: {}", error.sentence));
                self.faults.push(Fault { help: error.help, ..fault });
            }
            let Target::File { path, .. } = &sink.target else { continue };
            let own = identities(path);
            if own.iter().any(|one| store.contains(one)) {
                let sentence = format!("{instance}: the sink {} is a file of the store", path.display());
                self.fault(sentence, "name a file outside of the data folder");
            } else if own.iter().any(|one| files.contains(one)) {
                let sentence = format!("{instance}: another sink writes to {} already", path.display());
                self.fault(sentence, "give each sink a file of its own");
            }
            files.extend(own);
        }
    }

    /// The sinks of an instance of the file.
    pub(super) fn sinks_of_file(&mut self, id: &InstanceId, written: &file::Instance) -> Vec<SinkConfig> {
        let Some(sinks) = &written.sinks else { return Vec::new() };
        if sinks.is_empty() {
            let file =
                self.ask.flags.config.as_deref().map_or_else(String::new, |p| format!("{}: ", p.display()));
            let sentence = format!("{file}{id}: `sinks` is an empty list: expected at least one sink");
            self.fault(sentence, "name a sink; leave `sinks` out to write records to standard output");
        }
        sinks.iter().filter_map(|sink| self.sink_of_file(id, sink)).collect()
    }

    fn sink_of_file(&mut self, id: &InstanceId, sink: &file::Sink) -> Option<SinkConfig> {
        let name = sink.name.clone();
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if name.is_empty() || name.len() > 63 || !plain {
            let sentence = format!("{id}: `{}` is no name of a sink", escaped(&name, 80));
            self.fault(sentence, "a name has letters, digits, `-`, `_` and `.`, 63 at most");
        }
        let target = match (&sink.stdout, &sink.file, &sink.http) {
            (Some(_), None, None) => Target::Stdout,
            (None, Some(file), None) => {
                Target::File { path: self.file.path(Path::new(&file.path)), rotate: file.rotate() }
            }
            (None, None, Some(http)) => Target::Http(self.http_of_file(id, &name, http)?),
            _ => {
                let sentence = format!("{id}: the sink `{name}` has no target, or more than one");
                self.fault(sentence, "one of `stdout: {}`, `file:` and `http:` stands beside its name");
                return None;
            }
        };
        Some(SinkConfig { name, target })
    }

    fn http_of_file(&mut self, id: &InstanceId, name: &str, written: &file::HttpSink) -> Option<HttpTarget> {
        let what = format!("{id}: the URL of the sink `{name}`");
        let url = match &written.url {
            UrlPlace::Written(text) => self.url(&what, text),
            UrlPlace::At(source) => self.url_at(&what, &self.located(source)),
        }?;
        let mut target = http(url);
        for (header, source) in &written.headers {
            if http::HeaderName::try_from(header.as_str()).is_err() {
                let sentence = format!("{id}: `{}` cannot be the name of a header", escaped(header, 80));
                self.fault(sentence, "letters, digits and `-`: X-Api-Key");
            }
            if let Some(value) = self.header(id, name, header, source) {
                let value = SharedSecret::from(value);
                if let Source::File(path, lines) = self.located(source) {
                    let what = format!("{id}: the header `{}` of the sink `{name}`", escaped(header, 80));
                    self.headers.push(HeaderOrigin { what, value: value.clone(), path, lines });
                }
                target.headers.push((header.clone(), value));
            }
        }
        target.format = match written.format {
            file::HttpFormat::JsonLines => HttpFormat::JsonLines,
            file::HttpFormat::Array => HttpFormat::Array,
        };
        target.gzip = written.gzip;
        target.count = written.batch.count.unwrap_or(COUNT).max(1);
        target.bytes = written.batch.bytes().unwrap_or(BYTES);
        target.age = written.batch.age().unwrap_or(AGE);
        Some(target)
    }

    fn header(&mut self, id: &InstanceId, sink: &str, header: &str, source: &Source) -> Option<Secret> {
        let value = resolve(&self.located(source), self.environment).and_then(|value| {
            let fits = http::HeaderValue::try_from(value.expose()).is_ok();
            if fits { Ok(value) } else { Err("its value cannot be that of a header".to_owned()) }
        });
        let what = format!("{id}: the header `{}` of the sink `{sink}`", escaped(header, 80));
        value.map_err(|why| self.fault(format!("{what}: {why}"), "mend it where it is kept")).ok()
    }
}

/// What two names of one file have in common.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    /// The path without links and `..`.
    Path(PathBuf),
    /// Device and inode, for a file that is there: hard links have different paths.
    Inode(u64, u64),
}

fn identities(path: &Path) -> Vec<Identity> {
    let inode = std::fs::metadata(path).ok().map(|found| Identity::Inode(found.dev(), found.ino()));
    [Some(Identity::Path(resolved(path, LINKS))), inode].into_iter().flatten().collect()
}

/// Resolves links and `..`, also of a file, or of folders, that are not there yet.
fn resolved(path: &Path, links: u8) -> PathBuf {
    if let Ok(path) = std::fs::canonicalize(path) {
        return path;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else { return absolute };
    match std::fs::read_link(&absolute) {
        Ok(target) if links > 0 => resolved(&folder.join(target), links - 1),
        Ok(_) | Err(_) => resolved(folder, links).join(name),
    }
}

fn http(url: Url) -> HttpTarget {
    HttpTarget {
        url,
        headers: Vec::new(),
        format: HttpFormat::default(),
        gzip: false,
        count: COUNT,
        bytes: BYTES,
        age: AGE,
    }
}

/// Whether the name of a query's field says that its value is a secret.
fn looks_secret(name: &str) -> bool {
    const WORDS: &[&str] =
        &["token", "key", "secret", "pass", "pwd", "auth", "sig", "code", "credential", "jwt"];
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// A URL as the name of its sink: without user and query, which may hold secrets; of a query, a checksum.
fn name_of(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    let name = format!("{}://{host}{port}{}", url.scheme(), url.path());
    match url.query() {
        Some(query) => format!("{name}#{:08x}", crc32fast::hash(query.as_bytes())),
        None => name,
    }
}
