//! Keys that the vendor publishes at a URL: fetched by the call floor's transport, checked against the spec's
//! list, kept for a while.
//!
//! Unauthenticated requests can name keys that do not exist. Therefore a URL is asked again only after a while, and all
//! URLs together only so often: see [`shelf`](super::shelf). A fetch runs in a task of its own: it belongs to all requests
//! that wait for the key, and ends whether or not the request that began it is still there. While a key cannot be had,
//! the answer is 503: never 401, and never open.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use tokio::task::JoinSet;
use url::Url;

use super::failure::{Failure, Want};
use super::matter::Matter;
use super::public_key::PublicKey;
use super::published;
use super::rejection::Rejection;
use super::shelf::{PAUSE, Shelf, Turn, shown, since};
use crate::call::{Request, Transport};
use crate::condition::{Code, Conditions, Subject};
use crate::connector::certificates::Untrusted;
use crate::connector::instance::InstanceId;
use crate::connector::model::{CertificateRules, KeyFormat, KeyUrl};
use crate::receive::client::Group;

/// How long a certificate that held is taken to hold.
const RECHECK: Duration = Duration::from_secs(60);
/// How long a fetch may take, and how long a request waits for one.
const PATIENCE: Duration = Duration::from_secs(10);

/// The keys of one instance that are fetched.
pub(in crate::receive) struct Fetched {
    shared: Arc<Shared>,
    /// The fetches under way; they end with this.
    tasks: Mutex<JoinSet<()>>,
}

/// What requests and fetches share.
struct Shared {
    transport: Arc<dyn Transport>,
    shelf: Mutex<Shelf>,
    /// Where an operator is told that a certificate cannot be checked, and whether that was said.
    reports: OnceLock<(Arc<Conditions>, InstanceId)>,
    reported: AtomicBool,
}

/// Keys of a URL.
pub(super) struct Set {
    /// The keys.
    pub keys: Arc<[PublicKey]>,
    want: Want,
    age: Duration,
}

impl Set {
    /// What it means that a key is not among them: nothing, where they were asked for just now.
    pub(super) fn unknown(self) -> Failure {
        match self.age < PAUSE {
            true => Failure::Rejected(Rejection::UnknownKey),
            false => Failure::Wants(self.want),
        }
    }
}

impl Fetched {
    /// Nothing is fetched yet.
    pub(in crate::receive) fn new(transport: Arc<dyn Transport>) -> Self {
        let shelf = Mutex::new(Shelf::new(Timestamp::UNIX_EPOCH));
        Self {
            shared: Arc::new(Shared {
                transport,
                shelf,
                reports: OnceLock::new(),
                reported: AtomicBool::new(false),
            }),
            tasks: Mutex::default(),
        }
    }

    /// Raises conditions there from now on; the first one stays.
    pub(in crate::receive) fn reports_to(&self, conditions: Arc<Conditions>, instance: InstanceId) {
        let _ = self.shared.reports.set((conditions, instance));
    }

    /// The keys at the URL that a check names, as far as they are here. Those that are too old are taken for
    /// as long again while the vendor cannot be asked.
    pub(super) fn keys(
        &self,
        matter: &Matter<'_>,
        at: &KeyUrl,
        format: Option<KeyFormat>,
    ) -> Result<Set, Failure> {
        let url = place(matter, at)?;
        let mut shelf = self.shared.shelf();
        let Some(document) = shelf.documents.get_mut(url.as_str()) else {
            return Err(Failure::Wants(Want { url, format, newer_than: None }));
        };
        let Some(keys) = document.keys.clone() else {
            return Err(Failure::Wants(Want { url, format, newer_than: None }));
        };
        let want = Want { url, format, newer_than: Some(document.at) };
        let now = matter.now;
        let age = since(document.at, now);
        let failing = document.asked.is_some_and(|(at, failed)| failed && since(at, now) < PAUSE);
        if age > at.cache && !(failing && age < at.cache * 2) {
            return Err(Failure::Wants(want));
        }
        let (chain, held) = (document.chain.clone(), document.held.clone());
        drop(shelf);
        let set = Set { keys, want, age };
        match &at.certificate {
            Some(rules) => self.certified(matter, rules, set, &chain, held),
            None => Ok(set),
        }
    }

    /// The keys, where the certificate that they are in holds.
    fn certified(
        &self,
        matter: &Matter<'_>,
        rules: &CertificateRules,
        set: Set,
        chain: &[Vec<u8>],
        held: Option<(Vec<String>, Timestamp)>,
    ) -> Result<Set, Failure> {
        let (scope, now) = (matter.scope(&[]), matter.now);
        let mut names = Vec::new();
        for text in &rules.names {
            let name = text.render_bytes_if(&scope).map_err(|error| matter.lacking(&[text], &error))?;
            names.extend(name.and_then(|name| String::from_utf8(name).ok()));
        }
        if held.is_some_and(|(known, at)| known == names && since(at, now) < RECHECK) {
            return Ok(set);
        }
        match rules.issuers.check(chain, &names, now) {
            Ok(()) => {
                if let Some(document) = self.shared.shelf().documents.get_mut(set.want.url.as_str()) {
                    document.held = Some((names, now));
                }
                self.shared.cleared();
                Ok(set)
            }
            // Another one may be there by now.
            Err(_) if set.age >= PAUSE => Err(Failure::Wants(set.want)),
            Err(Untrusted::Issuer) => {
                let (place, reason) = (shown(&set.want.url), Untrusted::Issuer.reason());
                let message = format!("the certificate at {place} {reason}");
                self.shared.report(message.clone());
                Err(Failure::NotReady(message))
            }
            Err(why) => Err(Rejection::Certificate(why).into()),
        }
    }

    /// Notes that a set proved a sender: what unauthenticated requests make up does not push it out.
    pub(super) fn proved(&self, set: &Set, now: Timestamp) {
        if let Some(document) = self.shared.shelf().documents.get_mut(set.want.url.as_str()) {
            document.proved = Some(now);
        }
        self.shared.cleared();
    }

    /// Fetches a key, or waits for the fetch that another request began. The error says why it is not to be had now.
    pub(in crate::receive) async fn fetch(
        &self,
        want: &Want,
        client: Group,
        now: Timestamp,
    ) -> Result<(), String> {
        let turn = self.shared.shelf().turn(want, client, now)?;
        let mut outcome = match turn {
            Turn::Look => return Ok(()),
            Turn::Wait(outcome) => outcome,
            Turn::Begin(sender, outcome) => {
                let (shared, want) = (self.shared.clone(), want.clone());
                let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
                while tasks.try_join_next().is_some() {}
                tasks.spawn(async move {
                    let outcome = shared.fetch(&want, now).await;
                    sender.send_replace(Some(outcome));
                });
                outcome
            }
        };
        let done = tokio::time::timeout(PATIENCE, outcome.wait_for(Option::is_some)).await;
        match done {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Ok(())),
            Ok(Err(_)) => Err("the fetch of the key was given up".to_owned()),
            Err(_) => Err("it is being fetched".to_owned()),
        }
    }
}

/// Where the key stands that a check names, as far as the spec takes it. What a request names is compared whole, as
/// it is written and as it will be called: to a reader of URLs a backslash is a slash.
fn place(matter: &Matter<'_>, at: &KeyUrl) -> Result<Url, Failure> {
    let scope = matter.scope(&[]);
    let text = at.url.render(&scope).map_err(|error| matter.lacking(&[&at.url], &error))?;
    let url = Url::parse(&text).map_err(|_| Rejection::KeyPlace)?;
    if let Some(only) = &at.only {
        let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if !bare || !only.is_match(&text) || !only.is_match(url.as_str()) {
            return Err(Rejection::KeyPlace.into());
        }
    }
    if let Some(host) = &at.host {
        let host = host.render(&scope).map_err(|error| matter.lacking(&[host], &error))?;
        if url.host_str() != Some(host.as_str()) {
            return Err(Rejection::KeyPlace.into());
        }
    }
    Ok(url)
}

impl Shared {
    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, message: String) {
        if let Some((conditions, instance)) = self.reports.get() {
            conditions.raise(Code::SenderCertificate, Subject::instance(instance), message);
            self.reported.store(true, Ordering::Relaxed);
        }
    }

    /// A certificate holds: what was said of one is over.
    fn cleared(&self) {
        if self.reported.swap(false, Ordering::Relaxed)
            && let Some((conditions, instance)) = self.reports.get()
        {
            conditions.clear(Code::SenderCertificate, &Subject::instance(instance));
        }
    }

    /// Asks the vendor, and keeps what it says.
    async fn fetch(&self, want: &Want, now: Timestamp) -> Result<(), String> {
        let found = tokio::time::timeout(PATIENCE, self.ask(want)).await;
        let found = found.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        let mut shelf = self.shelf();
        let document = shelf.document(&want.url, now);
        document.fetch = None;
        match found {
            Ok((keys, chain)) => {
                document.keys = Some(keys.into());
                document.chain = chain.into();
                document.held = None;
                document.at = now;
                document.asked = Some((now, false));
                Ok(())
            }
            Err(why) => {
                document.asked = Some((now, true));
                let old = document.keys.is_some();
                tracing::warn!(url = %shown(&want.url), why, old, "the vendor's key cannot be fetched");
                // Old keys are looked at once more: they may do.
                if old {
                    Ok(())
                } else {
                    Err(format!("the key at {} cannot be had: {why}", shown(&want.url)))
                }
            }
        }
    }

    async fn ask(&self, want: &Want) -> Result<(Vec<PublicKey>, Vec<Vec<u8>>), String> {
        metrics::counter!("forebay_key_fetches_total").increment(1);
        let request = Request {
            method: Method::GET,
            url: want.url.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let answer = self.transport.send(request).await.map_err(|error| error.sentence)?;
        if answer.status != http::StatusCode::OK {
            return Err(format!("the answer is {}", answer.status));
        }
        let keys = published::read(&answer.body, want.format).map_err(|why| {
            // Only URLs that the spec pins are asked: this is the vendor's own, or a proxy's on the way to it.
            if want.format == Some(KeyFormat::X509Pem) {
                self.report(format!("what is at {} is {why}", shown(&want.url)));
            }
            format!("what is there is {why}")
        })?;
        Ok((keys, published::chain(&answer.body)))
    }
}
