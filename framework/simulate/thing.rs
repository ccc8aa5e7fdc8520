//! One resource as the stand-in keeps it: what was sent of it, what is shown of it, and how far it came.
//!
//! Used by the shelf alone. What only its creation tells is told once; what the vendor never shows is not shown.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use super::answer::Incoming;
use super::invert::{fresh_like, replace_equal, write_time};
use super::routes::{self, Named};
use crate::connector::model::{Body, Call, Due, EXPIRES_AT, RenewWay, Resource};
use crate::connector::overlay::{merge_deep, merge_top, write};
use crate::connector::pick::{Pick, Pointer, TimeFormat};
use crate::connector::template::Scope;
use crate::error::Result;

/// How long something with a lifetime lives here, in milliseconds: so short that its renewal is seen.
const LIFE_MS: i64 = 4_000;
/// What must be left of it at least when it is renewed, in milliseconds.
const LEFT_MS: i64 = 1_000;
/// How often somebody asks in vain for what is worked on.
const POLLS: u32 = 2;
/// Bodies that are remembered.
const SENT: usize = 16;

/// One resource at the vendor.
#[derive(Debug, Clone)]
pub struct Thing {
    /// Which of the spec's resources it is.
    pub resource: usize,
    /// The values that calls save of it.
    pub saved: BTreeMap<String, Json>,
    /// As the vendor has it.
    pub object: Json,
    /// The newest bodies that it was made and changed with.
    pub sent: Vec<String>,
    /// The calls that were made for it, by their places among the calls of the resource.
    pub done: BTreeSet<usize>,
    /// How often each call was asked for in vain.
    polls: BTreeMap<usize, u32>,
    /// When it runs out.
    pub until: Option<Timestamp>,
    /// How often it was prolonged.
    pub renewals: u32,
}

impl Thing {
    /// A thing as it is when it is made, without its saved values.
    pub fn new(resource: usize, object: Json) -> Self {
        Self {
            resource,
            saved: BTreeMap::new(),
            object,
            sent: Vec::new(),
            done: BTreeSet::new(),
            polls: BTreeMap::new(),
            until: None,
            renewals: 0,
        }
    }

    /// One that is always there. What a look saves of it is as the example shows it.
    pub fn standing(resource: usize, spec: &Resource) -> Self {
        let mut thing = Self::new(resource, spec.healthy_example.clone());
        if let Some(check) = &spec.check {
            for (name, pick) in &check.call.save {
                let (Pick::Item(place) | Pick::Body(place)) = pick else { continue };
                let own = place.0.strip_prefix(check.current.0.as_slice());
                let example = own.and_then(|own| Pointer(own.to_vec()).resolve(&thing.object).cloned());
                thing.saved.insert(name.clone(), example.unwrap_or_else(|| fresh_like(None, 1)));
            }
        }
        thing
    }

    /// Whether it is the one that a request names: by a saved value, or by the last part of one that is a URL.
    pub fn is(&self, spec: &Resource, (resource, name, value): &Named) -> bool {
        let is_named = |saved: &str| {
            saved == value || saved.rsplit_once('/').is_some_and(|(_, last)| last == value.as_str())
        };
        spec.name == *resource && self.saved.get(name).is_some_and(|saved| is_named(&text(saved)))
    }

    /// Changed as the request says.
    pub fn change(&mut self, spec: &Resource, call: &Call, incoming: &Incoming, state: &Scope) -> Result<()> {
        let desired = spec.desired.render(state)?.unwrap_or(Json::Null);
        match (&call.body, &incoming.json) {
            (Body::Json(_), Some(body)) => merge_top(&mut self.object, sent(body, &desired)),
            (Body::Json(_) | Body::Empty | Body::Form(_) | Body::Text(_), _) => {
                merge_deep(&mut self.object, &desired);
            }
        }
        self.remember(incoming);
        self.write_saved(spec);
        Ok(())
    }

    /// Keeps what was sent.
    pub fn remember(&mut self, incoming: &Incoming) {
        self.sent.push(body_text(incoming));
        if self.sent.len() > SENT {
            self.sent.remove(0);
        }
    }

    /// Gives a value that calls save, also wherever the example has it.
    pub fn give(&mut self, spec: &Resource, name: String, value: Json) {
        if let Some(example) = example(spec, &name) {
            replace_equal(&mut self.object, example, &value);
        }
        self.saved.insert(name, value);
    }

    /// Puts the saved values where find and create look for them.
    pub fn write_saved(&mut self, spec: &Resource) {
        for (name, value) in &self.saved {
            for pointer in places(spec, name).filter(|pointer| !pointer.0.is_empty()) {
                write(&mut self.object, pointer, value.clone());
            }
        }
    }

    /// Lives from now on for as long as things live here, where the spec says that they run out.
    pub fn live(&mut self, spec: &Resource, now: Timestamp) {
        let Some(life) = life(spec) else { return };
        let until = now.checked_add(jiff::SignedDuration::from_millis(life)).unwrap_or(now);
        let example = example(spec, EXPIRES_AT);
        let value = write_time(format_of(example), until, example);
        self.until = Some(until);
        self.saved.insert(EXPIRES_AT.to_owned(), value);
        self.write_saved(spec);
    }

    /// As anybody sees it who asks for it.
    pub fn shown(&self, spec: &Resource) -> Json {
        let mut object = self.object.clone();
        let once = spec.told_once.iter().flat_map(|name| places(spec, name));
        for pointer in spec.write_only.iter().chain(once) {
            remove(&mut object, pointer);
        }
        object
    }

    /// Whether a call that waits for something has waited enough; it is counted.
    pub fn is_ready(&mut self, nth: usize) -> bool {
        let polls = self.polls.entry(nth).or_default();
        *polls += 1;
        *polls > POLLS
    }
}

/// The resource in a body that makes or changes it: the body, or the one member of it that is written like `desired`
/// where the body is not.
pub fn sent<'b>(body: &'b Json, desired: &Json) -> &'b Json {
    let (Json::Object(fields), Json::Object(desired)) = (body, desired) else { return body };
    let is_like = |fields: &Map<String, Json>| fields.keys().any(|key| desired.contains_key(key));
    let member = |value: &&Json| value.as_object().is_some_and(is_like);
    if is_like(fields) { body } else { fields.values().find(member).unwrap_or(body) }
}

/// As it was made: what was sent, and what of `desired` was sent under another name.
pub fn made(body: &Json, desired: &Json) -> Json {
    let mut object = sent(body, desired).clone();
    if let (Json::Object(fields), Json::Object(desired)) = (&mut object, desired) {
        let renamed = |(key, value): &(&String, &Json)| {
            !fields.contains_key(*key) && fields.values().any(|sent| sent == *value)
        };
        let renamed: Vec<_> = desired.iter().filter(renamed).collect();
        fields.extend(renamed.into_iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    object
}

/// How long one of these lives, in milliseconds; `None`: for ever.
fn life(spec: &Resource) -> Option<i64> {
    match spec.renew.as_ref()?.due {
        Due::Left(hundredths) => Some(LIFE_MS.max(LEFT_MS * 100 / i64::from(hundredths.max(1)))),
        Due::Every(_) => None,
    }
}

/// Whether a saved value tells one of these from another.
pub fn tells(spec: &Resource, name: &str) -> bool {
    let found = spec.find.iter().flat_map(|find| &find.save).any(|(saved, _)| saved == name);
    name == "id" || (found && name != EXPIRES_AT)
}

/// Whether a call prolongs one of these.
pub fn is_prolonged(spec: &Resource) -> bool {
    spec.renew.as_ref().is_some_and(|renew| matches!(renew.way, RenewWay::Call(_)))
}

/// Where the example has a saved value.
pub fn example<'a>(spec: &'a Resource, name: &'a str) -> Option<&'a Json> {
    places(spec, name).find_map(|pointer| pointer.resolve(&spec.healthy_example))
}

/// Where in an answer's body a value is saved from.
pub fn places<'a>(spec: &'a Resource, name: &'a str) -> impl Iterator<Item = &'a Pointer> {
    let created = routes::calls(spec).into_iter().flat_map(|(_, call)| &call.save);
    let found = spec.find.iter().flat_map(|find| &find.save);
    created.chain(found).filter(move |(saved, _)| saved == name).filter_map(|(_, pick)| match pick {
        Pick::Item(pointer) | Pick::Body(pointer) => Some(pointer),
        Pick::Header(_) | Pick::Query(_) | Pick::Form(_) => None,
    })
}

/// How a time is written, by an example of one.
fn format_of(example: Option<&Json>) -> TimeFormat {
    let number = match example {
        Some(Json::Number(number)) => number.as_i64(),
        Some(Json::String(text)) => text.parse().ok(),
        Some(_) | None => None,
    };
    match number {
        Some(n) if n > 100_000_000_000 => TimeFormat::UnixMs,
        Some(_) => TimeFormat::Unix,
        None => TimeFormat::Rfc3339,
    }
}

fn remove(document: &mut Json, pointer: &Pointer) {
    let Some((last, above)) = pointer.0.split_last() else { return };
    let at = above.iter().try_fold(document, |at, token| match at {
        Json::Object(map) => map.get_mut(token),
        Json::Array(list) => token.parse::<usize>().ok().and_then(|n| list.get_mut(n)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    });
    if let Some(Json::Object(map)) = at {
        map.remove(last);
    }
}

/// A value as text.
pub fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn body_text(incoming: &Incoming) -> String {
    match &incoming.json {
        // Written anew, so that an escaped slash of the client does not hide a URL.
        Some(json) => json.to_string(),
        None => String::from_utf8_lossy(&incoming.body).into_owned(),
    }
}
