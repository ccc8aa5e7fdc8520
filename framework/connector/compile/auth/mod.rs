//! Ways to sign a call: each kind with what it must and may have.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::names::Here;
use super::reader::{At, Compiler};
use crate::connector::model::{Auth, TokenAuth, TokenSource};
use crate::connector::template::Text;
use crate::spec::mistake::{Code, Mistake, Place};

mod assertion;
mod choices;
mod exchange;
mod oauth;

impl Compiler {
    /// All auths, by name.
    pub fn auths(&mut self, top: &At<'_>) -> BTreeMap<String, Auth> {
        let mut auths = BTreeMap::new();
        for (name, at) in top.get("auth").iter().flat_map(At::entries) {
            self.not_none(name, &at);
            self.auth_here = Some(name.to_owned());
            if let Some(auth) = self.auth(top, &at) {
                auths.insert(name.to_owned(), auth);
            }
        }
        self.auth_here = None;
        auths
    }

    /// `none` is the word for a call that nothing signs.
    fn not_none(&mut self, name: &str, at: &At<'_>) {
        if name == "none" {
            self.report(
                Mistake::new(Code::AuthChoice, Place::key(&at.path), "no auth can be called `none`")
                    .help("`auth: none` means that nothing signs a call: call this one otherwise"),
            );
        }
    }

    fn auth(&mut self, top: &At<'_>, at: &At<'_>) -> Option<Auth> {
        let source = match at.text_of("kind")? {
            "bearer" => return Some(Auth::Bearer { token: self.text_of(at, "token", Here::Auth)? }),
            "basic" => {
                let username = self.text_of(at, "username", Here::Auth);
                let password = self.text_of(at, "password", Here::Auth);
                return Some(Auth::Basic { username: username?, password: password? });
            }
            "headers" => {
                return Some(Auth::Headers { headers: self.headers(&at.get("headers")?, Here::Auth) });
            }
            "oauth2_client_credentials" => self.client_credentials(at).map(TokenSource::OAuth),
            "oauth2_refresh" => self.refresh(at).map(TokenSource::OAuth),
            "jwt_bearer" => self.jwt_bearer(at),
            "exchange" => self.exchange(top, at).map(TokenSource::Exchange),
            kind @ ("aws_sigv4" | "edgegrid") => {
                self.not_built(Place::value(&at.path.join("kind")), &format!("the auth kind `{kind}`"));
                None
            }
            _ => None,
        };
        let from = self.sources(at);
        Some(Auth::Token(Box::new(TokenAuth { source: source?, from })))
    }

    /// The settings and secrets that an auth is made of, also by way of vars.
    fn sources(&self, at: &At<'_>) -> Vec<Text> {
        let used = self.defined.through_vars(&names_within(at.value));
        let ours = used.into_iter().map(|(name, _)| name);
        let ours: BTreeSet<String> =
            ours.filter(|name| name.starts_with("settings.") || name.starts_with("secrets.")).collect();
        let text = |name: &String| Text::compile(&format!("{{{{ {name} | default(omit) }}}}")).ok();
        ours.iter().filter_map(text).collect()
    }

    fn missing_key(&mut self, at: &At<'_>, key: &str, help: &str) {
        let message = format!("`{}` has no `{key}`", at.path);
        self.report(Mistake::new(Code::MissingKey, Place::key(&at.path), message).help(help));
    }
}

/// Every name that the texts of a value use.
fn names_within(value: &Json) -> Vec<String> {
    match value {
        Json::String(text) => Text::compile(text).map(|text| text.names()).unwrap_or_default(),
        Json::Array(list) => list.iter().flat_map(names_within).collect(),
        Json::Object(map) => map.values().flat_map(names_within).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) => Vec::new(),
    }
}
