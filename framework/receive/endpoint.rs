//! One instance's end of the stream: its path, its keys, its queue and its counters.
//!
//! `run` makes one per instance and tells it what provisioning learned; `accept` works with it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value as Json, json};
use tokio::sync::watch;
use url::Url;

use super::client::{Client, Network};
use super::decode::{Decoded, Decoder};
use super::deeds::{Calls, Kept, Reach};
use super::known_types::KnownTypes;
use super::limits::{self, Limits};
use super::meters::{Meters, Tally};
use super::request::{Head, in_head};
use super::verify::{Fetched, Keys};
use super::witness::Witness;
use crate::condition::Conditions;
use crate::connector::believed;
use crate::connector::clock::Clock;
use crate::connector::instance::Instance;
use crate::connector::model::{Connector, Decode, Demand, Each, Proof, Reply, ReplyBody, Rule};
use crate::connector::pick::EventPick;
use crate::connector::schema::Steps;
use crate::connector::secret::LiveSecret;
use crate::connector::template::{RequestFacts, Scope, Text};
use crate::error::{Error, Kind, Result, escaped};
use crate::queue::{Batch, DeadLetter, DeadReason, DeadWhat, Queue};

/// Bytes of a path.
const LONGEST_PATH: usize = 1000;

/// One instance's end of the stream.
pub struct Endpoint {
    /// Whose it is.
    pub instance: Arc<Instance>,
    /// The path that the vendor posts to.
    pub path: String,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) meters: Meters,
    /// The names of the methods it takes: its own, and those of its rules.
    pub(super) methods: Vec<String>,
    /// The known types of event.
    pub(super) types: KnownTypes,
    /// What the answer to an accepted request names.
    pub(super) accepted: Names,
    /// Keys that the vendor publishes.
    pub(super) fetched: Fetched,
    /// What rules reach.
    pub(super) reach: Reach,
    /// The calls of rules.
    pub(super) calls: Calls,
    /// From where requests are admitted; everywhere where nothing is said.
    sources: OnceLock<Vec<Network>>,
    /// Who looks on; mostly nobody.
    pub(super) witness: OnceLock<Arc<dyn Witness>>,
    /// Bytes of a body as sent: what the sender declares, where no limit was configured.
    pub(super) body: usize,
    /// Bytes of a body, and of its records' layers, after inflating.
    pub(super) inflated: usize,
    /// What stands before every path in the public address; a proxy may hand it on or leave it out.
    pub(super) prefix: String,
    /// The rules that are asked about every item, by their places in the spec.
    item_rules: Vec<usize>,
    /// The path of each rule.
    rule_paths: Vec<String>,
    /// The picks of an event's id that the sender's signature covers.
    ids: Vec<EventPick>,
    /// Whether the spec builds documents or lists of items, which takes names.
    builds: bool,
    depth: usize,
    state: watch::Sender<Arc<Json>>,
    before: RwLock<Option<Json>>,
    former_urls: RwLock<Arc<[Url]>>,
    known: RwLock<Option<Arc<Known>>>,
}

/// What was worked out of the secrets and the state of one moment.
pub(super) struct Known {
    secrets: Arc<BTreeMap<String, LiveSecret>>,
    state: Arc<Json>,
    former_urls: Arc<[Url]>,
    /// The scopes that keys are rendered in: the newest secrets, and those before.
    pub scopes: Vec<Scope>,
    /// The same at each public URL that the vendor may still use.
    pub former: Vec<(Url, Vec<Scope>)>,
    /// The names that exist everywhere, and `state`.
    pub scope: Scope,
    /// What requests are verified with.
    pub keys: Keys,
    /// The same without the former values of one secret, for each that has some.
    pub without: Vec<Without>,
}

/// What requests are verified with where the former values of a secret do not count.
pub(super) struct Without {
    /// The secret.
    pub secret: String,
    pub scopes: Vec<Scope>,
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
    /// The end of one instance, with nothing learned yet.
    pub fn new(
        instance: Arc<Instance>,
        queue: Arc<dyn Queue>,
        clock: Arc<dyn Clock>,
        reach: Reach,
        limits: &Limits,
    ) -> Result<Arc<Self>> {
        let connector = instance.connector.clone();
        let path = path_of(&instance, &connector.receiver.path)?;
        let of_rule = |rule: &Rule| rule.path.as_ref().map_or(Ok(path.clone()), |at| path_of(&instance, at));
        let rule_paths = connector.receiver.rules.iter().map(of_rule).collect::<Result<_>>()?;
        let types = KnownTypes::of(&connector.output);
        let declared = connector.receiver.sender.max_body.and_then(|most| usize::try_from(most).ok());
        let body = declared.filter(|_| !limits.body_fixed).map_or(limits.body, |most| limits.body.max(most));
        let public = instance.receiver_url.as_ref().map(|url| url.path().to_owned());
        let prefix = public.and_then(|public| public.strip_suffix(path.as_str()).map(str::to_owned));
        let rules = connector.receiver.rules.iter().enumerate();
        let item_rules: Vec<usize> = rules.filter(|(_, rule)| rule.per_item).map(|(n, _)| n).collect();
        Ok(Arc::new(Self {
            path,
            queue,
            clock,
            meters: Meters::new(instance.id.as_str(), types.len()),
            types,
            methods: methods(&connector),
            accepted: Names::of_reply(&connector.receiver.respond.accepted, &connector),
            builds: matches!(connector.receiver.decode, Decode::Nothing(_))
                || matches!(connector.receiver.records.each, Each::Built(_))
                || !item_rules.is_empty(),
            depth: limits.depth.min(limits::DEEPEST),
            body,
            inflated: if body > limits.body { limits.inflated.max(body) } else { limits.inflated },
            prefix: prefix.unwrap_or_default(),
            item_rules,
            fetched: Fetched::new(reach.caller.transport()),
            reach,
            calls: Calls::new(),
            sources: OnceLock::new(),
            witness: OnceLock::new(),
            rule_paths,
            ids: believed::ids(&connector, &instance.scope()),
            state: watch::Sender::new(Arc::new(Json::Object(Map::new()))),
            before: RwLock::default(),
            former_urls: RwLock::new(Arc::new([])),
            known: RwLock::new(None),
            instance,
        }))
    }

    /// From now on this one looks on; the first one stays.
    pub fn watched_by(&self, witness: Arc<dyn Witness>) {
        let _ = self.witness.set(witness);
    }

    /// Raises conditions there from now on; the first one stays.
    pub fn reports_to(&self, conditions: &Arc<Conditions>) {
        self.fetched.reports_to(conditions.clone(), self.instance.id.clone());
    }

    /// Admits requests from these networks alone. The first call counts; an empty list admits all.
    pub fn admit_only(&self, sources: Vec<Network>) {
        if !sources.is_empty() {
            let _ = self.sources.set(sources);
        }
    }

    /// Whether requests of this client are admitted. One whose address is not known is so only where all are.
    pub(super) fn admits(&self, client: &Client) -> bool {
        let inside = |networks: &Vec<Network>| {
            client.address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
        };
        self.sources.get().is_none_or(inside)
    }

    /// Takes over what provisioning saved: `state.RESOURCE.NAME` of the spec's templates.
    pub fn learn(&self, state: Json) {
        self.learn_both(state, None);
    }

    /// The same, with what it was before something was replaced that still sends: events of both are taken.
    pub fn learn_both(&self, state: Json, before: Option<Json>) {
        *self.before.write().unwrap_or_else(PoisonError::into_inner) = before;
        self.state.send_replace(Arc::new(state));
    }

    /// Accepts what a vendor that still uses these public URLs signs, or names as audience, besides what it does at the
    /// newest.
    pub fn accept_urls(&self, former: Vec<Url>) {
        let mut urls = self.former_urls.write().unwrap_or_else(PoisonError::into_inner);
        if **urls != *former {
            *urls = former.into();
        }
    }

    /// Returns when it has learned these values.
    pub(super) async fn knows(&self, resource: &str, values: &[Kept]) {
        let known = |state: &Arc<Json>| {
            values
                .iter()
                .all(|(name, value)| state.get(resource).and_then(|saved| saved.get(name)) == Some(value))
        };
        // The sender is our own: it lives as long as the wait.
        let _ = self.state.subscribe().wait_for(known).await;
    }

    /// The rules, each with the path it is served at, in the order of the spec.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&Rule, &str)> {
        self.instance.connector.receiver.rules.iter().zip(self.rule_paths.iter().map(String::as_str))
    }

    /// Every path it is served at, its own first.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let others = self.rule_paths.iter().filter(|path| **path != self.path);
        std::iter::once(&self.path).chain(others).map(String::as_str)
    }

    /// Whether it takes the method at the path of a request.
    pub(super) fn takes(&self, head: &Head) -> bool {
        self.takes_events(&head.method) && head.path == self.path
            || self
                .rules()
                .any(|(rule, path)| !rule.per_item && rule.method == head.method && path == head.path)
    }

    /// Whether the limit on bodies is below what the sender declares; that size.
    pub fn short_of(&self) -> Option<u64> {
        let declared = self.instance.connector.receiver.sender.max_body?;
        (declared > self.body as u64).then_some(declared)
    }

    /// Whether its requests are read before it is known who sent them.
    pub(super) fn reads_before_proof(&self) -> bool {
        let receiver = &self.instance.connector.receiver;
        let by_head = |check: &&Demand| match &check.proof {
            Proof::Token { place, .. } => in_head(place),
            Proof::Basic { .. } => true,
            Proof::Jwt(_) | Proof::Hmac { .. } | Proof::Digest { .. } | Proof::PublicKey { .. } => false,
        };
        let known = self.known();
        let mut checks = receiver.verify.checks().into_iter().filter(|check| !known.keys.excludes(check));
        !checks.all(|check| by_head(&check)) || receiver.rules.iter().any(|rule| !rule.verified)
    }

    /// Whether events come by this method: those of the spec, and GET where they have no body.
    pub(super) fn takes_events(&self, method: &Method) -> bool {
        let receiver = &self.instance.connector.receiver;
        let bodiless = matches!(receiver.decode, Decode::Nothing(_));
        receiver.methods.contains(method) || bodiless && method == Method::GET
    }

    /// What it received since the process started.
    pub fn tally(&self) -> Tally {
        self.meters.tally()
    }

    /// What follows from today's secrets and state; worked out again only when one of them was replaced.
    pub(super) fn known(&self) -> Arc<Known> {
        let secrets = self.instance.secrets.read().unwrap_or_else(PoisonError::into_inner).clone();
        let state = self.state.borrow().clone();
        let former_urls = self.former_urls.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = &*self.known.read().unwrap_or_else(PoisonError::into_inner)
            && Arc::ptr_eq(&known.secrets, &secrets)
            && Arc::ptr_eq(&known.state, &state)
            && Arc::ptr_eq(&known.former_urls, &former_urls)
        {
            return known.clone();
        }
        let scope = self.instance.scope().with("state", Json::clone(&state));
        let before = self.before.read().unwrap_or_else(PoisonError::into_inner).clone();
        let states: Vec<Json> = std::iter::once(Json::clone(&state)).chain(before).collect();
        let in_states = |lives: Vec<Scope>| -> Vec<Scope> {
            let in_state = |state: &Json, scope: &Scope| scope.with("state", state.clone());
            states.iter().flat_map(|state| lives.iter().map(move |scope| in_state(state, scope))).collect()
        };
        let scopes = in_states(self.instance.verify_scopes());
        let connector = &self.instance.connector;
        let url_known = self.instance.receiver_url.is_some();
        let keys_of =
            |scopes: &[Scope]| Keys::new(&connector.receiver.verify, &connector.vars, scopes, url_known);
        let keys = keys_of(&scopes);
        let without = secrets.iter().filter(|(_, secret)| !secret.former.is_empty()).map(|(name, _)| {
            let scopes = in_states(self.instance.verify_scopes_without(name));
            Without { secret: name.clone(), keys: keys_of(&scopes), scopes }
        });
        let without = without.collect();
        let at = |url: &Url| {
            let receiver = json!({"url": url.as_str(), "path": url.path()});
            (url.clone(), scopes.iter().map(|scope| scope.with("receiver", receiver.clone())).collect())
        };
        let former = former_urls.iter().map(at).collect();
        let known = Arc::new(Known { secrets, state, former_urls, scopes, former, scope, keys, without });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
        known
    }

    /// Body to records, under today's spec, with so many steps for the schema.
    pub(super) fn decoder<'a>(
        &'a self,
        head: Option<&'a Head>,
        at: jiff::Timestamp,
        steps: Steps,
    ) -> Decoder<'a> {
        let scope = self.builds.then(|| self.known().scope.clone());
        let (types, depth, inflated) = (&self.types, self.depth, self.inflated);
        let (item_rules, prefix) = (self.item_rules.as_slice(), self.prefix.as_str());
        Decoder {
            instance: &self.instance,
            ids: &self.ids,
            head,
            scope,
            item_rules,
            prefix,
            types,
            depth,
            steps,
            inflated,
            at,
        }
    }

    /// What texts and conditions see of a request, at the path that it came to.
    pub(super) fn facts(&self, head: &Head, body: Bytes) -> RequestFacts {
        self.facts_at(self.instance.receiver_url.as_ref(), head, body)
    }

    /// The same at another public URL of it.
    pub(super) fn facts_at(&self, url: Option<&Url>, head: &Head, body: Bytes) -> RequestFacts {
        let url = url.map(|url| {
            let mut url = url.clone();
            if head.path != self.path {
                url.set_path(&format!("{}{}", self.prefix, head.path));
            }
            url
        });
        let mut facts = head.facts(url.as_ref(), body);
        // The vendor knows the public path, whatever a proxy hands on.
        facts.path.insert_str(0, &self.prefix);
        facts
    }
}

/// Decodes a dead letter again under today's spec: a body or a line of one from its beginning, a record from
/// where it was cut out. What still cannot be accepted is a dead letter of the batch again.
pub fn decode_again(endpoint: &Endpoint, letter: DeadLetter) -> Batch {
    let decoder = endpoint.decoder(None, letter.at, Steps::of_body(letter.bytes.len()));
    let Decoded { records, dead, .. } = match (letter.what, letter.reason) {
        (DeadWhat::Body, _) => decoder.body(&letter.bytes),
        (DeadWhat::Record, DeadReason::IdReused) => decoder.record(&letter.bytes, letter.id.as_ref()),
        (DeadWhat::Record, _) => decoder.item(&letter.bytes, letter.id.as_ref()),
    };
    Batch {
        instance: endpoint.instance.id.clone(),
        received: letter.at,
        records,
        dead,
        on_reuse: endpoint.instance.connector.receiver.event.on_reuse,
    }
}

/// A path of the spec, as requests must name it.
fn path_of(instance: &Instance, text: &Text) -> Result<String> {
    let path = text.render(&instance.scope())?;
    let wrong =
        !path.starts_with('/') || path.contains(['?', '#', ' ']) || path.chars().any(char::is_control);
    if wrong || path.len() > LONGEST_PATH {
        return Err(Error::new(
            Kind::Configuration,
            format!("the receiver's path is {}", escaped(&path, 200)),
        )
        .at(format!("instance {}", instance.id))
        .help("It must begin with `/`, hold no `?`, `#` or blank, and have 1000 bytes at most"));
    }
    Ok(path)
}

fn methods(connector: &Connector) -> Vec<String> {
    let own = connector.receiver.methods.iter().cloned();
    let rules = connector.receiver.rules.iter().filter(|rule| !rule.per_item);
    let all = own.chain(rules.map(|rule| rule.method.clone()));
    let mut methods: Vec<String> = Vec::new();
    for method in all.map(|method| method.to_string()) {
        if !methods.contains(&method) {
            methods.push(method);
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
