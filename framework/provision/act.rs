//! Operations: the steps of create, adopt, update, repair and delete, each remembered before the next is taken.
//!
//! `life` and `destroy` act through here; what is special about making is in `making`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::drift::{self, Desired, covered};
use super::fingerprint::Key;
use super::names::Names;
use super::provisioner::Provisioner;
use super::state::{Document, Mended, Old, Operation, Pending, ResourceState};
use crate::call::failure::CallError;
use crate::call::mask::Mask;
use crate::call::retry::Repeat;
use crate::connector::model::{Call, RenewWay, Resource, Step, Until};
use crate::error::{Error, Kind, Result};
use crate::points;

impl Resource {
    /// The steps of an operation.
    pub fn steps(&self, operation: Operation) -> &[Step] {
        match operation {
            Operation::Create => &self.create,
            Operation::Adopt => &self.adopt,
            Operation::Update => &self.update,
            Operation::Repair => &self.repair,
            Operation::Renew => match self.renew.as_ref().map(|renew| &renew.way) {
                Some(RenewWay::Call(steps)) => steps,
                Some(RenewWay::Replace { .. }) | None => &[],
            },
            Operation::Delete => &self.delete,
        }
    }

    /// The names that creating saves.
    pub(super) fn created_names(&self) -> impl Iterator<Item = &str> {
        let calls = self.create.iter().filter_map(|step| step.call.as_ref());
        calls.flat_map(|call| call.save.iter().map(|(name, _)| name.as_str()))
    }

    /// The names that any of its calls saves.
    pub(super) fn saved_names(&self) -> BTreeSet<&str> {
        let found = self.find.iter().flat_map(|find| &find.save);
        self.calls().flat_map(|call| &call.save).chain(found).map(|(name, _)| name.as_str()).collect()
    }

    /// Every call of its life, in the order of the story.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Call> {
        let steps: [&[Step]; 6] = [
            &self.adopt,
            &self.create,
            &self.update,
            &self.repair,
            self.steps(Operation::Renew),
            &self.delete,
        ];
        let looks = self.find.iter().map(|find| &find.call).chain(self.check.iter().map(|check| &check.call));
        looks.chain(steps.into_iter().flatten().filter_map(|step| step.call.as_ref()))
    }
}

impl Provisioner {
    /// Brings a resource to what is desired. `drift` is what tells the drift that is mended from another.
    pub(super) async fn update(
        &self,
        resource: &Resource,
        from: usize,
        names: &Names,
        (desired, drift): (&Desired<'_>, Option<&str>),
    ) -> Result<(), CallError> {
        self.perform(resource, Operation::Update, from, names).await?;
        let mended =
            drift.map(|drift| Mended { drift: drift.to_owned(), at_seconds: self.clock.now().as_second() });
        self.finish(resource, Some(desired), |state| state.mended.clone_from(&mended)).await
    }

    /// Makes a resource healthy.
    pub(super) async fn repair(
        &self,
        resource: &Resource,
        from: usize,
        names: &Names,
    ) -> Result<(), CallError> {
        self.perform(resource, Operation::Repair, from, names).await?;
        self.finish(resource, None, |_| {}).await
    }

    /// Removes one, from the step on that was not taken yet. What is gone already is done; so is a step that finds
    /// it gone.
    pub(super) async fn delete(
        &self,
        resource: &Resource,
        doomed: Doomed<'_>,
        names: &Names,
    ) -> Result<Removed, CallError> {
        let done = |state: &ResourceState| {
            let pending = state.pending.filter(|pending| pending.is(Operation::Delete));
            pending.map_or(0, |pending| pending.done)
        };
        let (mut saved, from) = match doomed {
            Doomed::Own(state) => (state.known(), done(state)),
            Doomed::Old(old) => (old.saved.clone(), old.done),
            Doomed::Gone(gone) => (gone.known(), done(gone)),
            Doomed::Unkept(saved) => (saved.clone(), 0),
        };
        let mut document = self.memory.read().await?;
        let mut removed = if from > 0 { Removed::Now } else { Removed::Already };
        for (n, step) in resource.delete.iter().enumerate().skip(from) {
            // Each step sees what the steps before it saved, and of the resource nothing but the doomed one's values.
            let doomed_only = ResourceState { saved: saved.clone(), ..ResourceState::default() };
            document.resources.insert(resource.name.clone(), doomed_only);
            let names = names.with("state", &document.names());
            let told = match self.step(resource, Operation::Delete, step, &names).await {
                Ok(told) => {
                    removed = Removed::Now;
                    told
                }
                Err(CallError::Gone(_)) => Map::new(),
                Err(error) => return Err(error),
            };
            points::reached("provision.step-taken");
            self.keep_doomed(resource, &doomed, n + 1, &told).await?;
            points::reached("provision.step-kept");
            saved.extend(told);
        }
        Ok(removed)
    }

    /// Keeps that so many steps of its delete are done, and what the last one saved.
    async fn keep_doomed(
        &self,
        resource: &Resource,
        doomed: &Doomed<'_>,
        done: usize,
        told: &Map<String, Json>,
    ) -> Result<()> {
        let now = self.clock.now();
        let pending = Pending { operation: Operation::Delete, done, since_seconds: now.as_second() };
        match doomed {
            Doomed::Unkept(_) => return Ok(()),
            Doomed::Own(_) => {
                let more = |state: &mut ResourceState| {
                    state.learn(told, now);
                    state.pending = Some(pending);
                };
                self.change(&resource.name, more).await?
            }
            Doomed::Old(_) => {
                let more = |state: &mut ResourceState| {
                    if let Some(old) = &mut state.old {
                        old.saved.extend(told.clone());
                        old.done = done;
                    }
                };
                self.change(&resource.name, more).await?
            }
            Doomed::Gone(_) => {
                let more = |state: &mut ResourceState| {
                    if let Some(gone) = &mut state.gone {
                        gone.learn(told, now);
                        gone.pending = Some(pending);
                    }
                };
                self.change(&resource.name, more).await?
            }
        };
        Ok(())
    }

    /// The steps of an operation from one on, each kept in state before the next. The operation stays pending
    /// until its end is kept too.
    pub(super) async fn perform(
        &self,
        resource: &Resource,
        operation: Operation,
        from: usize,
        names: &Names,
    ) -> Result<(), CallError> {
        let since_seconds = self.clock.now().as_second();
        let at = |done| Some(Pending { operation, done, since_seconds });
        let mut document = self.change(&resource.name, |state| state.pending = at(from)).await?;
        for (n, step) in resource.steps(operation).iter().enumerate().skip(from) {
            let names = names.with("state", &document.names());
            let saved = self.step(resource, operation, step, &names).await?;
            points::reached("provision.step-taken");
            let kept = self.change(&resource.name, |state| {
                state.learn(&saved, self.clock.now());
                state.pending = at(n + 1);
            });
            match kept.await {
                Ok(kept) => {
                    points::reached("provision.step-kept");
                    document = kept;
                }
                Err(error) => {
                    if operation == Operation::Create {
                        self.undo_if_destroyed(resource, &saved, &names).await?;
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// One step: whether it is taken, its call, and what it waits for. Gives what is to be saved.
    async fn step(
        &self,
        resource: &Resource,
        operation: Operation,
        step: &Step,
        names: &Names,
    ) -> Result<Map<String, Json>, CallError> {
        if let Some(when) = &step.when
            && !when.holds(&names.real)?
        {
            return Ok(Map::new());
        }
        let repeat = match operation {
            Operation::Create => Repeat::Never,
            Operation::Adopt
            | Operation::Update
            | Operation::Repair
            | Operation::Renew
            | Operation::Delete => Repeat::Safe,
        };
        let (mut saved, mut response) = (Map::new(), Json::Null);
        if let Some(call) = &step.call {
            let answer = match self.caller.call(&self.instance, call, &names.real, repeat).await {
                Ok(answer) => answer,
                Err(error) => {
                    if operation == Operation::Create && !matches!(error, CallError::Unclear(_)) {
                        self.forget_unmade(resource).await?;
                    }
                    return Err(error);
                }
            };
            (saved, response) = (answer.saved, answer.response);
        }
        let Some(until) = &step.until else { return Ok(saved) };
        let waiting = self.wait(step, until, names.clone(), (saved, response));
        match tokio::time::timeout(until.at_most, waiting).await {
            Ok(saved) => saved,
            Err(_) => {
                let what = step.name.as_deref().unwrap_or_else(|| until.condition.source());
                let text = format!(
                    "{} of {} waited {} s for `{what}` in vain",
                    operation.name(),
                    resource.name,
                    until.at_most.as_secs()
                );
                Err(Error::new(Kind::Passing, text).into())
            }
        }
    }

    /// Until the condition holds: the call is made again, or, where there is none, the state read again (a rule
    /// of the receiver may write it).
    async fn wait(
        &self,
        step: &Step,
        until: &Until,
        names: Names,
        (mut saved, mut response): (Map<String, Json>, Json),
    ) -> Result<Map<String, Json>, CallError> {
        loop {
            let document = self.memory.read().await?;
            let names = names.with("state", &document.names());
            if until.condition.holds(&names.real.with("response", response))? {
                return Ok(saved);
            }
            tokio::time::sleep(until.every.max(Duration::from_millis(100))).await;
            response = match &step.call {
                None => Json::Null,
                Some(call) => {
                    let answer = self.caller.call(&self.instance, call, &names.real, Repeat::Safe).await?;
                    saved.extend(answer.saved);
                    answer.response
                }
            };
        }
    }

    /// The end of an operation: nothing is pending, and where it sent `desired`, what was sent is known.
    pub(super) async fn finish(
        &self,
        resource: &Resource,
        sent: Option<&Desired<'_>>,
        end: impl Fn(&mut ResourceState) + Send + Sync,
    ) -> Result<(), CallError> {
        let key = Key::kept(&self.memory.read().await?.key);
        let applied = sent.map(|desired| drift::fingerprints(desired, &key));
        self.change(&resource.name, |state| {
            state.pending = None;
            if let Some(applied) = &applied {
                state.applied.clone_from(applied);
            }
            end(state);
        })
        .await?;
        Ok(())
    }

    /// How it is at the vendor is kept for the one that may have to be made after it, without secrets.
    pub(super) async fn remember(
        &self,
        resource: &Resource,
        current: &Json,
        saved: Map<String, Json>,
    ) -> Result<Document, Error> {
        // Neither those that we know, nor what stands in their place: it may be the secret of before.
        let current = match self.moment(resource).await {
            Ok(moment) => covered(&moment.desired, current, None),
            Err(_) => Some(current.clone()),
        };
        let current = current.and_then(|c| without_secrets(&c, &Mask::of(&self.instance)));
        self.change(&resource.name, |state| {
            state.current.clone_from(&current);
            state.learn(&saved, self.clock.now());
        })
        .await
    }
}

/// What is to be removed, and where it is kept how far that went.
pub(super) enum Doomed<'a> {
    /// The one we have.
    Own(&'a ResourceState),
    /// The one that was replaced.
    Old(&'a Old),
    /// The one that the vendor said is gone.
    Gone(&'a ResourceState),
    /// One that nobody but this call knows, by its saved values.
    Unkept(&'a Map<String, Json>),
}

/// Whether it was there to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    /// It was.
    Now,
    /// It was gone.
    Already,
}

/// The value without the leaves that hold a secret.
fn without_secrets(value: &Json, mask: &Mask) -> Option<Json> {
    match value {
        Json::String(text) if mask.holds(text) => None,
        Json::Array(list) => Some(list.iter().filter_map(|inner| without_secrets(inner, mask)).collect()),
        Json::Object(map) => {
            let kept = |(name, inner): (&String, &Json)| Some((name.clone(), without_secrets(inner, mask)?));
            Some(Json::Object(map.iter().filter_map(kept).collect()))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Some(value.clone()),
    }
}
