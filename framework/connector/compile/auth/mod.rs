//! Ways to sign a call: each kind with what it must and may have.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::at::At;
use super::compiler::Compiler;
use super::names::Here;
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
            "bearer" => {
                self.credential(at, "token");
                return Some(Auth::Bearer { token: self.text_of(at, "token", Here::Auth)? });
            }
            "basic" => {
                self.credential(at, "password");
                let username = self.text_of(at, "username", Here::Auth);
                let password = self.text_of(at, "password", Here::Auth);
                return Some(Auth::Basic { username: username?, password: password? });
            }
            "headers" => {
                self.secret_headers(at);
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

    /// What proves us to the vendor is a secret: whoever reads the spec or an instance's settings could prove as much.
    fn credential(&mut self, at: &At<'_>, key: &str) {
        let Some(at) = at.get(key) else { return };
        let Some(text) = at.text().and_then(|source| Text::compile(source).ok()) else { return };
        let names = self.defined.through_vars(&text.names());
        // A name that does not exist is reported as that, and some vendors take an empty password.
        let unknown = names.iter().any(|(name, _)| !name.starts_with("settings."));
        if unknown || text.source().is_empty() || self.undefined_names(&text.names()) {
            return;
        }
        self.report(
            Mistake::new(
                Code::OpenDoor,
                Place::value(&at.path),
                format!(
                    "this `{key}` is no secret: settings and specs are shown, logged and kept in the clear"
                ),
            )
            .help(format!("let a person give it as a secret: {key}: \"{{{{ secrets.{key} }}}}\"")),
        );
    }

    /// Headers that prove us to the vendor hold at least one secret.
    fn secret_headers(&mut self, at: &At<'_>) {
        let Some(headers) = at.get("headers") else { return };
        let names = names_within(headers.value);
        let proves = self.defined.through_vars(&names).iter().any(|(name, _)| !name.starts_with("settings."));
        if proves || self.undefined_names(&names) || headers.entries().next().is_none() {
            return;
        }
        self.report(
            Mistake::new(
                Code::OpenDoor,
                Place::value(&headers.path),
                "no secret stands in these headers: settings and specs are shown, logged and kept in the clear",
            )
            .help("let a person give what signs as a secret: Authorization: \"Bearer {{ secrets.token }}\""),
        );
    }

    /// Whether a setting among these names is not defined.
    fn undefined_names(&self, names: &[String]) -> bool {
        let known = |name: &String| {
            let setting = name.strip_prefix("settings.").and_then(|rest| rest.split('.').next());
            setting.is_none_or(|name| self.defined.settings.as_ref().is_none_or(|all| all.contains(name)))
        };
        !names.iter().all(known)
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
