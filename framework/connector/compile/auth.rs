//! Ways to sign a call.

use std::collections::BTreeMap;

use super::names::Here;
use super::reader::{At, Compiler};
use crate::connector::model::{Auth, ClientAuth};
use crate::connector::template::Text;
use crate::spec::mistake::Place;

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

    /// The text under a key.
    pub fn text_of(&mut self, at: &At<'_>, key: &str, here: Here) -> Option<Text> {
        at.get(key).and_then(|at| self.text(&at, here))
    }
}
