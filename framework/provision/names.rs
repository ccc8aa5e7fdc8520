//! The values that the calls of a resource can name at one moment of its life: what everything can name, and
//! `state`, `desired`, `current`, `now` and `instance.resume_from`. Made anew for every step, by `act`, `look`
//! and `plan`.

use jiff::{Timestamp, ToSpan};
use serde_json::{Value as Json, json};

use super::drift::Desired;
use super::state::{Document, ResourceState};
use crate::call::mask::MASK;
use crate::connector::instance::Instance;
use crate::connector::model::{EXPIRES_AT, Provision, Resource};
use crate::connector::template::Scope;
use crate::error::{Error, Kind, Result};

/// How far before the latest event a new stream begins. What comes twice falls to dedupe.
const OVERLAP_MINUTES: i64 = 5;

/// The names of one moment, as they are and as they are shown.
#[derive(Clone)]
pub struct Names {
    /// For calls.
    pub real: Scope,
    /// With secrets masked: for plans, and to tell which leaves of `desired` are secrets.
    pub shown: Scope,
}

impl Names {
    /// What every call of the instance can name.
    pub fn of(instance: &Instance, document: &Document, now: Timestamp) -> Self {
        let state = document.names();
        let shown = match &instance.connector.provision {
            Some(provision) => visible(state.clone(), provision),
            None => json!({}),
        };
        Self {
            real: instance.scope().with("state", state).with_now(now),
            shown: instance.masked_scope().with("state", shown).with_now(now),
        }
    }

    /// One name more.
    pub fn with(&self, name: &'static str, value: &Json) -> Self {
        Self { real: self.real.with(name, value.clone()), shown: self.shown.with(name, value.clone()) }
    }

    /// With `instance.resume_from`, where there is a moment to resume from.
    pub fn resuming(&self, instance: &Instance, from: Option<Timestamp>) -> Self {
        let mut value = json!({"id": instance.id.as_str()});
        if let Some(from) = from {
            value["resume_from"] = json!(from.to_string());
        }
        self.with("instance", &value)
    }

    /// How the resource should be; the names then have `desired` too.
    pub fn desiring<'a>(&self, resource: &'a Resource) -> Result<(Self, Desired<'a>)> {
        let render = |scope: &Scope| -> Result<Json> {
            let tree = resource.desired.render(scope)?;
            Ok(tree.unwrap_or_else(|| json!({})))
        };
        let value = render(&self.real)?;
        let shown = render(&self.shown)?;
        if !value.is_object() {
            let text =
                format!("`desired` of {} is no map, so that nothing can be compared with it", resource.name);
            return Err(Error::new(Kind::Configuration, text));
        }
        let names = Self {
            real: self.real.with("desired", value.clone()),
            shown: self.shown.with("desired", shown.clone()),
        };
        Ok((names, Desired { value, shown, write_only: &resource.write_only }))
    }
}

/// `state` as it may be shown: what a `find` saves anybody sees who lists; what only other calls save may be a
/// secret of the vendor's, and is masked.
pub fn visible(mut state: Json, provision: &Provision) -> Json {
    for resource in &provision.resources {
        let Some(known) = state.get_mut(&resource.name).and_then(Json::as_object_mut) else { continue };
        let listed =
            |name: &str| resource.find.iter().flat_map(|find| &find.save).any(|(listed, _)| listed == name);
        for (_, value) in known.iter_mut().filter(|(name, _)| !listed(name) && *name != EXPIRES_AT) {
            *value = json!(MASK);
        }
    }
    state
}

/// From when on a resource that is made again should send: the latest event, but never later than now (one
/// event dated 2099 must not skip anything), less an overlap. `None` on a first create and before the first
/// event.
pub fn resume_from(state: &ResourceState, latest: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    let latest = latest.filter(|_| state.existed)?;
    let from = latest.min(now).checked_sub(OVERLAP_MINUTES.minutes()).ok()?;
    Timestamp::from_second(from.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_stream_resumes_before_the_latest_event_and_never_in_the_future() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-22T12:00:00.5Z");
        let had = ResourceState { existed: true, ..ResourceState::default() };
        let from = |latest: &str| resume_from(&had, Some(at(latest)), now).map(|t| t.to_string());
        assert_eq!(from("2026-11-22T11:30:00.9Z").as_deref(), Some("2026-11-22T11:25:00Z"));
        assert_eq!(from("2099-01-01T00:00:00Z").as_deref(), Some("2026-11-22T11:55:00Z"));
        assert_eq!(resume_from(&had, None, now), None);
        assert_eq!(resume_from(&ResourceState::default(), Some(now), now), None);
    }
}
