//! What the stand-in keeps: the resources that were made there, and what each call does to them.
//!
//! Called by the vendor once a request is known, signed and well shaped. A `create` makes one each time it is
//! asked; ids are new ones in the shape of the example, put where the spec's `save` will look for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};
use tokio::sync::watch;

use super::answer::{Answer, Incoming, refusal};
use super::invert::fresh_like;
use super::meet::seek;
use super::pages;
use super::routes::{self, Effect, Named, Route};
use super::sign::made_for;
use super::thing::{self, Thing, text};
use crate::connector::instance::Instance;
use crate::connector::model::{Body, Call, Resource, Step};
use crate::connector::overlay::{merge_deep, write};
use crate::connector::pick::{Pick, Pointer};
use crate::connector::template::{Condition, Scope, Tree};
use crate::error::Result;

/// The resources at the vendor.
#[derive(Debug)]
pub struct Shelf {
    things: Mutex<Vec<Thing>>,
    /// Numbers for ids; begins at the microsecond of the start, so that no run repeats another's ids.
    next: Mutex<u64>,
    /// How often something was renewed.
    renewed: AtomicU64,
    changes: watch::Sender<u64>,
}

/// What a request wants, as far as the vendor knows it.
pub struct Wish<'a> {
    /// The call that it is.
    pub route: &'a Route,
    /// The resources that it names.
    pub named: &'a [Named],
    /// The same call in the spec.
    pub call: &'a Call,
    /// The request.
    pub incoming: &'a Incoming,
}

impl Shelf {
    /// An empty shelf, but for the singletons, which are there from the first day.
    pub fn new(instance: &Instance, now: Timestamp) -> Self {
        let seed = u64::try_from(now.as_microsecond()).unwrap_or(1);
        let singleton =
            |(resource, spec): (usize, &Resource)| spec.singleton.then(|| Thing::standing(resource, spec));
        let things = resources(instance).iter().enumerate().filter_map(singleton).collect();
        Self {
            things: Mutex::new(things),
            next: Mutex::new(seed),
            renewed: AtomicU64::new(0),
            changes: watch::Sender::new(0),
        }
    }

    /// Does what a call wants, and answers as the spec expects.
    pub fn act(&self, instance: &Instance, asked: &Wish<'_>, now: Timestamp) -> Result<Answer> {
        let Wish { route, named, call, incoming } = asked;
        let spec = &resources(instance)[route.resource];
        let mut things = self.things();
        things.retain(|thing| thing.until.is_none_or(|end| end > now));
        let refused = |status, text: &str| refused(instance, spec, (route.effect, call), status, text);
        let gone = || refused(404, &format!("The {} does not exist.", spec.title));
        let is = |thing: &Thing, name: &Named| thing.is(&resources(instance)[thing.resource], name);
        let foreign = named.iter().filter(|(resource, ..)| *resource != spec.name);
        if foreign.clone().any(|name| !things.iter().any(|thing| is(thing, name))) {
            return Ok(gone());
        }
        let own: Vec<&Named> = named.iter().filter(|(resource, ..)| *resource == spec.name).collect();
        let at = things
            .iter()
            .position(|thing| thing.resource == route.resource && own.iter().all(|name| is(thing, name)));
        let scope = state(instance, &things);
        if let Some(first) = at.and_then(|at| left_out(spec, route, &things[at], &scope)) {
            return Ok(refused(409, &format!("{first} comes first.")));
        }
        let answer = match (route.effect, at) {
            (Effect::List, _) => {
                let Some(find) = &spec.find else { return Ok(gone()) };
                let ours = things.iter().filter(|thing| thing.resource == route.resource);
                let ours = ours.map(|thing| thing.shown(spec)).collect();
                pages::page((spec, find), ours, incoming, &route.origin, &scope)?
            }
            // A PUT names what it makes: there is one of that name, and it is written anew.
            (Effect::Create, Some(at)) if call.method == http::Method::PUT => {
                things[at] = self.make(instance, route.resource, (call, incoming), &scope, now)?;
                shown(spec, call, &things[at], &spec.place_in(call), 200)
            }
            (Effect::Create, _) => {
                let thing = self.make(instance, route.resource, (call, incoming), &scope, now)?;
                // What is made beside another of its kind takes its place, where the spec renews so.
                let beside = things.iter().any(|thing| thing.resource == route.resource);
                if beside && spec.renew.is_some() && !thing::is_prolonged(spec) {
                    self.renewed.fetch_add(1, Ordering::Relaxed);
                }
                things.push(thing);
                let last = things.len() - 1;
                shown(spec, call, &things[last], &spec.place_in(call), 201)
            }
            (_, None) => gone(),
            (Effect::Read, Some(at)) => {
                let root = Pointer::default();
                let current = spec.check.as_ref().map_or(&root, |check| &check.current);
                shown(spec, call, &things[at], current, 200)
            }
            (Effect::Act, Some(at)) => shown(spec, call, &things[at], &Pointer::default(), 200),
            (Effect::Merge | Effect::Repair | Effect::Renew, Some(at)) => {
                let thing = &mut things[at];
                if let Some(place) = fixed(spec, thing, incoming, &scope)? {
                    return Ok(refused(400, &format!("`{place}` cannot be changed.")));
                }
                thing.change(spec, call, incoming, &scope)?;
                if route.effect == Effect::Repair {
                    merge_deep(&mut thing.object, &spec.healthy_example);
                    thing.write_saved(spec);
                }
                if route.effect == Effect::Renew {
                    thing.live(spec, now);
                    thing.renewals += 1;
                    self.renewed.fetch_add(1, Ordering::Relaxed);
                }
                shown(spec, call, thing, &Pointer::default(), 200)
            }
            (Effect::Remove, Some(at)) if spec.singleton => {
                things[at] = Thing::standing(route.resource, spec);
                Answer::empty(204)
            }
            (Effect::Remove, Some(at)) => {
                things.remove(at);
                Answer::empty(204)
            }
        };
        let waited_for = routes::until(spec, route.nth);
        let thing = at.and_then(|at| things.get_mut(at)).filter(|_| route.effect != Effect::Remove);
        let ready = match (thing, waited_for) {
            (Some(thing), until) => {
                thing.done.insert(route.nth);
                until.is_none_or(|_| thing.is_ready(route.nth))
            }
            (None, _) => true,
        };
        drop(things);
        self.changes.send_modify(|n| *n += 1);
        success(call, waited_for.map(|until| (until, ready)), answer, &scope)
    }

    fn make(
        &self,
        instance: &Instance,
        resource: usize,
        (call, incoming): (&Call, &Incoming),
        state: &Scope,
        now: Timestamp,
    ) -> Result<Thing> {
        let spec = &resources(instance)[resource];
        let desired = spec.desired.render(state)?.unwrap_or(Json::Null);
        let mut object = match (&call.body, &incoming.json) {
            (Body::Json(_), Some(body)) => thing::made(body, &desired),
            // A form is rarely written like the answer; `desired` is, by its definition.
            (Body::Json(_) | Body::Empty | Body::Form(_) | Body::Text(_), _) => desired,
        };
        merge_deep(&mut object, &spec.healthy_example);
        let mut thing = Thing::new(resource, object);
        thing.remember(incoming);
        for name in routes::saved_names(spec) {
            let example = thing::example(spec, &name);
            // What tells one from another is new each time; other values that a call saves are as the example
            // shows them.
            // A public key is the stand-in's own.
            let key = made_for(&instance.connector, &format!("state.{}.{name}", spec.name))?;
            let value = match (key, example) {
                (Some(key), _) => Json::String(key),
                (None, Some(example)) if !thing::tells(spec, &name) => example.clone(),
                (None, example) => fresh_like(example, self.number()),
            };
            thing.give(spec, name, value);
        }
        thing.write_saved(spec);
        thing.live(spec, now);
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
            if !spec.is_wanted(instance)? {
                continue;
            }
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

    /// Makes every resource as the unhealthy example shows it; `false` where none has one that the spec can mend.
    pub fn suspend(&self, instance: &Instance) -> bool {
        let mut any = false;
        for thing in self.things().iter_mut() {
            let spec = &resources(instance)[thing.resource];
            if let Some(unhealthy) =
                spec.unhealthy_example.as_ref().filter(|example| is_mended(spec, example))
            {
                merge_deep(&mut thing.object, unhealthy);
                any = true;
            }
        }
        any
    }

    /// How often something was renewed.
    pub fn renewed(&self) -> u64 {
        self.renewed.load(Ordering::Relaxed)
    }

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn resources(instance: &Instance) -> &[Resource] {
    instance.connector.provision.as_ref().map_or(&[][..], |provision| &provision.resources)
}

/// Whether what is wrong in the example is put right by the spec: by a repair, or as drift.
fn is_mended(spec: &Resource, unhealthy: &Json) -> bool {
    let desired = match &spec.desired {
        Tree::Map(fields) => fields.iter().map(|(name, _)| name.as_str()).collect(),
        Tree::Text(_) | Tree::Value(_) | Tree::List(_) => Vec::new(),
    };
    let wrong = unhealthy.as_object().into_iter().flatten();
    !spec.repair.is_empty() || wrong.map(|(name, _)| name).all(|name| desired.contains(&name.as_str()))
}

/// The step that must be taken before this one, where the spec takes it first.
fn left_out(spec: &Resource, route: &Route, thing: &Thing, scope: &Scope) -> Option<String> {
    let before = routes::before(spec, route.nth);
    let missing = before.into_iter().filter(|(nth, _)| !thing.done.contains(nth)).map(|(_, step)| step);
    // A step with a condition may have been left out; one that cannot be decided here, too.
    let due = |step: &&Step| step.when.as_ref().is_none_or(|when| matches!(when.holds(scope), Ok(true)));
    let first = missing.filter(|step| step.call.is_some()).find(due)?;
    let call = first.call.as_ref()?;
    Some(first.name.clone().unwrap_or_else(|| format!("{} {}", call.method, call.url.source())))
}

/// A place that no update can change, and that this one would.
fn fixed(spec: &Resource, thing: &Thing, incoming: &Incoming, state: &Scope) -> Result<Option<String>> {
    let Some(body) = &incoming.json else { return Ok(None) };
    let desired = spec.desired.render(state)?.unwrap_or(Json::Null);
    let body = thing::sent(body, &desired);
    let differs = |pointer: &&Pointer| {
        pointer.resolve(body).is_some_and(|value| pointer.resolve(&thing.object) != Some(value))
    };
    Ok(spec.immutable.iter().find(differs).map(Pointer::to_string))
}

/// A refusal as this vendor says it: by the status, or by a body that is no success to the call's `ok`.
fn refused(
    instance: &Instance,
    spec: &Resource,
    (effect, call): (Effect, &Call),
    status: u16,
    text: &str,
) -> Answer {
    let plain = refusal(&instance.connector, status, text);
    let gone = spec.check.as_ref().and_then(|check| check.gone.as_ref());
    let gone = gone.filter(|_| effect == Effect::Read && status == 404);
    let fails = |body: &Json| {
        let response = response(body);
        let scope = instance.scope().with("response", response);
        gone.is_none_or(|gone| gone.holds(&scope).unwrap_or(false))
            && call.ok.as_ref().is_none_or(|ok| !ok.holds(&scope).unwrap_or(false))
    };
    let Some(condition) = gone.or(call.ok.as_ref()) else { return plain };
    match seek(condition, "response.json", plain.body.clone().unwrap_or_default(), &fails) {
        Some(body) => Answer::json(200, body),
        None => plain,
    }
}

/// A success: one to the call's `ok`, and to its `until` once it was asked for often enough.
fn success(
    call: &Call,
    until: Option<(&Condition, bool)>,
    mut answer: Answer,
    scope: &Scope,
) -> Result<Answer> {
    if !(200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let met = |body: &Json| {
        let scope = scope.with("response", response(body));
        call.ok.as_ref().is_none_or(|ok| ok.holds(&scope).unwrap_or(false))
            && until.is_none_or(|(until, ready)| until.holds(&scope).is_ok_and(|holds| holds == ready))
    };
    for condition in until.map(|(until, _)| until).into_iter().chain(&call.ok) {
        if !condition.names().iter().any(|name| name.starts_with("response")) {
            continue;
        }
        let body = answer.body.clone().unwrap_or_default();
        if (!met(&body) || answer.body.is_none())
            && let Some(body) = seek(condition, "response.json", body, &met)
        {
            answer.body = Some(body);
            // An answer without a body is another status.
            answer.status = if answer.status == 204 { 200 } else { answer.status };
        }
    }
    Ok(answer)
}

/// What conditions call `response`.
fn response(body: &Json) -> Json {
    json!({"status": 200, "headers": {}, "text": body.to_string(), "json": body})
}

/// One resource as a call's answer shows it, with what the call saves in its place.
fn shown(spec: &Resource, call: &Call, thing: &Thing, at: &Pointer, status: u16) -> Answer {
    let mut body = Json::Null;
    write(&mut body, at, thing.shown(spec));
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
