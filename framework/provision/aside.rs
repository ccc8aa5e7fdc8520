//! What is not the present one any more, and is not forgotten yet: the one that is being replaced (`old`), and the
//! one that the vendor says is gone (`gone`).
//!
//! `life` and `destroy` call it. A vendor may be wrong, or its parts not agree yet: until another stands in its
//! place, what is said to be gone comes back as it was when `find` lists it, and `destroy` tries to remove it.
//! It is asked to go once, and never where that would hit the one that took its place.

use std::time::Duration;

use http::Method;
use serde_json::{Map, Value as Json};

use super::act::{Doomed, Removed};
use super::look::Seen;
use super::names::Names;
use super::provisioner::{Moment, Provisioner};
use super::renew::seconds;
use super::report::{Report, What};
use super::state::{Document, Old, Operation, Origin, Pending, ResourceState};
use crate::call::failure::CallError;
use crate::call::render::draft;
use crate::connector::model::Resource;
use crate::error::{Error, Kind, Result};

impl Provisioner {
    /// The one that is there is to be replaced; one that only runs out stays so long beside the new one.
    pub(super) async fn set_aside(&self, resource: &Resource, overlap: Option<Duration>) -> Result<()> {
        self.change(&resource.name, |state| {
            let mut saved = std::mem::take(&mut state.saved);
            saved.extend(state.take_captured());
            state.old = Some(Old { saved, overlap_seconds: overlap.map(seconds), ..Old::default() });
            state.lifetime = None;
            state.origin = None;
            state.pending = None;
            state.applied.clear();
        })
        .await?;
        Ok(())
    }

    /// The one that was replaced goes, once its overlap is over.
    pub(super) async fn retire_old(&self, resource: &Resource) -> Result<(), CallError> {
        let moment = self.moment(resource).await?;
        match &moment.state.old {
            Some(old) if self.may_go(old) => self.remove_old(resource, moment).await,
            Some(_) | None => Ok(()),
        }
    }

    pub(super) async fn remove_old(&self, resource: &Resource, moment: Moment<'_>) -> Result<(), CallError> {
        let Some(old) = &moment.state.old else { return Ok(()) };
        self.delete(resource, Doomed::Old(old), &moment.names).await?;
        self.change(&resource.name, |state| state.old = None).await?;
        Ok(())
    }

    /// The vendor says that the one we knew is gone. All that was known of it is kept beside the next one, unless
    /// it is past its own end. Of a singleton there always is one, and nothing to keep.
    pub(super) async fn set_gone(&self, resource: &Resource) -> Result<()> {
        let now = self.clock.now();
        self.change(&resource.name, |state| {
            let next = ResourceState {
                old: state.old.take(),
                gone: state.gone.take(),
                existed: state.existed,
                current: state.current.clone(),
                ..ResourceState::default()
            };
            let gone = std::mem::replace(state, next);
            let over = gone.expires().is_some_and(|end| end <= now);
            if gone.origin.is_some() && !over && !resource.singleton {
                state.gone = Some(Box::new(gone));
            }
        })
        .await?;
        Ok(())
    }

    /// What was said to be gone is listed: it is what it was to us, unless a second look says again that it is gone.
    pub(super) async fn come_back(
        &self,
        resource: &Resource,
        current: &Json,
        report: &mut Report,
    ) -> Result<(), CallError> {
        self.change(&resource.name, |state| {
            if let Some(gone) = state.gone.take() {
                let old = state.old.take();
                *state = ResourceState { old, ..*gone };
            }
        })
        .await?;
        tracing::warn!(
            instance = %self.instance.id, resource = resource.name,
            "the vendor said that it is gone, and lists it: it is still ours"
        );
        if resource.check.is_none() {
            return self.tend(resource, current, report).await;
        }
        let moment = self.moment(resource).await?;
        match self.look(resource, &moment.state, &moment.names).await? {
            Seen::Ours { current, saved } => {
                self.remember(resource, &current, saved).await?;
                self.tend(resource, &current, report).await
            }
            Seen::Gone | Seen::Back { .. } | Seen::Stranger { .. } | Seen::Nothing => {
                let text = format!("`check` of {} says that it is gone, and `find` lists it", resource.name);
                let help = "it is looked at again; where that stays so, `where` of the spec has to leave out what is deleted";
                Err(Error::new(Kind::Passing, text).help(help).into())
            }
        }
    }

    /// Another stands in the place of what was said to be gone, which is asked to go once. Whether it does is not
    /// what counts for the new one; where it does not, `destroy` tries once more.
    pub(super) async fn retire_gone(&self, resource: &Resource) -> Result<(), CallError> {
        let document = self.memory.read().await?;
        let state = document.resource(&resource.name);
        let Some(gone) = &state.gone else { return Ok(()) };
        if gone.is_being_removed() {
            return Ok(());
        }
        let names = self.moment_of(resource, &document)?.names.with("current", &current(gone));
        let meets = meets(resource, &document, gone, &names);
        if gone.origin != Some(Origin::Created) || meets == Meets::Always {
            self.change(&resource.name, |state| state.gone = None).await?;
            return Ok(());
        }
        let since_seconds = self.clock.now().as_second();
        let pending = Pending { operation: Operation::Delete, done: 0, since_seconds };
        self.change(&resource.name, |state| {
            if let Some(gone) = &mut state.gone {
                gone.pending = Some(pending);
            }
        })
        .await?;
        if meets == Meets::Partly {
            return Ok(());
        }
        match self.delete(resource, Doomed::Gone(gone), &names).await {
            Ok(_) => {
                self.change(&resource.name, |state| state.gone = None).await?;
            }
            Err(error) => tracing::warn!(
                instance = %self.instance.id, resource = resource.name, error = %Error::from(error),
                "what the vendor said is gone could not be removed; `forebay destroy` tries it again"
            ),
        }
        Ok(())
    }

    /// The end of what was said to be gone, after that of the present one. What the vendor refuses to remove is
    /// gone by its own words.
    pub(super) async fn end_gone(
        &self,
        resource: &Resource,
        (document, left): (&Document, bool),
        adopted: bool,
        names: &Names,
        report: &mut Report,
    ) -> Result<(), CallError> {
        let state = document.resource(&resource.name);
        let Some(gone) = &state.gone else { return Ok(()) };
        let names = names.with("current", &current(gone));
        let is_others = gone.origin == Some(Origin::Adopted) && !adopted;
        if resource.delete.is_empty()
            || is_others
            || left && meets(resource, document, gone, &names) != Meets::Never
        {
            return Ok(());
        }
        let why = "the vendor had said that it is gone";
        match self.delete(resource, Doomed::Gone(gone), &names).await {
            Ok(Removed::Now) => self.did(report, resource, What::Deleted, why.to_owned()),
            Ok(Removed::Already) if report.of(&resource.name).next().is_none() => {
                self.did(report, resource, What::AlreadyGone, String::new());
            }
            Ok(Removed::Already) => {}
            Err(error) if may_pass(&error) => return Err(error),
            Err(error) => {
                let why = format!("{why}, and it cannot be removed: {}", Error::from(error));
                self.did(report, resource, What::LeftAlone, why);
            }
        }
        Ok(())
    }
}

impl ResourceState {
    /// All that calls and requests told of it.
    pub(super) fn known(&self) -> Map<String, Json> {
        let mut known = self.saved.clone();
        let captured = self.captured.iter();
        known.extend(captured.map(|(name, capture)| (name.clone(), capture.value.clone())));
        known
    }
}

fn current(gone: &ResourceState) -> Json {
    gone.current.clone().unwrap_or_default()
}

/// Whether the same call may succeed another time: it is not the vendor's word.
fn may_pass(error: &CallError) -> bool {
    match error {
        CallError::Passing(_) | CallError::Unclear(_) => true,
        CallError::Render(error) => matches!(error.kind, Kind::Passing | Kind::Io),
        CallError::Gone(_) | CallError::Refused(_) | CallError::Unreadable(_) => false,
    }
}

/// Whether removing the one that is gone would remove the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meets {
    /// Every call is the same for both: the new one is the old one, by all that a call can tell.
    Always,
    /// Some call is: it names neither.
    Partly,
    /// No call is.
    Never,
}

/// How the calls that remove the one meet those that remove the other. What cannot be rendered is not told apart.
fn meets(resource: &Resource, document: &Document, gone: &ResourceState, names: &Names) -> Meets {
    let mut before = document.names();
    before[&resource.name] = Json::Object(gone.known());
    let (before, now) = (names.with("state", &before), names.with("state", &document.names()));
    let calls: Vec<_> = resource.delete.iter().filter_map(|step| step.call.as_ref()).collect();
    let same = calls.iter().filter(|call| {
        let target = |names: &Names| -> Result<(Method, String, String)> {
            let draft = draft(call, &names.real)?;
            Ok((draft.method, draft.url, draft.body))
        };
        match (target(&before), target(&now)) {
            (Ok(before), Ok(now)) => before == now,
            (Err(_), _) | (_, Err(_)) => true,
        }
    });
    match same.count() {
        0 => Meets::Never,
        some if some < calls.len() => Meets::Partly,
        _ => Meets::Always,
    }
}
