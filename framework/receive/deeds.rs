//! What rules do beside answering: they keep values, ask for a look at the vendor's side, and make calls.
//!
//! `run` hands in what keeps and looks ([`Deeds`]); calls are made here, few at once and few in a minute, so that
//! a flood of messages never becomes a flood of calls. Nothing here holds a lock while it waits for another.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use jiff::Timestamp;
use serde_json::Value as Json;
use tokio::sync::Semaphore;

use super::refused::Refused;
use crate::call::caller::Caller;
use crate::call::failure::CallError;
use crate::call::render::{checked_url, draft};
use crate::call::retry::Repeat;
use crate::connector::instance::Instance;
use crate::connector::model::{Call, Lifecycle};
use crate::connector::template::Scope;
use crate::error::{Error, Result};

/// Calls of rules that are under way at once, per instance.
const AT_ONCE: usize = 4;
/// Calls of rules in a minute, per instance.
const CALLS_A_MINUTE: u32 = 30;
/// How long a request waits for the call of its rule.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a rule wants to keep: the name under the resource, and the value.
pub type Kept = (String, Json);

/// What became of values that a rule wants to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Captured {
    /// They are kept, safely.
    Saved,
    /// They were kept before, and are the same.
    Known,
    /// Others are kept, and it is not the time to replace them.
    Refused,
    /// None are kept, and the request is unsigned and comes while nothing is expected.
    Closed,
}

/// What rules change beyond the receiver.
#[async_trait]
pub trait Deeds: Send + Sync + 'static {
    /// Keeps values as `state.RESOURCE.NAME`, all of them or none, and returns when they are safe. `verified`: the
    /// request that has them was accepted by `verify`.
    async fn capture(&self, resource: &str, values: &[Kept], verified: bool) -> Result<Captured>;

    /// Asks for an operation, and returns at once. Many askings may become one operation.
    fn run(&self, resource: &str, operation: Lifecycle);
}

/// What an endpoint reaches beyond itself.
#[derive(Clone)]
pub struct Reach {
    /// Makes calls, and fetches the keys that a vendor publishes.
    pub caller: Arc<Caller>,
    /// What rules change; `None`: nothing is kept, and nobody looks.
    pub deeds: Option<Arc<dyn Deeds>>,
}

/// The calls of the rules of one instance.
pub(super) struct Calls {
    turns: Semaphore,
    /// The minute that is counted, and the calls in it.
    minute: Mutex<(Timestamp, u32)>,
}

impl Calls {
    pub(super) fn new() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), minute: Mutex::new((Timestamp::MIN, 0)) }
    }

    /// Makes the call of a rule.
    pub(super) async fn make(
        &self,
        caller: &Caller,
        instance: &Instance,
        (call, only): (&Call, Option<&regex::Regex>),
        scope: &Scope,
        now: Timestamp,
    ) -> std::result::Result<(), Refused> {
        if let Some(only) = only {
            leads_there(call, only, scope).map_err(|error| Refused::Astray(error.to_string()))?;
        }
        let crowded = || Refused::Undone("calls of rules: too many at once, or in this minute".to_owned());
        let _turn = self.turns.try_acquire().map_err(|_| crowded())?;
        if !self.may_call(now) {
            return Err(crowded());
        }
        let repeat = match call.method {
            Method::GET | Method::HEAD => Repeat::Safe,
            _ => Repeat::Never,
        };
        let made = tokio::time::timeout(PATIENCE, caller.call(instance, call, scope, repeat));
        let undone = |error: CallError| Refused::Undone(Error::from(error).to_string());
        made.await.map_err(|_| Refused::Undone("the call took too long".to_owned()))?.map_err(undone)?;
        Ok(())
    }

    fn may_call(&self, now: Timestamp) -> bool {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(minute.0).unsigned_abs() >= Duration::from_secs(60) {
            *minute = (now, 0);
        }
        minute.1 += 1;
        minute.1 <= CALLS_A_MINUTE
    }
}

/// Whether a call goes where the spec lets it: the URL is compared as it will be sent.
fn leads_there(call: &Call, only: &regex::Regex, scope: &Scope) -> Result<()> {
    let url = checked_url(&draft(call, scope)?.url, None)?;
    if only.is_match(url.as_str()) {
        return Ok(());
    }
    let host = url.host_str().unwrap_or_default();
    Err(Error::new(
        crate::error::Kind::Refused,
        format!("a URL at {} is none that `only` lets this rule call", crate::error::escaped(host, 100)),
    ))
}
