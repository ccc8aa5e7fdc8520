//! Lifetimes: when a resource runs out, when it is renewed, and how.
//!
//! `life` renews what is due, `keep` wakes for it, `plan` and the health answers tell of it. All of it goes by
//! the clock on the wall, read at every look: after a sleep, a restart or a jump nothing is counted on.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use super::names::Names;
use super::provisioner::Provisioner;
use super::report::{Lifetimes, Report, What};
use super::state::{Lifetime, Old, Operation, ResourceState};
use crate::call::failure::CallError;
use crate::connector::model::{Due, EXPIRES_AT, Renew, RenewWay, Resource};
use crate::connector::pick::TimeFormat;
use crate::error::{Error, Kind, Result, escaped};

/// A clock that went back further than this since a time was saved is not believed: what was to come then is due.
const JUMP_SECONDS: i64 = 60;
/// How much an end that is told in seconds from now may differ from the one before, and be the same.
const PLAY_SECONDS: u64 = 2;
/// The soonest that one is renewed which was over when it was saved: its clock and ours differ.
const BREATHER_SECONDS: i64 = 60;
/// Seconds since 1970 are more than this, and numbers below are seconds from now (2001, or 31 years).
const SINCE_1970: i64 = 1_000_000_000;
/// Numbers above are milliseconds (the year 5138 in seconds).
const MILLISECONDS: i64 = 100_000_000_000;

impl ResourceState {
    /// Takes over what a call saved. Another end is another lifetime, which begins now.
    pub(super) fn learn(&mut self, saved: &Map<String, Json>, now: Timestamp) {
        if let Some((value, until)) =
            saved.get(EXPIRES_AT).and_then(|value| Some((value, moment(value, now)?)))
        {
            let until_seconds = until.as_second();
            // What is counted from now is a little different at each look.
            let play = if value.as_u64().is_some_and(|n| n <= SINCE_1970 as u64) { PLAY_SECONDS } else { 0 };
            let is_same = |life: Lifetime| life.until_seconds.abs_diff(until_seconds) <= play;
            if !self.lifetime.is_some_and(is_same) {
                self.lifetime = Some(Lifetime { from_seconds: now.as_second(), until_seconds });
            }
        }
        self.saved.extend(saved.clone());
    }

    /// When it runs out.
    pub(super) fn expires(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.lifetime?.until_seconds).ok()
    }
}

/// When a resource is to be renewed; `None` where that is not known, or never.
pub(super) fn due(renew: &Renew, state: &ResourceState, now: Timestamp) -> Option<Timestamp> {
    state.origin?;
    let now = now.as_second();
    let (from, wait) = match renew.due {
        Due::Left(hundredths) => {
            let life = state.lifetime?;
            let whole = life.until_seconds - life.from_seconds;
            let wait =
                if whole <= 0 { BREATHER_SECONDS } else { whole - whole * i64::from(hundredths) / 100 };
            (life.from_seconds, wait)
        }
        Due::Every(every) => (state.renewed_seconds?, i64::try_from(every.as_secs()).unwrap_or(i64::MAX)),
    };
    let went_back = from > now.saturating_add(JUMP_SECONDS);
    Timestamp::from_second(if went_back { now } else { from.saturating_add(wait) }).ok()
}

/// A time as vendors write one: RFC 3339 or an HTTP date, seconds or milliseconds since 1970, or seconds from now.
pub(super) fn moment(value: &Json, now: Timestamp) -> Option<Timestamp> {
    let number = match value {
        Json::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|n| n as i64)),
        Json::String(text) => match text.trim().parse::<i64>() {
            Ok(number) => Some(number),
            Err(_) => return timestamp(text.trim()),
        },
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }?;
    match number {
        n if n > MILLISECONDS => Timestamp::from_millisecond(n).ok(),
        n if n > SINCE_1970 => Timestamp::from_second(n).ok(),
        n if n >= 0 => Timestamp::from_second(now.as_second().checked_add(n)?).ok(),
        _ => None,
    }
}

fn timestamp(text: &str) -> Option<Timestamp> {
    // Some leave the zone out, and mean UTC.
    text.parse().ok().or_else(|| format!("{text}Z").parse().ok()).or_else(|| TimeFormat::HttpDate.read(text))
}

impl Provisioner {
    /// Asks for a renewal at the next pass, whenever it would be due: the vendor said so. The pass itself is for
    /// whoever runs the schedule.
    pub fn ask_renewal(&self, resource: &str) {
        self.wanted().insert(resource.to_owned());
    }

    /// Renews a resource that is there, where that is due or was asked for.
    pub(super) async fn renew(
        &self,
        resource: &Resource,
        current: &Json,
        report: &mut Report,
    ) -> Result<(), CallError> {
        let Some(renew) = &resource.renew else { return Ok(()) };
        let state = self.memory.read().await?.resource(&resource.name);
        let now = self.clock.now();
        readable(resource, renew, &state, now)?;
        let wanted = self.wanted().contains(&resource.name);
        let due = due(renew, &state, now).is_some_and(|due| due <= now);
        // One that is being replaced was just made.
        if !(due || wanted) || state.old.is_some() {
            return Ok(());
        }
        let why = if due { "its time was running out" } else { "the vendor asked for it" };
        match &renew.way {
            RenewWay::Call(_) => {
                let moment = self.moment(resource).await?;
                let names = moment.names.with("current", current);
                let over = state.expires().is_some_and(|end| end <= now);
                match self.prolong(resource, 0, &names).await {
                    Ok(()) => self.did(report, resource, What::Renewed, why.to_owned()),
                    // Past its end it may be shown, and take no call any more: a new one is made.
                    Err(CallError::Refused(_)) if over => {
                        self.set_aside(resource, None).await?;
                        self.make(resource, self.moment(resource).await?, report).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
            RenewWay::Replace { overlap } => {
                self.set_aside(resource, Some(*overlap)).await?;
                self.make(resource, self.moment(resource).await?, report).await?;
            }
        }
        self.wanted().remove(&resource.name);
        Ok(())
    }

    /// The call that prolongs it.
    pub(super) async fn prolong(
        &self,
        resource: &Resource,
        from: usize,
        names: &Names,
    ) -> Result<(), CallError> {
        self.perform(resource, Operation::Renew, from, names).await?;
        let now = self.clock.now().as_second();
        self.finish(resource, None, |state| state.renewed_seconds = Some(now)).await
    }

    /// When the first of the resources is to be renewed, or an old one to be removed, and when the first runs out.
    pub(super) async fn lifetimes(&self) -> Result<Lifetimes> {
        let mut times = Lifetimes::default();
        let Some(provision) = &self.instance.connector.provision else { return Ok(times) };
        let (document, now) = (self.memory.read().await?, self.clock.now());
        let first = |known: Option<Timestamp>, other: Option<Timestamp>| known.into_iter().chain(other).min();
        for resource in &provision.resources {
            let state = document.resource(&resource.name);
            let renewal = resource.renew.as_ref().and_then(|renew| due(renew, &state, now));
            let farewell = state.old.as_ref().and_then(Old::ends);
            times.due = first(times.due, first(renewal, farewell));
            times.renewal = first(times.renewal, renewal);
            times.expires = first(times.expires, state.expires().filter(|_| state.origin.is_some()));
        }
        Ok(times)
    }

    /// Whether the overlap of one that was replaced in time is over.
    pub(super) fn may_go(&self, old: &Old) -> bool {
        let now = self.clock.now();
        let went_back = old.since_seconds.is_some_and(|since| since > now.as_second() + JUMP_SECONDS);
        went_back || old.ends().is_none_or(|end| end <= now)
    }
}

impl Old {
    /// When it may go; `None`: at once.
    fn ends(&self) -> Option<Timestamp> {
        let since = self.since_seconds?;
        Timestamp::from_second(since.saturating_add(self.overlap_seconds?)).ok()
    }
}

/// Refuses a saved end that is no time: nobody would renew, and the stream would run out unseen.
fn readable(resource: &Resource, renew: &Renew, state: &ResourceState, now: Timestamp) -> Result<()> {
    match (renew.due, state.saved.get(EXPIRES_AT)) {
        (Due::Left(_), Some(value)) if moment(value, now).is_none() => {
            let text = format!(
                "what was saved as `{EXPIRES_AT}` of {} is no time: {}",
                resource.name,
                escaped(&value.to_string(), 100)
            );
            Err(Error::new(Kind::Refused, text)
                .help("a time is RFC 3339 text, an HTTP date, seconds or milliseconds since 1970, or seconds from now"))
        }
        _ => Ok(()),
    }
}

/// An overlap in whole seconds.
pub(super) fn seconds(overlap: Duration) -> i64 {
    i64::try_from(overlap.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::state::Origin;
    use serde_json::json;

    const NOW: i64 = 1_800_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    #[test]
    fn an_end_is_read_however_it_is_written() {
        let read = |value: Json| moment(&value, at(NOW)).map(|end| end.as_second() - NOW);
        assert_eq!(read(json!("2027-01-15T09:00:00Z")), Some(3600));
        assert_eq!(read(json!("2027-01-15T10:00:00.0000000+01:00")), Some(3600));
        assert_eq!(read(json!("2027-01-15T09:00:00")), Some(3600));
        assert_eq!(read(json!("Fri, 15 Jan 2027 09:00:00 GMT")), Some(3600));
        assert_eq!(read(json!(NOW + 7)), Some(7));
        assert_eq!(read(json!((NOW + 7).to_string())), Some(7));
        assert_eq!(read(json!((NOW + 7) * 1000)), Some(7));
        assert_eq!(read(json!(((NOW + 7) * 1000).to_string())), Some(7));
        assert_eq!(read(json!(86_400)), Some(86_400));
        for none in [json!(null), json!("soon"), json!(-1), json!([]), json!(true), json!("")] {
            assert_eq!(read(none.clone()), None, "{none}");
        }
    }

    #[test]
    fn it_is_renewed_when_so_much_is_left_and_at_once_after_the_clock_went_back() {
        let renew = |due| Renew { way: RenewWay::Replace { overlap: Duration::ZERO }, due };
        let mut state = ResourceState { origin: Some(Origin::Created), ..ResourceState::default() };
        let when = |state: &ResourceState, by, now: i64| {
            due(&renew(by), state, at(now)).map(|due| due.as_second() - NOW)
        };
        assert_eq!(when(&state, Due::Left(50), NOW), None, "no end was saved");
        let mut saved = Map::new();
        saved.insert(EXPIRES_AT.to_owned(), json!(NOW + 1000));
        state.learn(&saved, at(NOW));
        assert_eq!(when(&state, Due::Left(50), NOW), Some(500));
        assert_eq!(when(&state, Due::Left(20), NOW), Some(800));
        assert_eq!(when(&state, Due::Left(20), NOW + 5000), Some(800), "it is over, and due all the same");
        assert_eq!(when(&state, Due::Left(20), NOW - 100), Some(-100), "the clock went back");
        // The same end seen again does not begin a new lifetime; another end does.
        state.learn(&saved, at(NOW + 900));
        assert_eq!(when(&state, Due::Left(50), NOW), Some(500));
        saved.insert(EXPIRES_AT.to_owned(), json!(NOW + 1900));
        state.learn(&saved, at(NOW + 900));
        assert_eq!(when(&state, Due::Left(50), NOW + 900), Some(1400));
        // One that was over when it was saved is not renewed without a pause.
        saved.insert(EXPIRES_AT.to_owned(), json!(NOW));
        state.learn(&saved, at(NOW + 2000));
        assert_eq!(when(&state, Due::Left(50), NOW + 2000), Some(2060));
        state.renewed_seconds = Some(NOW);
        assert_eq!(when(&state, Due::Every(Duration::from_secs(60)), NOW), Some(60));
        assert_eq!(when(&state, Due::Every(Duration::from_secs(60)), NOW - 3600), Some(-3600));
        state.origin = None;
        assert_eq!(when(&state, Due::Left(50), NOW), None, "there is none to renew");
    }
}
