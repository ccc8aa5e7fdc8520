//! Any call that gives a token: what is taken of its answer, and where it goes.

use std::sync::Arc;
use std::time::Duration;

use super::super::at::At;
use super::super::calls::Shared;
use super::super::compiler::Compiler;
use super::super::names::Here;
use super::super::values::time_format;
use super::names_within;
use crate::connector::model::{Expiry, TokenCall};
use crate::connector::pick::Pick;
use crate::spec::mistake::{Code, Mistake, Place};

impl Compiler {
    /// A call, the token in its answer, how long that is good, and how it is used.
    pub(super) fn exchange(&mut self, top: &At<'_>, at: &At<'_>) -> Option<TokenCall> {
        let errors = top.get("provision").and_then(|at| at.get("errors"));
        let errors = Arc::new(errors.map(|at| self.errors(&at)).unwrap_or_default());
        let call = self.call(at, &Shared { at: None, errors }, Here::Auth);
        let token = at.get("token").and_then(|at| self.answered(&at));
        let expires = self.expiry(at);
        let headers = at.get("use").map(|at| self.headers(&at, Here::Sign)).unwrap_or_default();
        let query = at.get("use_query");
        let query =
            query.map(|query| self.query(&query, Here::Sign, at.flag("secret_in_url"))).unwrap_or_default();
        self.token_is_used(at);
        self.saved_is_used(at);
        Some(TokenCall { call: call?, token: token?, expires: expires?, headers, query })
    }

    fn expiry(&mut self, at: &At<'_>) -> Option<Expiry> {
        match (at.get("expires"), at.get("lifetime")) {
            (Some(place), None) => {
                let pick = self.answered(&place)?;
                match place.text_of("format") {
                    Some("seconds") => Some(Expiry::Seconds(pick)),
                    format => Some(Expiry::At(pick, time_format(format))),
                }
            }
            (None, Some(lifetime)) => self.pause(&lifetime).map(|all: Duration| Expiry::After(all)),
            (Some(_), Some(lifetime)) => {
                let message = "`expires` and `lifetime` both say how long the token is good";
                self.report(
                    Mistake::new(Code::Exclusive, Place::key(&lifetime.path), message)
                        .help("keep `expires` where the answer tells it, `lifetime` where it does not"),
                );
                None
            }
            (None, None) => {
                let message = format!("`{}` does not say how long its token is good", at.path);
                self.report(Mistake::new(Code::MissingKey, Place::key(&at.path), message).help(
                    "say where the answer tells it, `expires: {item: /expires_in, format: seconds}`, or how long it always is, `lifetime: 30m`",
                ));
                None
            }
        }
    }

    /// A place in an answer, which has neither query nor form.
    fn answered(&mut self, at: &At<'_>) -> Option<Pick> {
        let pick = self.pick(at)?;
        if matches!(pick, Pick::Query(_) | Pick::Form(_)) {
            self.report(
                Mistake::new(
                    Code::NotHere,
                    Place::value(&at.path),
                    "an answer has neither a query nor a form",
                )
                .help("point into its body, `/token`, or name a header, `{header: X-Token}`"),
            );
            return None;
        }
        Some(pick)
    }

    fn token_is_used(&mut self, at: &At<'_>) {
        let places: Vec<At<'_>> = ["use", "use_query"].iter().filter_map(|key| at.get(key)).collect();
        let names: Vec<String> = places.iter().flat_map(|at| names_within(at.value)).collect();
        let used = self.defined.through_vars(&names);
        if used.iter().any(|(name, _)| name == "auth.token") {
            return;
        }
        let place = places.first().map_or_else(|| Place::key(&at.path), |at| Place::key(&at.path));
        let message = "the token is fetched and signs nothing";
        self.report(
            Mistake::new(Code::Unused, place, message)
                .help("say where it goes: use: {Authorization: \"Bearer {{ auth.token }}\"}"),
        );
    }

    fn saved_is_used(&mut self, at: &At<'_>) {
        let used = self.defined.through_vars(&names_within(at.value));
        for (name, at) in at.get("save").iter().flat_map(At::entries) {
            let full = format!("auth.{name}");
            if !used.iter().any(|(used, _)| *used == full) {
                let message = format!("`{full}` is saved, and nothing of this auth names it");
                self.report(Mistake::new(Code::Unused, Place::key(&at.path), message).help(format!(
                    "name it where the next call needs it, {{{{ {full} | default(secrets.NAME) }}}}, or leave it out"
                )));
            }
        }
    }
}
