//! Ways to sign a call.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Here;
use super::reader::{At, Compiler};
use crate::connector::model::{Auth, ClientAuth};
use crate::connector::template::Text;
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::nearest::{listed, nearest};

impl Compiler {
    /// All auths, by name.
    pub fn auths(&mut self, top: &At<'_>) -> BTreeMap<String, Auth> {
        top.get("auth")
            .map(|at| {
                at.entries().filter_map(|(name, at)| Some((name.to_owned(), self.auth(&at)?))).collect()
            })
            .unwrap_or_default()
    }

    fn auth(&mut self, at: &At<'_>) -> Option<Auth> {
        match at.text_of("kind")? {
            "bearer" => Some(Auth::Bearer { token: self.text_of(at, "token", Here::Auth)? }),
            "basic" => {
                let username = self.text_of(at, "username", Here::Auth);
                let password = self.text_of(at, "password", Here::Auth);
                Some(Auth::Basic { username: username?, password: password? })
            }
            "headers" => Some(Auth::Headers { headers: self.headers(&at.get("headers")?, Here::Auth) }),
            "oauth2_client_credentials" => self.client_credentials(at),
            kind @ ("oauth2_refresh" | "jwt_bearer" | "aws_sigv4" | "exchange") => {
                self.not_built(Place::value(&at.path.join("kind")), &format!("the auth kind `{kind}`"));
                None
            }
            _ => None,
        }
    }

    fn client_credentials(&mut self, at: &At<'_>) -> Option<Auth> {
        let token_url = at.get("token_url").and_then(|at| self.url(&at, Here::Auth, false));
        let client_id = self.text_of(at, "client_id", Here::Auth);
        let client_secret = self.text_of(at, "client_secret", Here::Auth);
        if !at.has("client_secret") && at.text_of("client_auth") != Some("private_key_jwt") {
            self.report(
                Mistake::new(
                    Code::MissingKey,
                    Place::key(&at.path),
                    format!("`{}` has no `client_secret`", at.path),
                )
                .help("add `client_secret:`, for example \"{{ secrets.client_secret }}\""),
            );
        }
        let params = at.get("params").map(|at| self.texts(&at, Here::Auth)).unwrap_or_default();
        let client_auth = match at.text_of("client_auth")? {
            "form" => ClientAuth::Form,
            "json" => ClientAuth::Json,
            "basic" => ClientAuth::Basic,
            "private_key_jwt" => {
                self.not_built(Place::value(&at.path.join("client_auth")), "`private_key_jwt`");
                return None;
            }
            _ => return None,
        };
        Some(Auth::ClientCredentials {
            token_url: token_url?,
            client_auth,
            client_id: client_id?,
            client_secret: client_secret?,
            params,
        })
    }

    /// The name of an auth: fixed, or the value of a setting.
    pub fn auth_name(&mut self, at: &At<'_>, here: Here) -> Option<Text> {
        let text = self.text(at, here)?;
        if let (Some(name), Some(auths)) = (text.literal(), &self.defined.auths)
            && name != "none"
            && !auths.contains_key(name)
        {
            let help = match nearest(name, auths.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("`auth` has {}", listed(auths.keys().map(String::as_str))),
            };
            let message = format!("there is no auth `{name}`");
            self.report(Mistake::new(Code::Undefined, Place::value(&at.path), message).help(help));
        }
        Some(text)
    }

    /// Holds the auths against whatever chooses among them: every choice is an auth, every auth can be chosen.
    pub fn auth_choices(&mut self, top: &At<'_>) {
        let Some(auths) = self.defined.auths.clone() else { return };
        let mut chosen: BTreeSet<String> = BTreeSet::new();
        for at in auth_keys(top) {
            let Some(text) = at.text().and_then(|source| Text::compile(source).ok()) else { continue };
            if let Some(name) = text.literal() {
                // A name with a slip in it is reported where it stands; what it means can be chosen.
                let meant = nearest(name, auths.keys().map(String::as_str));
                chosen.insert(if auths.contains_key(name) { name } else { meant.unwrap_or(name) }.to_owned());
                continue;
            }
            let setting = text.lone_name().and_then(|name| name.strip_prefix("settings.").map(str::to_owned));
            let Some(setting) = setting.and_then(|name| top.get("settings")?.get(&name)) else { return };
            match setting.get("enum") {
                Some(list) => chosen.extend(self.auth_enum(&list, &auths)),
                None => self.report(
                    Mistake::new(
                        Code::AuthChoice,
                        Place::key(&setting.path),
                        "this setting chooses an auth and has no `enum`",
                    )
                    .help(format!(
                        "say which values it takes: `enum: [{}]`",
                        auths.keys().cloned().collect::<Vec<_>>().join(", ")
                    )),
                ),
            }
        }
        for (name, at) in top.get("auth").iter().flat_map(At::entries) {
            if !chosen.is_empty() && !chosen.contains(name) {
                self.report(
                    Mistake::new(
                        Code::AuthChoice,
                        Place::key(&at.path),
                        format!("no call can choose the auth `{name}`"),
                    )
                    .help("add it to the `enum` of the setting that chooses, or remove it"),
                );
            }
        }
    }

    /// The values of a setting that chooses an auth.
    fn auth_enum(&mut self, list: &At<'_>, auths: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
        let mut names = Vec::new();
        for item in list.items() {
            let Some(name) = item.text() else { continue };
            names.push(name.to_owned());
            if name == "none" || auths.contains_key(name) {
                continue;
            }
            let help = match nearest(name, auths.keys().map(String::as_str)) {
                // The one that was meant is not reported as never chosen as well.
                Some(near) => {
                    names.push(near.to_owned());
                    format!("did you mean `{near}`?")
                }
                None => format!("add `{name}` under `auth`, or remove it here"),
            };
            let message = format!("`{name}` can be chosen, and there is no auth of that name");
            self.report(Mistake::new(Code::AuthChoice, Place::value(&item.path), message).help(help));
        }
        names
    }
}

/// Every `auth:` that picks an auth by name.
fn auth_keys<'a>(top: &At<'a>) -> Vec<At<'a>> {
    let provision = top.get("provision");
    let resources = provision.as_ref().and_then(|at| at.get("resources"));
    let operations =
        resources.iter().flat_map(At::entries).flat_map(|(_, at)| at.entries().collect::<Vec<_>>());
    let calls = operations.flat_map(|(_, at)| at.one_or_many());
    let auths = top.get("auth");
    let inside = auths.iter().flat_map(At::entries).map(|(_, at)| at);
    let rules = top.get("receiver").and_then(|at| at.get("rules"));
    let runs = rules.iter().flat_map(At::items).filter_map(|rule| rule.get("run"));
    let verify = top.get("receiver").and_then(|at| at.get("verify"));
    provision
        .iter()
        .cloned()
        .chain(calls)
        .chain(inside)
        .chain(runs)
        .chain(verify)
        .filter_map(|at| at.get("auth"))
        .collect()
}
