//! Secrets that change while the process runs or between two runs: former values stay accepted until the vendor has
//! confirmed the new one, and for the overlap after that.
//!
//! `host` calls [`Rotation::recall`] before the receiver starts and [`Rotation::run`] beside it. What is accepted is kept
//! in the state of each instance (`provision::rotation`), so that reloads, restarts and the change of another instance
//! end nothing. Files are read on a thread of their own; a file that does not answer stops neither the receiver nor
//! the end of the process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tracing::{error, info};
use url::Url;

use super::config::{Configured, Reread};
use super::instructions::ask_to_change;
use super::world::Rereader;
use crate::call::mask::MASKED_ANYWHERE;
use crate::condition::{Code, Conditions, Subject};
use crate::connector::clock::Clock;
use crate::connector::instance::{Instance, InstanceId};
use crate::connector::secret::{LiveSecret, Secret};
use crate::error::Result;
use crate::provision::report::What;
use crate::provision::rotation::{PUBLIC_URL, Terms};
use crate::provision::state::{Document, Memory};
use crate::provision::{Provisioner, is_automatic};
use crate::receive::Endpoint;

/// How often former values are looked at while there are some: expired ones end, and so do those that
/// `forebay secrets end` ended.
const EVERY: Duration = Duration::from_secs(1);
/// How long after a file did not answer all files are read again.
const BLOCKED_EVERY: Duration = Duration::from_secs(30);
/// How long after the vendor did not take a new value it is offered again, at the latest.
const OFFER_EVERY: Duration = Duration::from_secs(5 * 60);

/// Values of secrets by name, in clear: what is given to the state.
type Given = BTreeMap<String, Vec<String>>;
/// Values of secrets that files gave.
type Changes = BTreeMap<String, Vec<Secret>>;

/// The rotation of all instances.
pub(super) struct Rotation {
    members: Vec<Member>,
    clock: Arc<dyn Clock>,
    conditions: Arc<Conditions>,
}

/// The rotation of one instance.
struct Member {
    instance: Arc<Instance>,
    provisioner: Arc<Provisioner>,
    endpoint: Option<Arc<Endpoint>>,
    /// The secrets that verify requests.
    verifying: BTreeSet<String>,
    /// Whether new values are given to the vendor by us.
    automatic: bool,
    overlap: Duration,
    /// The public URLs that are accepted besides the newest.
    former_urls: Vec<Url>,
    /// Whether there are former values.
    active: bool,
    /// Whether the vendor has to be given, or asked for, the newest values.
    offer: bool,
    /// Whether that is under way.
    offering: bool,
}

impl Rotation {
    /// Brings what is kept in the state in line with what the instances were given, and has them accept former values.
    pub(super) async fn recall(
        members: &[Configured],
        provisioners: &[Arc<Provisioner>],
        clock: Arc<dyn Clock>,
        conditions: Arc<Conditions>,
    ) -> Result<Self> {
        let member = |(configured, provisioner): (&Configured, &Arc<Provisioner>)| Member {
            instance: configured.instance.clone(),
            provisioner: provisioner.clone(),
            endpoint: None,
            verifying: configured.instance.connector.verifying_secrets(),
            automatic: is_automatic(&configured.instance).unwrap_or(false),
            overlap: configured.overlap,
            former_urls: Vec::new(),
            active: false,
            offer: false,
            offering: false,
        };
        let members = members.iter().zip(provisioners).map(member).collect();
        let mut rotation = Self { members, clock, conditions };
        let change = |member: &Member| {
            let (given, terms) = (member.given(&Changes::new()), member.terms(rotation.clock.now()));
            let change = move |document: &mut Document| {
                document.rotations.give(&given, &document.secrets, terms);
                Ok(())
            };
            (member.provisioner.memory(), change)
        };
        let documents = Memory::change_all(rotation.members.iter().map(change).collect()).await?;
        for (member, document) in rotation.members.iter_mut().zip(&documents) {
            member.apply(document, &rotation.conditions);
            member.look_at_lengths(&rotation.conditions);
        }
        Ok(rotation)
    }

    /// Has the receivers accept what is signed for former public URLs.
    pub(super) fn receive_at(&mut self, endpoints: &[Arc<Endpoint>]) {
        for (member, endpoint) in self.members.iter_mut().zip(endpoints) {
            endpoint.accept_urls(member.former_urls.clone());
            member.endpoint = Some(endpoint.clone());
        }
    }

    /// Reads secrets again at each signal, and ends former values in time. Ends with the process.
    pub(super) async fn run(
        mut self,
        keys: Option<PathBuf>,
        (reread, mut signal): (Rereader, watch::Receiver<u64>),
        mut shutdown: watch::Receiver<bool>,
    ) {
        let mut reading: Option<oneshot::Receiver<Reread>> = None;
        let mut signals = true;
        let mut blocked = BTreeSet::new();
        let mut unsaved: BTreeMap<InstanceId, Changes> = BTreeMap::new();
        let mut offers = JoinSet::new();
        loop {
            for (index, member) in self.members.iter_mut().enumerate() {
                if member.automatic && member.offer && !member.offering {
                    (member.offer, member.offering) = (false, true);
                    offers.spawn(offer(index, member.asked(), shutdown.clone()));
                }
            }
            let ticks = !unsaved.is_empty() || self.members.iter().any(|member| member.active);
            tokio::select! {
                () = stopped(&mut shutdown) => return,
                changed = signal.changed(), if signals && reading.is_none() => match changed {
                    Ok(()) => reading = Some(start_reading(&reread)),
                    Err(_) => signals = false,
                },
                () = tokio::time::sleep(BLOCKED_EVERY), if !blocked.is_empty() && reading.is_none() => {
                    reading = Some(start_reading(&reread));
                }
                read = finished(&mut reading) => {
                    reading = None;
                    let read = read.unwrap_or_default();
                    self.say(&read, &mut blocked);
                    let failed = read.failed.len() + read.failed_headers.len();
                    for (id, changes) in read.secrets {
                        if self.take(&id, &changes, keys.as_deref()).await {
                            unsaved.remove(&id);
                        } else {
                            unsaved.insert(id, changes);
                        }
                    }
                    info!(failed, "secrets read again");
                }
                Some(done) = offers.join_next(), if !offers.is_empty() => {
                    if let Ok((index, current)) = done {
                        self.confirm(index, current).await;
                    }
                }
                () = tokio::time::sleep(EVERY), if ticks => {
                    for (id, changes) in std::mem::take(&mut unsaved) {
                        if !self.take(&id, &changes, keys.as_deref()).await {
                            unsaved.insert(id, changes);
                        }
                    }
                    self.tick().await;
                }
            }
        }
    }

    /// Says which files could not be read again.
    fn say(&self, read: &Reread, blocked: &mut BTreeSet<PathBuf>) {
        for path in blocked.difference(&read.blocked) {
            self.conditions.clear(Code::FileBlocked, &Subject::process().item(path.display()));
        }
        for path in &read.blocked {
            let message = format!("{} does not answer: its values stay as they are", path.display());
            self.conditions.raise(Code::FileBlocked, Subject::process().item(path.display()), message);
        }
        blocked.clone_from(&read.blocked);
        for id in self.members.iter().map(|member| &member.instance.id) {
            match read.failed.get(id) {
                Some(why) => {
                    let message = format!("the secrets could not be read again, and stay as they are: {why}");
                    self.conditions.raise(Code::SecretsUnread, Subject::instance(id), message);
                }
                None => self.conditions.clear(Code::SecretsUnread, &Subject::instance(id)),
            }
        }
        let subject = Subject::process().item("sinks");
        if read.failed_headers.is_empty() {
            self.conditions.clear(Code::SecretsUnread, &subject);
        } else {
            let message = format!(
                "credentials of sinks and of the proxy could not be read again, and stay as they are: {}",
                read.failed_headers.join("; ")
            );
            self.conditions.raise(Code::SecretsUnread, subject, message);
        }
        for (header, value, what) in &read.headers {
            if header.replace(value.clone()) {
                info!("{what} changed: the next request has the new value");
            }
        }
    }

    /// Takes the values of an instance's secrets; `false`: they changed and could not be saved.
    async fn take(&mut self, id: &InstanceId, read: &Changes, keys: Option<&Path>) -> bool {
        let now = self.clock.now();
        let Some(member) = self.members.iter_mut().find(|member| member.instance.id == *id) else {
            return true;
        };
        let changes = member.changed(read);
        let subject = Subject::instance(id);
        if changes.is_empty() {
            // A change that could not be saved was taken back.
            self.conditions.clear(Code::SecretsUnsaved, &subject);
            return true;
        }
        let (given, terms) = (member.given(&changes), member.terms(now));
        let memory = member.provisioner.memory();
        let saved = memory.change(|document| {
            document.rotations.give(&given, &document.secrets, terms);
            Ok(())
        });
        let document = match saved.await {
            Ok(document) => document,
            Err(why) => {
                let message = format!("secrets changed, and the change could not be saved: {why}");
                self.conditions.raise(Code::SecretsUnsaved, subject, message);
                return false;
            }
        };
        self.conditions.clear(Code::SecretsUnsaved, &subject);
        let names: Vec<String> = changes.keys().cloned().collect();
        let lives = changes.into_iter().filter_map(|(name, values)| {
            let former = document.rotations.former(&name);
            LiveSecret::given(values).map(|live| (name, LiveSecret { former, ..live }))
        });
        member.instance.set_secrets(lives);
        member.apply(&document, &self.conditions);
        member.look_at_lengths(&self.conditions);
        for name in &names {
            let former = document.rotations.former(name).len();
            info!(instance = %id, secret = name, former, "secret changed");
            if !member.automatic {
                ask_to_change(&member.instance, name, member.overlap, keys);
            }
        }
        member.offer = true;
        true
    }

    /// The vendor has the values that were newest when it was asked.
    async fn confirm(&mut self, index: usize, current: Option<BTreeMap<String, String>>) {
        let now = self.clock.now();
        let Some(member) = self.members.get_mut(index) else { return };
        // None: the process stops, or the instance was destroyed and is offered nothing any more.
        let Some(current) = current else { return };
        member.offering = false;
        let terms = member.terms(now);
        let memory = member.provisioner.memory();
        let confirmed = memory.change(|document| {
            document.rotations.confirm(&current, terms);
            Ok(())
        });
        match confirmed.await {
            Ok(document) => {
                info!(instance = %member.instance.id, "the vendor has the newest values of all secrets");
                member.apply(&document, &self.conditions);
            }
            // It is asked again.
            Err(error) => {
                error!(instance = %member.instance.id, %error, "cannot save that the vendor has the new values");
                member.offer = true;
            }
        }
    }

    /// Ends what is over, and what somebody ended by the command.
    async fn tick(&mut self) {
        let now = self.clock.now();
        for member in self.members.iter_mut().filter(|member| member.active) {
            let (memory, terms) = (member.provisioner.memory(), member.terms(now));
            let current = memory.change(|document| {
                document.rotations.expire(terms);
                Ok(())
            });
            match current.await {
                Ok(document) => member.apply(&document, &self.conditions),
                Err(error) => {
                    tracing::debug!(instance = %member.instance.id, %error, "former values cannot be looked at");
                }
            }
        }
    }
}

impl Member {
    fn terms(&self, now: Timestamp) -> Terms {
        Terms {
            now_seconds: now.as_second(),
            overlap_seconds: i64::try_from(self.overlap.as_secs()).unwrap_or(i64::MAX),
            automatic: self.automatic,
        }
    }

    /// What is given now of all that requests are verified with, with these changes.
    fn given(&self, changes: &Changes) -> Given {
        let live = self.instance.live();
        let text = |secret: &Secret| secret.expose().to_owned();
        let values = |name: &String| match changes.get(name) {
            Some(values) => Some(values.iter().map(text).collect()),
            None => live.get(name).map(|secret| secret.values().map(text).collect()),
        };
        let mut given: Given =
            self.verifying.iter().filter_map(|name| Some((name.clone(), values(name)?))).collect();
        if let Some(url) = &self.instance.receiver_url {
            given.insert(PUBLIC_URL.to_owned(), vec![url.to_string()]);
        }
        given
    }

    /// Those of the values that differ from what the instance has.
    fn changed(&self, read: &Changes) -> Changes {
        let live = self.instance.live();
        let differs = |(name, values): &(&String, &Vec<Secret>)| {
            let known: Vec<&Secret> = live.get(*name).into_iter().flat_map(LiveSecret::values).collect();
            known.len() != values.len()
                || known.iter().zip(*values).any(|(known, value)| !known.matches(value.expose().as_bytes()))
        };
        let changed = read.iter().filter(differs);
        changed.map(|(name, values)| (name.clone(), values.clone())).collect()
    }

    /// Has the receiver accept the former values that the state keeps, and says how they are.
    fn apply(&mut self, document: &Document, conditions: &Conditions) {
        let live = self.instance.live();
        let same = |a: &[Secret], b: &[Secret]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.matches(b.expose().as_bytes()))
        };
        let lives = self.verifying.iter().filter_map(|name| {
            let (secret, former) = (live.get(name)?, document.rotations.former(name));
            let changed = !same(&secret.former, &former);
            changed.then(|| (name.clone(), LiveSecret { former, ..secret.clone() }))
        });
        let lives: Vec<(String, LiveSecret)> = lives.collect();
        if !lives.is_empty() {
            self.instance.set_secrets(lives);
        }
        let urls = document.rotations.former(PUBLIC_URL);
        self.former_urls = urls.iter().filter_map(|url| Url::parse(url.expose()).ok()).collect();
        if let Some(endpoint) = &self.endpoint {
            endpoint.accept_urls(self.former_urls.clone());
        }
        let overlaps = document.rotations.overlaps();
        self.active = overlaps.values().any(|overlap| overlap.former > 0);
        self.offer |= overlaps.values().any(|overlap| overlap.unconfirmed);
        for name in self.verifying.iter().map(String::as_str).chain([PUBLIC_URL]) {
            let subject = Subject::instance(&self.instance.id).item(name);
            let overlap = overlaps.get(name).filter(|overlap| overlap.former > 0);
            let all = overlap.map_or(0, |overlap| overlap.given + overlap.former);
            let what = format!("secret {name} of instance {}: {all} values valid", self.instance.id);
            match overlap {
                Some(overlap) if overlap.unconfirmed => {
                    let message = format!("{what} until the vendor has confirmed the new one");
                    conditions.raise(Code::SecretUnconfirmed, subject.clone(), message);
                    conditions.clear(Code::SecretOverlap, &subject);
                }
                Some(overlap) => {
                    let until = overlap.until_seconds.and_then(|at| Timestamp::from_second(at).ok());
                    let until = until.map_or_else(String::new, |at| format!(" until {at}"));
                    conditions.raise(Code::SecretOverlap, subject.clone(), format!("{what}{until}"));
                    conditions.clear(Code::SecretUnconfirmed, &subject);
                }
                None => {
                    conditions.clear(Code::SecretUnconfirmed, &subject);
                    conditions.clear(Code::SecretOverlap, &subject);
                }
            }
        }
    }

    /// Says which secrets are too short to be masked wherever they are found.
    fn look_at_lengths(&self, conditions: &Conditions) {
        for (name, secret) in self.instance.live().iter() {
            let subject = Subject::instance(&self.instance.id).item(name);
            let shortest = secret.values().map(|value| value.expose().chars().count()).min();
            if shortest.is_some_and(|shortest| shortest < MASKED_ANYWHERE) {
                let message = format!(
                    "the secret {name} has fewer than {MASKED_ANYWHERE} characters: it is masked as a word of its own alone"
                );
                conditions.raise(Code::SecretShort, subject, message);
            } else {
                conditions.clear(Code::SecretShort, &subject);
            }
        }
    }

    /// What the vendor is asked with.
    fn asked(&self) -> Asked {
        let (instance, provisioner) = (self.instance.clone(), self.provisioner.clone());
        Asked { instance, provisioner, verifying: self.verifying.clone() }
    }
}

/// What the vendor is asked with.
struct Asked {
    instance: Arc<Instance>,
    provisioner: Arc<Provisioner>,
    verifying: BTreeSet<String>,
}

/// Gives the vendor the newest values, for as long as it takes. Returns those that it has; `None` when the process stops or
/// the instance was destroyed.
async fn offer(
    index: usize,
    asked: Asked,
    mut shutdown: watch::Receiver<bool>,
) -> (usize, Option<BTreeMap<String, String>>) {
    let Asked { instance, provisioner, verifying } = asked;
    let mut status = provisioner.status();
    loop {
        let live = instance.live();
        let current = |name: &String| Some((name.clone(), live.get(name)?.current.expose().to_owned()));
        let mut current: BTreeMap<String, String> = verifying.iter().filter_map(current).collect();
        current.extend(instance.receiver_url.as_ref().map(|url| (PUBLIC_URL.to_owned(), url.to_string())));
        match provisioner.settle(shutdown.clone()).await {
            Ok(Some(report)) if report.destroyed => return (index, None),
            Ok(Some(report)) if report.deeds.iter().all(|deed| deed.what != What::LeftAlone) => {
                return (index, Some(current));
            }
            Ok(Some(_)) => {}
            Ok(None) => return (index, None),
            Err(error) => error!(
                instance = %instance.id, %error,
                "the vendor did not take the new value of a secret: the former one stays valid"
            ),
        }
        status.mark_unchanged();
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return (index, None),
            // Somebody else's look went well, so that this one may.
            _ = status.changed() => {}
            () = tokio::time::sleep(OFFER_EVERY) => {}
        }
    }
}

/// Returns when the process stops, or nobody is left who could say so.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Reads the files on a thread of its own.
fn start_reading(reread: &Rereader) -> oneshot::Receiver<Reread> {
    let (send, receive) = oneshot::channel();
    let reread = reread.clone();
    let spawned = std::thread::Builder::new().name("forebay-secrets".to_owned());
    let spawned = spawned.spawn(move || drop(send.send(reread())));
    if let Err(error) = spawned {
        error!(%error, "the secrets cannot be read again");
    }
    receive
}

/// What was read, once it is; never returns where nothing is read.
async fn finished(reading: &mut Option<oneshot::Receiver<Reread>>) -> Option<Reread> {
    match reading {
        Some(reading) => reading.await.ok(),
        None => std::future::pending().await,
    }
}
