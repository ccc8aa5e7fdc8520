//! Who may call the stand-in: its token endpoints, and the check of every signed request.
//!
//! Called by the vendor for each request. It derives everything from the spec's `auth`, never takes a value that
//! the spec would not send, and never takes twice what serves once.

mod assertions;
mod endpoint;
mod exchange;
mod keys;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use self::assertions::{Expected, Taken};
use self::endpoint::{Asked, grant_type, oauth_error};
pub use self::keys::given_for;
use super::answer::{Answer, Incoming, refusal};
use super::credentials::{basic, text_of};
use super::routes::authority;
use crate::call::Request;
use crate::call::auth::carry;
use crate::call::token::Token;
use crate::connector::instance::Instance;
use crate::connector::model::{Auth, Call, Grant, OAuth, TokenAuth, TokenCall, TokenSource};
use crate::connector::template::Scope;
use crate::error::{Error, Kind, Result};

/// How long a token of the stand-in lives.
const TOKEN_LIFE: Duration = Duration::from_secs(600);

/// The stand-in's tokens and who may have one.
#[derive(Debug, Default)]
pub struct Guard {
    /// Live tokens: the auth each was given for, and when it ends.
    tokens: Mutex<BTreeMap<String, (String, Timestamp)>>,
    /// What the last answer of an auth gave to be saved: what serves at the next one, and nothing before it.
    saved: Mutex<BTreeMap<String, Map<String, Json>>>,
    taken: Taken,
    /// Tokens that were forgotten last.
    ended: Mutex<Vec<String>>,
}

impl Guard {
    /// The answer of a token endpoint, if the request is at one.
    pub fn token(&self, instance: &Instance, incoming: &Incoming, now: Timestamp) -> Result<Option<Answer>> {
        let mut refused: Option<Answer> = None;
        for (name, auth) in &instance.connector.auths {
            let Auth::Token(auth) = auth else { continue };
            let answer = match &auth.source {
                TokenSource::OAuth(oauth) => self.endpoint(instance, name, oauth, incoming, now)?,
                TokenSource::Exchange(exchange) => self.exchange(instance, name, exchange, incoming, now)?,
                TokenSource::Signed(_) => None,
            };
            match answer {
                Some(answer) if answer.status == 200 => return Ok(Some(answer)),
                // Several auths may share an endpoint: the last word has the one whose grant it is.
                Some(answer) if refused.is_none() || is_of(auth, incoming) => refused = Some(answer),
                Some(_) | None => {}
            }
        }
        Ok(refused)
    }

    fn endpoint(
        &self,
        instance: &Instance,
        name: &str,
        oauth: &OAuth,
        incoming: &Incoming,
        now: Timestamp,
    ) -> Result<Option<Answer>> {
        let scope = instance.scope().with_now(now);
        let Ok(text) = oauth.token_url.render(&scope) else { return Ok(None) };
        let url = url::Url::parse(&text).map_err(|e| {
            Error::new(Kind::Finding, format!("auth `{name}`: token_url is no URL")).because(e)
        })?;
        if !incoming.host.eq_ignore_ascii_case(&authority(&url)) || incoming.path != url.path() {
            return Ok(None);
        }
        let rotates = matches!(oauth.grant, Grant::Refresh { .. });
        let refresh = self.saved_of(name).get("refresh_token").and_then(Json::as_str).map(str::to_owned);
        let asked =
            Asked { oauth, incoming, url: url.as_str(), refresh, taken: &self.taken, scope: &scope, now };
        if let Some(refused) = asked.refusal()? {
            return Ok(Some(refused));
        }
        let Some(token) = self.grant(name, now) else {
            return Ok(Some(oauth_error(500, "server_error", "there is no randomness")));
        };
        let mut body =
            json!({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_LIFE.as_secs()});
        if rotates {
            let next = random().unwrap_or_default();
            body["refresh_token"] = Json::from(next.as_str());
            self.save(name, Map::from_iter([("refresh_token".to_owned(), next.into())]));
        }
        Ok(Some(Answer::json(200, body).with_header("cache-control", "no-store")))
    }

    fn exchange(
        &self,
        instance: &Instance,
        name: &str,
        exchange: &TokenCall,
        incoming: &Incoming,
        now: Timestamp,
    ) -> Result<Option<Answer>> {
        let scope = instance.scope().with_now(now).with("auth", Json::Object(self.saved_of(name)));
        if !exchange::is_at(exchange, incoming, &scope) {
            return Ok(None);
        }
        let connector = &instance.connector;
        if !self.admits(instance, &exchange.call, incoming, now)? {
            return Ok(Some(refusal(connector, 401, "Invalid credentials")));
        }
        if let Some(wrong) = exchange::wrong(instance, exchange, incoming, &scope, now)? {
            return Ok(Some(refusal(connector, 401, &wrong)));
        }
        let Some(token) = self.grant(name, now) else {
            return Ok(Some(refusal(connector, 500, "there is no randomness")));
        };
        let next = |(name, _): &(String, _)| (name.clone(), Json::from(random().unwrap_or_default()));
        let saved: Map<String, Json> = exchange.call.save.iter().map(next).collect();
        let answer = exchange::answer(exchange, &token, &saved, &scope, now)?;
        self.save(name, saved);
        Ok(Some(answer))
    }

    fn grant(&self, auth: &str, now: Timestamp) -> Option<String> {
        let token = format!("simulated.{}", random()?);
        let ends = now.checked_add(TOKEN_LIFE).unwrap_or(now);
        let mut tokens = self.tokens();
        tokens.retain(|_, (_, ends)| *ends > now);
        tokens.insert(token.clone(), (auth.to_owned(), ends));
        Some(token)
    }

    /// Forgets every token, as a vendor does that changes its keys, or whose tokens run out.
    pub fn forget_tokens(&self) {
        let forgotten = std::mem::take(&mut *self.tokens()).into_keys().collect();
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = forgotten;
    }

    /// Whether a request carries a token that was forgotten, and not one that never was.
    pub fn has_ended(&self, incoming: &Incoming) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let headers = incoming.headers.values().filter_map(|value| value.to_str().ok());
        let mut values = headers.chain(incoming.query.values().map(String::as_str));
        values.any(|value| ended.iter().any(|token| value.contains(token)))
    }

    fn tokens(&self) -> MutexGuard<'_, BTreeMap<String, (String, Timestamp)>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saved_of(&self, auth: &str) -> Map<String, Json> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).get(auth).cloned().unwrap_or_default()
    }

    fn save(&self, auth: &str, saved: Map<String, Json>) {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).insert(auth.to_owned(), saved);
    }

    /// Whether a request is signed as the call says.
    pub fn admits(
        &self,
        instance: &Instance,
        call: &Call,
        incoming: &Incoming,
        now: Timestamp,
    ) -> Result<bool> {
        let scope = instance.scope().with_now(now);
        let headers = &incoming.headers;
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
            Auth::Token(auth) => match &auth.source {
                TokenSource::Signed(assertion) => {
                    let token = authorization.and_then(|text| text.strip_prefix("Bearer "));
                    let expected = Expected { assertion, added: Map::new(), scope: &scope, now };
                    expected.refusal(token.unwrap_or_default(), None)?.is_none()
                }
                TokenSource::OAuth(_) | TokenSource::Exchange(_) => {
                    self.carries(auth, &name, incoming, &scope, now)?
                }
            },
        })
    }

    /// Whether a request carries a live token of an auth, where the auth puts it.
    fn carries(
        &self,
        auth: &TokenAuth,
        name: &str,
        incoming: &Incoming,
        scope: &Scope,
        now: Timestamp,
    ) -> Result<bool> {
        let live: Vec<String> = self
            .tokens()
            .iter()
            .filter(|(_, (of, ends))| of == name && *ends > now)
            .map(|(token, _)| token.clone())
            .collect();
        for text in live {
            let mut token = Token::of(&text, None, now, TOKEN_LIFE);
            token.saved = self.saved_of(name);
            if is_carried(auth, &token, scope, incoming)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a request carries this token.
fn is_carried(auth: &TokenAuth, token: &Token, scope: &Scope, incoming: &Incoming) -> Result<bool> {
    let mut wanted = Request {
        method: incoming.method.clone(),
        url: url::Url::parse("https://host/").expect("a constant that is a URL"),
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
    };
    carry(auth, token, scope, &mut wanted)?;
    let in_headers = wanted.headers.iter().all(|(name, value)| incoming.headers.get(name) == Some(value));
    let in_query = wanted
        .url
        .query_pairs()
        .all(|(name, value)| incoming.query.get(&*name).is_some_and(|given| *given == value));
    Ok(in_headers && in_query)
}

/// Whether a parameter of the query is one that carries the token of a call.
pub fn is_credential(instance: &Instance, call: &Call, parameter: &str) -> bool {
    let name = call.auth.as_ref().and_then(|name| name.render(&instance.scope()).ok());
    let auth = name.and_then(|name| instance.connector.auths.get(&name));
    match auth {
        Some(Auth::Token(auth)) => match &auth.source {
            TokenSource::Exchange(exchange) => exchange.query.iter().any(|(name, _)| name == parameter),
            TokenSource::OAuth(_) | TokenSource::Signed(_) => false,
        },
        Some(Auth::Bearer { .. } | Auth::Basic { .. } | Auth::Headers { .. }) | None => false,
    }
}

/// Whether a request to a token endpoint names the grant of this auth.
fn is_of(auth: &TokenAuth, incoming: &Incoming) -> bool {
    let named = incoming.form.get("grant_type").map(String::as_str);
    let named = named.or_else(|| incoming.json.as_ref()?.get("grant_type")?.as_str());
    match &auth.source {
        TokenSource::OAuth(oauth) => named == Some(grant_type(&oauth.grant)),
        TokenSource::Signed(_) | TokenSource::Exchange(_) => false,
    }
}

fn random() -> Option<String> {
    let mut random = [0_u8; 24];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    Some(HEXLOWER.encode(&random))
}
