//! The calls of a spec turned round: each becomes a route of the stand-in.
//!
//! A call's URL, query and form are rendered once with marks where a saved value will stand; a request that
//! fits between the marks is that call, and what stands at the marks says which resource is meant.
//! Called by the vendor when it starts and for every request; never answers anything itself.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::connector::instance::Instance;
use crate::connector::model::{Body, Call, FormField, Resource, Step};
use crate::connector::overlay::merge_deep;
use crate::connector::template::{Condition, Scope};
use crate::error::{Error, Kind, Result};
use crate::provision::state::Operation;

/// What a call does to what the vendor keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Makes one.
    Create,
    /// Lists all there are.
    List,
    /// Shows one.
    Read,
    /// Changes one.
    Merge,
    /// Changes one, and makes it well again.
    Repair,
    /// Prolongs one.
    Renew,
    /// Does something with one that leaves no trace in it.
    Act,
    /// Removes one.
    Remove,
}

impl Effect {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::List => "find",
            Self::Read => "check",
            Self::Merge => "update",
            Self::Repair => "repair",
            Self::Renew => "renew",
            Self::Act => "act on",
            Self::Remove => "delete",
        }
    }
}

/// One call of the spec, as a route.
#[derive(Debug)]
pub struct Route {
    /// The resource, by its place in the spec.
    pub resource: usize,
    /// Which of the resource's calls it is, by its place in [`calls`].
    pub nth: usize,
    /// What it does.
    pub effect: Effect,
    /// Scheme, host and port, as a URL begins.
    pub origin: String,
    method: http::Method,
    host: String,
    path: Pattern,
    query: Vec<(String, Pattern)>,
    form: Vec<(String, Pattern)>,
}

/// A value saved from an answer, as a request names it: resource, name, and the text that stood there.
pub type Named = (String, String, String);

/// Every call of a resource with what it does, in a fixed order: those that need no id first.
pub fn calls(resource: &Resource) -> Vec<(Effect, &Call)> {
    let mut found = Vec::new();
    let mut first = true;
    for step in &resource.create {
        if let Some(call) = &step.call {
            found.push((if first { Effect::Create } else { Effect::Act }, call));
            first = false;
        }
    }
    found.extend(resource.find.iter().map(|find| (Effect::List, &find.call)));
    found.extend(resource.check.iter().map(|check| (Effect::Read, &check.call)));
    let steps = |steps: &'_ [Step]| steps.iter().filter_map(|s| s.call.as_ref()).count();
    found.extend(changes(&resource.update, Effect::Merge));
    found.extend(changes(&resource.repair, Effect::Repair));
    let renewal = resource.steps(Operation::Renew);
    found.extend(renewal.iter().filter_map(|step| step.call.as_ref()).map(|call| (Effect::Renew, call)));
    found.extend(changes(&resource.adopt, Effect::Merge));
    let last = steps(&resource.delete);
    for (n, call) in resource.delete.iter().filter_map(|s| s.call.as_ref()).enumerate() {
        let removes = n + 1 == last || call.method == http::Method::DELETE;
        found.push((if removes { Effect::Remove } else { Effect::Act }, call));
    }
    found
}

/// The step of a call, by its place in [`calls`], and the steps that its operation has before it.
fn step_of(resource: &Resource, nth: usize) -> Option<(&Step, Vec<(usize, &Step)>)> {
    let looks = resource.find.iter().count() + resource.check.iter().count();
    let mut place = 0;
    let operations: [(&[Step], usize); 6] = [
        (&resource.create, looks),
        (&resource.update, 0),
        (&resource.repair, 0),
        (resource.steps(Operation::Renew), 0),
        (&resource.adopt, 0),
        (&resource.delete, 0),
    ];
    for (steps, beside) in operations {
        let mut before = Vec::new();
        for step in steps.iter().filter(|step| step.call.is_some()) {
            if place == nth {
                return Some((step, before));
            }
            before.push((place, step));
            place += 1;
        }
        place += beside;
    }
    None
}

/// What a call is made again for, by its place in [`calls`].
pub fn until(resource: &Resource, nth: usize) -> Option<&Condition> {
    step_of(resource, nth).and_then(|(step, _)| step.until.as_ref()).map(|until| &until.condition)
}

/// The steps with calls that create and delete have before this one, each with its place in [`calls`]. The
/// first of `create` made what is asked for.
pub fn before(resource: &Resource, nth: usize) -> Vec<(usize, &Step)> {
    let Some((step, mut before)) = step_of(resource, nth) else { return Vec::new() };
    let is_in = |steps: &[Step]| steps.iter().any(|one| std::ptr::eq(one, step));
    if is_in(&resource.create) {
        before.drain(..before.len().min(1));
        return before;
    }
    if is_in(&resource.delete) { before } else { Vec::new() }
}

/// A change is what carries a body; a GET reads, and a bare POST only acts.
fn changes(steps: &[Step], effect: Effect) -> impl Iterator<Item = (Effect, &Call)> {
    steps.iter().filter_map(|s| s.call.as_ref()).map(move |call| {
        let effect = match (&call.method, &call.body) {
            (&http::Method::GET, _) => Effect::Read,
            // A bare POST to update acts; a bare POST to repair repairs.
            (_, Body::Empty) if effect == Effect::Merge => Effect::Act,
            (_, Body::Empty | Body::Json(_) | Body::Form(_) | Body::Text(_)) => effect,
        };
        (effect, call)
    })
}

/// All routes of an instance's connector.
pub fn derive(instance: &Instance) -> Result<Vec<Route>> {
    let resources = instance.connector.provision.as_ref().map_or(&[][..], |p| &p.resources);
    let (scope, marks) = marked_scope(instance, resources)?;
    let mut routes = Vec::new();
    for (number, resource) in resources.iter().enumerate() {
        if !resource.is_wanted(instance)? {
            continue;
        }
        let scope = with_resource(&scope, resource)?;
        let first = routes.len();
        for (nth, (effect, call)) in calls(resource).into_iter().enumerate() {
            let route = route(number, nth, effect, call, &scope, &marks).map_err(|error| {
                let place = format!("resource `{}`, `{} {}`", resource.name, call.method, call.url.source());
                Error::new(Kind::Finding, "the stand-in cannot tell how this call will look")
                    .at(place)
                    .because(error)
            })?;
            routes.push(route);
        }
        shown_alike(&mut routes[first..]);
    }
    Ok(routes)
}

/// A step that asks by the very request of the check is answered as the check is, whoever asks.
fn shown_alike(routes: &mut [Route]) {
    let (checks, steps): (Vec<_>, Vec<_>) = routes.iter_mut().partition(|route| route.effect == Effect::Read);
    for step in steps.into_iter().filter(|route| route.effect == Effect::Act) {
        if checks.iter().any(|check| check.is_like(step)) {
            step.effect = Effect::Read;
        }
    }
}

/// The instance's names with `state.RESOURCE.SAVED` standing for marks.
fn marked_scope(instance: &Instance, resources: &[Resource]) -> Result<(Scope, Vec<Mark>)> {
    let mut marks = Vec::new();
    let mut state = Map::new();
    for resource in resources {
        let mut saved = Map::new();
        for name in saved_names(resource) {
            let text = format!("savedvalue{}endofvalue", marks.len());
            saved.insert(name.clone(), Json::String(text.clone()));
            marks.push(Mark { text, resource: resource.name.clone(), name });
        }
        state.insert(resource.name.clone(), Json::Object(saved));
    }
    Ok((instance.scope().with("state", Json::Object(state)), marks))
}

/// What the steps and the find of a resource save.
pub fn saved_names(resource: &Resource) -> Vec<String> {
    let calls =
        calls(resource).into_iter().flat_map(|(_, call)| call.save.iter().map(|(name, _)| name.clone()));
    let found = resource.find.iter().flat_map(|find| find.save.iter().map(|(name, _)| name.clone()));
    calls.chain(found).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// The names `desired` and `current` beside the others: `current` as the healthy example shows it.
pub fn with_resource(scope: &Scope, resource: &Resource) -> Result<Scope> {
    let desired = resource.desired.render(scope)?.unwrap_or(Json::Null);
    let mut current = desired.clone();
    merge_deep(&mut current, &resource.healthy_example);
    Ok(scope.with("desired", desired).with("current", current))
}

fn route(
    resource: usize,
    nth: usize,
    effect: Effect,
    call: &Call,
    scope: &Scope,
    marks: &[Mark],
) -> Result<Route> {
    let text = call.url.render(scope)?;
    let url = url::Url::parse(&text).map_err(|e| Error::new(Kind::Finding, "this is no URL").because(e))?;
    let pattern = |text: &str| Pattern::new(text, marks);
    let mut query: Vec<_> =
        url.query_pairs().map(|(name, value)| (name.into_owned(), pattern(&value))).collect();
    for (name, value) in &call.query {
        query.push((name.clone(), pattern(&value.render(scope)?)));
    }
    let mut form = Vec::new();
    if let Body::Form(fields) = &call.body {
        for (name, field) in fields {
            // Only what never changes tells calls of one URL apart: plain text, and the ids.
            if let FormField::Value(text) = field
                && (!text.source().contains("{{") || text.source().contains("state."))
                && let Ok(text) = text.render(scope)
            {
                form.push((name.clone(), pattern(&text)));
            }
        }
    }
    let path = pattern(url.path());
    let (origin, method) = (url.origin().ascii_serialization(), call.method.clone());
    Ok(Route { resource, nth, effect, origin, method, host: authority(&url), path, query, form })
}

/// Host and port as a `Host` header carries them.
pub fn authority(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// What a request shows before anybody looks at what it wants.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a http::Method,
    /// The `Host` header.
    pub host: &'a str,
    /// The path as sent.
    pub path: &'a str,
    /// The parameters of the query.
    pub query: &'a BTreeMap<String, String>,
    /// The fields of a form body.
    pub form: &'a BTreeMap<String, String>,
}

impl Route {
    /// What stands at the marks, if the request is this call.
    pub fn fits(&self, asked: &Asked<'_>) -> Option<Vec<Named>> {
        if self.method != asked.method || !self.host.eq_ignore_ascii_case(asked.host) {
            return None;
        }
        let mut named = self.path.fits(asked.path, true)?;
        for (patterns, values) in [(&self.query, asked.query), (&self.form, asked.form)] {
            for (name, pattern) in patterns {
                named.extend(pattern.fits(values.get(name)?, false)?);
            }
        }
        Some(named)
    }

    /// Whether the same requests fit it.
    fn is_like(&self, other: &Self) -> bool {
        (&self.method, &self.host, &self.path) == (&other.method, &other.host, &other.path)
            && (&self.query, &self.form) == (&other.query, &other.form)
    }

    /// Whether the call has this parameter in its query.
    pub fn asks_by(&self, parameter: &str) -> bool {
        self.query.iter().any(|(known, _)| known == parameter)
    }

    /// Whether host and path are this call's, whatever the method.
    pub fn is_at(&self, host: &str, path: &str) -> bool {
        self.host.eq_ignore_ascii_case(host) && self.path.fits(path, true).is_some()
    }
}

#[derive(Debug)]
struct Mark {
    text: String,
    resource: String,
    name: String,
}

/// Text with marks in it: literal, mark, literal, mark, literal.
#[derive(Debug, PartialEq)]
struct Pattern {
    literals: Vec<String>,
    marks: Vec<(String, String)>,
}

impl Pattern {
    fn new(text: &str, marks: &[Mark]) -> Self {
        let mut pattern = Self { literals: Vec::new(), marks: Vec::new() };
        let mut rest = text;
        while let Some((at, mark)) = marks
            .iter()
            .filter_map(|mark| rest.find(&mark.text).map(|at| (at, mark)))
            .min_by_key(|(at, _)| *at)
        {
            pattern.literals.push(rest[..at].to_owned());
            pattern.marks.push((mark.resource.clone(), mark.name.clone()));
            rest = &rest[at + mark.text.len()..];
        }
        pattern.literals.push(rest.to_owned());
        pattern
    }

    /// What stands at the marks; in a path a value never spans a `/`.
    fn fits(&self, text: &str, is_path: bool) -> Option<Vec<Named>> {
        let (first, others) = self.literals.split_first()?;
        let mut rest = text.strip_prefix(first.as_str())?;
        let mut named = Vec::new();
        for (n, (literal, (resource, name))) in others.iter().zip(&self.marks).enumerate() {
            let last = n + 1 == others.len();
            let end = match (last, literal.is_empty()) {
                (true, true) => rest.len(),
                (true, false) => rest.strip_suffix(literal.as_str())?.len(),
                (false, _) => rest.find(literal.as_str())?,
            };
            let value = &rest[..end];
            if value.is_empty() || (is_path && value.contains('/')) {
                return None;
            }
            named.push((resource.clone(), name.clone(), value.to_owned()));
            rest = &rest[end + literal.len()..];
        }
        rest.is_empty().then_some(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        let mark = |n: usize, name: &str| Mark {
            text: format!("savedvalue{n}endofvalue"),
            resource: "hook".into(),
            name: name.into(),
        };
        Pattern::new(text, &[mark(0, "id"), mark(1, "part")])
    }

    #[test]
    fn what_stands_at_a_mark_is_named() {
        let one = pattern("/v1/hooks/savedvalue0endofvalue");
        assert_eq!(one.fits("/v1/hooks/h-1", true), Some(vec![("hook".into(), "id".into(), "h-1".into())]));
        assert_eq!(one.fits("/v1/hooks/h-1/test", true), None);
        assert_eq!(one.fits("/v1/hooks/", true), None);
        let in_query = pattern("savedvalue0endofvalue").fits("https://api.example.com/h/1", false);
        assert_eq!(in_query.map(|named| named[0].2.clone()).as_deref(), Some("https://api.example.com/h/1"));
        let two = pattern("/savedvalue1endofvalue/hooks/savedvalue0endofvalue/test");
        assert_eq!(two.fits("/p/hooks/h/test", true).map(|named| named.len()), Some(2));
        assert_eq!(two.fits("/p/hooks/h", true), None);
        assert_eq!(pattern("/plain").fits("/plain", true), Some(vec![]));
        assert_eq!(pattern("/plain").fits("/plainer", true), None);
    }
}
