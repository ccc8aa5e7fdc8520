//! What is there at the vendor: by the id in state, else by `find`. Reads only; `life`, `plan` and `destroy`
//! look through here.

use http::StatusCode;
use serde_json::{Map, Value as Json};

use super::names::Names;
use super::provisioner::{Provisioner, provisioned};
use super::state::{Document, ResourceState};
use crate::call::answer::Answer;
use crate::call::exchange::is_nothing;
use crate::call::failure::CallError;
use crate::call::pages::Walk;
use crate::call::retry::Repeat;
use crate::connector::model::{Check, EXPIRES_AT, Find, Resource};
use crate::connector::pick::Pick;
use crate::error::{Error, Kind, escaped};

/// How many matches are listed in the refusal of more than one.
const LISTED: usize = 10;

/// What is there.
#[derive(Debug)]
pub enum Seen {
    /// The one we know.
    Ours {
        /// As it is.
        current: Json,
        /// What `check` saved anew.
        saved: Map<String, Json>,
    },
    /// One that fits `where`, which we do not know.
    Stranger {
        /// As it is.
        current: Json,
        /// What `find` saves of it.
        saved: Map<String, Json>,
    },
    /// The one we know is gone.
    Gone,
    /// The one that was said to be gone is listed.
    Back {
        /// As it is.
        current: Json,
    },
    /// Nothing.
    Nothing,
}

impl Provisioner {
    /// Looks for a resource. `names` has `desired`.
    pub(super) async fn look(
        &self,
        resource: &Resource,
        state: &ResourceState,
        names: &Names,
    ) -> Result<Seen, CallError> {
        if !(resource.singleton || state.origin.is_some()) {
            return self.search(resource, state, names).await;
        }
        if let Some(check) = &resource.check {
            return self.check(resource, check, state, names).await;
        }
        let Some(find) = &resource.find else {
            let current = state.current.clone().unwrap_or_default();
            return Ok(Seen::Ours { current, saved: Map::new() });
        };
        let known = |(_, saved): &(Json, Map<String, Json>)| fits(saved, &state.saved);
        Ok(match self.matches(find, names).await?.into_iter().find(known) {
            Some((current, saved)) => Seen::Ours { current, saved },
            None => Seen::Gone,
        })
    }

    async fn check(
        &self,
        resource: &Resource,
        check: &Check,
        state: &ResourceState,
        names: &Names,
    ) -> Result<Seen, CallError> {
        let last = state.current.clone().unwrap_or_default();
        let names = names.with("current", &last);
        let answer = match self.caller.call(&self.instance, &check.call, &names.real, Repeat::Safe).await {
            Ok(answer) => answer,
            Err(CallError::Gone(_)) if !resource.singleton => return Ok(Seen::Gone),
            Err(error) => {
                // `gone` is a condition on the answer, whatever its status: an answer, not a failure without one.
                let response = error.failure().and_then(|failure| failure.response.clone());
                return match response {
                    Some(response) if self.says_gone(check, &names, &response)? => Ok(Seen::Gone),
                    Some(_) | None => Err(error),
                };
            }
        };
        if self.says_gone(check, &names, &answer.response)? {
            return Ok(Seen::Gone);
        }
        match check.current.resolve(&answer.json.unwrap_or_default()) {
            Some(current) => Ok(Seen::Ours { current: current.clone(), saved: answer.saved }),
            None => Err(Error::new(
                Kind::Passing,
                format!("the answer to `check` of {} has nothing at `{}`", resource.name, check.current),
            )
            .into()),
        }
    }

    fn says_gone(&self, check: &Check, names: &Names, response: &Json) -> Result<bool, CallError> {
        match &check.gone {
            Some(gone) => Ok(gone.holds(&names.real.with("response", response.clone()))?),
            None => Ok(false),
        }
    }

    /// Looks for the one that was said to be gone, or for another that fits `where`.
    pub(super) async fn search(
        &self,
        resource: &Resource,
        state: &ResourceState,
        names: &Names,
    ) -> Result<Seen, CallError> {
        let Some(find) = &resource.find else { return Ok(Seen::Nothing) };
        let mut found = self.matches(find, names).await?;
        let gone = state.gone.as_ref();
        match found.iter().position(|(_, saved)| gone.is_some_and(|gone| tells(saved, &gone.saved))) {
            Some(at) => Ok(Seen::Back { current: found.swap_remove(at).0 }),
            None => stranger(resource, state, found),
        }
    }

    /// Looks for one that fits `where` and is new to us.
    pub(super) async fn find(
        &self,
        resource: &Resource,
        state: &ResourceState,
        names: &Names,
    ) -> Result<Seen, CallError> {
        let Some(find) = &resource.find else { return Ok(Seen::Nothing) };
        stranger(resource, state, self.matches(find, names).await?)
    }

    /// Counts what else at the vendor matches `find` of the resources that are ours, for the condition of it. A list
    /// that cannot be had now is asked for again at the next count.
    pub(super) async fn count_duplicates(&self) {
        // A recording holds the calls of passes alone.
        if self.witness.get().is_some() {
            return;
        }
        let found = async {
            let document = self.memory.read().await?;
            let Some(provision) = provisioned(&self.instance)? else { return Ok(Vec::new()) };
            let mut found = Vec::new();
            for resource in &provision.resources {
                if resource.is_wanted(&self.instance)?
                    && let Some(others) = self.duplicates(resource, &document).await?
                {
                    found.push((resource.name.clone(), others));
                }
            }
            Ok::<_, CallError>(found)
        };
        match found.await {
            Ok(found) => self.found_duplicates(found),
            Err(error) => tracing::debug!(
                instance = %self.instance.id, error = %Error::from(error),
                "other endpoints could not be counted"
            ),
        }
    }

    /// What matches `find` of a resource that is ours, and is neither it nor what it replaced, in words.
    pub(super) async fn duplicates(
        &self,
        resource: &Resource,
        document: &Document,
    ) -> Result<Option<String>, CallError> {
        let state = document.resource(&resource.name);
        let Some(find) = resource.find.as_ref().filter(|find| !find.save.is_empty()) else { return Ok(None) };
        if resource.singleton || state.origin.is_none() {
            return Ok(None);
        }
        let mut others = self.matches(find, &self.moment_of(resource, document)?.names).await?;
        let old = state.old.as_ref().map(|old| &old.saved);
        let gone = state.gone.as_ref().map(|gone| &gone.saved);
        others.retain(|(_, saved)| {
            ![Some(&state.saved), old, gone].into_iter().flatten().any(|ours| tells(saved, ours))
        });
        Ok((!others.is_empty()).then(|| listing(&others)))
    }

    /// What fits `where`, of every page: the second match may be on the last of them.
    async fn matches(&self, find: &Find, names: &Names) -> Result<Vec<(Json, Map<String, Json>)>, CallError> {
        let mut found = Vec::new();
        let mut walk = Walk::new(find.pages.as_ref());
        let mut turn = None;
        loop {
            let answer = self.caller.page(&self.instance, &find.call, &names.real, turn.as_ref());
            let answer = answer.await.map_err(not_gone)?;
            let items = listed(find, &answer)?;
            for item in items {
                if find.condition.holds(&names.real.with("item", item.clone()))? {
                    found.push((item.clone(), picked(&find.save, item)?));
                }
            }
            turn = walk.next(&answer, items, &names.real)?;
            if turn.is_none() {
                return Ok(found);
            }
        }
    }
}

/// One that is new to us. More than one are refused and listed: which is ours, a person knows.
fn stranger(
    resource: &Resource,
    state: &ResourceState,
    mut found: Vec<(Json, Map<String, Json>)>,
) -> Result<Seen, CallError> {
    // What is being replaced still fits, as what was said to be gone may, and is not what is looked for.
    if let Some(old) = &state.old {
        found.retain(|(_, saved)| !fits(saved, &old.saved));
    }
    if let Some(gone) = &state.gone {
        found.retain(|(_, saved)| !tells(saved, &gone.saved));
    }
    if found.len() > 1 {
        return Err(several(resource, &found).into());
    }
    Ok(match found.pop() {
        Some((current, saved)) => Seen::Stranger { current, saved },
        None => Seen::Nothing,
    })
}

/// Whether what a find saved is what is known.
fn fits(saved: &Map<String, Json>, known: &Map<String, Json>) -> bool {
    saved.iter().all(|(name, value)| known.get(name) == Some(value))
}

/// The same, where the find saves what tells one from another; an end may have moved.
fn tells(saved: &Map<String, Json>, known: &Map<String, Json>) -> bool {
    let mut telling = saved.iter().filter(|(name, _)| *name != EXPIRES_AT).peekable();
    telling.peek().is_some() && telling.all(|(name, value)| known.get(name) == Some(value))
}

/// The items of one answer.
fn listed<'a>(find: &Find, answer: &'a Answer) -> Result<&'a [Json], CallError> {
    match answer.json.as_ref().and_then(|body| find.items.resolve(body)) {
        Some(Json::Array(items)) => Ok(items),
        // Nothing there yet is spelled in many ways; something that is no list is another answer.
        None | Some(Json::Null) => Ok(&[]),
        // So is a 404 that the call accepts: what it brings is the vendor's way to say so.
        Some(_) if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE) => Ok(&[]),
        Some(_) => {
            let text = format!("the answer to `find` has no list at `{}`", find.items);
            Err(Error::new(Kind::Passing, text).into())
        }
    }
}

/// What a find saves of an item.
fn picked(save: &[(String, Pick)], item: &Json) -> Result<Map<String, Json>, CallError> {
    let mut saved = Map::new();
    for (name, pick) in save {
        let value = match pick {
            Pick::Item(pointer) | Pick::Body(pointer) => pointer.resolve(item),
            Pick::Header(_) | Pick::Query(_) | Pick::Form(_) => None,
        };
        let value = value.filter(|value| !is_nothing(value)).ok_or_else(|| {
            Error::new(Kind::Passing, format!("what `find` found has nothing to save as `{name}`"))
        })?;
        saved.insert(name.clone(), value.clone());
    }
    Ok(saved)
}

fn several(resource: &Resource, found: &[(Json, Map<String, Json>)]) -> Error {
    let text = format!("{} of the vendor's fit `find` of {}: {}", found.len(), resource.name, listing(found));
    Error::new(Kind::Refused, text).help(
        "delete those that are not wanted, so that one is left to adopt, or give this instance another --id",
    )
}

/// What `find` saved of each, for messages: bounded and escaped.
fn listing(found: &[(Json, Map<String, Json>)]) -> String {
    let listed: Vec<String> = found
        .iter()
        .take(LISTED)
        .map(|(_, saved)| escaped(&Json::Object(saved.clone()).to_string(), 120))
        .collect();
    match found.len().saturating_sub(listed.len()) {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}

/// A 404 to a call that names nothing of ours means that the URL is wrong, not that something is gone.
pub(super) fn not_gone(error: CallError) -> CallError {
    match error {
        CallError::Gone(failure) => CallError::Refused(failure),
        CallError::Refused(_)
        | CallError::Passing(_)
        | CallError::Unclear(_)
        | CallError::Unreadable(_)
        | CallError::Render(_) => error,
    }
}
