//! A secret value at a place, and HTTP Basic.

use super::super::at::At;
use super::super::compiler::Compiler;
use super::super::names::Here;
use crate::connector::model::Proof;

impl Compiler {
    /// A secret value at a place.
    pub(super) fn token(&mut self, at: &At<'_>) -> Option<Proof> {
        let place = self.place(at);
        let equals = self.guardings(at.get("equals"));
        let scheme = at.text_of("scheme").map(str::to_owned);
        Some(Proof::Token { place: place?, scheme, equals: equals? })
    }

    /// HTTP Basic.
    pub(super) fn basic(&mut self, at: &At<'_>) -> Option<Proof> {
        let username = at.get("username").map(|at| self.text(&at, Here::Request));
        let password = at.get("password").and_then(|at| self.guarding(&at));
        let username = match username {
            None => None,
            Some(None) => return None,
            Some(found) => found,
        };
        Some(Proof::Basic { username, password: password? })
    }
}
