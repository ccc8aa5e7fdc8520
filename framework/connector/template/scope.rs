//! The names that a template can use at one place of the life, and the vars that are worked out from them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use jiff::Timestamp;
use minijinja::value::Object;
use minijinja::{Error, ErrorKind, Value};
use serde_json::Value as Json;

use super::Text;
use super::dialect::{self, FOREIGN, OWN};
use super::fault::Fault;
use super::name::Name;
use super::operators;
use super::request::{self, RequestFacts, RequestValue};
use super::work::beyond;

/// How many vars one text or condition may work out, those of vars counted: vars that use vars twice would
/// double with every level.
const MAX_VARS: usize = 256;
/// Bytes that one var may have beside what it makes of the request's body: twice that, as in hexadecimal.
const MAX_VAR: usize = 64 << 10;

/// The values that templates and conditions can name at one place of the life. Cheap to clone and extend.
#[derive(Clone, Default)]
pub struct Scope {
    names: Arc<Vec<(&'static str, Value)>>,
    vars: Vars,
}

impl Scope {
    /// A scope with one name more; a name that is there already is replaced.
    pub fn with(&self, name: &'static str, value: Json) -> Self {
        self.with_value(name, operators::value(value))
    }

    /// The same with a JSON document, which is looked at where it stands; `None` where it is none.
    pub fn with_document(&self, name: &'static str, text: &Bytes) -> Option<Self> {
        Some(self.with_value(name, request::json(text)?))
    }

    /// The scope with `request`.
    pub fn with_request(&self, facts: Arc<RequestFacts>) -> Self {
        self.with_value("request", Value::from_object(RequestValue::new(facts)))
    }

    /// These scopes with one `request`, which is looked into once for all of them.
    pub fn all_with_request(scopes: &[Self], facts: Arc<RequestFacts>) -> Vec<Self> {
        let request = Value::from_object(RequestValue::new(facts));
        scopes.iter().map(|scope| scope.with_value("request", request.clone())).collect()
    }

    /// The scope with `now`, as RFC 3339 text.
    pub fn with_now(&self, now: Timestamp) -> Self {
        self.with_value("now", Value::from(now.to_string()))
    }

    /// The scope with `vars`, which are worked out from whatever the scope holds where they are used.
    pub fn with_vars(&self, vars: &Vars) -> Self {
        Self { names: self.names.clone(), vars: vars.clone() }
    }

    /// The vars that texts of this scope can use.
    pub fn vars(&self) -> &Vars {
        &self.vars
    }

    /// What stands under a name, as data.
    pub fn value_of(&self, name: &str) -> Option<Json> {
        let (_, value) = self.names.iter().find(|(known, _)| *known == name)?;
        serde_json::to_value(value).ok()
    }

    fn with_value(&self, name: &'static str, value: Value) -> Self {
        let mut names = Vec::with_capacity(self.names.len() + 1);
        names.extend(self.names.iter().filter(|(known, _)| *known != name).cloned());
        names.push((name, value));
        Self { names: Arc::new(names), vars: self.vars.clone() }
    }

    fn get(&self, name: &str) -> Option<Value> {
        self.names.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }
}

impl fmt::Debug for Scope {
    /// Names alone: values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names.iter().map(|(name, _)| name)).finish()
    }
}

/// The vars of a spec: worked out where they are used, from the scope they are used in.
#[derive(Debug, Clone, Default)]
pub struct Vars(Arc<Vec<(String, Text)>>);

impl Vars {
    /// The vars, in the order of the spec. Vars may use vars; a cycle is an error where one is used.
    pub fn new(vars: Vec<(String, Text)>) -> Self {
        Self(Arc::new(vars))
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Text> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Text)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text))
    }
}

/// What one evaluation looks names up in.
#[derive(Debug, Clone)]
pub(super) struct Root {
    scope: Scope,
    /// The vars that are being worked out, outermost first.
    active: Vec<String>,
    worked_out: Arc<AtomicUsize>,
}

impl Root {
    pub(super) fn new(scope: &Scope) -> Self {
        Self { scope: scope.clone(), active: Vec::new(), worked_out: Arc::default() }
    }

    pub(super) fn value(&self) -> Value {
        Value::from_object(self.clone())
    }

    /// Says which of these names is at fault where a value cannot be used.
    pub(super) fn culprit(&self, names: &[Name], source: &str) -> String {
        let found = names.iter().find_map(|name| match self.resolve(name) {
            Some(value) if value.is_none() => Some(format!("`{name}` is null")),
            Some(value) if !value.is_undefined() => None,
            _ => Some(format!("`{name}` is missing")),
        });
        found.unwrap_or_else(|| match names {
            [name] => format!("`{name}` is a list or a map; add `| tojson` or `| join(',')`"),
            _ => format!("`{}` gives nothing that can stand here", super::shown(source)),
        })
    }

    /// Whether one of these names is not there.
    pub(super) fn lacks_any(&self, names: &[Name]) -> bool {
        names.iter().any(|name| self.resolve(name).is_none_or(|value| value.is_undefined()))
    }

    /// Whether one of these names, or of those that a var among them is made of, is a vendor's and is not
    /// there.
    pub(super) fn lacks_foreign(&self, names: &[Name]) -> bool {
        self.lacks(names, FOREIGN, &mut Vec::new())
    }

    /// The same of a name that is ours.
    pub(super) fn lacks_own(&self, names: &[Name]) -> bool {
        self.lacks(names, OWN, &mut Vec::new())
    }

    fn lacks<'a>(&'a self, names: &'a [Name], roots: &[&str], seen: &mut Vec<&'a str>) -> bool {
        names.iter().any(|name| match name.0.as_slice() {
            [root, var, ..] if root == "vars" => {
                let new = !seen.contains(&var.as_str());
                seen.push(var);
                new && self.scope.vars.get(var).is_some_and(|text| self.lacks(&text.0.names, roots, seen))
            }
            [root, ..] if roots.contains(&root.as_str()) => {
                self.resolve(name).is_none_or(|value| value.is_undefined() || value.is_none())
            }
            _ => false,
        })
    }

    fn resolve(&self, name: &Name) -> Option<Value> {
        let (first, rest) = name.0.split_first()?;
        if dialect::is_global(first) {
            return Some(Value::from(true));
        }
        rest.iter().try_fold(self.lookup(first)?, |value, key| {
            let by_name = value.get_attr(key).ok().filter(|found| !found.is_undefined());
            by_name.or_else(|| value.get_item_by_index(key.parse().ok()?).ok())
        })
    }

    /// The root in which the text of a var is worked out. A var that is being worked out already is an error.
    fn inside(&self, name: &str) -> Result<Self, Fault> {
        if self.active.iter().any(|active| active == name) {
            return Err(Fault::new(format!("`vars.{name}` is made of itself")));
        }
        if self.worked_out.fetch_add(1, Ordering::Relaxed) >= MAX_VARS {
            return Err(Fault::new("it is made of too many vars"));
        }
        let mut inner = self.clone();
        inner.active.push(name.to_owned());
        Ok(inner)
    }

    /// The text of the var that a name is, and the root it is worked out in.
    pub(super) fn var(&self, name: &Name) -> Option<Result<(Text, Self), Fault>> {
        let [vars, var] = name.0.as_slice() else { return None };
        let text = self.scope.vars.get(var).filter(|_| vars == "vars")?;
        Some(self.inside(var).map(|inner| (text.clone(), inner)))
    }

    /// The raw body of the request, where the name is that and the scope has a request.
    pub(super) fn body(&self, name: &Name) -> Option<Bytes> {
        match name.0.as_slice() {
            [request, body] if request == "request" && body == "body" => {
                self.facts().map(|facts| facts.body.clone())
            }
            _ => None,
        }
    }

    /// The bytes of the request's body; 0 where the scope has no request.
    pub(super) fn body_len(&self) -> usize {
        self.facts().map_or(0, |facts| facts.body.len())
    }

    fn facts(&self) -> Option<&RequestFacts> {
        let (_, value) = self.scope.names.iter().find(|(known, _)| *known == "request")?;
        value.downcast_object_ref::<RequestValue>().map(RequestValue::facts)
    }

    fn lookup(&self, name: &str) -> Option<Value> {
        match name {
            "vars" => Some(Value::from_object(VarValues(self.clone()))),
            _ => self.scope.get(name),
        }
    }
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.lookup(key.as_str()?)
    }
}

/// `vars`.
#[derive(Debug)]
struct VarValues(Root);

impl VarValues {
    fn work_out(&self, name: &str, text: &Text) -> Result<Value, Fault> {
        let root = &self.0;
        let value = text.evaluate(&root.inside(name)?)?;
        let most = MAX_VAR.saturating_add(root.body_len().saturating_mul(2));
        if value.as_bytes().is_some_and(|bytes| bytes.len() > most) {
            return Err(Fault::bound(format!("`vars.{name}` grows past 64 KiB and twice the body")));
        }
        Ok(value)
    }
}

impl Object for VarValues {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let text = self.0.scope.vars.get(name)?;
        let value = self.work_out(name, text).unwrap_or_else(|fault| {
            // A value that is an error: minijinja raises it where the var is used.
            if fault.bound {
                return Value::from(beyond(fault.to_string()));
            }
            let kind = if fault.ours { ErrorKind::UndefinedError } else { ErrorKind::InvalidOperation };
            Value::from(Error::new(kind, fault.to_string()))
        });
        Some(value)
    }
}
