//! What the stand-in keeps: the resources that were made there, and what each call does to them.
//!
//! Called by the vendor once a request is known, signed and well shaped. A `create` makes one each time it is
//! asked; ids are new ones in the shape of the example, put where the spec's `save` will look for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Map, Value as Json};
use tokio::sync::watch;

use super::answer::{Answer, Incoming, refusal};
use super::invert::{fresh_like, merge_deep, merge_top, replace_equal, write};
use super::pages;
use super::routes::{self, Effect, Named, Route};
use super::sign::made_for;
use crate::connector::instance::Instance;
use crate::connector::model::{Body, Call, Resource};
use crate::connector::pick::{Pick, Pointer};
use crate::connector::template::Scope;
use crate::error::Result;

/// The resources at the vendor.
#[derive(Debug)]
pub struct Shelf {
    things: Mutex<Vec<Thing>>,
    /// Numbers for ids; begins at the microsecond of the start, so that no run repeats another's ids.
    next: Mutex<u64>,
    changes: watch::Sender<u64>,
}

/// One resource at the vendor.
#[derive(Debug, Clone)]
struct Thing {
    /// Which of the spec's resources it is.
    resource: usize,
    /// The values that calls save of it.
    saved: BTreeMap<String, Json>,
    /// As the vendor shows it.
    object: Json,
    /// Every body that it was made and changed with.
    sent: Vec<String>,
}

impl Shelf {
    /// An empty shelf, but for the singletons, which are there from the first day.
    pub fn new(instance: &Instance, now: Timestamp) -> Self {
        let seed = u64::try_from(now.as_microsecond()).unwrap_or(1);
        let singleton = |(resource, spec): (usize, &Resource)| {
            spec.singleton.then(|| Thing {
                resource,
                saved: BTreeMap::new(),
                object: spec.healthy_example.clone(),
                sent: Vec::new(),
            })
        };
        let things = resources(instance).iter().enumerate().filter_map(singleton).collect();
        Self { things: Mutex::new(things), next: Mutex::new(seed), changes: watch::Sender::new(0) }
    }

    /// Does what a call wants, and answers as the spec expects.
    pub fn act(
        &self,
        instance: &Instance,
        route: &Route,
        named: &[Named],
        call: &Call,
        incoming: &Incoming,
    ) -> Result<Answer> {
        let spec = &resources(instance)[route.resource];
        let mut things = self.things();
        let gone = || refusal(&instance.connector, 404, &format!("The {} does not exist.", spec.title));
        let foreign = named.iter().filter(|(resource, ..)| *resource != spec.name);
        if foreign.clone().any(|name| !things.iter().any(|thing| thing.is(instance, name))) {
            return Ok(gone());
        }
        let own: Vec<&Named> = named.iter().filter(|(resource, ..)| *resource == spec.name).collect();
        let at = things.iter().position(|thing| {
            thing.resource == route.resource && own.iter().all(|name| thing.is(instance, name))
        });
        let answer = match (route.effect, at) {
            (Effect::List, _) => {
                let Some(find) = &spec.find else { return Ok(gone()) };
                let ours = things.iter().filter(|thing| thing.resource == route.resource);
                let ours = ours.map(|thing| thing.object.clone()).collect();
                pages::page((spec, find), ours, incoming, &route.origin, &state(instance, &things))?
            }
            (Effect::Create, _) => {
                let state = state(instance, &things);
                let thing = self.make(instance, route.resource, call, incoming, &state)?;
                things.push(thing);
                let last = things.len() - 1;
                shown(call, &things[last], &Pointer::default(), 201)
            }
            (_, None) => gone(),
            (Effect::Read, Some(at)) => {
                let root = Pointer::default();
                let current = spec.check.as_ref().map_or(&root, |check| &check.current);
                shown(call, &things[at], current, 200)
            }
            (Effect::Act, Some(at)) => shown(call, &things[at], &Pointer::default(), 200),
            (Effect::Merge | Effect::Repair, Some(at)) => {
                let state = state(instance, &things);
                let thing = &mut things[at];
                thing.change(instance, call, incoming, &state)?;
                if route.effect == Effect::Repair {
                    merge_deep(&mut thing.object, &spec.healthy_example);
                    thing.write_saved(spec);
                }
                shown(call, thing, &Pointer::default(), 200)
            }
            (Effect::Remove, Some(at)) => {
                things.remove(at);
                Answer::empty(204)
            }
        };
        drop(things);
        self.changes.send_modify(|n| *n += 1);
        Ok(answer)
    }

    fn make(
        &self,
        instance: &Instance,
        resource: usize,
        call: &Call,
        incoming: &Incoming,
        state: &Scope,
    ) -> Result<Thing> {
        let spec = &resources(instance)[resource];
        let mut object = match (&call.body, &incoming.json) {
            (Body::Json(_), Some(body)) => body.clone(),
            // A form is rarely written like the answer; `desired` is, by its definition.
            (Body::Json(_) | Body::Empty | Body::Form(_) | Body::Text(_), _) => {
                spec.desired.render(state)?.unwrap_or(Json::Null)
            }
        };
        merge_deep(&mut object, &spec.healthy_example);
        let mut thing = Thing { resource, saved: BTreeMap::new(), object, sent: vec![body_text(incoming)] };
        for name in routes::saved_names(spec) {
            let example = places(spec, &name).find_map(|pointer| pointer.resolve(&spec.healthy_example));
            // The id is new each time; other values that a call saves are as the example shows them.
            // A public key is the stand-in's own.
            let key = made_for(&instance.connector, &format!("state.{}.{name}", spec.name))?;
            let value = match (key, example) {
                (Some(key), _) => Json::String(key),
                (None, Some(example)) if name != "id" => example.clone(),
                (None, example) => fresh_like(example, self.number()),
            };
            if let Some(example) = example {
                replace_equal(&mut thing.object, example, &value);
            }
            thing.saved.insert(name, value);
        }
        thing.write_saved(spec);
        Ok(thing)
    }

    fn number(&self) -> u64 {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        *next
    }

    fn things(&self) -> MutexGuard<'_, Vec<Thing>> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many resources there are, of those that somebody made.
    pub fn count(&self, instance: &Instance) -> usize {
        let specs = resources(instance);
        self.things().iter().filter(|thing| !specs[thing.resource].singleton).count()
    }

    /// Whether every resource of the spec is there and well.
    pub fn is_well(&self, instance: &Instance) -> Result<bool> {
        let things = self.things();
        let state = state(instance, &things);
        for (number, spec) in resources(instance).iter().enumerate() {
            let mut of_this = things.iter().filter(|thing| thing.resource == number).peekable();
            if of_this.peek().is_none() {
                return Ok(false);
            }
            let Some(healthy) = spec.check.as_ref().and_then(|check| check.healthy.as_ref()) else {
                continue;
            };
            for thing in of_this {
                if !healthy.holds(&state.with("current", thing.object.clone()))? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether some resource was told to send here.
    pub fn knows(&self, url: &str) -> bool {
        let encoded: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
        let things = self.things();
        things.iter().flat_map(|thing| &thing.sent).any(|sent| sent.contains(url) || sent.contains(&encoded))
    }

    /// Makes every resource as the unhealthy example shows it; `false` where no resource has one.
    pub fn suspend(&self, instance: &Instance) -> bool {
        let mut any = false;
        for thing in self.things().iter_mut() {
            let spec = &resources(instance)[thing.resource];
            if let Some(unhealthy) = spec.unhealthy_example.as_ref().filter(|_| !spec.repair.is_empty()) {
                merge_deep(&mut thing.object, unhealthy);
                any = true;
            }
        }
        any
    }

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl Thing {
    fn is(&self, instance: &Instance, (resource, name, value): &Named) -> bool {
        resources(instance)[self.resource].name == *resource
            && self.saved.get(name).is_some_and(|saved| text(saved) == *value)
    }

    fn change(&mut self, instance: &Instance, call: &Call, incoming: &Incoming, state: &Scope) -> Result<()> {
        let spec = &resources(instance)[self.resource];
        match (&call.body, &incoming.json) {
            (Body::Json(_), Some(body)) => merge_top(&mut self.object, body),
            (Body::Json(_) | Body::Empty | Body::Form(_) | Body::Text(_), _) => {
                let desired = spec.desired.render(state)?.unwrap_or(Json::Null);
                merge_deep(&mut self.object, &desired);
            }
        }
        self.sent.push(body_text(incoming));
        // The bodies of a life are few; of a life without end the newest are enough.
        if self.sent.len() > 16 {
            self.sent.remove(0);
        }
        self.write_saved(spec);
        Ok(())
    }

    /// Puts the saved values where find and create look for them.
    fn write_saved(&mut self, spec: &Resource) {
        for (name, value) in &self.saved {
            for pointer in places(spec, name).filter(|pointer| !pointer.0.is_empty()) {
                write(&mut self.object, pointer, value.clone());
            }
        }
    }
}

fn resources(instance: &Instance) -> &[Resource] {
    instance.connector.provision.as_ref().map_or(&[][..], |provision| &provision.resources)
}

/// Where in an answer's body a value is saved from.
fn places<'a>(spec: &'a Resource, name: &'a str) -> impl Iterator<Item = &'a Pointer> {
    let created = routes::calls(spec).into_iter().flat_map(|(_, call)| &call.save);
    let found = spec.find.iter().flat_map(|find| &find.save);
    created.chain(found).filter(move |(saved, _)| saved == name).filter_map(|(_, pick)| match pick {
        Pick::Item(pointer) | Pick::Body(pointer) => Some(pointer),
        Pick::Header(_) | Pick::Query(_) | Pick::Form(_) => None,
    })
}

/// One resource as a call's answer shows it, with what the call saves in its place.
fn shown(call: &Call, thing: &Thing, at: &Pointer, status: u16) -> Answer {
    let mut body = Json::Null;
    write(&mut body, at, thing.object.clone());
    let mut answer = Answer::json(status, Json::Null);
    for (name, pick) in &call.save {
        let Some(value) = thing.saved.get(name) else { continue };
        match pick {
            Pick::Item(pointer) | Pick::Body(pointer) => write(&mut body, pointer, value.clone()),
            Pick::Header(header) => answer = answer.with_header(header, text(value)),
            // An answer has neither a query nor a form.
            Pick::Query(_) | Pick::Form(_) => {}
        }
    }
    answer.body = Some(body);
    answer
}

/// The instance's names with `state` as the vendor knows it.
fn state(instance: &Instance, things: &[Thing]) -> Scope {
    let mut state = Map::new();
    for thing in things {
        let name = resources(instance)[thing.resource].name.clone();
        state.insert(name, Json::Object(thing.saved.clone().into_iter().collect()));
    }
    instance.scope().with("state", Json::Object(state))
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn body_text(incoming: &Incoming) -> String {
    match &incoming.json {
        // Written anew, so that an escaped slash of the client does not hide a URL.
        Some(json) => json.to_string(),
        None => String::from_utf8_lossy(&incoming.body).into_owned(),
    }
}
