//! Making a resource: what is sent once is never sent again in doubt.
//!
//! After an unclear answer, or a restart in the middle, `find` says whether something was made; `life` calls it.

use http::StatusCode;
use serde_json::{Map, Value as Json};

use super::act::Doomed;
use super::drift::Desired;
use super::look::Seen;
use super::names::Names;
use super::provisioner::Provisioner;
use super::state::{Old, Operation, Origin, Pending, ResourceState};
use crate::call::failure::{CallError, Failure};
use crate::call::render::draft;
use crate::connector::model::Resource;
use crate::error::{Error, Kind, Result};

/// How long what a create made may not be seen by `find`, after its answer was lost.
const UNSEEN_SECONDS: i64 = 20;

impl Provisioner {
    /// Makes a resource: the steps of `create` from the one given on.
    pub(super) async fn create(
        &self,
        resource: &Resource,
        from: usize,
        names: &Names,
        desired: &Desired<'_>,
    ) -> Result<(), CallError> {
        if let Err(error) = self.perform(resource, Operation::Create, from, names).await {
            let CallError::Unclear(failure) = error else { return Err(error) };
            tracing::warn!(
                instance = %self.instance.id, resource = resource.name, call = failure.place(),
                why = failure.sentence,
                "what became of the create is not known: looking for what it may have made"
            );
            let state = self.memory.read().await?.resource(&resource.name);
            if is_made(resource, &state) {
                return Err(CallError::Unclear(failure));
            }
            match self.take_if_made(resource, &state, names).await {
                Ok(true) => {}
                Ok(false) => return Err(CallError::Unclear(failure)),
                Err(error) => {
                    // What went wrong first is what a person has to know.
                    tracing::warn!(
                        instance = %self.instance.id, resource = resource.name, why = %Error::from(error),
                        "it could not be looked for"
                    );
                    return Err(CallError::Unclear(failure));
                }
            }
            let next = state.pending.map_or(0, |pending| pending.done) + 1;
            self.perform(resource, Operation::Create, next, names).await?;
        }
        let now = self.clock.now().as_second();
        self.finish(resource, Some(desired), |state| {
            state.origin = Some(Origin::Created);
            state.existed = true;
            state.mended = None;
            state.renewed_seconds = Some(now);
            if let Some(old) = &mut state.old {
                old.since_seconds.get_or_insert(now);
            }
        })
        .await
    }

    /// A create that was interrupted goes on: at the step after the last one that is done, unless `find` shows
    /// that one more was.
    pub(super) async fn resume_create(
        &self,
        resource: &Resource,
        state: &ResourceState,
        names: &Names,
        desired: &Desired<'_>,
    ) -> Result<(), CallError> {
        if is_made(resource, state) {
            let done = state.pending.map_or(0, |pending| pending.done);
            return self.create(resource, done, names, desired).await;
        }
        if resource.find.is_none() {
            let text = format!("whether {} was made is not known, and the spec has no `find`", resource.name);
            let help = "look for it at the vendor and delete it there, run `forebay destroy`, and begin anew";
            return Err(Error::new(Kind::Refused, text).help(help).into());
        }
        if !self.take_if_made(resource, state, names).await? && self.is_fresh(state.pending) {
            let text = format!("a create of {} may still be under way at the vendor", resource.name);
            return Err(Error::new(Kind::Passing, text).into());
        }
        let state = self.memory.read().await?.resource(&resource.name);
        self.create(resource, state.pending.map_or(0, |pending| pending.done), names, desired).await
    }

    /// Returns the step of `create` that was refused, if it carried values over from the one before (`carrying`) that it
    /// would not have without them (`bare`), and the refusal may be about a value.
    pub(super) async fn refused_for_carried(
        &self,
        resource: &Resource,
        failure: &Failure,
        (carrying, bare): (&Names, &Names),
    ) -> Result<Option<usize>> {
        let about_access = |status: StatusCode| matches!(status.as_u16(), 401 | 403 | 404 | 407 | 409 | 410);
        let Some(status) = failure.status else { return Ok(None) };
        if about_access(status) || status.is_redirection() {
            return Ok(None);
        }
        let document = self.memory.read().await?;
        let pending =
            document.resource(&resource.name).pending.filter(|pending| pending.is(Operation::Create));
        let step = pending.map_or(0, |pending| pending.done);
        let Some(call) = resource.create.get(step).and_then(|step| step.call.as_ref()) else {
            return Ok(None);
        };
        let sent = |names: &Names| {
            let draft = draft(call, &names.with("state", &document.names()).real)?;
            Ok::<_, Error>((draft.url, draft.headers, draft.body))
        };
        Ok(match (sent(carrying), sent(bare)) {
            (Ok(carried), Ok(bare)) if carried != bare => Some(step),
            (Ok(_), _) | (Err(_), _) => None,
        })
    }

    /// Whether an operation was begun so lately that what it does may not be seen yet.
    fn is_fresh(&self, pending: Option<Pending>) -> bool {
        let now = self.clock.now().as_second();
        pending.is_some_and(|pending| (0..UNSEEN_SECONDS).contains(&(now - pending.since_seconds)))
    }

    /// Whether `find` has the one that an unclear create may have made; it is ours then, and that step is done.
    /// One whose answer is lost together with values that only the answer had is set aside to be removed.
    async fn take_if_made(
        &self,
        resource: &Resource,
        state: &ResourceState,
        names: &Names,
    ) -> Result<bool, CallError> {
        let Seen::Stranger { saved, .. } = self.find(resource, state, names).await? else {
            return Ok(false);
        };
        let done = state.pending.map_or(0, |pending| pending.done);
        let call = resource.create.get(done).and_then(|step| step.call.as_ref());
        let lost = call.is_some_and(|call| call.save.iter().any(|(name, _)| !saved.contains_key(name)));
        self.change(&resource.name, |state| {
            if lost {
                let mut saved = saved.clone();
                saved.extend(state.take_captured());
                state.old = Some(Old { saved, ..Old::default() });
                state.saved.clear();
                state.pending = None;
                return;
            }
            state.learn(&saved, self.clock.now());
            if let Some(pending) = &mut state.pending {
                pending.done = done + 1;
            }
        })
        .await?;
        Ok(!lost)
    }

    /// The create under way surely made nothing: what is found from now on is somebody else's.
    pub(super) async fn forget_unmade(&self, resource: &Resource) -> Result<()> {
        self.change(&resource.name, |state| {
            state.pending =
                state.pending.filter(|pending| !pending.is(Operation::Create) || pending.done > 0);
        })
        .await?;
        Ok(())
    }

    /// Somebody ran `destroy` while a create was on its way: what it made is known to nobody but us.
    pub(super) async fn undo_if_destroyed(
        &self,
        resource: &Resource,
        saved: &Map<String, Json>,
        names: &Names,
    ) -> Result<(), CallError> {
        if !saved.is_empty() && Some(self.memory.read().await?.destroyed) != self.began() {
            self.delete(resource, Doomed::Unkept(saved), names).await?;
        }
        Ok(())
    }
}

/// Whether a create got as far as the values that tell one from another.
fn is_made(resource: &Resource, state: &ResourceState) -> bool {
    match &resource.find {
        Some(find) => {
            !find.save.is_empty() && find.save.iter().all(|(name, _)| state.saved.contains_key(name))
        }
        None => state.pending.is_some_and(|pending| pending.done > 0),
    }
}
