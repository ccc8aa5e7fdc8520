//! One thing that is checked, and what its texts and conditions are asked with.

use jiff::Timestamp;
use serde_json::Value as Json;

use super::failure::Failure;
use super::rejection::Rejection;
use super::subject::Subject;
use crate::connector::model::Demand;
use crate::connector::template::{Scope, Text};
use crate::error::Error;

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
        if self.check.require.is_empty() {
            return Ok(());
        }
        let newest = self.required_in(self.scope(&names));
        // A condition may compare with a secret that has another accepted value.
        if let Err(Failure::Rejected(_)) = newest {
            for scope in self.scopes.iter().skip(1) {
                let scope =
                    names.iter().fold(scope.clone(), |scope, (name, value)| scope.with(name, value.clone()));
                if self.required_in(scope).is_ok() {
                    return Ok(());
                }
            }
        }
        newest
    }

    fn required_in(&self, scope: Scope) -> Result<(), Failure> {
        let scope = scope.with_now(self.now);
        for condition in &self.check.require {
            match condition.holds(&scope) {
                Ok(true) => {}
                Ok(false) => return Err(Rejection::Required.into()),
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
        let scope = self.scope(&[]);
        match texts.iter().any(|text| text.lacks_own(&scope)) {
            true => Failure::NotReady(error.to_string()),
            false => Failure::Rejected(Rejection::Malformed),
        }
    }
}
