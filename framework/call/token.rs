//! Tokens of client credentials grants, kept in memory until shortly before they expire.
//!
//! One per instance and auth; callers that want one at the same time share a single fetch, its failure too. A
//! changed secret is another grant, and drops the token. `caller` says when a token was refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use super::auth::{Grant, bearer};
use super::exchange::{Exchange, failure, message};
use super::failure::{CallError, Failure};
use super::mask::Mask;
use super::retry::{Repeat, is_passing};
use crate::connector::instance::InstanceId;
use crate::connector::model::Errors;
use crate::connector::pick::{Pick, Pointer};

/// How long a token is kept whose lifetime is not told.
const UNTOLD: Duration = Duration::from_secs(300);
/// No lifetime is believed beyond this.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// A token is renewed a tenth of its lifetime before its end, but not sooner than this.
const LEEWAY: Duration = Duration::from_secs(300);
/// The longest token that is taken, and that is looked into.
const LARGEST: usize = 64 << 10;

/// A token that was fetched.
#[derive(Clone)]
pub struct Token {
    /// The header that carries it.
    pub header: HeaderValue,
    /// Its text, for the mask.
    pub text: Arc<str>,
    /// What it permits, as far as it can be told.
    pub scopes: Option<BTreeSet<String>>,
    renew_at: Timestamp,
}

/// All tokens of a process.
#[derive(Default)]
pub struct Tokens {
    entries: Mutex<BTreeMap<(InstanceId, String), Arc<Entry>>>,
}

struct Entry {
    fingerprint: [u8; 32],
    /// Fetches that have ended: who waited through one takes its outcome instead of beginning another.
    ended: AtomicU64,
    slot: tokio::sync::Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    token: Option<Token>,
    denied: Option<Denied>,
}

/// A fetch that failed, as those see it who waited for it.
#[derive(Clone)]
enum Denied {
    Refused(Box<Failure>),
    Passing(Box<Failure>),
}

impl From<Denied> for CallError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Refused(failure) => Self::Refused(failure),
            Denied::Passing(failure) => Self::Passing(failure),
        }
    }
}

impl Tokens {
    /// The token of a grant, fetched where none is kept. `refused` is one that the vendor did not accept: it
    /// is not given again.
    pub async fn get(
        &self,
        exchange: &Exchange,
        (instance, auth): (&InstanceId, &str),
        grant: &Grant,
        refused: Option<&Token>,
        mask: &Mask,
    ) -> Result<Token, CallError> {
        let entry = self.entry(instance, auth, grant.fingerprint());
        let before = entry.ended.load(Ordering::Acquire);
        let mut slot = entry.slot.lock().await;
        if slot.token.as_ref().is_some_and(|kept| refused.is_some_and(|refused| kept.text == refused.text)) {
            slot.token = None;
        }
        if let Some(token) = slot.token.as_ref().filter(|token| exchange.clock.now() < token.renew_at) {
            return Ok(token.clone());
        }
        if entry.ended.load(Ordering::Acquire) != before
            && let Some(denied) = &slot.denied
        {
            return Err(denied.clone().into());
        }
        let outcome = fetch(exchange, auth, grant, mask).await;
        entry.ended.fetch_add(1, Ordering::AcqRel);
        (slot.token, slot.denied) = match &outcome {
            Ok(token) => (Some(token.clone()), None),
            Err(Fetch::Denied(denied)) => (None, Some(denied.clone())),
            Err(Fetch::Unmade(_)) => (None, None),
        };
        outcome.map_err(|error| match error {
            Fetch::Denied(denied) => denied.into(),
            Fetch::Unmade(error) => error,
        })
    }

    fn entry(&self, instance: &InstanceId, auth: &str, fingerprint: [u8; 32]) -> Arc<Entry> {
        // Nothing that could panic happens under this lock.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh =
            || Arc::new(Entry { fingerprint, ended: AtomicU64::new(0), slot: tokio::sync::Mutex::default() });
        let entry = entries.entry((instance.clone(), auth.to_owned())).or_insert_with(fresh);
        if entry.fingerprint != fingerprint {
            *entry = fresh();
        }
        entry.clone()
    }
}

/// Why there is no token.
enum Fetch {
    /// The other side did not give one.
    Denied(Denied),
    /// It was not asked.
    Unmade(CallError),
}

async fn fetch(exchange: &Exchange, auth: &str, grant: &Grant, mask: &Mask) -> Result<Token, Fetch> {
    let request = grant.request().map_err(|error| Fetch::Unmade(error.into()))?;
    let mut mask = mask.clone();
    grant.hide_in(&mut mask);
    // The lifetime counts from before the request: the answer may have been long on its way.
    let asked_at = exchange.clock.now();
    // Asking twice for a token makes nothing at the vendor that stays.
    let answer = match exchange.send(&request, Repeat::Safe, &mask).await {
        Ok(answer) => answer,
        Err(CallError::Passing(failure) | CallError::Unclear(failure)) => {
            return Err(Fetch::Denied(Denied::Passing(failure)));
        }
        Err(CallError::Gone(failure) | CallError::Refused(failure) | CallError::Unreadable(failure)) => {
            return Err(Fetch::Denied(Denied::Refused(failure)));
        }
        Err(error @ CallError::Render(_)) => return Err(Fetch::Unmade(error)),
    };
    let json: Option<Json> = serde_json::from_slice(&answer.body).ok();
    let fail = |sentence: String| failure(&request, Some(answer.status), sentence, &mask);
    if !answer.status.is_success() {
        let sentence = message(&oauth_errors(), &answer, json.as_ref(), &mask);
        let mut failure = fail(sentence.unwrap_or_else(|| "no token, and no reason given".to_owned()));
        failure.wait = exchange.asked(&answer);
        if is_passing(answer.status) {
            return Err(Fetch::Denied(Denied::Passing(failure)));
        }
        failure.help = Some(format!(
            "the token endpoint did not take the credentials of the auth `{auth}`: check its id, secret and parameters, and what the application may do"
        ));
        return Err(Fetch::Denied(Denied::Refused(failure)));
    }
    read(json.as_ref(), asked_at).map_err(|why| {
        let mut failure = fail(why.to_owned());
        failure.help = Some("is the token URL right?".to_owned());
        Fetch::Denied(Denied::Refused(failure))
    })
}

/// Where OAuth says what went wrong (RFC 6749 section 5.2), and where others do who answer in its place.
fn oauth_errors() -> Errors {
    let pick = |name: &str| Pick::Body(Pointer(vec![name.to_owned()]));
    Errors { message: ["error_description", "error", "message"].map(pick).to_vec(), ..Errors::default() }
}

fn read(json: Option<&Json>, asked_at: Timestamp) -> Result<Token, &'static str> {
    let json = json.ok_or("the answer of the token endpoint is no JSON")?;
    let text = json.get("access_token").and_then(Json::as_str).filter(|text| !text.is_empty());
    let text = text.ok_or("the answer of the token endpoint has no access_token")?;
    if text.len() > LARGEST {
        return Err("the access_token is larger than 64 KiB");
    }
    let kind = json.get("token_type").and_then(Json::as_str).unwrap_or("Bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err("the token_type is not Bearer, and no other can be sent");
    }
    let header = bearer(text).map_err(|_| "the access_token holds characters that no header may hold")?;
    let scopes = json.get("scope").and_then(scope_list).or_else(|| jwt_scopes(text));
    let lifetime = lifetime(json.get("expires_in"));
    let leeway = (lifetime / 10).min(LEEWAY);
    let kept = SignedDuration::try_from(lifetime - leeway).unwrap_or(SignedDuration::ZERO);
    let renew_at = asked_at.checked_add(kept).unwrap_or(asked_at);
    Ok(Token { header, text: text.into(), scopes, renew_at })
}

/// Seconds, number or text. What is not told is guessed short; what is absurd is bounded; nothing or less means
/// that the token serves this one call.
fn lifetime(told: Option<&Json>) -> Duration {
    let seconds = match told {
        Some(Json::Number(number)) => number.as_f64(),
        Some(Json::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds.is_finite() => {
            Duration::from_secs_f64(seconds.clamp(0.0, LONGEST.as_secs_f64()))
        }
        _ => UNTOLD,
    }
}

/// What a JWT access token permits, by its `scope`, `scp` and `permissions` claims. The signature is not looked
/// at: this is for messages, and the vendor decides. `None` where the token is none, or does not say.
pub fn jwt_scopes(token: &str) -> Option<BTreeSet<String>> {
    if token.len() > LARGEST {
        return None;
    }
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = BASE64URL_NOPAD.decode(claims.trim_end_matches('=').as_bytes()).ok()?;
    let claims: Json = serde_json::from_slice(&claims).ok()?;
    let told: Vec<BTreeSet<String>> = ["scope", "scp", "permissions"]
        .iter()
        .filter_map(|name| claims.get(name).and_then(scope_list))
        .collect();
    (!told.is_empty()).then(|| told.into_iter().flatten().collect())
}

/// Separated by blanks (RFC 6749 section 3.3), or a list.
fn scope_list(value: &Json) -> Option<BTreeSet<String>> {
    match value {
        Json::String(text) => Some(text.split_whitespace().map(str::to_owned).collect()),
        Json::Array(list) => Some(list.iter().filter_map(Json::as_str).map(str::to_owned).collect()),
        _ => None,
    }
}
