//! One instance's end of the stream: its path, its keys, its queue and its counters.
//!
//! `run` makes one per instance and tells it what provisioning learned; `accept` works with it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use http::Method;
use serde_json::{Map, Value as Json};

use super::decode::{Decoded, Decoder};
use super::limits::Limits;
use super::meters::{Meters, Tally};
use super::request::Head;
use super::verify::{Fetched, Keys};
use crate::call::Transport;
use crate::connector::clock::Clock;
use crate::connector::instance::Instance;
use crate::connector::model::{Connector, Reply, ReplyBody};
use crate::connector::secret::LiveSecret;
use crate::connector::template::Scope;
use crate::error::{Error, Kind, Result};
use crate::queue::{Batch, DeadLetter, DeadWhat, Queue};

/// The deepest nesting that a limit may allow: the reader recurses.
const DEEPEST: usize = 256;

/// One instance's end of the stream.
pub struct Endpoint {
    /// Whose it is.
    pub instance: Arc<Instance>,
    /// The path that the vendor posts to.
    pub path: String,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) meters: Meters,
    /// The methods it takes: its own, and those of its rules.
    pub(super) methods: Vec<Method>,
    /// The known types of event, sorted.
    pub(super) types: Vec<String>,
    /// What the answer to an accepted request names.
    pub(super) accepted: Names,
    /// Keys that the vendor publishes.
    pub(super) fetched: Fetched,
    depth: usize,
    state: RwLock<Arc<Json>>,
    known: RwLock<Option<Arc<Known>>>,
}

/// What was worked out of the secrets and the state of one moment.
pub(super) struct Known {
    secrets: Arc<BTreeMap<String, LiveSecret>>,
    state: Arc<Json>,
    /// The scopes that keys are rendered in: the newest secrets, and those before.
    pub scopes: Vec<Scope>,
    /// The names that exist everywhere, and `state`.
    pub scope: Scope,
    /// What requests are verified with.
    pub keys: Keys,
}

/// Names that a template uses beside those that exist everywhere.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Names {
    /// `request`
    pub request: bool,
    /// `now`
    pub now: bool,
}

impl Endpoint {
    /// The end of one instance, with nothing learned yet. `transport` fetches keys that the vendor publishes.
    pub fn new(
        instance: Arc<Instance>,
        queue: Arc<dyn Queue>,
        clock: Arc<dyn Clock>,
        transport: Arc<dyn Transport>,
        limits: &Limits,
    ) -> Result<Arc<Self>> {
        let connector = instance.connector.clone();
        let path = connector.receiver.path.render(&instance.scope())?;
        if !path.starts_with('/') || path.contains(['?', '#', ' ']) || path.chars().any(char::is_control) {
            return Err(Error::new(Kind::Configuration, format!("the receiver's path is {path:?}"))
                .at(format!("instance {}", instance.id))
                .help("It must begin with `/` and hold no `?`, `#` or blank"));
        }
        let types: Vec<String> = connector.output.known_types.keys().cloned().collect();
        Ok(Arc::new(Self {
            path,
            queue,
            clock,
            meters: Meters::new(instance.id.as_str(), types.len()),
            types,
            methods: methods(&connector),
            accepted: Names::of_reply(&connector.receiver.respond.accepted, &connector),
            depth: limits.depth.min(DEEPEST),
            fetched: Fetched::new(transport),
            state: RwLock::new(Arc::new(Json::Object(Map::new()))),
            known: RwLock::new(None),
            instance,
        }))
    }

    /// Takes over what provisioning saved: `state.RESOURCE.NAME` of the spec's templates.
    pub fn learn(&self, state: Json) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }

    /// What it received since the process started.
    pub fn tally(&self) -> Tally {
        self.meters.tally()
    }

    /// What follows from today's secrets and state; worked out again only when one of them was replaced.
    pub(super) fn known(&self) -> Arc<Known> {
        let secrets = self.instance.secrets.read().unwrap_or_else(PoisonError::into_inner).clone();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = &*self.known.read().unwrap_or_else(PoisonError::into_inner)
            && Arc::ptr_eq(&known.secrets, &secrets)
            && Arc::ptr_eq(&known.state, &state)
        {
            return known.clone();
        }
        let scope = self.instance.scope().with("state", Json::clone(&state));
        let scopes: Vec<_> = self
            .instance
            .verify_scopes()
            .iter()
            .map(|scope| scope.with("state", Json::clone(&state)))
            .collect();
        let connector = &self.instance.connector;
        let url_known = self.instance.receiver_url.is_some();
        let keys = Keys::new(&connector.receiver.verify, &connector.vars, &scopes, url_known);
        let known = Arc::new(Known { secrets, state, scopes, scope, keys });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
        known
    }

    /// Body to records, under today's spec.
    pub(super) fn decoder<'a>(&'a self, head: Option<&'a Head>, at: jiff::Timestamp) -> Decoder<'a> {
        Decoder { connector: &self.instance.connector, head, types: &self.types, depth: self.depth, at }
    }
}

/// Decodes a dead letter again under today's spec: a body or a line of one from its beginning, a record from
/// where it was cut out. What still cannot be accepted is a dead letter of the batch again.
pub fn decode_again(endpoint: &Endpoint, letter: DeadLetter) -> Batch {
    let decoder = endpoint.decoder(None, letter.at);
    let Decoded { records, dead, .. } = match letter.what {
        DeadWhat::Body => decoder.body(&letter.bytes),
        DeadWhat::Record => decoder.item(&letter.bytes, letter.id.as_ref()),
    };
    Batch {
        instance: endpoint.instance.id.clone(),
        received: letter.at,
        records,
        dead,
        on_reuse: endpoint.instance.connector.receiver.event.on_reuse,
    }
}

fn methods(connector: &Connector) -> Vec<Method> {
    let mut methods = vec![Method::POST];
    for method in connector.receiver.rules.iter().filter_map(|rule| rule.method.as_ref()) {
        if !methods.contains(method) {
            methods.push(method.clone());
        }
    }
    methods
}

impl Names {
    /// What a reply names, vars included.
    pub(super) fn of_reply(reply: &Reply, connector: &Connector) -> Self {
        let mut names: Vec<String> = reply.headers.iter().flat_map(|(_, text)| text.names()).collect();
        match &reply.body {
            ReplyBody::Empty => {}
            ReplyBody::Json(tree) => names.extend(tree.names()),
            ReplyBody::Text(text) => names.extend(text.names()),
        }
        Self::of(names, connector)
    }

    fn of(mut names: Vec<String>, connector: &Connector) -> Self {
        if names.iter().any(|name| name.starts_with("vars")) {
            // A var may use any other: all of them are looked at.
            names.extend(connector.vars.iter().flat_map(|(_, text)| text.names()));
        }
        let root = |wanted: &str| names.iter().any(|name| name.split(['.', '[']).next() == Some(wanted));
        Self { request: root("request"), now: root("now") }
    }
}
