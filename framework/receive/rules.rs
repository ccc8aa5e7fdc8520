//! Requests that are no events: handshakes, pings, lifecycle messages. What becomes of them the spec says.
//!
//! `accept` asks twice: before verification for the rules that skip it, and after it for the others. A rule is done
//! in one order: its answer is built, then what it captures is kept, then what it runs is run, and only then the
//! request is answered. A rule whose request lacks something declines, and the request goes on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value as Json;

use super::answer::{self, Answer};
use super::deeds::{Captured, Kept};
use super::endpoint::{Endpoint, Known};
use super::refused::Refused;
use super::request::{Found, Head};
use super::told;
use super::witness::Outcome;
use crate::connector::model::{End, Reply, ReplyBody, Rule, Run};
use crate::connector::pick::Pick;
use crate::connector::template::{RequestFacts, Scope};
use crate::error::Error;

/// Bytes of a value that is kept.
const MOST_KEPT: usize = 8 << 10;
/// How long an answer waits until the receiver itself knows what was kept.
const TOLD: Duration = Duration::from_secs(2);

/// A request that rules are asked about.
pub(super) struct Asked<'a> {
    pub endpoint: &'a Endpoint,
    pub known: &'a Known,
    pub head: &'a Head,
    pub body: &'a Bytes,
}

/// Whether any rule before (or after) verification could apply, so that the body must be read for it.
pub(super) fn any(endpoint: &Endpoint, verified: bool, head: &Head) -> bool {
    routed(endpoint, verified, head).next().is_some()
}

/// The rules of a method and a path, in the order of the spec.
fn routed<'a>(endpoint: &'a Endpoint, verified: bool, head: &'a Head) -> impl Iterator<Item = &'a Rule> {
    endpoint.rules().filter_map(move |(rule, path)| {
        let routed =
            !rule.per_item && rule.verified == verified && rule.method == head.method && path == head.path;
        routed.then_some(rule)
    })
}

impl Asked<'_> {
    /// The answer of the first rule that ends the request; `None` where it goes on.
    pub(super) async fn apply(
        &self,
        verified: bool,
        facts: impl Fn() -> Arc<RequestFacts>,
    ) -> Result<Option<Answer>, Refused> {
        let mut rules = routed(self.endpoint, verified, self.head).peekable();
        if rules.peek().is_none() {
            return Ok(None);
        }
        let scope = self.known.scope.with_request(facts()).with_now(self.endpoint.clock.now());
        for rule in rules {
            if !self.holds(rule, &scope) {
                told::ruled(self.endpoint, rule, Outcome::Noted, "does not apply");
            } else if let Some(answer) = self.done(rule, &scope).await? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// Does what rules per item say of the items that they hold for. The items are not answered, and none is lost by it.
    pub(super) async fn apply_to_items(&self, ruled: &[(usize, Bytes)]) -> Result<(), Refused> {
        let rules = &self.endpoint.instance.connector.receiver.rules;
        for (n, (number, item)) in ruled.iter().enumerate() {
            let Some(rule) = rules.get(*number) else { continue };
            let first = !ruled.iter().take(n).any(|(known, _)| known == number);
            if !self.captured(rule, Some(item)).await? {
                self.count(rule, "declined");
                told::ruled(
                    self.endpoint,
                    rule,
                    Outcome::Noted,
                    "an item lacks what it captures, or has another value",
                );
                continue;
            }
            // Once for a request: what is looked at is the resource, and not the item.
            if let (true, Some(Run::Operation { resource, operation }), Some(deeds)) =
                (first, &rule.run, &self.endpoint.reach.deeds)
            {
                deeds.run(resource, *operation);
            }
            let what = match rule.end {
                Some(_) => "holds for an item, which is not delivered",
                None => "holds for an item, which goes on",
            };
            self.count(rule, "passed");
            told::ruled(self.endpoint, rule, Outcome::Passed, what);
        }
        Ok(())
    }

    fn holds(&self, rule: &Rule, scope: &Scope) -> bool {
        let Some(when) = &rule.when else { return true };
        when.holds(scope).unwrap_or_else(|error| {
            tracing::debug!(instance = %self.endpoint.instance.id, rule = rule.name, %error, "condition failed");
            false
        })
    }

    /// Does what a rule says. `None`: the request goes on.
    async fn done(&self, rule: &Rule, scope: &Scope) -> Result<Option<Answer>, Refused> {
        // 1. The answer: a rule that cannot answer has done nothing.
        let answer = match &rule.end {
            None => None,
            Some(End::Ignored) => Some(answer::ignored(self.endpoint, scope)),
            Some(End::Reply(reply)) => match answer::by_spec(reply, scope) {
                Ok(answer) => Some(answer),
                Err(error) => return self.unanswered(rule, reply, scope, &error),
            },
        };
        // 2. What is kept is safe before anybody is told so.
        if !self.captured(rule, None).await? {
            self.count(rule, "declined");
            told::ruled(
                self.endpoint,
                rule,
                Outcome::Noted,
                "declines, since the request lacks what it captures",
            );
            return Ok(None);
        }
        // 3. What is run. A call is waited for: its failure is no success to the vendor, which sends again.
        match &rule.run {
            None => {}
            Some(Run::Operation { resource, operation }) => {
                if let Some(deeds) = &self.endpoint.reach.deeds {
                    deeds.run(resource, *operation);
                }
            }
            Some(Run::Call { call, only }) => {
                let (endpoint, call) = (self.endpoint, (&**call, only.as_ref()));
                let now = endpoint.clock.now();
                endpoint.calls.make(&endpoint.reach.caller, &endpoint.instance, call, scope, now).await?;
            }
        }
        let outcome = if answer.is_some() { "answered" } else { "passed" };
        self.count(rule, outcome);
        told::ruled(self.endpoint, rule, Outcome::Passed, outcome);
        tracing::debug!(instance = %self.endpoint.instance.id, rule = rule.name, "rule applied");
        Ok(answer)
    }

    /// An answer that could not be built: what we do not know yet is ours, and anything else makes the rule decline.
    fn unanswered(
        &self,
        rule: &Rule,
        reply: &Reply,
        scope: &Scope,
        error: &Error,
    ) -> Result<Option<Answer>, Refused> {
        if lacks_own(reply, scope) {
            return Err(Refused::NotReady(format!("the rule `{}`: {error}", rule.name)));
        }
        self.endpoint.meters.unanswerable(&rule.name, error, self.endpoint.clock.now());
        self.count(rule, "declined");
        told::ruled(self.endpoint, rule, Outcome::Noted, "declines, since its answer could not be built");
        Ok(None)
    }

    /// Keeps what a rule captures; `false` where the request, or the item that it is about, does not have it.
    async fn captured(&self, rule: &Rule, item: Option<&Bytes>) -> Result<bool, Refused> {
        let mut resources: Vec<(&str, Vec<Kept>)> = Vec::new();
        for capture in &rule.capture {
            let Some(value) = self.value_at(&capture.place, item) else { return Ok(false) };
            let kept = (capture.name.clone(), value);
            match resources.iter_mut().find(|(resource, _)| *resource == capture.resource) {
                Some((_, values)) => values.push(kept),
                None => resources.push((&capture.resource, vec![kept])),
            }
        }
        for (resource, values) in resources {
            match self.keep(rule, resource, &values).await {
                // Another value in one item is no reason to refuse the others.
                Err(Refused::Taken(why)) if item.is_some() => {
                    tracing::warn!(instance = %self.endpoint.instance.id, rule = rule.name, why, "value not captured");
                    return Ok(false);
                }
                kept => kept?,
            }
        }
        Ok(true)
    }

    /// A value to keep: one text, of bounded size and without control characters.
    fn value_at(&self, place: &Pick, item: Option<&Bytes>) -> Option<Json> {
        let body = match (place, item) {
            (Pick::Item(_), Some(item)) => item,
            (_, _) => self.body,
        };
        let Found::One(bytes) = self.head.pick(place, body) else { return None };
        let text = std::str::from_utf8(&bytes).ok()?;
        let good = !text.is_empty() && text.len() <= MOST_KEPT && !text.chars().any(char::is_control);
        good.then(|| Json::from(text))
    }

    async fn keep(&self, rule: &Rule, resource: &str, values: &[Kept]) -> Result<(), Refused> {
        let endpoint = self.endpoint;
        let Some(deeds) = &endpoint.reach.deeds else {
            return Err(Refused::NotReady("nobody keeps what rules capture".to_owned()));
        };
        let captured = deeds.capture(resource, values, rule.verified).await;
        match captured.map_err(|e| Refused::Broken(e.to_string()))? {
            Captured::Known => {}
            Captured::Saved => {
                let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
                tracing::info!(
                    instance = %endpoint.instance.id, rule = rule.name, resource, ?names, "captured from a request"
                );
            }
            Captured::Refused => {
                return Err(Refused::Taken(format!(
                    "the rule `{}`: `{resource}` has another value; `forebay captures open` lets one request replace it",
                    rule.name
                )));
            }
            Captured::Closed => {
                return Err(Refused::Taken(format!(
                    "the rule `{}`: no operation of `{resource}` is open, so that the unsigned request may be anybody's; \
                     `forebay captures open` lets one in",
                    rule.name
                )));
            }
        }
        // Who is answered may use it at once.
        let _ = tokio::time::timeout(TOLD, endpoint.knows(resource, values)).await;
        Ok(())
    }

    fn count(&self, rule: &Rule, outcome: &'static str) {
        let instance = self.endpoint.instance.id.to_string();
        metrics::counter!(
            "forebay_rules_total", "instance" => instance, "rule" => rule.name.clone(), "outcome" => outcome
        )
        .increment(1);
    }
}

/// Whether a reply names something of ours that is not known yet.
fn lacks_own(reply: &Reply, scope: &Scope) -> bool {
    let body = match &reply.body {
        ReplyBody::Empty => false,
        ReplyBody::Json(tree) => tree.lacks_own(scope),
        ReplyBody::Text(text) => text.lacks_own(scope),
    };
    body || reply.headers.iter().any(|(_, text)| text.lacks_own(scope))
}
