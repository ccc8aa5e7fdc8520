//! Who signs a call, and with which token: fetched, made or renewed as its auth says.
//!
//! A part of [`Caller`], since the call that gives a token is a call too, and may be signed by another auth.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use data_encoding::HEXLOWER;
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use super::answer::Answer;
use super::assertion;
use super::auth::{Credentials, carry, credentials, fingerprint, named, sign};
use super::caller::Caller;
use super::exchange::{Terms, failure, message};
use super::failure::CallError;
use super::keep::{Keep, Keeper, Turn};
use super::mask::Mask;
use super::oauth;
use super::retry::{Repeat, is_passing};
use super::token::{LARGEST, Token, jwt_scopes, lifetime};
use super::{Request, Response};
use crate::connector::instance::Instance;
use crate::connector::model::{Assertion, Auth, Call, Expiry, OAuth, TokenAuth, TokenCall, TokenSource};
use crate::connector::pick::Pick;
use crate::connector::template::Scope;
use crate::error::{Error, Kind};

/// How many auths may sign one another's calls: `validate` refuses circles, this bounds what it cannot see.
const DEEPEST: usize = 4;

/// A call's credentials, ready to be put on it.
pub(super) struct Signer<'a> {
    pub(super) auth: Option<String>,
    credentials: Credentials<'a>,
}

/// The call that wants to be signed.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) instance: &'a Instance,
    pub(super) scope: &'a Scope,
    /// How many auths are being asked already.
    pub(super) depth: usize,
}

impl<'a> Signer<'a> {
    pub(super) fn of(
        instance: &'a Instance,
        call: &Call,
        scope: &Scope,
        mask: &mut Mask,
    ) -> Result<Self, CallError> {
        Ok(match named(&instance.connector, call, scope)? {
            None => Self { auth: None, credentials: Credentials::None },
            Some((name, auth)) => Self { credentials: credentials(auth, scope, mask)?, auth: Some(name) },
        })
    }

    /// What the credentials permit; `None` where it cannot be told.
    pub(super) fn scopes(&self, token: Option<&Token>) -> Option<BTreeSet<String>> {
        match &self.credentials {
            Credentials::None | Credentials::Headers(_) => None,
            Credentials::Bearer(_, text) => jwt_scopes(text),
            Credentials::Token(_) => token.and_then(|token| token.scopes.clone()),
        }
    }
}

impl Caller {
    /// The request with its credentials on it, and the token where one was fetched for it.
    pub(super) async fn signed(
        &self,
        wanted: Wanted<'_>,
        signer: &Signer<'_>,
        request: &Request,
        refused: Option<&Token>,
        mask: &mut Mask,
    ) -> Result<(Request, Option<Token>), CallError> {
        let mut request = request.clone();
        let token = self.token(wanted, signer, refused).await?;
        match (&signer.credentials, &token) {
            (Credentials::None, _) | (Credentials::Token(_), None) => {}
            (Credentials::Headers(headers), _) => sign(&mut request, headers.iter().cloned()),
            (Credentials::Bearer(value, _), _) => {
                sign(&mut request, [(http::header::AUTHORIZATION, value.clone())]);
            }
            (Credentials::Token(auth), Some(token)) => {
                mask.add("token", &token.text);
                hide(&token.saved, mask);
                carry(auth, token, wanted.scope, &mut request)?;
            }
        }
        Ok((request, token))
    }

    /// The token of the credentials, where they have one.
    pub(super) async fn token(
        &self,
        wanted: Wanted<'_>,
        signer: &Signer<'_>,
        refused: Option<&Token>,
    ) -> Result<Option<Token>, CallError> {
        let Credentials::Token(auth) = &signer.credentials else { return Ok(None) };
        let name = signer.auth.as_deref().unwrap_or_default();
        if wanted.depth >= DEEPEST {
            let text = format!("the auth `{name}` is signed by too many others");
            return Err(Error::new(Kind::Configuration, text).into());
        }
        let from = fingerprint(auth, wanted.scope)?;
        // The token belongs to all who call: it is fetched in a task of its own, which goes on when the request that
        // began it is dropped. A vendor's new refresh token would be lost otherwise.
        let fetch = || {
            let (caller, instance) = (self.clone(), wanted.instance.snapshot());
            let (name, scope, depth) = (name.to_owned(), wanted.scope.clone(), wanted.depth);
            let (from, refused) = (HEXLOWER.encode(&from), refused.cloned());
            async move {
                let wanted = Wanted { instance: &instance, scope: &scope, depth };
                let Some(Auth::Token(auth)) = instance.connector.auths.get(&name) else {
                    let text = format!("there is no auth `{name}`");
                    return Err(Error::new(Kind::Configuration, text).into());
                };
                caller.renewed(wanted, &name, auth, from, refused.as_ref()).await
            }
        };
        let key = (&wanted.instance.id, name, from);
        self.tokens.get(&self.exchange.clock, key, refused, fetch).await.map(Some)
    }

    /// A new token; where it needs what was saved before, that is kept on disk before the token is used. Boxed,
    /// since the call that gives it may need a token itself.
    fn renewed<'a>(
        &'a self,
        wanted: Wanted<'a>,
        name: &'a str,
        auth: &'a TokenAuth,
        from: String,
        refused: Option<&'a Token>,
    ) -> Pin<Box<dyn Future<Output = Result<Token, CallError>> + Send + 'a>> {
        Box::pin(async move {
            if !auth.source.keeps() {
                return self.fetch(wanted, name, auth, Map::new()).await;
            }
            let keep = self.keep_of(wanted.instance)?;
            let clock = &*self.exchange.clock;
            let keeper = Keeper { keep: &*keep, clock, auth: name, from: &from, me: &self.me };
            // What could not be kept is in our hands alone: before anything else, it is kept.
            if let Some(token) = self.unkept(wanted.instance, &keeper, None) {
                return self.kept(wanted.instance, &keeper, token).await;
            }
            let lease = match keeper.turn(refused).await? {
                Turn::Use(token) => return Ok(token),
                Turn::Renew(lease) => lease,
            };
            match self.fetch(wanted, name, auth, lease.saved.clone()).await {
                Ok(token) => self.kept(wanted.instance, &keeper, token).await,
                Err(error) => {
                    // The failure is what matters; a turn that is not given back ends by itself.
                    if let Err(error) = keeper.failed(lease).await {
                        tracing::debug!(auth = name, %error, "the turn to renew was not given back");
                    }
                    Err(error)
                }
            }
        })
    }

    /// The token, once what came with it is safe.
    async fn kept(&self, instance: &Instance, keeper: &Keeper<'_>, token: Token) -> Result<Token, CallError> {
        if let Err(error) = keeper.renewed(&token).await {
            self.unkept(instance, keeper, Some(token));
            let error = error.help("the vendor gave a new refresh token, which is lost if this process ends now: make room for the store");
            return Err(error.into());
        }
        crate::points::reached("auth.kept");
        Ok(token)
    }

    /// Puts a token aside that could not be kept, or takes it up again.
    fn unkept(&self, instance: &Instance, keeper: &Keeper<'_>, token: Option<Token>) -> Option<Token> {
        let key = (instance.id.clone(), keeper.auth.to_owned(), keeper.from.to_owned());
        let mut unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        match token {
            Some(token) => unkept.insert(key, token),
            None => unkept.remove(&key),
        }
    }

    fn keep_of(&self, instance: &Instance) -> Result<Arc<dyn Keep>, CallError> {
        let keeps = self.keeps.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = keeps.get(&instance.id).cloned();
        keep.ok_or_else(|| Error::new(Kind::Io, "nothing keeps what this auth saves").into())
    }

    /// Asks for a token, or makes one; `saved` is `auth.NAME` of before.
    async fn fetch(
        &self,
        wanted: Wanted<'_>,
        name: &str,
        auth: &TokenAuth,
        saved: Map<String, Json>,
    ) -> Result<Token, CallError> {
        let now = self.exchange.clock.now();
        let scope = wanted.scope.with_now(now).with("auth", Json::Object(saved.clone()));
        let mut mask = Mask::of(wanted.instance);
        hide(&saved, &mut mask);
        let mut token = match &auth.source {
            TokenSource::OAuth(oauth) => self.ask(oauth, (wanted.instance, name), &scope, &mut mask).await?,
            TokenSource::Signed(assertion) => self_signed(assertion, &scope, now)?,
            TokenSource::Exchange(exchange) => {
                let wanted = Wanted { scope: &scope, depth: wanted.depth + 1, ..wanted };
                self.exchanged(wanted, exchange, mask).await?
            }
        };
        let mut all = saved;
        all.append(&mut token.saved);
        token.saved = all;
        Ok(token)
    }

    async fn ask(
        &self,
        oauth: &OAuth,
        (instance, name): (&Instance, &str),
        scope: &Scope,
        mask: &mut Mask,
    ) -> Result<Token, CallError> {
        let asked_at = self.exchange.clock.now();
        let request = oauth::request(oauth, scope, asked_at, mask)?;
        // Asking twice for a token makes nothing at the vendor that stays.
        let terms = Terms { instance: &instance.id, repeat: Repeat::Safe, accept: &[] };
        let answer = match self.exchange.send(&request, terms, mask).await {
            Err(CallError::Gone(failure) | CallError::Unreadable(failure)) => {
                return Err(CallError::Refused(failure));
            }
            Err(CallError::Unclear(failure)) => return Err(CallError::Passing(failure)),
            other => other?,
        };
        self.granted(&request, &answer, name, asked_at, mask)
    }

    /// What a token endpoint answered.
    fn granted(
        &self,
        request: &Request,
        answer: &Response,
        auth: &str,
        asked_at: Timestamp,
        mask: &Mask,
    ) -> Result<Token, CallError> {
        let json: Option<Json> = serde_json::from_slice(&answer.body).ok();
        let fail = |sentence: String| failure(request, Some(answer.status), sentence, mask);
        if !answer.status.is_success() {
            let sentence = message(&oauth::errors(), answer, json.as_ref(), mask);
            let mut failure = fail(sentence.unwrap_or_else(|| "no token, and no reason given".to_owned()));
            failure.wait = self.exchange.asked(answer);
            if is_passing(answer.status) {
                return Err(CallError::Passing(failure));
            }
            failure.help = Some(format!(
                "the token endpoint did not take the credentials of the auth `{auth}`: check its id, secret and parameters, and what the application may do"
            ));
            return Err(CallError::Refused(failure));
        }
        match oauth::read(json.as_ref(), asked_at) {
            Ok((mut token, refresh)) => {
                if let Some(refresh) = refresh {
                    token.saved.insert("refresh_token".to_owned(), refresh.into());
                }
                Ok(token)
            }
            Err(why) => {
                let mut failure = fail(why.to_owned());
                failure.help = Some("is the token URL right?".to_owned());
                Err(CallError::Refused(failure))
            }
        }
    }

    /// The token of any call's answer.
    async fn exchanged(
        &self,
        wanted: Wanted<'_>,
        exchange: &TokenCall,
        mask: Mask,
    ) -> Result<Token, CallError> {
        let asked_at = self.exchange.clock.now();
        let answer = match self.make(wanted, &exchange.call, (Repeat::Safe, None), mask).await {
            // That the address of a login is not there says nothing of what the token is for.
            Err(CallError::Gone(failure)) => return Err(CallError::Refused(failure)),
            other => other?,
        };
        let text = taken(&answer, &exchange.token);
        let text =
            text.as_ref().and_then(Json::as_str).filter(|text| !text.is_empty() && text.len() <= LARGEST);
        let text =
            text.ok_or_else(|| answer.unusable("the answer has no token where the auth says it stands"))?;
        if HeaderValue::from_bytes(text.as_bytes()).is_err() {
            return Err(answer.unusable("the token holds characters that no header may hold"));
        }
        let seconds = good_for(&exchange.expires, &answer, asked_at).ok_or_else(|| {
            answer.unusable("the answer does not say when the token runs out where the auth says it does")
        })?;
        let mut token = Token::of(text, jwt_scopes(text), asked_at, seconds);
        token.saved.clone_from(&answer.saved);
        Ok(token)
    }
}

/// A token that is good without anybody's answer.
fn self_signed(assertion: &Assertion, scope: &Scope, now: Timestamp) -> Result<Token, CallError> {
    let text = assertion::signed(assertion, Map::new(), scope, now)?;
    Ok(Token::of(&text, jwt_scopes(&text), now, assertion.lifetime))
}

/// What was saved is not to be seen.
fn hide(saved: &Map<String, Json>, mask: &mut Mask) {
    for (name, value) in saved {
        if let Json::String(text) = value {
            mask.add(name, text);
        }
    }
}

/// What a pick finds in an answer.
fn taken(answer: &Answer, pick: &Pick) -> Option<Json> {
    match pick {
        Pick::Item(pointer) | Pick::Body(pointer) => pointer.resolve(answer.json.as_ref()?).cloned(),
        Pick::Header(name) => answer.headers.get(name)?.to_str().ok().map(Json::from),
        Pick::Query(_) | Pick::Form(_) => None,
    }
}

/// How long a token is good; what is over already is good for this one call.
fn good_for(expires: &Expiry, answer: &Answer, now: Timestamp) -> Option<std::time::Duration> {
    let (pick, format) = match expires {
        Expiry::After(all) => return Some(*all),
        Expiry::Seconds(pick) => return taken(answer, pick).map(|value| lifetime(Some(&value))),
        Expiry::At(pick, format) => (pick, format),
    };
    let at = match taken(answer, pick)? {
        Json::Number(number) => format.read(&number.to_string())?,
        Json::String(text) => format.read(text.trim())?,
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    Some(at.duration_since(now).try_into().unwrap_or_default())
}
