//! Tokens that were fetched or made, kept in memory until shortly before they expire.
//!
//! One per instance and auth; callers that want one at the same time share a single fetch, its failure too, and
//! an endpoint that fails again and again is left alone for a while. A changed secret drops the token. `signer`
//! fetches, and says when a token was refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::Instrument;

use super::failure::{CallError, Failure};
use crate::connector::clock::Clock;
use crate::connector::instance::InstanceId;
use crate::error::{Error, Kind};

/// How long a token is kept whose lifetime is not told.
const UNTOLD: Duration = Duration::from_secs(300);
/// No lifetime is believed beyond this.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// A token is renewed a tenth of its lifetime before its end, but not sooner than this.
const LEEWAY: Duration = Duration::from_secs(300);
/// The longest token that is taken, and that is looked into.
pub const LARGEST: usize = 64 << 10;
/// Failures one after the other, after which an endpoint is left alone for a while.
const FAILURES: u32 = 3;
/// The first such while; it doubles.
const QUIET: Duration = Duration::from_secs(2);
/// The longest.
const LONGEST_QUIET: Duration = Duration::from_secs(60);

/// A token that was fetched.
#[derive(Clone)]
pub struct Token {
    /// Its text.
    pub text: Arc<str>,
    /// What it permits, as far as it can be told.
    pub scopes: Option<BTreeSet<String>>,
    /// What was saved with it: `auth.NAME`.
    pub saved: Map<String, Json>,
    /// From when on it is not used any more.
    pub renew_at: Timestamp,
}

impl Token {
    /// A token that is good for so long from a moment on. The moment is that before the request: the answer may
    /// have been long on its way.
    pub fn of(text: &str, scopes: Option<BTreeSet<String>>, asked_at: Timestamp, lifetime: Duration) -> Self {
        let lifetime = lifetime.min(LONGEST);
        let kept = lifetime - (lifetime / 10).min(LEEWAY);
        let kept = SignedDuration::try_from(kept).unwrap_or(SignedDuration::ZERO);
        let renew_at = asked_at.checked_add(kept).unwrap_or(asked_at);
        Self { text: text.into(), scopes, saved: Map::new(), renew_at }
    }
}

/// All tokens of a process.
#[derive(Default)]
pub struct Tokens {
    entries: Mutex<BTreeMap<(InstanceId, String), Arc<Entry>>>,
    /// The fetches under way, at most one for each token.
    fetches: Mutex<JoinSet<()>>,
}

struct Entry {
    fingerprint: [u8; 32],
    /// Fetches that have ended: who waited through one takes its outcome instead of beginning another.
    ended: AtomicU64,
    slot: Arc<tokio::sync::Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    token: Option<Token>,
    denied: Option<Denied>,
    /// Failures since the last token.
    failures: u32,
    /// Until when nobody asks, after so many failures.
    quiet_until: Option<Timestamp>,
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
    /// The token of an auth, fetched if none is kept. `refused` is one that the vendor did not accept: it is not
    /// given again. The fingerprint tells what it is made of: when that changes, the token falls. The fetch runs in a
    /// task of its own: it ends and is kept even if who began it is dropped, and all who wait take its outcome.
    pub async fn get<F>(
        &self,
        clock: &Arc<dyn Clock>,
        (instance, auth, fingerprint): (&InstanceId, &str, [u8; 32]),
        refused: Option<&Token>,
        fetch: impl FnOnce() -> F + Send,
    ) -> Result<Token, CallError>
    where
        F: Future<Output = Result<Token, CallError>> + Send + 'static,
    {
        let entry = self.entry(instance, auth, fingerprint);
        let before = entry.ended.load(Ordering::Acquire);
        let mut slot = entry.slot.clone().lock_owned().await;
        if slot.token.as_ref().is_some_and(|kept| refused.is_some_and(|refused| kept.text == refused.text)) {
            slot.token = None;
        }
        if let Some(token) = slot.token.as_ref().filter(|token| clock.now() < token.renew_at) {
            return Ok(token.clone());
        }
        let waited = entry.ended.load(Ordering::Acquire) != before;
        let quiet = slot.quiet_until.is_some_and(|until| clock.now() < until);
        if (waited || quiet)
            && let Some(denied) = &slot.denied
        {
            return Err(denied.clone().into());
        }
        let (fetch, clock) = (fetch(), clock.clone());
        let (answer, outcome) = oneshot::channel();
        let fetched = async move {
            let outcome = fetch.await;
            entry.ended.fetch_add(1, Ordering::AcqRel);
            slot.take(&outcome, clock.now());
            drop(slot);
            // Who asked may be gone: the token is kept for the next one.
            let _ = answer.send(outcome);
        };
        {
            let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
            while fetches.try_join_next().is_some() {}
            fetches.spawn(fetched.in_current_span());
        }
        outcome.await.unwrap_or_else(|_| {
            Err(Error::new(Kind::Passing, "the process stopped while a token was being fetched").into())
        })
    }

    /// Waits for the fetches under way, at most so long.
    pub async fn finish(&self, limit: Duration) {
        let mut fetches = std::mem::take(&mut *self.fetches.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while fetches.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("a token was still being fetched when the process stopped");
        }
    }

    fn entry(&self, instance: &InstanceId, auth: &str, fingerprint: [u8; 32]) -> Arc<Entry> {
        // Nothing that could panic happens under this lock.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Entry { fingerprint, ended: AtomicU64::new(0), slot: Arc::default() });
        let entry = entries.entry((instance.clone(), auth.to_owned())).or_insert_with(fresh);
        if entry.fingerprint != fingerprint {
            *entry = fresh();
        }
        entry.clone()
    }
}

impl Slot {
    fn take(&mut self, outcome: &Result<Token, CallError>, now: Timestamp) {
        let denied = match outcome {
            Ok(token) => {
                *self = Self { token: Some(token.clone()), ..Self::default() };
                return;
            }
            Err(CallError::Passing(failure) | CallError::Unclear(failure)) => {
                Some(Denied::Passing(failure.clone()))
            }
            Err(CallError::Gone(failure) | CallError::Refused(failure) | CallError::Unreadable(failure)) => {
                Some(Denied::Refused(failure.clone()))
            }
            Err(CallError::Render(_)) => None,
        };
        self.token = None;
        self.denied = denied;
        self.failures = self.failures.saturating_add(1);
        self.quiet_until = self.failures.checked_sub(FAILURES).and_then(|more| {
            let quiet = QUIET.saturating_mul(1 << more.min(16)).min(LONGEST_QUIET);
            now.checked_add(SignedDuration::try_from(quiet).ok()?).ok()
        });
    }
}

/// Seconds, number or text. What is not told is guessed short; what is absurd is bounded; nothing or less means
/// that the token serves this one call.
pub fn lifetime(told: Option<&Json>) -> Duration {
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
pub fn scope_list(value: &Json) -> Option<BTreeSet<String>> {
    match value {
        Json::String(text) => Some(text.split_whitespace().map(str::to_owned).collect()),
        Json::Array(list) => Some(list.iter().filter_map(Json::as_str).map(str::to_owned).collect()),
        _ => None,
    }
}
