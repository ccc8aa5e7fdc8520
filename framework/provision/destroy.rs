//! The end of a stream at the vendor: what this instance made is removed, and nothing else.
//!
//! `forebay destroy` and the simulation call it. It says so in the state first, so that a `run` beside it stops
//! provisioning instead of making everything anew.

use super::act::{Doomed, Removed};
use super::look::Seen;
use super::names::Names;
use super::provisioner::Provisioner;
use super::report::{Report, What};
use super::secrets;
use super::state::{Operation, Origin, ResourceState};
use super::witness::Pass;
use crate::call::failure::CallError;
use crate::connector::model::Resource;
use crate::error::Result;

impl Provisioner {
    /// Removes what this instance created, last made first; what it adopted too, where that is wanted. What
    /// is gone already is done. What is removed is forgotten; generated secrets are kept.
    pub async fn destroy(&self, adopted: bool) -> Result<Report> {
        let _turn = self.turn.lock().await;
        self.begins(Pass::Destroy);
        let outcome = self.removal(adopted).await;
        self.ended(Pass::Destroy, outcome)
    }

    async fn removal(&self, adopted: bool) -> Result<Report> {
        let document = self
            .memory
            .change(|document| {
                // A second `destroy` finds nothing to say it again for.
                if !document.resources.is_empty() {
                    document.destroyed += 1;
                }
                (document.refusal, document.captures) = (None, None);
                Ok(())
            })
            .await?;
        self.begin_at(document.destroyed);
        secrets::recall(&self.instance, &document);
        let mut report = Report::default();
        let Some(provision) = &self.instance.connector.provision else {
            self.forget_captures().await?;
            return Ok(report);
        };
        for resource in provision.resources.iter().rev() {
            if !document.resources.contains_key(&resource.name) {
                continue;
            }
            if let Err(error) = self.end(resource, adopted, &mut report).await {
                return self.failed(report, provision, error).await;
            }
        }
        Ok(report)
    }

    pub(super) async fn end(
        &self,
        resource: &Resource,
        adopted: bool,
        report: &mut Report,
    ) -> Result<(), CallError> {
        let document = self.memory.read().await?;
        // Without `desired`: what is removed need not be rendered, and may lack what it would take.
        let names = Names::of(&self.instance, &document, self.clock.now());
        let mut state = document.resource(&resource.name);
        let names = names.with("current", &state.current.clone().unwrap_or_default());
        if state.pending.is_some_and(|pending| pending.is(Operation::Create)) {
            self.settle_create(resource, &mut state, &names).await?;
        }
        if let Some(old) = &state.old {
            self.delete(resource, Doomed::Old(old), &names).await?;
        }
        let left = self.end_own(resource, &state, adopted, &names, report).await?;
        self.end_gone(resource, (&document, left), adopted, &names, report).await?;
        if left {
            self.change(&resource.name, |state| (state.old, state.gone) = (None, None)).await?;
            return Ok(());
        }
        Ok(self.forget(resource).await?)
    }

    /// The end of the present one; whether it is left there as what it is to us.
    async fn end_own(
        &self,
        resource: &Resource,
        state: &ResourceState,
        adopted: bool,
        names: &Names,
        report: &mut Report,
    ) -> Result<bool, CallError> {
        match state.origin {
            // There always is one of a singleton; the spec says whether it is to be reset.
            None if resource.singleton && !resource.delete.is_empty() => {
                let what = self.remove(resource, state, names).await?;
                self.did(report, resource, what, String::new());
            }
            None => {}
            Some(Origin::Adopted) if !adopted => {
                let why = "it was there before this instance; --adopted removes it too".to_owned();
                self.did(report, resource, What::LeftAlone, why);
                return Ok(true);
            }
            Some(Origin::Adopted | Origin::Created) if resource.delete.is_empty() => {
                let why = "the spec has no delete: remove it at the vendor".to_owned();
                self.did(report, resource, What::LeftAlone, why);
            }
            Some(Origin::Adopted | Origin::Created) => {
                let what = self.remove(resource, state, names).await?;
                self.did(report, resource, what, String::new());
            }
        }
        Ok(false)
    }

    async fn remove(
        &self,
        resource: &Resource,
        state: &ResourceState,
        names: &Names,
    ) -> Result<What, CallError> {
        Ok(match self.delete(resource, Doomed::Own(state), names).await? {
            Removed::Now => What::Deleted,
            Removed::Already => What::AlreadyGone,
        })
    }

    /// A create of which it is not known what became of it may have made one: ours, by what `find` says.
    async fn settle_create(
        &self,
        resource: &Resource,
        state: &mut ResourceState,
        names: &Names,
    ) -> Result<(), CallError> {
        if state.saved.is_empty()
            && let Seen::Stranger { saved, .. } = self.find(resource, state, names).await?
        {
            state.saved = saved;
        }
        state.origin = (!state.saved.is_empty()).then_some(Origin::Created);
        Ok(())
    }

    /// Where a person looks after the vendor's side, what requests told us of it is all there is to forget.
    async fn forget_captures(&self) -> Result<()> {
        self.memory
            .change(|document| {
                document.resources.clear();
                Ok(())
            })
            .await?;
        Ok(())
    }

    pub(super) async fn forget(&self, resource: &Resource) -> Result<()> {
        self.memory
            .change(|document| {
                document.resources.remove(&resource.name);
                Ok(())
            })
            .await?;
        Ok(())
    }
}
