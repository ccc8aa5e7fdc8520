//! One thing that is checked, and what its texts and conditions are asked with.

use jiff::Timestamp;
use serde_json::Value as Json;

use super::failure::Failure;
use super::rejection::Rejection;
use super::subject::Subject;
use crate::connector::model::Demand;
use crate::connector::template::{Condition, Scope, Text, Vars};
use crate::error::{Error, Kind};

/// One thing that is checked: the request, or an item of it.
pub(super) struct Matter<'a> {
    pub check: &'a Demand,
    pub subject: Subject<'a>,
    /// The scopes, with the request and the item in them.
    pub scopes: &'a [Scope],
    pub now: Timestamp,
}

impl Matter<'_> {
    /// The scope of the newest secrets, with names of this check.
    pub(super) fn scope(&self, names: &[(&'static str, Json)]) -> Scope {
        let first = self.scopes.first().cloned().unwrap_or_default();
        names.iter().fold(first, |scope, (name, value)| scope.with(name, value.clone()))
    }

    /// What the spec requires besides.
    pub(super) fn required(&self, names: Vec<(&'static str, Json)>) -> Result<(), Failure> {
        let conditions: Vec<&Condition> = self.check.require.iter().collect();
        self.all_hold(&conditions, &names)
    }

    /// What the spec requires besides, as far as it can be decided before there is a key.
    pub(super) fn required_without_key(&self) -> Result<(), Failure> {
        let vars = self.scopes.first().map(|scope| scope.vars().clone()).unwrap_or_default();
        let all = self.check.require.iter().filter(|condition| !takes_key(condition, &vars));
        self.all_hold(&all.collect::<Vec<_>>(), &[])
    }

    fn all_hold(&self, conditions: &[&Condition], names: &[(&'static str, Json)]) -> Result<(), Failure> {
        if conditions.is_empty() {
            return Ok(());
        }
        let newest = self.hold_in(conditions, self.scope(names));
        // A condition may compare with a secret that has another accepted value.
        if let Err(Failure::Rejected(_)) = newest {
            for scope in self.scopes.iter().skip(1) {
                let scope =
                    names.iter().fold(scope.clone(), |scope, (name, value)| scope.with(name, value.clone()));
                if self.hold_in(conditions, scope).is_ok() {
                    return Ok(());
                }
            }
        }
        newest
    }

    fn hold_in(&self, conditions: &[&Condition], scope: Scope) -> Result<(), Failure> {
        let scope = scope.with_now(self.now);
        for condition in conditions {
            match condition.holds(&scope) {
                Ok(true) => {}
                Ok(false) => return Err(Rejection::Required.into()),
                Err(error) if error.kind == Kind::Bound => return Err(Failure::TooMuch(error.to_string())),
                Err(error) if condition.lacks_own(&scope) => {
                    return Err(Failure::NotReady(error.to_string()));
                }
                Err(_) => return Err(Rejection::Required.into()),
            }
        }
        Ok(())
    }

    /// What a text that could not be built means: what the request lacks it cannot have signed; what we lack
    /// is no fault of the sender.
    pub(super) fn lacking(&self, texts: &[&Text], error: &Error) -> Failure {
        if error.kind == Kind::Bound {
            return Failure::TooMuch(error.to_string());
        }
        let scope = self.scope(&[]);
        match texts.iter().any(|text| text.lacks_own(&scope)) {
            true => Failure::NotReady(error.to_string()),
            false => Failure::Rejected(Rejection::Malformed),
        }
    }
}

/// Whether a condition names what only a check with a key gives, itself or by a var.
fn takes_key(condition: &Condition, vars: &Vars) -> bool {
    let mut names = condition.names();
    if names.iter().any(|name| name.starts_with("vars")) {
        // A var may use any other.
        names.extend(vars.iter().flat_map(|(_, text)| text.names()));
    }
    let mut roots = names.iter().filter_map(|name| name.split(['.', '[']).next());
    roots.any(|root| matches!(root, "claims" | "signature" | "timestamp"))
}
