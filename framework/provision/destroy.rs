//! The end of a stream at the vendor: what this instance made is removed, and nothing else.
//!
//! `forebay destroy` and the simulation call it. It says so in the state first, so that a `run` beside it stops
//! provisioning instead of making everything anew.

use serde_json::{Map, Value as Json};

use super::act::Removed;
use super::look::Seen;
use super::provisioner::{Moment, Provisioner};
use super::report::{Report, What};
use super::state::{Operation, Origin, Pending};
use crate::call::failure::CallError;
use crate::connector::model::Resource;
use crate::error::Result;

impl Provisioner {
    /// Removes what this instance created, last made first; what it adopted too, where that is wanted. What
    /// is gone already is done. What is removed is forgotten; generated secrets are kept.
    pub async fn destroy(&self, adopted: bool) -> Result<Report> {
        let _turn = self.turn.lock().await;
        let document = self
            .memory
            .change(|document| {
                // A second `destroy` finds nothing to say it again for.
                if !document.resources.is_empty() {
                    document.destroyed += 1;
                }
                document.refusal = None;
                Ok(())
            })
            .await?;
        self.begin_at(document.destroyed);
        let mut report = Report::default();
        let Some(provision) = &self.instance.connector.provision else { return Ok(report) };
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

    async fn end(&self, resource: &Resource, adopted: bool, report: &mut Report) -> Result<(), CallError> {
        let mut moment = self.moment(resource).await?;
        // A create of which it is not known what became of it may have made one: ours, by what `find` says.
        if let Some(Pending { operation: Operation::Create, .. }) = moment.state.pending {
            if moment.state.saved.is_empty()
                && let Seen::Stranger { saved, .. } =
                    self.find(resource, &moment.state, &moment.names).await?
            {
                moment.state.saved = saved;
            }
            moment.state.origin = (!moment.state.saved.is_empty()).then_some(Origin::Created);
        }
        if let Some(old) = &moment.state.old {
            self.delete(resource, old, &moment.names).await?;
        }
        match moment.state.origin {
            None => {}
            Some(Origin::Adopted) if !adopted => {
                let why = "it was there before this instance; --adopted removes it too".to_owned();
                self.did(report, resource, What::LeftAlone, why);
                self.change(&resource.name, |state| state.old = None).await?;
                return Ok(());
            }
            Some(Origin::Adopted | Origin::Created) => {
                let (what, why) = self.remove(resource, &moment.state.saved, &moment).await?;
                self.did(report, resource, what, why);
            }
        }
        self.forget(resource).await?;
        Ok(())
    }

    async fn remove(
        &self,
        resource: &Resource,
        saved: &Map<String, Json>,
        moment: &Moment<'_>,
    ) -> Result<(What, String), CallError> {
        if resource.delete.is_empty() {
            return Ok((What::LeftAlone, "the spec has no delete: remove it at the vendor".to_owned()));
        }
        let current = moment.state.current.clone().unwrap_or_default();
        Ok(match self.delete(resource, saved, &moment.names.with("current", &current)).await? {
            Removed::Now => (What::Deleted, String::new()),
            Removed::Already => (What::AlreadyGone, String::new()),
        })
    }

    async fn forget(&self, resource: &Resource) -> Result<()> {
        self.memory
            .change(|document| {
                document.resources.remove(&resource.name);
                Ok(())
            })
            .await?;
        Ok(())
    }
}
