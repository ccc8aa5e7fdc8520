//! What provisions one instance: its parts, what it knows, and what it says. The story is in `life`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::drift::Desired;
use super::fingerprint::Key;
use super::names::Names;
use super::report::{Deed, Failing, Report, Status, What};
use super::scopes::explained;
use super::state::{Document, Memory, Refused, ResourceState, Saved};
use super::witness::{Pass, Witness};
use crate::call::caller::Caller;
use crate::call::failure::CallError;
use crate::connector::clock::Clock;
use crate::connector::instance::Instance;
use crate::connector::model::{Provision, Resource};
use crate::error::{Error, Kind, Result};
use crate::queue::State;

/// Provisions one instance: the only thing that changes anything at the vendor.
pub struct Provisioner {
    pub(super) instance: Arc<Instance>,
    pub(super) caller: Arc<Caller>,
    pub(super) memory: Memory,
    pub(super) clock: Arc<dyn Clock>,
    /// How often the instance had been destroyed when this process first looked.
    pub(super) began: Mutex<Option<u64>>,
    /// One pass at a time; not held by anything else.
    pub(super) turn: tokio::sync::Mutex<()>,
    status: watch::Sender<Status>,
    /// How long the vendor asked to wait when the last pass failed.
    asked: Mutex<Option<Duration>>,
    /// Resources that are to be renewed at the next pass, due or not.
    wanted: Mutex<BTreeSet<String>>,
    /// Who looks on; mostly nobody.
    pub(super) witness: OnceLock<Arc<dyn Witness>>,
}

/// A resource at one moment.
pub(super) struct Moment<'a> {
    pub(super) state: ResourceState,
    pub(super) key: Key,
    pub(super) names: Names,
    pub(super) desired: Desired<'a>,
}

impl Provisioner {
    /// A provisioner; nothing happens yet.
    pub fn new(
        instance: Arc<Instance>,
        caller: Arc<Caller>,
        state: Arc<dyn State>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let memory = Memory::new(instance.id.clone(), state);
        caller.keep(&instance.id, Arc::new(memory.clone()));
        Self {
            instance,
            caller,
            memory,
            clock,
            began: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
            status: watch::Sender::default(),
            asked: Mutex::new(None),
            wanted: Mutex::default(),
            witness: OnceLock::new(),
        }
    }

    /// From now on this one looks on; the first one stays.
    pub fn watched_by(&self, witness: Arc<dyn Witness>) {
        witness.knows(self.saved());
        let _ = self.witness.set(witness);
    }

    /// Tells who looks on that a pass begins.
    pub(super) fn begins(&self, pass: Pass) {
        if let Some(witness) = self.witness.get() {
            witness.begins(pass);
        }
    }

    /// Hands the outcome on, and tells who looks on.
    pub(super) fn ended(&self, pass: Pass, outcome: Result<Report>) -> Result<Report> {
        if let Some(witness) = self.witness.get() {
            witness.ended(pass, &outcome);
        }
        outcome
    }

    /// Whether this instance provisions at all; where not, a person creates the stream.
    pub fn is_automatic(&self) -> Result<bool> {
        is_automatic(&self.instance)
    }

    /// What the instance remembers; shared with whoever else writes it in this process.
    pub fn memory(&self) -> Memory {
        self.memory.clone()
    }

    /// What was saved so far, `state` of the spec's templates; it changes while operations are under way.
    pub fn saved(&self) -> watch::Receiver<Saved> {
        self.memory.saved()
    }

    /// How the vendor's side was when it was last looked at.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// What is known of a resource now, and how it should be.
    pub(super) async fn moment<'a>(&self, resource: &'a Resource) -> Result<Moment<'a>> {
        let document = self.memory.read().await?;
        self.moment_of(resource, &document)
    }

    pub(super) fn moment_of<'a>(&self, resource: &'a Resource, document: &Document) -> Result<Moment<'a>> {
        let names = Names::of(&self.instance, document, self.clock.now());
        let (names, desired) = names.desiring(resource)?;
        Ok(Moment { state: document.resource(&resource.name), key: Key::kept(&document.key), names, desired })
    }

    /// Changes what is known of a resource, unless the instance was destroyed since this process began.
    pub(super) async fn change(
        &self,
        resource: &str,
        change: impl Fn(&mut ResourceState) + Send + Sync,
    ) -> Result<Document> {
        self.memory
            .change(|document| {
                if Some(document.destroyed) != self.began() {
                    return Err(Error::new(Kind::Refused, "the instance was destroyed meanwhile"));
                }
                change(document.resources.entry(resource.to_owned()).or_default());
                Ok(())
            })
            .await
    }

    pub(super) fn did(&self, report: &mut Report, resource: &Resource, what: What, why: String) {
        let deed = Deed { resource: resource.name.clone(), what, why };
        metrics::counter!(
            "forebay_provision_total",
            "instance" => self.instance.id.to_string(), "resource" => deed.resource.clone(), "what" => what.word()
        )
        .increment(1);
        match what {
            What::Kept => tracing::debug!(instance = %self.instance.id, "{deed}"),
            What::LeftAlone => tracing::warn!(instance = %self.instance.id, "{deed}"),
            What::Created
            | What::Adopted
            | What::Updated
            | What::Replaced
            | What::Recreated
            | What::Repaired
            | What::Renewed
            | What::Deleted
            | What::AlreadyGone => tracing::info!(instance = %self.instance.id, "{deed}"),
        }
        report.deeds.push(deed);
    }

    /// How often the instance had been destroyed when this process began.
    pub(super) fn began(&self) -> Option<u64> {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process begins (or, where it destroys, begins anew) at so many.
    pub(super) fn begin_at(&self, destroyed: u64) {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Some(destroyed);
    }

    /// The resources that somebody wants to have renewed; not held across a call.
    pub(super) fn wanted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the vendor asked to wait when the last pass failed; told once.
    pub(super) fn asked_wait(&self) -> Option<Duration> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn stopped(&self, mut report: Report) -> Report {
        report.destroyed = true;
        if self.status.send_if_modified(|status| !std::mem::replace(&mut status.destroyed, true)) {
            tracing::warn!(instance = %self.instance.id, "somebody ran `destroy`: provisioning stops");
        }
        report
    }

    pub(super) async fn succeeded(&self, unwell: Option<String>, unhealthy: bool) -> Result<()> {
        let now = self.clock.now();
        let lifetimes = self.lifetimes().await?;
        self.status.send_modify(|status| {
            let duplicates = std::mem::take(&mut status.duplicates);
            let checked = Some(now);
            *status = Status { unwell, unhealthy, checked, lifetimes, duplicates, ..Status::default() };
        });
        if self.memory.read().await?.refusal.is_some() {
            self.memory
                .change(|document| {
                    document.refusal = None;
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    /// A pass that failed: who destroyed the instance meanwhile is the reason where somebody did.
    pub(super) async fn failed(
        &self,
        report: Report,
        provision: &Provision,
        error: CallError,
    ) -> Result<Report> {
        let document = self.memory.read().await?;
        if Some(document.destroyed) != self.began() {
            return Ok(self.stopped(report));
        }
        let asked = error.failure().and_then(|failure| failure.wait);
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        let error = explained(provision, error);
        metrics::counter!("forebay_provision_failures_total", "instance" => self.instance.id.to_string())
            .increment(1);
        self.note_missing(provision, &document);
        if error.kind == Kind::Refused {
            let refused = Refused { at_seconds: self.clock.now().as_second(), sentence: error.to_string() };
            self.refused(&refused).await?;
        }
        Err(error)
    }

    /// Notes why a pass failed.
    pub(super) fn fails(&self, error: &Error) {
        let refused = error.kind != Kind::Passing;
        self.status.send_modify(|status| {
            let tries = status.failing.as_ref().map_or(0, |failing| failing.tries).saturating_add(1);
            let place = error.place.as_deref().map(|place| format!("{place}: ")).unwrap_or_default();
            let help = error.help.as_deref().map(|help| format!("; {help}")).unwrap_or_default();
            let sentence = format!("{place}{}{help}", error.sentence);
            status.failing = Some(Failing { sentence, refused, tries, next: None });
        });
    }

    /// Notes what existed and does not any more, after a pass that failed.
    fn note_missing(&self, provision: &Provision, document: &Document) {
        let missing = |resource: &&Resource| {
            let state = document.resource(&resource.name);
            state.existed && state.origin.is_none()
        };
        let gone: Vec<String> =
            provision.resources.iter().filter(missing).map(|resource| resource.name.clone()).collect();
        self.status.send_if_modified(|status| {
            let changed = status.gone != gone;
            status.gone = gone;
            changed
        });
    }

    /// Notes when the next pass is, after one that failed.
    pub(super) fn tries_again_in(&self, wait: Duration) {
        let wait = jiff::SignedDuration::try_from(wait).unwrap_or(jiff::SignedDuration::ZERO);
        let next = self.clock.now().checked_add(wait).ok();
        self.status.send_modify(|status| {
            if let Some(failing) = &mut status.failing {
                failing.next = next;
            }
        });
    }

    /// Notes what matches `find` of a resource beside ours.
    pub(super) fn found_duplicates(&self, duplicates: Vec<(String, String)>) {
        self.status.send_if_modified(|status| {
            let changed = status.duplicates != duplicates;
            status.duplicates = duplicates;
            changed
        });
    }

    /// Whether the last pass failed.
    pub(super) fn is_failing(&self) -> bool {
        self.status.borrow().failing.is_some()
    }

    /// Returns whether a stream of this instance exists or existed, or an event of it was ever stored: then events may
    /// come in, whatever the vendor's API says now.
    pub async fn knows_stream(&self) -> Result<bool> {
        let document = self.memory.read().await?;
        let known = document.resources.values().any(ResourceState::is_known);
        Ok(known || self.memory.latest_event_time().await?.is_some())
    }

    async fn refused(&self, refused: &Refused) -> Result<()> {
        self.status.send_modify(|status| status.refusal = Some(refused.sentence.clone()));
        self.memory
            .change(|document| {
                // The same refusal at every check is written once.
                if document.refusal.as_ref().is_none_or(|known| known.sentence != refused.sentence) {
                    document.refusal = Some(refused.clone());
                }
                Ok(())
            })
            .await?;
        Ok(())
    }
}

impl Resource {
    /// Whether this instance has one at all.
    pub fn is_wanted(&self, instance: &Instance) -> Result<bool> {
        self.when.as_ref().map_or(Ok(true), |when| when.holds(&instance.scope()))
    }
}

/// Whether an instance provisions by itself.
pub fn is_automatic(instance: &Instance) -> Result<bool> {
    Ok(provisioned(instance)?.is_some())
}

/// What an instance provisions; `None` where it does not.
pub(super) fn provisioned(instance: &Instance) -> Result<Option<&Provision>> {
    let Some(provision) = &instance.connector.provision else { return Ok(None) };
    let wanted = provision.when.as_ref().map_or(Ok(true), |when| when.holds(&instance.scope()))?;
    Ok((wanted && !provision.resources.is_empty()).then_some(provision))
}
