//! The life of an outgoing call: rendered, signed, sent, read, judged, saved.
//!
//! Provisioning, the plan and the stand-in's tests call it. It never repeats a create of which it is not known
//! what became, and it never tells a secret: what it says about a call is masked, escaped and cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value as Json};
use tracing::Instrument;

use super::answer::Answer;
use super::assertion::fresh_id;
use super::exchange::{Exchange, Terms, failure, is_nothing, message, picked, response_scope};
use super::failure::{CallError, Failure};
use super::keep::Keep;
use super::mask::Mask;
use super::pages::Turn;
use super::render::{draft, request};
use super::retry::{Pace, Repeat, is_passing};
use super::signer::{Signer, Wanted};
use super::token::{Token, Tokens};
use super::{Request, Response, Transport};
use crate::condition::Conditions;
use crate::connector::clock::Clock;
use crate::connector::instance::{Instance, InstanceId};
use crate::connector::model::{Call, ResponseFormat};
use crate::connector::template::Scope;
use crate::error::escaped;

/// Where what the auths of each instance save is kept.
type Keeps = BTreeMap<InstanceId, Arc<dyn Keep>>;

/// Tokens by instance, auth and what they came from.
type Unkept = BTreeMap<(InstanceId, String, String), Token>;

/// Makes the calls of all instances. One per process: the tokens are kept here. A clone is the same caller.
#[derive(Clone)]
pub struct Caller {
    pub(super) exchange: Exchange,
    pub(super) tokens: Arc<Tokens>,
    /// Where what auths save is kept, by instance.
    pub(super) keeps: Arc<Mutex<Keeps>>,
    /// Tokens that could not be kept yet: instance, auth, and what they came from.
    pub(super) unkept: Arc<Mutex<Unkept>>,
    /// Tells this process from others that use the same auths.
    pub(super) me: Arc<str>,
}

impl Caller {
    /// A caller with its way out, its clock and the bounds of its retries.
    pub fn new(transport: Arc<dyn Transport>, clock: Arc<dyn Clock>, pace: Pace) -> Self {
        let exchange = Exchange { conditions: Arc::default(), transport, clock, pace };
        Self {
            exchange,
            tokens: Arc::default(),
            keeps: Arc::default(),
            unkept: Arc::default(),
            me: fresh_id().into(),
        }
    }

    /// Lists hosts that do not answer among these conditions.
    #[must_use]
    pub fn reporting_to(mut self, conditions: Arc<Conditions>) -> Self {
        self.exchange.conditions = conditions;
        self
    }

    /// Waits until the tokens that are being fetched are here and kept, at most so long: what a vendor gave once
    /// would be lost with the process.
    pub async fn finish(&self, limit: Duration) {
        self.tokens.finish(limit).await;
    }

    /// Says where what the auths of an instance save is kept: without it, none that saves can be used.
    pub fn keep(&self, instance: &InstanceId, keep: Arc<dyn Keep>) {
        self.keeps.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.clone(), keep);
    }

    /// The way out, for requests that no call of a spec describes.
    pub fn transport(&self) -> Arc<dyn Transport> {
        self.exchange.transport.clone()
    }

    /// Makes one call. The scope holds what the call's texts may name; `response` is added for its `ok`.
    pub async fn call(
        &self,
        instance: &Instance,
        call: &Call,
        scope: &Scope,
        repeat: Repeat,
    ) -> Result<Answer, CallError> {
        let span = tracing::debug_span!("call", instance = %instance.id);
        self.make(Wanted { instance, scope, depth: 0 }, call, (repeat, None), Mask::of(instance))
            .instrument(span)
            .await
    }

    /// Asks for a page of a list: the first where there is no turn.
    pub async fn page(
        &self,
        instance: &Instance,
        call: &Call,
        scope: &Scope,
        turn: Option<&Turn>,
    ) -> Result<Answer, CallError> {
        let span = tracing::debug_span!("call", instance = %instance.id);
        let wanted = Wanted { instance, scope, depth: 0 };
        self.make(wanted, call, (Repeat::Safe, turn), Mask::of(instance)).instrument(span).await
    }

    /// The same for a call that may be one of an auth's: `mask` holds what must not be seen besides.
    pub(super) async fn make(
        &self,
        wanted: Wanted<'_>,
        call: &Call,
        (repeat, turn): (Repeat, Option<&Turn>),
        mut mask: Mask,
    ) -> Result<Answer, CallError> {
        // 1. Render: nothing is sent unless all of it can be.
        mask.add_saved(&wanted.instance.connector, wanted.scope);
        let signer = Signer::of(wanted.instance, call, wanted.scope, &mut mask)?;
        let mut unsigned = request(draft(call, wanted.scope)?, &mask)?;
        if let Some(turn) = turn {
            unsigned.url = turn.applied(&unsigned.url, (!call.secret_in_url).then_some(&mask))?;
        }
        // 2. Sign.
        let (mut request, mut token) = self.signed(wanted, &signer, &unsigned, None, &mut mask).await?;
        // 3. Send; a token that is refused is fetched anew, once.
        let terms = Terms { instance: &wanted.instance.id, repeat, accept: &call.accept };
        let mut answer = self.exchange.send(&request, terms, &mask).await?;
        let is_refused = answer.status == StatusCode::UNAUTHORIZED && !is_accepted(call, answer.status);
        if is_refused && token.is_some() {
            (request, token) = self.signed(wanted, &signer, &unsigned, token.as_ref(), &mut mask).await?;
            answer = self.exchange.send(&request, terms, &mask).await?;
        }
        // 4. Read, judge, save.
        let held = signer.scopes(token.as_ref());
        let judge = Judge { exchange: &self.exchange, call, request: &request, mask: &mask, repeat };
        judge.judge(answer, wanted.scope, signer.auth.as_deref(), held.as_ref())
    }

    /// What the credentials of a call permit, fetching a token where the auth needs one; `None` where it
    /// cannot be told.
    pub async fn token_scopes(
        &self,
        instance: &Instance,
        call: &Call,
        scope: &Scope,
    ) -> Result<Option<BTreeSet<String>>, CallError> {
        let signer = Signer::of(instance, call, scope, &mut Mask::of(instance))?;
        let token = self.token(Wanted { instance, scope, depth: 0 }, &signer, None).await?;
        Ok(signer.scopes(token.as_ref()))
    }
}

/// Whether a status is an answer like any other, by the call's own word.
fn is_accepted(call: &Call, status: StatusCode) -> bool {
    call.accept.contains(&status.as_u16())
}

/// What is made of an answer.
struct Judge<'a> {
    exchange: &'a Exchange,
    call: &'a Call,
    request: &'a Request,
    mask: &'a Mask,
    repeat: Repeat,
}

impl Judge<'_> {
    fn judge(
        &self,
        answer: Response,
        scope: &Scope,
        auth: Option<&str>,
        held: Option<&BTreeSet<String>>,
    ) -> Result<Answer, CallError> {
        let json: Option<Json> = serde_json::from_slice(&answer.body).ok();
        let response = response_scope(&answer, json.as_ref());
        let accepted = is_accepted(self.call, answer.status);
        if !answer.status.is_success() && !accepted {
            let mut failure = self.refusal(&answer, json.as_ref(), response);
            failure.help = self.advice(answer.status, auth, held);
            return Err(self.sorted(answer.status, failure));
        }
        if self.call.response == ResponseFormat::Json
            && json.is_none()
            && !accepted
            && !answer.body.trim_ascii().is_empty()
        {
            return Err(self.unusable(&answer, "the answer is no JSON"));
        }
        // What every call says of a success cannot be in the answer that says that there is nothing.
        let absent = matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE);
        if let Some(ok) = &self.call.ok
            && !(absent && self.call.ok_is_shared)
            && !ok.holds(&scope.with("response", response.clone()))?
        {
            let mut failure = self.refusal(&answer, json.as_ref(), response);
            failure.help = Some(format!("the answer does not meet the call's `ok: {}`", ok.source()));
            return Err(CallError::Refused(failure));
        }
        let mut saved = Map::new();
        for (name, pick) in &self.call.save {
            match picked(pick, &answer, json.as_ref()) {
                Some(value) if !is_nothing(&value) => {
                    saved.insert(name.clone(), value);
                }
                _ => {
                    return Err(
                        self.unusable(&answer, &format!("the answer has nothing to save as `{name}`"))
                    );
                }
            }
        }
        let json = if self.call.response == ResponseFormat::Json { json } else { None };
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let asked = failure(self.request, Some(answer.status), String::new(), self.mask);
        Ok(Answer { status: answer.status, headers: answer.headers, json, text, saved, response, asked })
    }

    /// A 2xx answer that cannot be used. What was created is there all the same: somebody must look for it.
    fn unusable(&self, answer: &Response, sentence: &str) -> CallError {
        let failure = failure(self.request, Some(answer.status), sentence.to_owned(), self.mask);
        match self.repeat {
            Repeat::Safe => CallError::Unreadable(failure),
            Repeat::Never => CallError::Unclear(failure),
        }
    }

    fn refusal(&self, answer: &Response, json: Option<&Json>, response: Json) -> Box<Failure> {
        let said = message(&self.call.errors, answer, json, self.mask);
        let sentence = said.unwrap_or_else(|| "no reason was given".to_owned());
        let mut failure = failure(self.request, Some(answer.status), sentence, self.mask);
        failure.wait = self.exchange.asked(answer);
        failure.response = Some(response);
        failure
    }

    fn sorted(&self, status: StatusCode, failure: Box<Failure>) -> CallError {
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => CallError::Gone(failure),
            StatusCode::TOO_MANY_REQUESTS => CallError::Passing(failure),
            _ if is_passing(status) => match self.repeat {
                Repeat::Safe => CallError::Passing(failure),
                Repeat::Never => CallError::Unclear(failure),
            },
            _ => CallError::Refused(failure),
        }
    }

    /// What to do about a status: the spec's advice, and for 401 and 403 what the call needs and the token has.
    fn advice(
        &self,
        status: StatusCode,
        auth: Option<&str>,
        held: Option<&BTreeSet<String>>,
    ) -> Option<String> {
        let mut advice: Vec<String> =
            self.call.errors.advice.get(&status.as_u16()).cloned().into_iter().collect();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                advice.extend(self.permission(held));
                if advice.is_empty() {
                    advice.push(match auth {
                        Some(auth) => format!("check the secrets of the auth `{auth}`, and what they permit"),
                        None => "the call is not signed: does the spec name an `auth` for it?".to_owned(),
                    });
                }
            }
            StatusCode::NOT_FOUND => {
                advice.push("nothing is at this path: are the base URL and the ids in it right?".to_owned());
            }
            _ if status.is_redirection() => {
                advice.push("redirects are not followed: is the base URL right?".to_owned());
            }
            _ => {}
        }
        (!advice.is_empty()).then(|| advice.join("; "))
    }

    fn permission(&self, held: Option<&BTreeSet<String>>) -> Option<String> {
        let needed = self.call.scope.as_deref()?;
        Some(match held {
            None => format!("the call needs the scope {needed}"),
            Some(held) if held.contains(needed) => {
                format!("the call needs the scope {needed}, which the token has")
            }
            Some(held) => {
                let shown: Vec<&str> = held.iter().map(String::as_str).collect();
                let shown = if shown.is_empty() { "none".to_owned() } else { escaped(&shown.join(" "), 300) };
                format!(
                    "the call needs the scope {needed}; the token has {shown}: grant it to the application and try again"
                )
            }
        })
    }
}
