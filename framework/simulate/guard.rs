//! Who may call the stand-in: its token endpoints, and the check of every signed request.
//!
//! Called by the vendor for each request. It derives everything from the spec's `auth` and never takes a
//! value that the spec would not send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::answer::{Answer, Incoming};
use super::routes::authority;

use crate::connector::instance::Instance;
use crate::connector::model::{Auth, Call, ClientAuth};
use crate::connector::template::Text;
use crate::error::{Error, Kind, Result};

/// How long a token of the stand-in lives.
const TOKEN_LIFE: Duration = Duration::from_secs(600);

/// The stand-in's tokens and who may have one.
#[derive(Debug, Default)]
pub struct Guard {
    /// Live tokens: the auth each was given for, and when it ends.
    tokens: Mutex<BTreeMap<String, (String, Timestamp)>>,
}

impl Guard {
    /// The answer of a token endpoint, if the request is at one.
    pub fn token(&self, instance: &Instance, incoming: &Incoming, now: Timestamp) -> Result<Option<Answer>> {
        for (name, auth) in &instance.connector.auths {
            let Auth::ClientCredentials { token_url, client_auth, client_id, client_secret, params } = auth
            else {
                continue;
            };
            let Ok(url) = token_url.render(&instance.scope()) else { continue };
            let url = url::Url::parse(&url).map_err(|e| {
                Error::new(Kind::Finding, format!("auth `{name}`: token_url is no URL")).because(e)
            })?;
            if !incoming.host.eq_ignore_ascii_case(&authority(&url)) || incoming.path != url.path() {
                continue;
            }
            let client = Client { how: *client_auth, id: client_id, secret: client_secret, params };
            return Ok(Some(match client.refusal(instance, incoming)? {
                Some(refusal) => refusal,
                None => self.grant(name, now),
            }));
        }
        Ok(None)
    }

    fn grant(&self, auth: &str, now: Timestamp) -> Answer {
        let mut random = [0_u8; 24];
        if aws_lc_rs::rand::fill(&mut random).is_err() {
            return Answer::json(500, json!({"error": "server_error"}));
        }
        let token = format!("simulated.{}", HEXLOWER.encode(&random));
        let ends = now.checked_add(TOKEN_LIFE).unwrap_or(now);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, (_, ends)| *ends > now);
        tokens.insert(token.clone(), (auth.to_owned(), ends));
        let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_LIFE.as_secs()});
        Answer::json(200, body).with_header("cache-control", "no-store")
    }

    /// Forgets every token, as a vendor does that changes its keys.
    pub fn forget_tokens(&self) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether a request is signed as the call says.
    pub fn admits(
        &self,
        instance: &Instance,
        call: &Call,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<bool> {
        let scope = instance.scope();
        let Some(name) = &call.auth else { return Ok(true) };
        let name = name.render(&scope)?;
        if name == "none" {
            return Ok(true);
        }
        let Some(auth) = instance.connector.auths.get(&name) else { return Ok(false) };
        let authorization = text_of(headers, "authorization");
        Ok(match auth {
            Auth::Bearer { token } => {
                authorization == Some(format!("Bearer {}", token.render(&scope)?).as_str())
            }
            Auth::Basic { username, password } => {
                let pair = format!("{}:{}", username.render(&scope)?, password.render(&scope)?);
                authorization == Some(basic(&pair).as_str())
            }
            Auth::Headers { headers: wanted } => {
                let mut all = true;
                for (name, value) in wanted {
                    all &= text_of(headers, name) == Some(value.render(&scope)?.as_str());
                }
                all
            }
            Auth::ClientCredentials { .. } => {
                let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
                let token = authorization.and_then(|text| text.strip_prefix("Bearer "));
                token
                    .and_then(|token| tokens.get(token))
                    .is_some_and(|(auth, ends)| *auth == name && *ends > now)
            }
        })
    }
}

/// What a token endpoint knows of its client.
struct Client<'a> {
    how: ClientAuth,
    id: &'a Text,
    secret: &'a Text,
    params: &'a [(String, Text)],
}

impl Client<'_> {
    /// Why there is no token, in the words of RFC 6749 section 5.2.
    fn refusal(&self, instance: &Instance, incoming: &Incoming) -> Result<Option<Answer>> {
        let scope = instance.scope();
        if incoming.method != http::Method::POST {
            return Ok(Some(oauth_error(405, "invalid_request", "the token endpoint takes POST")));
        }
        let Some(sent) = self.parameters(incoming) else {
            return Ok(Some(oauth_error(
                400,
                "invalid_request",
                "the body is not of the expected content type",
            )));
        };
        let (id, secret) = (self.id.render(&scope)?, self.secret.render(&scope)?);
        let known = match self.how {
            ClientAuth::Form | ClientAuth::Json => {
                sent.get("client_id") == Some(&id) && sent.get("client_secret") == Some(&secret)
            }
            // RFC 6749 section 2.3.1: both are form-encoded before they are joined. Many vendors take them
            // as they stand, and so does this one.
            ClientAuth::Basic => {
                let given = text_of(&incoming.headers, "authorization");
                let encoded = format!("{}:{}", form_encoded(&id), form_encoded(&secret));
                given == Some(basic(&format!("{id}:{secret}")).as_str())
                    || given == Some(basic(&encoded).as_str())
            }
        };
        if !known {
            return Ok(Some(oauth_error(401, "invalid_client", "Client authentication failed")));
        }
        if sent.get("grant_type").map(String::as_str) != Some("client_credentials") {
            return Ok(Some(oauth_error(
                400,
                "unsupported_grant_type",
                "only client_credentials is known here",
            )));
        }
        let mut allowed: BTreeSet<&str> = BTreeSet::from(["grant_type"]);
        if self.how != ClientAuth::Basic {
            allowed.extend(["client_id", "client_secret"]);
        }
        for (name, value) in self.params {
            allowed.insert(name);
            let value = value.value(&scope)?;
            let wanted = value.as_ref().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
            if sent.get(name) != wanted.as_ref() {
                return Ok(Some(oauth_error(
                    403,
                    "access_denied",
                    &format!("`{name}` is not what it must be"),
                )));
            }
        }
        let unknown = sent.keys().find(|name| !allowed.contains(name.as_str()));
        Ok(unknown.map(|name| oauth_error(400, "invalid_request", &format!("unknown parameter `{name}`"))))
    }

    fn parameters(&self, incoming: &Incoming) -> Option<BTreeMap<String, String>> {
        match self.how {
            ClientAuth::Form | ClientAuth::Basic => {
                incoming.is_of("application/x-www-form-urlencoded").then(|| incoming.form.clone())
            }
            ClientAuth::Json if incoming.is_of("application/json") => {
                let Some(Json::Object(map)) = &incoming.json else { return None };
                let text = |v: &Json| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
                Some(map.iter().map(|(name, value)| (name.clone(), text(value))).collect())
            }
            ClientAuth::Json => None,
        }
    }
}

fn oauth_error(status: u16, error: &str, description: &str) -> Answer {
    Answer::json(status, json!({"error": error, "error_description": description}))
}

/// The value of `Authorization` for a user and password joined by a colon (RFC 7617).
pub fn basic(pair: &str) -> String {
    format!("Basic {}", BASE64.encode(pair.as_bytes()))
}

fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A header's text; one that is no text equals nothing.
fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
