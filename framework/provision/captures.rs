//! Values that the receiver's rules keep: what a vendor told us of a resource in a request of its own.
//!
//! A name takes a value while it has none, and another one once in each operation of the resource: a vendor that
//! hands out a secret does so while a call of ours is open. At any other time whoever could send such a request
//! could put their own key in the place of the vendor's.

use serde_json::Value as Json;

use super::state::{Capture, Document, Memory, ResourceState};
use crate::connector::model::{Connector, Resource};
use crate::error::{Error, Kind, Result};

/// What became of values that a rule wants to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// They are kept.
    Saved,
    /// They were kept before, and are the same.
    Known,
    /// Others are kept, and it is not the time to replace them.
    Refused,
}

impl Memory {
    /// Keeps values of a resource, all of them or none. `began` is how often the instance had been destroyed when
    /// this process began: for one that was destroyed since, nothing is kept.
    pub async fn capture(
        &self,
        resource: &str,
        values: &[(String, Json)],
        (began, now_seconds): (u64, i64),
    ) -> Result<Keeping> {
        let mut keeping = Keeping::Known;
        self.change(|document| {
            if document.destroyed != began {
                return Err(Error::new(Kind::Refused, "the instance was destroyed meanwhile"));
            }
            keeping = keep(document, resource, values, now_seconds);
            Ok(())
        })
        .await?;
        Ok(keeping)
    }
}

fn keep(document: &mut Document, resource: &str, values: &[(String, Json)], now_seconds: i64) -> Keeping {
    let state = document.resource(resource);
    let is_known = |(name, value): &(String, Json)| {
        state.captured.get(name).is_some_and(|capture| capture.value == *value)
    };
    if values.iter().all(is_known) {
        return Keeping::Known;
    }
    if !values.iter().all(|value| is_known(value) || is_open(&state, &value.0)) {
        return Keeping::Refused;
    }
    let state = document.resources.entry(resource.to_owned()).or_default();
    for (name, value) in values {
        let capture = Capture { value: value.clone(), at_seconds: now_seconds };
        state.captured.insert(name.clone(), capture);
    }
    Keeping::Saved
}

/// Whether a name may take a value: it has none, or an operation is under way that began after it was kept.
fn is_open(state: &ResourceState, name: &str) -> bool {
    match state.captured.get(name) {
        None => true,
        Some(capture) => state.pending.is_some_and(|pending| pending.since_seconds > capture.at_seconds),
    }
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
    use crate::provision::state::{Operation, Pending};

    fn state(at_seconds: Option<i64>, since_seconds: Option<i64>) -> ResourceState {
        let mut state = ResourceState::default();
        if let Some(at_seconds) = at_seconds {
            state.captured.insert("key".to_owned(), Capture { value: Json::from("a"), at_seconds });
        }
        state.pending = since_seconds.map(|since_seconds| Pending {
            operation: Operation::Create,
            done: 0,
            since_seconds,
        });
        state
    }

    #[test]
    fn a_name_takes_a_value_while_it_is_empty_and_once_in_each_operation() {
        for (kept_at, pending_since, open) in [
            (None, None, true),
            (None, Some(5), true),
            (Some(3), None, false),
            (Some(3), Some(5), true),
            (Some(5), Some(5), false),
            (Some(6), Some(5), false),
        ] {
            assert_eq!(is_open(&state(kept_at, pending_since), "key"), open, "{kept_at:?} {pending_since:?}");
        }
    }
}
