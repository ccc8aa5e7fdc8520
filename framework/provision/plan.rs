//! What provisioning would do and why, as data. Sends the token call and reads (`find`, `check`) alone, and
//! writes nothing anywhere. It looks and judges as `life` does; `cli` prints it.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::decide::{Health, Mend, judge};
use super::drift::Difference;
use super::look::Seen;
use super::names::{Names, resume_from, visible};
use super::provisioner::{Moment, Provisioner, provisioned};
use super::renew::due;
use super::report::What;
use super::scopes::{explained, scopes};
use super::secrets;
use super::state::{Document, Operation, Origin, ResourceState};
use crate::call::curl::curl;
use crate::call::failure::CallError;
use crate::call::mask::{MASK, Mask};
use crate::connector::model::{Provision, RenewWay, Resource};
use crate::connector::secret::Secret;
use crate::error::{Error, Result};

/// What provisioning would do. Safe to print: secrets are masked, the vendor's text is escaped where it is
/// printed.
#[derive(Debug)]
pub struct Plan {
    /// Each resource, in order; those after one that could not be looked at are missing.
    pub resources: Vec<Planned>,
    /// The permissions that the calls of the connector take.
    pub needed: Vec<String>,
    /// What the credentials permit; `None` where it cannot be told.
    pub held: Option<BTreeSet<String>>,
    /// Why the plan ends early.
    pub trouble: Option<Error>,
}

/// What would be done to one resource.
#[derive(Debug)]
pub struct Planned {
    /// Its name.
    pub resource: String,
    /// What people call it.
    pub title: String,
    /// What would be done, in order; never empty.
    pub deeds: Vec<PlannedDeed>,
    /// Where it differs from what is desired.
    pub differences: Vec<Difference>,
}

/// One thing that would be done.
#[derive(Debug)]
pub struct PlannedDeed {
    /// What.
    pub what: What,
    /// Why.
    pub why: String,
    /// The calls that would be made, as curl with secrets masked.
    pub calls: Vec<String>,
}

impl Plan {
    /// The permissions that are needed and not held; none where it cannot be told.
    pub fn missing(&self) -> Vec<&str> {
        let Some(held) = &self.held else { return Vec::new() };
        self.needed.iter().map(String::as_str).filter(|scope| !held.contains(*scope)).collect()
    }
}

impl Provisioner {
    /// Looks at everything, and says what `reconcile` would do. `None` in manual mode. Errors that keep it from
    /// looking stand in the plan.
    pub async fn plan(&self) -> Result<Option<Plan>> {
        let document = self.memory.read().await?;
        self.stand_in_for_generated(&document);
        let Some(provision) = provisioned(&self.instance)? else { return Ok(None) };
        let mut plan = Plan {
            resources: Vec::new(),
            needed: scopes(provision).into_iter().map(str::to_owned).collect(),
            held: None,
            trouble: None,
        };
        if let Err(error) = self.fill(provision, &document, &mut plan).await {
            plan.trouble = Some(explained(provision, error));
        }
        Ok(Some(plan))
    }

    async fn fill(
        &self,
        provision: &Provision,
        document: &Document,
        plan: &mut Plan,
    ) -> Result<(), CallError> {
        if let Some(call) = provision.resources.iter().flat_map(Resource::calls).next() {
            let names = Names::of(&self.instance, document, self.clock.now());
            plan.held = self.caller.token_scopes(&self.instance, call, &names.real).await?;
        }
        let state = with_placeholders(document.names(), provision);
        // What is not there yet has no values that others could be looked for by.
        let mut unmade = false;
        for resource in &provision.resources {
            if !resource.is_wanted(&self.instance)? {
                if document.resource(&resource.name).origin == Some(Origin::Created) {
                    let deed = self.plan_leaving(resource, document)?;
                    plan.resources.push(planned(resource, vec![deed], Vec::new()));
                }
                continue;
            }
            let planned = if unmade {
                self.unlooked(resource, document, &state)?
            } else {
                self.looked(resource, document, &state).await?
            };
            unmade |= planned.deeds.iter().any(|deed| deed.what.makes());
            plan.resources.push(planned);
        }
        Ok(())
    }

    /// One that the settings do not want any more.
    fn plan_leaving(&self, resource: &Resource, document: &Document) -> Result<PlannedDeed, CallError> {
        let names = Names::of(&self.instance, document, self.clock.now()).with("current", &json!({}));
        let why = "the settings do not want it any more".to_owned();
        self.deed(resource, What::Deleted, why, &[Operation::Delete], &names)
    }

    /// A resource that depends on one that is not there: it can only be made.
    fn unlooked(&self, resource: &Resource, document: &Document, state: &Json) -> Result<Planned, CallError> {
        let names = Names::of(&self.instance, document, self.clock.now()).with("state", state);
        let (names, _) = names.desiring(resource)?;
        let shown = names.with("current", &json!({}));
        let why = "after what stands before it in the spec is made".to_owned();
        let deed = self.deed(resource, What::Created, why, &[Operation::Create], &shown)?;
        Ok(planned(resource, vec![deed], Vec::new()))
    }

    async fn looked(
        &self,
        resource: &Resource,
        document: &Document,
        state: &Json,
    ) -> Result<Planned, CallError> {
        let moment = self.moment_of(resource, document)?;
        let begun = moment.state.pending.is_some_and(|pending| pending.is(Operation::Create));
        let mut seen = match begun {
            true => self.find(resource, &moment.state, &moment.names).await?,
            false => self.look(resource, &moment.state, &moment.names).await?,
        };
        let gone = matches!(seen, Seen::Gone);
        if gone {
            let gone = Some(Box::new(moment.state.clone()));
            let forgotten = ResourceState { gone, old: moment.state.old.clone(), ..ResourceState::default() };
            seen = self.search(resource, &forgotten, &moment.names).await?;
        }
        match seen {
            Seen::Stranger { .. } if begun => {
                let why = "its create was interrupted and made one: it is finished".to_owned();
                let deed = PlannedDeed { what: What::Created, why, calls: Vec::new() };
                Ok(planned(resource, vec![deed], Vec::new()))
            }
            Seen::Stranger { current, saved } => {
                self.plan_adoption(resource, &moment, &current, saved, state)
            }
            Seen::Ours { current, .. } => {
                let mut planned = self.plan_tending(resource, &moment, &current, state)?;
                planned.deeds.extend(self.plan_duplicates(resource, document).await);
                Ok(planned)
            }
            Seen::Back { .. } => {
                let why = "the vendor said that it is gone, and lists it: it is looked at again".to_owned();
                let deed = PlannedDeed { what: What::Kept, why, calls: Vec::new() };
                Ok(planned(resource, vec![deed], Vec::new()))
            }
            Seen::Gone | Seen::Nothing => self.plan_making(resource, &moment, gone, state).await,
        }
    }

    /// What else at the vendor matches `find` beside ours: it stays, and a person decides.
    async fn plan_duplicates(&self, resource: &Resource, document: &Document) -> Option<PlannedDeed> {
        match self.duplicates(resource, document).await {
            Ok(others) => {
                let others = others?;
                Some(left(format!(
                    "it is not ours, and matches `find` too: {others}; delete what is not in use"
                )))
            }
            Err(error) => {
                let error = Error::from(error);
                Some(left(format!("what else matches `find` cannot be listed: {error}")))
            }
        }
    }

    fn plan_tending(
        &self,
        resource: &Resource,
        moment: &Moment<'_>,
        current: &Json,
        state: &Json,
    ) -> Result<Planned, CallError> {
        let names = moment.names.with("current", current);
        let judged = (&moment.key, self.clock.now());
        let verdict = judge(resource, &moment.state, &moment.desired, current, &names, judged)?;
        let shown = self.shown(moment, current, state);
        let mut deeds = Vec::new();
        match verdict.mend {
            Mend::Nothing => {}
            Mend::Leave(why) => deeds.push(left(format!("it differs, but {why}"))),
            Mend::Update => {
                let why = "it differs from what is desired".to_owned();
                deeds.push(self.deed(resource, What::Updated, why, &[Operation::Update], &shown)?);
            }
            Mend::Replace => {
                let why = "it differs where no update can change it".to_owned();
                let operations = [Operation::Create, Operation::Delete];
                deeds.push(self.deed(resource, What::Replaced, why, &operations, &shown)?);
            }
        }
        match verdict.health {
            Health::Well => {}
            Health::Repair => {
                let why = "it is not healthy".to_owned();
                deeds.push(self.deed(resource, What::Repaired, why, &[Operation::Repair], &shown)?);
            }
            Health::Leave(why) => deeds.push(left(format!("it is not healthy, and {why}"))),
        }
        deeds.extend(self.plan_lifetime(resource, moment, verdict.mend, &shown)?);
        if deeds.is_empty() {
            let why = "it is as desired: nothing is written".to_owned();
            deeds.push(PlannedDeed { what: What::Kept, why, calls: Vec::new() });
        }
        Ok(planned(resource, deeds, self.hidden(verdict.differences)))
    }

    /// What is due because its time runs out, or the time of the one before it is over.
    fn plan_lifetime(
        &self,
        resource: &Resource,
        moment: &Moment<'_>,
        mend: Mend,
        shown: &Names,
    ) -> Result<Vec<PlannedDeed>, CallError> {
        let mut deeds = Vec::new();
        if moment.state.old.is_some() {
            let why = "the one before it, when the time beside the new one is over".to_owned();
            deeds.push(self.deed(resource, What::Deleted, why, &[Operation::Delete], shown)?);
        } else if let Some(renew) = &resource.renew
            && mend != Mend::Replace
            && due(renew, &moment.state, self.clock.now()).is_some_and(|due| due <= self.clock.now())
        {
            let operations: &[Operation] = match renew.way {
                RenewWay::Call(_) => &[Operation::Renew],
                RenewWay::Replace { .. } => &[Operation::Create, Operation::Delete],
            };
            let why = "its time is running out".to_owned();
            deeds.push(self.deed(resource, What::Renewed, why, operations, shown)?);
        }
        Ok(deeds)
    }

    fn plan_adoption(
        &self,
        resource: &Resource,
        moment: &Moment<'_>,
        current: &Json,
        saved: Map<String, Json>,
        state: &Json,
    ) -> Result<Planned, CallError> {
        let mut state = state.clone();
        if let Some(values) = state.get_mut(&resource.name).and_then(Json::as_object_mut) {
            values.extend(saved);
        }
        let names = moment.names.with("current", current);
        let judged = (&moment.key, self.clock.now());
        let verdict = judge(resource, &moment.state, &moment.desired, current, &names, judged)?;
        let shown = self.shown(moment, current, &state);
        let why = "it is there already and fits `find`: it is taken over, and updated once".to_owned();
        let operations = [Operation::Adopt, Operation::Update];
        let deed = self.deed(resource, What::Adopted, why, &operations, &shown)?;
        Ok(planned(resource, vec![deed], self.hidden(verdict.differences)))
    }

    async fn plan_making(
        &self,
        resource: &Resource,
        moment: &Moment<'_>,
        gone: bool,
        state: &Json,
    ) -> Result<Planned, CallError> {
        let last = moment.state.current.clone().unwrap_or_else(|| json!({}));
        let from = resume_from(&moment.state, self.memory.latest_event_time().await?, self.clock.now());
        let shown = self.shown(moment, &last, state).resuming(&self.instance, from);
        let (what, why) = match (gone || moment.state.existed, from) {
            (false, _) => (What::Created, "there is none".to_owned()),
            (true, None) => (What::Recreated, "it is gone".to_owned()),
            (true, Some(from)) => {
                (What::Recreated, format!("it is gone; the new one sends events from {from} on"))
            }
        };
        let deed = self.deed(resource, what, why, &[Operation::Create], &shown)?;
        Ok(planned(resource, vec![deed], Vec::new()))
    }

    /// The names that calls are shown with: no secret is among them, also none that the vendor showed us.
    fn shown(&self, moment: &Moment<'_>, current: &Json, state: &Json) -> Names {
        let current = hidden(current, &Mask::of(&self.instance));
        moment.names.with("current", &current).with("state", state)
    }

    fn hidden(&self, mut differences: Vec<Difference>) -> Vec<Difference> {
        let mask = Mask::of(&self.instance);
        for difference in &mut differences {
            difference.current = difference.current.as_ref().map(|value| hidden(value, &mask));
        }
        differences
    }

    fn deed(
        &self,
        resource: &Resource,
        what: What,
        why: String,
        operations: &[Operation],
        names: &Names,
    ) -> Result<PlannedDeed, CallError> {
        let mut calls = Vec::new();
        for step in operations.iter().flat_map(|operation| resource.steps(*operation)) {
            let Some(call) = &step.call else { continue };
            // A condition may want values that are there only then; the call is shown as one that may come.
            if step.when.as_ref().is_some_and(|when| matches!(when.holds(&names.shown), Ok(false))) {
                continue;
            }
            calls.push(curl(&self.instance.connector, call, &names.shown, MASK)?);
        }
        Ok(PlannedDeed { what, why, calls })
    }

    /// A secret that `run` would generate has no value yet: any stands for it, since none is shown or sent.
    fn stand_in_for_generated(&self, document: &Document) {
        secrets::recall(&self.instance, document);
        for (name, _) in secrets::missing(&self.instance) {
            if let Some(secret) = Secret::new(MASK) {
                self.instance.set_secret(&name, secret);
            }
        }
    }
}

impl What {
    /// The word for what would be done.
    pub fn intent(self) -> &'static str {
        match self {
            Self::Created => "create",
            Self::Adopted => "adopt",
            Self::Updated => "update",
            Self::Replaced => "replace",
            Self::Recreated => "create again",
            Self::Repaired => "repair",
            Self::Renewed => "renew",
            Self::Kept => "keep",
            Self::LeftAlone => "leave alone",
            Self::Deleted | Self::AlreadyGone => "delete",
        }
    }

    /// Whether there is one afterwards that was not there before.
    fn makes(self) -> bool {
        match self {
            Self::Created | Self::Recreated | Self::Replaced => true,
            Self::Adopted
            | Self::Updated
            | Self::Repaired
            | Self::Renewed
            | Self::Kept
            | Self::LeftAlone
            | Self::Deleted
            | Self::AlreadyGone => false,
        }
    }
}

fn planned(resource: &Resource, deeds: Vec<PlannedDeed>, differences: Vec<Difference>) -> Planned {
    Planned { resource: resource.name.clone(), title: resource.title.clone(), deeds, differences }
}

fn left(why: String) -> PlannedDeed {
    PlannedDeed { what: What::LeftAlone, why, calls: Vec::new() }
}

/// The value with every secret in it masked.
fn hidden(value: &Json, mask: &Mask) -> Json {
    match value {
        Json::String(text) => mask.hide(text).into(),
        Json::Array(list) => list.iter().map(|inner| hidden(inner, mask)).collect(),
        Json::Object(map) => {
            Json::Object(map.iter().map(|(name, inner)| (name.clone(), hidden(inner, mask))).collect())
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
    }
}

/// `state` with a name in braces for every value that is not known yet, and without secrets.
pub fn with_placeholders(state: Json, provision: &Provision) -> Json {
    let mut state = visible(state, provision);
    for resource in &provision.resources {
        let Some(all) = state.as_object_mut() else { continue };
        let known = all.entry(resource.name.clone()).or_insert_with(|| json!({}));
        let Some(known) = known.as_object_mut() else { continue };
        for name in resource.saved_names() {
            let placeholder = || json!(format!("{{{}.{name}}}", resource.name));
            known.entry(name.to_owned()).or_insert_with(placeholder);
        }
    }
    state
}
