//! Values that the receiver's rules keep: what a vendor tells of a resource in a request of its own.
//!
//! An unsigned request may come from anybody, so that its value is taken only while it is expected: while an operation
//! of the resource is open (a vendor that hands out a secret does so while a call of ours is open), or in a window that
//! an operator opened (`forebay captures open`). Each operation and each window takes one value of a name. A request
//! that `verify` accepted may give the first value at any time.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::state::{Capture, Document, Memory, Operation, ResourceState, Window};
use crate::connector::model::{Connector, Resource};
use crate::error::{Error, Kind, Result};

/// How long an operation counts as open: one that hangs for days is none that a vendor answers.
const OPEN_SECONDS: i64 = 60 * 60;

/// What became of values that a rule wants to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// They are kept.
    Saved,
    /// They were kept before, and are the same.
    Known,
    /// Others are kept, and it is not the time to replace them.
    Refused,
    /// None are kept, and the request is unsigned and not expected.
    Closed,
}

/// When and how a request came that a rule captures from.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// How often the instance had been destroyed when this process began: for one that was destroyed since, nothing
    /// is kept.
    pub began: u64,
    /// When it came, in seconds since 1970.
    pub at_seconds: i64,
    /// Whether `verify` accepted it.
    pub verified: bool,
}

/// The captured values of an instance by resource and name, and the window that is open.
pub type Captures = (BTreeMap<(String, String), Capture>, Option<Window>);

impl Memory {
    /// Keeps values of a resource, all of them or none.
    pub async fn capture(
        &self,
        resource: &str,
        values: &[(String, Json)],
        arrival: Arrival,
    ) -> Result<Keeping> {
        let mut keeping = Keeping::Known;
        self.change(|document| {
            if document.destroyed != arrival.began {
                return Err(Error::new(Kind::Refused, "the instance was destroyed meanwhile"));
            }
            keeping = keep(document, resource, values, arrival);
            Ok(())
        })
        .await?;
        Ok(keeping)
    }

    /// Opens the window for unsigned requests, or closes it (`None`).
    pub async fn open_captures(&self, window: Option<Window>) -> Result<()> {
        self.change(|document| {
            document.captures = window;
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Returns what is captured. For the operator's command: the values may be secrets.
    pub async fn captures(&self) -> Result<Captures> {
        let document = self.read().await?;
        let all = document.resources.into_iter().flat_map(|(resource, state)| {
            state.captured.into_iter().map(move |(name, capture)| ((resource.clone(), name), capture))
        });
        Ok((all.collect(), document.captures))
    }

    /// Notes that a captured value was shown to an operator.
    pub async fn note_shown(&self, resource: &str, name: &str, at_seconds: i64) -> Result<()> {
        self.change(|document| {
            let state = document.resources.get_mut(resource);
            if let Some(capture) = state.and_then(|state| state.captured.get_mut(name)) {
                capture.shown_seconds = Some(at_seconds);
            }
            Ok(())
        })
        .await?;
        Ok(())
    }
}

fn keep(document: &mut Document, resource: &str, values: &[(String, Json)], arrival: Arrival) -> Keeping {
    let (state, window) = (document.resource(resource), document.captures);
    let is_known = |(name, value): &(String, Json)| {
        state.captured.get(name).is_some_and(|capture| capture.value == *value)
    };
    if values.iter().all(is_known) {
        return Keeping::Known;
    }
    if !values.iter().all(|value| is_known(value) || is_open(&state, window, &value.0, arrival)) {
        let any = values.iter().any(|(name, _)| state.captured.contains_key(name));
        return if any { Keeping::Refused } else { Keeping::Closed };
    }
    let state = document.resources.entry(resource.to_owned()).or_default();
    for (name, value) in values {
        let capture = Capture { value: value.clone(), at_seconds: arrival.at_seconds, shown_seconds: None };
        state.captured.insert(name.clone(), capture);
    }
    Keeping::Saved
}

/// Whether a name may take a value: it has none and the request is verified, or an operation or a window is open that
/// began after the present value was kept.
fn is_open(state: &ResourceState, window: Option<Window>, name: &str, arrival: Arrival) -> bool {
    let captured = state.captured.get(name).map(|capture| capture.at_seconds);
    if captured.is_none() && arrival.verified {
        return true;
    }
    let now = arrival.at_seconds;
    let operation = state
        .pending
        .filter(|pending| !pending.is(Operation::Delete) && now - pending.since_seconds < OPEN_SECONDS)
        .map(|pending| pending.since_seconds);
    let window = window.filter(|window| now < window.until_seconds).map(|window| window.from_seconds);
    // Within one second of each other the value came first, and the one that is open takes another.
    [operation, window].into_iter().flatten().any(|since| captured.is_none_or(|at| since > at))
}

impl ResourceState {
    /// What was kept of a resource that is set aside: the next one is told anew.
    pub(super) fn take_captured(&mut self) -> impl Iterator<Item = (String, Json)> + use<> {
        std::mem::take(&mut self.captured).into_iter().map(|(name, capture)| (name, capture.value))
    }
}

/// Whether requests cannot be verified without a value that a rule captures and that was not told: the vendor told
/// it to whoever made the resource.
pub(super) fn untold(connector: &Connector, resource: &Resource, state: &ResourceState) -> bool {
    let verify = connector.receiver.verify.checks();
    let mut names: Vec<String> = verify
        .iter()
        .flat_map(|check| {
            let signed = check.proof.signed().into_iter().flat_map(|signed| &signed.messages);
            check.proof.key_texts().into_iter().chain(signed).flat_map(|text| text.names())
        })
        .collect();
    if names.iter().any(|name| name.starts_with("vars.")) {
        names.extend(connector.vars.iter().flat_map(|(_, text)| text.names()));
    }
    let captures = connector.receiver.rules.iter().flat_map(|rule| &rule.capture);
    captures.filter(|capture| capture.resource == resource.name).any(|capture| {
        let needed = names.contains(&format!("state.{}.{}", resource.name, capture.name));
        needed && !state.captured.contains_key(&capture.name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::state::Pending;

    fn state(at_seconds: Option<i64>, since_seconds: Option<i64>) -> ResourceState {
        let mut state = ResourceState::default();
        if let Some(at_seconds) = at_seconds {
            state.captured.insert(
                "key".to_owned(),
                Capture { value: Json::from("a"), at_seconds, shown_seconds: None },
            );
        }
        state.pending = since_seconds.map(|since_seconds| Pending {
            operation: Operation::Create,
            done: 0,
            since_seconds,
        });
        state
    }

    fn arrival(at_seconds: i64, verified: bool) -> Arrival {
        Arrival { began: 0, at_seconds, verified }
    }

    #[test]
    fn capture_unsigned_needs_an_open_operation() {
        for (kept_at, pending_since, open) in [
            (None, None, false),
            (None, Some(5), true),
            (Some(3), None, false),
            (Some(3), Some(5), true),
            (Some(5), Some(5), false),
            (Some(6), Some(5), false),
        ] {
            let open_now = is_open(&state(kept_at, pending_since), None, "key", arrival(7, false));
            assert_eq!(open_now, open, "{kept_at:?} {pending_since:?}");
        }
        let hanging = is_open(&state(None, Some(5)), None, "key", arrival(5 + OPEN_SECONDS, false));
        assert!(!hanging, "an operation that hangs for an hour is none that the vendor answers");
        let mut removed = state(None, Some(5));
        removed.pending = removed.pending.map(|p| Pending { operation: Operation::Delete, ..p });
        assert!(!is_open(&removed, None, "key", arrival(7, false)), "nothing is handed out for a removal");
    }

    #[test]
    fn capture_in_operator_window_takes_one_value() {
        let window = Some(Window { from_seconds: 10, until_seconds: 20 });
        let open = |kept_at, at| is_open(&state(kept_at, None), window, "key", arrival(at, false));
        assert!(open(None, 10) && open(None, 19) && open(Some(3), 12));
        assert!(!open(Some(10), 12), "the window has had its value");
        assert!(!open(None, 20), "the window is over");
    }

    #[test]
    fn capture_verified_gives_the_first_value_only() {
        assert!(is_open(&state(None, None), None, "key", arrival(7, true)));
        assert!(!is_open(&state(Some(3), None), None, "key", arrival(7, true)));
    }
}
