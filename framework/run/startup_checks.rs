//! What is certain at the start about files, secrets and listeners, and would otherwise show at the first request or
//! never. Each finding is a condition.
//!
//! `cli` calls [`process`] once the store is open, and looks at [`Permissions`] again whenever secrets are read again;
//! `host` starts [`watch`], which looks at the values of secrets while the process runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::config::{Configuration, Configured, HeaderOrigin, Origin, Place};
use super::secret_values::{is_short, oddities};
use crate::condition::{Code, Conditions, Subject};
use crate::connector::instance::InstanceId;
use crate::connector::secret::{LiveSecret, Secret};
use crate::deliver::config::Target;

/// How often secrets are looked at for changes.
const EVERY: Duration = Duration::from_secs(2);
/// Folders whose files are readable by all inside one container, and by nobody outside it.
const MOUNTED: [&str; 2] = ["/run/secrets", "/var/run/secrets"];

/// Raises what is wrong with listeners, files and limits. The store is open: its folder is there.
pub fn process(configuration: &Configuration, conditions: &Conditions) {
    listeners(configuration, conditions);
    Permissions::of(configuration).look(conditions);
    for (instance, age, window) in short_windows(configuration) {
        let message = format!(
            "ids are remembered for {} (queue.dedupe.age), and the sender of `{instance}` repeats a request for up to \
             {}: an event that comes again after that is delivered again",
            shown(age),
            shown(window)
        );
        conditions.raise(Code::DedupeAgeShort, Subject::instance(instance), message);
    }
}

/// Returns the instances whose ids are forgotten before their senders give up: the id, how long ids are remembered, and
/// how long the sender repeats a request.
pub fn short_windows(
    configuration: &Configuration,
) -> impl Iterator<Item = (&InstanceId, Duration, Duration)> {
    let queue = &configuration.queue;
    queue.shares.members.iter().filter_map(|(instance, member)| {
        let age = member.dedupe_age.unwrap_or(queue.dedupe_age);
        let window = member.retry_window.filter(|window| *window > age)?;
        Some((instance, age, window))
    })
}

/// A duration in the largest unit that gives a whole number.
pub fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    for (unit, name) in [(24 * 3600, "d"), (3600, "h"), (60, "m")] {
        if seconds >= unit && seconds.is_multiple_of(unit) {
            return format!("{}{name}", seconds / unit);
        }
    }
    format!("{seconds}s")
}

fn listeners(configuration: &Configuration, conditions: &Conditions) {
    if configuration.tls.is_none() && is_public(configuration.listen) {
        let message = format!(
            "the receiver listens on {} without TLS: tokens and records cross the network in clear",
            configuration.listen
        );
        conditions.raise(Code::ListenerWithoutTls, Subject::process(), message);
    }
    if let Some(admin) = configuration.admin.filter(|admin| !admin.ip().is_loopback()) {
        let message = format!(
            "the admin listener is on {admin}: /healthz, /readyz and /metrics are for everybody who reaches it"
        );
        conditions.raise(Code::AdminListenerOpen, Subject::process(), message);
    }
}

/// Whether others than this machine and its private network may reach an address.
fn is_public(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_private() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unique_local() && !ip.is_unicast_link_local(),
    }
}

/// The data directory and the files of secrets, whose permissions are looked at.
pub struct Permissions {
    folder: PathBuf,
    /// Each with what the condition is about and whose file it is.
    files: Vec<(Subject, PathBuf, String)>,
}

impl Permissions {
    /// Collects what the configuration names.
    pub fn of(configuration: &Configuration) -> Self {
        let mut files = Vec::new();
        for Origin { instance, name, places } in &configuration.sources.secrets {
            for place in places {
                if let Place::File(path, _) = place {
                    let subject = Subject::instance(&instance.id).item(name);
                    files.push((subject, path.clone(), format!("of the secret `{name}`")));
                }
            }
        }
        for HeaderOrigin { what, path, .. } in &configuration.sources.headers {
            files.push((Subject::process().item(what), path.clone(), format!("of {what}")));
        }
        if let Some(tls) = &configuration.tls {
            let name = "receiver.tls.key";
            files.push((Subject::process().item(name), tls.key.clone(), format!("of {name}")));
        }
        Self { folder: configuration.data_dir.clone(), files }
    }

    /// Raises and clears what the permissions of now mean. It blocks its thread while a file system does not answer.
    pub fn look(&self, conditions: &Conditions) {
        match mode(&self.folder).filter(|mode| mode & 0o022 != 0) {
            Some(mode) => {
                let message = format!(
                    "the data directory {} has the mode {mode:04o}: other users can put files into it",
                    self.folder.display()
                );
                conditions.raise(Code::DataDirOpen, Subject::process(), message);
            }
            None => conditions.clear(Code::DataDirOpen, &Subject::process()),
        }
        // A secret may have several files: it is clear once all of them are.
        let mut open = BTreeMap::new();
        for (subject, path, whose) in &self.files {
            if let Some(message) = open_file(path, whose) {
                open.entry(subject).or_insert(message);
            }
        }
        for (subject, _, _) in &self.files {
            match open.get(subject) {
                Some(message) => conditions.raise(Code::SecretFileOpen, subject.clone(), message.as_str()),
                None => conditions.clear(Code::SecretFileOpen, subject),
            }
        }
    }
}

fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|data| data.mode() & 0o7777)
}

/// What is wrong with the file of a secret, if others can read or change it.
fn open_file(path: &Path, whose: &str) -> Option<String> {
    let mode = mode(path)?;
    let mounted = MOUNTED.iter().any(|folder| path.starts_with(folder));
    let what = match mode {
        mode if mode & 0o022 != 0 => "change",
        mode if mode & 0o004 != 0 && !mounted => "read",
        _ => return None,
    };
    Some(format!("the file {} {whose} has the mode {mode:04o}: other users can {what} it", path.display()))
}

/// Looks at the values of secrets until the signal, whenever they change.
pub(super) async fn watch(
    members: Vec<Configured>,
    conditions: Arc<Conditions>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut seen: Vec<Option<Arc<BTreeMap<String, LiveSecret>>>> = vec![None; members.len()];
    loop {
        for (member, seen) in members.iter().zip(&mut seen) {
            headers(member, &conditions);
            let live = member.instance.live();
            if seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &live)) {
                continue;
            }
            for (name, secret) in live.iter().filter(|(_, secret)| !secret.generated) {
                let subject = Subject::instance(&member.instance.id).item(name);
                let values: Vec<&str> = secret.values().map(Secret::expose).collect();
                inspect(&conditions, subject, &format!("secret `{name}`"), name, &values);
            }
            *seen = Some(live);
        }
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Headers of HTTP sinks are secrets too.
fn headers(member: &Configured, conditions: &Conditions) {
    for sink in &member.sinks {
        let Target::Http(http) = &sink.target else { continue };
        for (header, value) in &http.headers {
            let subject = Subject::instance(&member.instance.id).sink(&sink.name).item(header);
            inspect(conditions, subject, &format!("header `{header}`"), header, &[value.get().expose()]);
        }
    }
}

fn inspect(conditions: &Conditions, subject: Subject, what: &str, name: &str, values: &[&str]) {
    let odd: BTreeSet<&str> = values.iter().flat_map(|value| oddities(name, value)).collect();
    if odd.is_empty() {
        conditions.clear(Code::SecretSuspicious, &subject);
    } else {
        let message = format!("the {what} {}", odd.into_iter().collect::<Vec<_>>().join(", and "));
        conditions.raise(Code::SecretSuspicious, subject.clone(), message);
    }
    if values.iter().any(|value| is_short(value)) && subject.sink.is_none() {
        let message = format!("the {what} has fewer than 8 characters: it can be guessed");
        conditions.raise(Code::SecretWeak, subject, message);
    } else {
        conditions.clear(Code::SecretWeak, &subject);
    }
}
