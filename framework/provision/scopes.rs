//! The permissions that a connector's calls take: for plans, and for the message of a 401 or 403.

use crate::call::failure::CallError;
use crate::connector::model::{Provision, Resource};
use crate::error::Error;

/// The permissions that the calls take, in order of their first use.
pub fn scopes(provision: &Provision) -> Vec<&str> {
    let mut scopes: Vec<&str> = Vec::new();
    for call in provision.resources.iter().flat_map(Resource::calls) {
        if let Some(scope) = call.scope.as_deref()
            && !scopes.contains(&scope)
        {
            scopes.push(scope);
        }
    }
    scopes
}

/// The error of a call, with all the permissions that are needed where one was missing.
pub(super) fn explained(provision: &Provision, error: CallError) -> Error {
    let status = error.failure().and_then(|failure| failure.status).map(|status| status.as_u16());
    let error = Error::from(error);
    let scopes = scopes(provision);
    if !matches!(status, Some(401 | 403)) || scopes.is_empty() {
        return error;
    }
    let all = format!("all calls together need: {}", scopes.join(" "));
    let help = error.help.as_ref().map_or(all.clone(), |help| format!("{help}; {all}"));
    error.help(help)
}
