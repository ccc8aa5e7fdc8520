//! What is to be done about a resource that is there: pure, so that `plan` says what `life` does.

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::drift::{self, Desired, Difference};
use super::fingerprint::Key;
use super::names::Names;
use super::state::ResourceState;
use crate::connector::model::Resource;
use crate::connector::pick::Pointer;
use crate::error::Result;

/// How long an update that changed nothing is not tried again: a vendor that ignores a field would be
/// written to at every check.
const FUTILE_SECONDS: i64 = 24 * 60 * 60;

/// What is to be done.
#[derive(Debug)]
pub struct Verdict {
    /// About what differs.
    pub mend: Mend,
    /// About its health.
    pub health: Health,
    /// Where it differs.
    pub differences: Vec<Difference>,
    /// What tells this drift from another; kept when it is mended.
    pub drift: String,
}

/// What is to be done about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    /// There is none.
    Nothing,
    /// `update`.
    Update,
    /// No update can: a new one is made and the old one removed.
    Replace,
    /// The last update did not take, or nothing in the spec can mend it.
    Leave(&'static str),
}

/// What is to be done about its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Well,
    /// `repair`.
    Repair,
    /// Not well, and left so.
    Leave(&'static str),
}

/// Judges a resource as it is. `names` has `desired`.
pub fn judge(
    resource: &Resource,
    state: &ResourceState,
    desired: &Desired,
    current: &Json,
    names: &Names,
    (key, now): (&Key, Timestamp),
) -> Result<Verdict> {
    let differences = drift::differences(desired, current, &state.applied, key);
    let drift = mark(&differences, desired, key);
    let mend = if differences.is_empty() {
        Mend::Nothing
    } else if state
        .mended
        .as_ref()
        .is_some_and(|m| m.drift == drift && now.as_second() - m.at_seconds < FUTILE_SECONDS)
    {
        Mend::Leave("the last update did not change it")
    } else {
        mend(resource, &differences)
    };
    // What an update is about to put right needs no repair.
    let health = match mend {
        Mend::Update => health(resource, &drift::mended(desired, current), names)?,
        Mend::Nothing | Mend::Replace | Mend::Leave(_) => health(resource, current, names)?,
    };
    Ok(Verdict { mend, health, differences, drift })
}

fn mend(resource: &Resource, differences: &[Difference]) -> Mend {
    let fixed = differences.iter().any(|difference| drift::is_under(&difference.place, &resource.immutable));
    match (resource.update.is_empty() || fixed, resource.singleton || resource.create.is_empty()) {
        (false, _) => Mend::Update,
        (true, false) => Mend::Replace,
        (true, true) => Mend::Leave("the spec has no call that changes it"),
    }
}

pub(super) fn health(resource: &Resource, current: &Json, names: &Names) -> Result<Health> {
    let Some(healthy) = resource.check.as_ref().and_then(|check| check.healthy.as_ref()) else {
        return Ok(Health::Well);
    };
    let scope = names.real.with("current", current.clone());
    if healthy.holds(&scope)? {
        return Ok(Health::Well);
    }
    if resource.repair.is_empty() {
        return Ok(Health::Leave("the spec has no repair"));
    }
    for step in &resource.repair {
        if step.when.as_ref().map_or(Ok(true), |when| when.holds(&scope))? {
            return Ok(Health::Repair);
        }
    }
    Ok(Health::Leave("its repair does not apply: a person may have wanted it so"))
}

/// What tells this drift from another: where it is, how it is, and what would be sent, secrets included.
fn mark(differences: &[Difference], desired: &Desired, key: &Key) -> String {
    let places: Vec<Json> =
        differences.iter().map(|d| json!([d.place.to_string(), d.current, d.desired])).collect();
    key.of(&Pointer::default(), &json!([places, drift::fingerprints(desired, key)]))
}
