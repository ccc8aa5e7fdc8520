//! Requests that are no events: handshakes, pings, lifecycle messages. They are answered as the spec says.

use std::sync::Arc;

use http::Method;

use super::answer::{self, Answer};
use super::endpoint::Endpoint;
use super::request::Head;
use crate::connector::model::Rule;
use crate::connector::template::{RequestFacts, Scope};

/// Whether any rule before (or after) verification could apply, so that the body must be read for it.
pub(super) fn any(endpoint: &Endpoint, verified: bool, head: &Head) -> bool {
    endpoint.instance.connector.receiver.rules.iter().any(|rule| routed(rule, verified, head))
}

/// The answer of the first rule that applies and has one.
pub(super) fn apply(
    endpoint: &Endpoint,
    verified: bool,
    head: &Head,
    scope: &Scope,
    facts: impl Fn() -> Arc<RequestFacts>,
) -> Option<Answer> {
    let rules = &endpoint.instance.connector.receiver.rules;
    let mut rules = rules.iter().filter(|rule| routed(rule, verified, head)).peekable();
    rules.peek()?;
    let scope = scope.with_request(facts()).with_now(endpoint.clock.now());
    rules.filter(|rule| holds(endpoint, rule, &scope)).find_map(|rule| {
        let reply = rule.respond.as_ref()?;
        let answer = answer::by_spec(reply, &scope);
        match answer {
            Ok(answer) => {
                tracing::debug!(instance = %endpoint.instance.id, rule = rule.name, "answered by a rule");
                Some(answer)
            }
            Err(error) => {
                // What the request lacks makes the rule decline; the request goes on to verification.
                tracing::debug!(instance = %endpoint.instance.id, rule = rule.name, %error, "rule not applied");
                None
            }
        }
    })
}

fn routed(rule: &Rule, verified: bool, head: &Head) -> bool {
    rule.verified == verified && *rule.method.as_ref().unwrap_or(&Method::POST) == head.method
}

fn holds(endpoint: &Endpoint, rule: &Rule, scope: &Scope) -> bool {
    let Some(when) = &rule.when else { return true };
    when.holds(scope).unwrap_or_else(|error| {
        tracing::debug!(instance = %endpoint.instance.id, rule = rule.name, %error, "condition failed");
        false
    })
}
