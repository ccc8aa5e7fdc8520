//! The life of a stream at the vendor: found, adopted, made, kept, mended, made again.
//!
//! `run` calls [`Provisioner::reconcile`] when it starts and `keep` on the schedule; `plan` tells what this
//! would do, by the same looking and judging. What this instance did not make or adopt is never touched.

use serde_json::{Map, Value as Json, json};

use super::captures::untold;
use super::decide::{Health, Mend, health, judge};
use super::drift::{self, Difference};
use super::look::{Seen, not_gone};
use super::names::{Names, resume_from};
use super::provisioner::{Moment, Provisioner, provisioned};
use super::report::{Deed, Report, What};
use super::state::{Mended, Operation, Origin, Pending, ResourceState};
use super::witness::Pass;
use crate::call::failure::CallError;
use crate::connector::model::Resource;
use crate::error::Result;

/// How often a resource is begun anew in one pass, when an operation finds it gone.
const ROUNDS: usize = 3;

impl Provisioner {
    /// Brings every resource to what the spec desires, once, in order. Nothing is written at the vendor where
    /// nothing differs. Errors: `Refused` (trying again will not help), `Passing`, `Configuration`, `Io`.
    pub async fn reconcile(&self) -> Result<Report> {
        let _turn = self.turn.lock().await;
        self.begins(Pass::Reconcile);
        let outcome = self.pass().await;
        if let Err(error) = &outcome {
            self.fails(error);
        }
        self.ended(Pass::Reconcile, outcome)
    }

    async fn pass(&self) -> Result<Report> {
        let mut report = Report::default();
        let document = self.memory.read().await?;
        match self.began() {
            None => self.begin_at(document.destroyed),
            Some(began) if began == document.destroyed => {}
            Some(_) => return Ok(self.stopped(report)),
        }
        let Some(provision) = provisioned(&self.instance)? else { return Ok(report) };
        for resource in provision.resources.iter().rev() {
            if let Err(error) = self.leave(resource, &mut report).await {
                return self.failed(report, provision, error).await;
            }
        }
        for resource in &provision.resources {
            if !resource.is_wanted(&self.instance)? {
                continue;
            }
            if let Err(error) = self.live(resource, &mut report).await {
                return self.failed(report, provision, error).await;
            }
        }
        let unwell = report.deeds.iter().find(|deed| deed.what == What::LeftAlone).map(Deed::to_string);
        self.succeeded(unwell, !report.unhealthy.is_empty()).await?;
        Ok(report)
    }

    /// What the settings do not want any more is removed where this instance made it, and forgotten.
    async fn leave(&self, resource: &Resource, report: &mut Report) -> Result<(), CallError> {
        if resource.is_wanted(&self.instance)?
            || !self.memory.read().await?.resources.contains_key(&resource.name)
        {
            return Ok(());
        }
        self.end(resource, false, report).await?;
        Ok(self.forget(resource).await?)
    }

    /// The life of one resource, once through. An operation may find that it is gone
    /// since it was looked at: then from the start.
    async fn live(&self, resource: &Resource, report: &mut Report) -> Result<(), CallError> {
        let mut rounds = 1;
        loop {
            match self.round(resource, report).await {
                Err(CallError::Gone(_)) if rounds < ROUNDS => {
                    self.set_gone(resource).await?;
                    rounds += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn round(&self, resource: &Resource, report: &mut Report) -> Result<(), CallError> {
        let moment = self.moment(resource).await?;
        // 1. A create that was interrupted goes on: until it is known what it made, nothing else can be said.
        if moment.state.pending.is_some_and(|pending| pending.is(Operation::Create)) {
            return self.make(resource, moment, report).await;
        }
        // 2. What was to be replaced goes, now that the new one is there; so does what was said to be gone.
        if moment.state.origin.is_some() {
            self.retire_old(resource).await?;
            self.retire_gone(resource).await?;
        }
        // 3. Look: by the id in state, else by `find`.
        match self.look(resource, &moment.state, &moment.names).await? {
            Seen::Ours { current, saved } => {
                self.remember(resource, &current, saved).await?;
                self.tend(resource, &current, report).await
            }
            // 4. Gone: it may be listed all the same, or somebody made one by hand, else it is made again.
            Seen::Gone => {
                self.set_gone(resource).await?;
                let moment = self.moment(resource).await?;
                let seen = self.search(resource, &moment.state, &moment.names).await?;
                self.begin(resource, seen, moment, report).await
            }
            seen => self.begin(resource, seen, moment, report).await,
        }
    }

    /// There is none that we know: one comes back, is taken over, or made.
    async fn begin(
        &self,
        resource: &Resource,
        seen: Seen,
        moment: Moment<'_>,
        report: &mut Report,
    ) -> Result<(), CallError> {
        match seen {
            Seen::Back { current } => self.come_back(resource, &current, report).await,
            Seen::Stranger { current, saved } => {
                self.adopt(resource, &current, saved, report).await?;
                self.retire_gone(resource).await
            }
            Seen::Ours { .. } | Seen::Gone | Seen::Nothing => self.make(resource, moment, report).await,
        }
    }

    /// What is there is judged, mended and made healthy; or nothing is done, and nothing written.
    pub(super) async fn tend(
        &self,
        resource: &Resource,
        current: &Json,
        report: &mut Report,
    ) -> Result<(), CallError> {
        let moment = self.moment(resource).await?;
        let names = moment.names.with("current", current);
        // 5. An operation that was interrupted goes on at the step after the last one that is done.
        match moment.state.pending {
            Some(Pending { operation: Operation::Adopt, done, .. }) => {
                return self.settle_in(resource, done, moment, current, report).await;
            }
            Some(Pending { operation: Operation::Update, done, .. }) if done > 0 => {
                self.update(resource, done, &names, (&moment.desired, None)).await?;
                self.did(report, resource, What::Updated, "what was begun is finished".to_owned());
                return Ok(());
            }
            Some(Pending { operation: Operation::Repair, done, .. }) if done > 0 => {
                self.repair(resource, done, &names).await?;
                self.did(report, resource, What::Repaired, "what was begun is finished".to_owned());
                return Ok(());
            }
            Some(Pending { operation: Operation::Renew, done, .. }) if done > 0 => {
                self.prolong(resource, done, &names).await?;
                self.did(report, resource, What::Renewed, "what was begun is finished".to_owned());
                return Ok(());
            }
            Some(_) | None => {}
        }
        let (now, state) = (self.clock.now(), &moment.state);
        let verdict = judge(resource, state, &moment.desired, current, &names, (&moment.key, now))?;
        // 6. Drift is mended: by `update`, or by a new one where no update can.
        match verdict.mend {
            Mend::Nothing => self.forget_mended(resource, state).await?,
            Mend::Leave(why) => {
                let why = format!("{} differs, but {why}", places(&verdict.differences));
                self.did(report, resource, What::LeftAlone, why);
            }
            Mend::Update => {
                let desired = (&moment.desired, Some(verdict.drift.as_str()));
                self.update(resource, 0, &names, desired).await?;
                self.did(
                    report,
                    resource,
                    What::Updated,
                    format!("{} differed", places(&verdict.differences)),
                );
            }
            Mend::Replace => {
                self.set_aside(resource, None).await?;
                self.make(resource, self.moment(resource).await?, report).await?;
                // A new one that differs as the old one did is not replaced again at every look.
                let mended = Some(Mended { drift: verdict.drift.clone(), at_seconds: now.as_second() });
                self.change(&resource.name, |state| state.mended.clone_from(&mended)).await?;
                return Ok(());
            }
        }
        // 7. What is not well is repaired, unless the spec's `when` says that somebody wanted it so.
        self.heal(resource, verdict.health, &names, report).await?;
        // 8. What would run out is renewed in time.
        self.renew(resource, current, report).await?;
        if report.of(&resource.name).next().is_none() {
            self.did(report, resource, What::Kept, String::new());
        }
        Ok(())
    }

    /// Takes over one that was there.
    async fn adopt(
        &self,
        resource: &Resource,
        current: &Json,
        saved: Map<String, Json>,
        report: &mut Report,
    ) -> Result<(), CallError> {
        let since_seconds = self.clock.now().as_second();
        self.change(&resource.name, |state| {
            state.origin = Some(Origin::Adopted);
            state.existed = true;
            state.saved.clear();
            state.lifetime = None;
            state.learn(&saved, self.clock.now());
            state.renewed_seconds = Some(since_seconds);
            state.applied.clear();
            state.pending = Some(Pending { operation: Operation::Adopt, done: 0, since_seconds });
        })
        .await?;
        self.remember(resource, current, Map::new()).await?;
        let moment = self.moment(resource).await?;
        self.settle_in(resource, 0, moment, current, report).await
    }

    /// The rest of an adoption: its own steps, then one update, so that what cannot be seen is ours too.
    async fn settle_in(
        &self,
        resource: &Resource,
        from: usize,
        moment: Moment<'_>,
        current: &Json,
        report: &mut Report,
    ) -> Result<(), CallError> {
        let names = moment.names.with("current", current);
        self.perform(resource, Operation::Adopt, from, &names).await?;
        self.complete(resource, &names).await?;
        let state = self.memory.read().await?.resource(&resource.name);
        // What only `create` can save, and what the vendor tells only while it is open, is lost with who made it:
        // a new one is made.
        let lost = resource.created_names().any(|name| !state.saved.contains_key(name))
            || untold(&self.instance.connector, resource, &state);
        if !resource.create.is_empty() && lost {
            self.set_aside(resource, None).await?;
            return self.make(resource, self.moment(resource).await?, report).await;
        }
        if resource.update.is_empty() {
            self.change(&resource.name, |state| state.pending = None).await?;
        } else {
            self.update(resource, 0, &names, (&moment.desired, None)).await?;
        }
        self.did(report, resource, What::Adopted, "it was there already".to_owned());
        if resource.update.is_empty() {
            return Box::pin(self.tend(resource, current, report)).await;
        }
        // Its health is looked at as it was found, but for what the update put right.
        let moment = self.moment(resource).await?;
        let current = drift::mended(&moment.desired, current);
        let names = moment.names.with("current", &current);
        self.heal(resource, health(resource, &current, &names)?, &names, report).await
    }

    /// What `find` does not show of one that was there, a look at it may.
    async fn complete(&self, resource: &Resource, names: &Names) -> Result<(), CallError> {
        let Some(check) = &resource.check else { return Ok(()) };
        let document = self.memory.read().await?;
        let state = document.resource(&resource.name);
        if check.call.save.iter().all(|(name, _)| state.saved.contains_key(name)) {
            return Ok(());
        }
        let names = names.with("state", &document.names());
        if let Seen::Ours { saved, .. } = self.look(resource, &state, &names).await? {
            self.change(&resource.name, |state| state.learn(&saved, self.clock.now())).await?;
        }
        Ok(())
    }

    async fn heal(
        &self,
        resource: &Resource,
        health: Health,
        names: &Names,
        report: &mut Report,
    ) -> Result<(), CallError> {
        match health {
            Health::Well => {}
            Health::Repair => {
                self.repair(resource, 0, names).await?;
                self.did(report, resource, What::Repaired, "it was not healthy".to_owned());
            }
            Health::Leave(why) => {
                report.unhealthy.push(resource.name.clone());
                self.did(report, resource, What::LeftAlone, format!("it is not healthy, and {why}"));
            }
        }
        Ok(())
    }

    /// Makes one, or finishes making it. The old one, where there is one, goes afterwards, or before where the
    /// vendor does not take two (409).
    pub(super) async fn make(
        &self,
        resource: &Resource,
        moment: Moment<'_>,
        report: &mut Report,
    ) -> Result<(), CallError> {
        let state = &moment.state;
        let last = state.current.clone().unwrap_or_else(|| json!({}));
        let latest = self.memory.latest_event_time().await?;
        let from = resume_from(state, latest, self.clock.now());
        let mut names = moment.names.with("current", &last).resuming(&self.instance, from);
        let mut made = if state.pending.is_some_and(|pending| pending.is(Operation::Create)) {
            self.resume_create(resource, state, &names, &moment.desired).await
        } else {
            self.create(resource, 0, &names, &moment.desired).await
        };
        // What a person had set on the one before is not worth a stream: without it, if that is what is refused.
        let mut carried = String::new();
        if let Err(CallError::Refused(failure)) = &made {
            let bare = names.with("current", &json!({}));
            if let Some(done) = self.refused_for_carried(resource, failure, (&names, &bare)).await? {
                carried = format!(
                    ", without what was carried over from the one before, which the vendor refused: {}",
                    failure.sentence
                );
                tracing::warn!(
                    instance = %self.instance.id, resource = resource.name, why = failure.sentence,
                    "the vendor refused the values that were carried over from the one before: creating it without them"
                );
                made = self.create(resource, done, &bare, &moment.desired).await;
                names = bare;
            }
        }
        let after = self.moment(resource).await?;
        let replaced = after.state.old.as_ref().map(|old| old.overlap_seconds.is_some());
        match made {
            Err(CallError::Refused(failure))
                if replaced.is_some() && failure.status == Some(http::StatusCode::CONFLICT) =>
            {
                self.remove_old(resource, after).await?;
                self.create(resource, 0, &names, &moment.desired).await.map_err(not_gone)?;
            }
            made => {
                made.map_err(not_gone)?;
                self.retire_old(resource).await?;
            }
        }
        self.retire_gone(resource).await?;
        let (what, why) = match (replaced, state.existed, from) {
            (Some(true), ..) => (What::Renewed, "a new one takes its place".to_owned()),
            (Some(false), ..) => (What::Replaced, "no update could change what differed".to_owned()),
            (None, true, Some(from)) => (What::Recreated, format!("it was gone; events from {from} on")),
            (None, true, None) => (What::Recreated, "it was gone".to_owned()),
            (None, false, _) => (What::Created, "there was none".to_owned()),
        };
        self.did(report, resource, what, why + &carried);
        Ok(())
    }

    async fn forget_mended(&self, resource: &Resource, state: &ResourceState) -> Result<()> {
        if state.mended.is_some() || state.pending.is_some() {
            self.change(&resource.name, |state| {
                state.mended = None;
                state.pending = None;
            })
            .await?;
        }
        Ok(())
    }
}

fn places(differences: &[Difference]) -> String {
    let shown: Vec<String> = differences.iter().take(5).map(|d| d.place.to_string()).collect();
    match differences.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
