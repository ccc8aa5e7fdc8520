//! The vendor's sender: pushes over a real socket, signed, and retries by the rule that the spec states.
//!
//! Called by the life of a simulation. It notes every push in the books before it goes out, keeps to the
//! spec's order or sends several at once, and stops asking only when the rule says so.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde_json::Value as Json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::hurry::Tempo;
use super::ledger::Ledger;
use super::mark::mark_of;
use super::plan::{Plan, Push};
use super::sign::shape;
use super::sign::{Unsigned, needs_state, set_header, sign};
use super::wire::{self, Wire};
use crate::call::{Request, Response};
use crate::connector::instance::Instance;
use crate::connector::model::{Decode, ReplyBody, StatusRange};
use crate::connector::template::Scope;
use crate::error::{Error, Kind, Result, escaped};

/// How often a vendor tries that does not say.
const ATTEMPTS: u32 = 3;
/// How often a sender that gives up only after days begins its attempts again.
const ROUNDS: u32 = 10;
/// Requests at once of a sender that keeps no order.
const WIDTH: usize = 4;
/// How often what signing takes is looked for, and how long a look waits.
const MOST_LOOKS: u32 = 250;
const LOOK: Duration = Duration::from_millis(20);
/// Records under way at which the sender waits for the sinks.
const MOST_UNDER_WAY: usize = 100_000;

/// The vendor's side of the pushes.
pub struct Sender {
    /// What it sends over.
    pub wire: Arc<Wire>,
    /// The books.
    pub ledger: Arc<Mutex<Ledger>>,
    /// Whether pushes change places on the way, where the spec promises no order.
    pub shuffle: bool,
    /// How long it waits for what only takes time.
    pub tempo: Tempo,
}

/// What became of one push.
enum Fate {
    Accepted,
    /// Refused until the rule said stop, and why.
    Refused(String),
}

impl Sender {
    /// Sends what the plan has up to event `until`. Ends early when `shutdown` turns true.
    pub async fn pour(
        self: &Arc<Self>,
        plan: &mut Plan,
        until: u64,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<()> {
        let ordered = self.wire.instance.connector.receiver.sender.ordered;
        let (width, shuffle) = if ordered { (1, false) } else { (WIDTH, self.shuffle) };
        let mut out = JoinSet::new();
        loop {
            while out.len() < width && !*shutdown.borrow() && self.has_room() {
                let Some(push) = self.taken(plan.next(until, self.wire.clock.now())) else { break };
                // Out of order: the push that comes later goes first.
                if shuffle && let Some(later) = self.taken(plan.next(until, self.wire.clock.now())) {
                    out.spawn(self.clone().push(later));
                }
                out.spawn(self.clone().push(push));
            }
            match out.join_next().await {
                Some(fate) => judge(fate)?,
                None if *shutdown.borrow() => return Ok(()),
                // Nothing under way and no room: the sinks are behind.
                None if !self.has_room() => tokio::time::sleep(Duration::from_millis(20)).await,
                None => return Ok(()),
            }
        }
    }

    /// Sends these one after the other.
    pub async fn send_all(self: &Arc<Self>, pushes: Vec<Push>) -> Result<()> {
        for push in pushes {
            self.note(&push);
            judge(Ok(self.clone().push(push).await))?;
        }
        Ok(())
    }

    /// A push of the plan, which stands in the books before a later one of the plan can: that may hold a copy of what is
    /// in this one, and be out of the sink before this one is on its way.
    fn taken(&self, push: Option<Push>) -> Option<Push> {
        push.inspect(|push| self.note(push))
    }

    /// Enters a push into the books; one that is signed within once it is signed.
    fn note(&self, push: &Push) {
        if !shape::in_body(&self.wire.instance.connector) {
            self.books().send(push);
        }
    }

    fn has_room(&self) -> bool {
        self.books().under_way() < MOST_UNDER_WAY
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn push(self: Arc<Self>, mut push: Push) -> Result<Fate> {
        // A body that is signed within is signed once: its records are those that are signed.
        let mut once = None;
        if shape::in_body(&self.wire.instance.connector) {
            let signed = self.request(&push).await?;
            let body = match self.wire.instance.connector.receiver.sender.encoding {
                Some(coding) => coding.inflate(&signed.body, usize::MAX).unwrap_or_default(),
                None => signed.body.clone(),
            };
            let records = shape::records(&self.wire.instance.connector, &body);
            push.good = records.iter().map(|record| mark_of(record.as_bytes())).collect();
            once = Some(signed);
            self.books().send(&push);
        }
        let rule = &self.wire.instance.connector.receiver.sender;
        let rounds = if rule.gives_up_after.is_some() { ROUNDS } else { 1 };
        let attempts = rule.attempts.unwrap_or(ATTEMPTS).max(1) * rounds * self.tempo.again();
        let mut said = String::new();
        for attempt in 0..attempts {
            if attempt > 0 {
                self.books().counts.retries += 1;
            }
            self.books().counts.requests += 1;
            let request = match &once {
                Some(signed) => signed.clone(),
                None => self.request(&push).await?,
            };
            let wait = match self.wire.send(request).await {
                Ok(answer) if holds(&rule.success, answer.status, true) => return Ok(Fate::Accepted),
                Ok(answer) => {
                    said = format!("{}: {}", answer.status, text_of(&answer.body));
                    if holds(&rule.stops_on, answer.status, false) {
                        break;
                    }
                    retry_after(&answer).unwrap_or(backoff(attempt))
                }
                Err(why) => {
                    said = why;
                    self.books().doubt(&push);
                    backoff(attempt)
                }
            };
            if attempt + 1 < attempts {
                tokio::time::sleep(wait.min(self.tempo.push)).await;
            }
        }
        self.books().reject(&push);
        Ok(Fate::Refused(said))
    }

    /// A push as it is sent now, signed with what the instance saved where signing takes that. The vendor knows
    /// what it answered before the instance has saved it, so that is waited for.
    async fn request(&self, push: &Push) -> Result<Request> {
        let to = (&self.wire.public_url, self.wire.receiver);
        if !needs_state(&self.wire.instance) {
            return request(&self.wire.instance, &Json::Null, push, to, self.wire.clock.now());
        }
        let mut looks = 0;
        loop {
            let state = self.wire.memory.read().await?.names();
            match request(&self.wire.instance, &state, push, to, self.wire.clock.now()) {
                Err(_) if looks < MOST_LOOKS => looks += 1,
                made => return made,
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A push as a request: signed as the vendor would sign it for its URL, and led to where the receiver listens.
/// `state` is what the instance saved of the vendor's answers.
pub fn request(
    instance: &Instance,
    state: &Json,
    push: &Push,
    (public_url, receiver): (&url::Url, SocketAddr),
    now: Timestamp,
) -> Result<Request> {
    let ours = &instance.connector.receiver;
    let kind = match &ours.decode {
        Decode::Form { .. } => "application/x-www-form-urlencoded",
        Decode::Json | Decode::JsonLines { .. } | Decode::JsonConcat | Decode::Nothing(_) => {
            "application/json"
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in &push.headers {
        set_header(&mut headers, name, value)?;
    }
    let mut url = public_url.clone();
    if !push.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&push.query);
    }
    let (simulate, scope) = (&instance.connector.simulate, instance.scope());
    for (name, text) in &simulate.headers {
        set_header(&mut headers, name, &text.render(&scope)?)?;
    }
    for (name, text) in &simulate.query {
        url.query_pairs_mut().append_pair(name, &text.render(&scope)?);
    }
    let body = match &push.items {
        Some(items) => built(&simulate.body, &scope.with("items", items.clone()))?,
        None => push.body.clone(),
    };
    let methods = &instance.connector.receiver.methods;
    let method = methods.first().cloned().unwrap_or(http::Method::POST);
    let mut unsigned = Unsigned { method, url, headers, body };
    // A signature is of the bytes that are sent; one that stands in the body has to be written before.
    let within = shape::in_body(&instance.connector);
    if within {
        sign(instance, state, &mut unsigned, now)?;
    }
    if let Some(coding) = ours.sender.encoding {
        unsigned.body = coding.deflate(&unsigned.body);
        set_header(&mut unsigned.headers, "content-encoding", coding.name())?;
    }
    if !within {
        sign(instance, state, &mut unsigned, now)?;
    }
    wire::to(receiver, unsigned)
}

/// The body that the spec says the vendor sends.
fn built(body: &ReplyBody, scope: &Scope) -> Result<Vec<u8>> {
    match body {
        ReplyBody::Empty => Ok(Vec::new()),
        ReplyBody::Json(tree) => Ok(tree.render(scope)?.unwrap_or_default().to_string().into_bytes()),
        ReplyBody::Text(text) => text.render_bytes(scope),
    }
}

fn judge(fate: std::result::Result<Result<Fate>, tokio::task::JoinError>) -> Result<()> {
    match fate.map_err(|e| Error::new(Kind::Io, "a push ended in the middle").because(e))?? {
        Fate::Accepted => Ok(()),
        Fate::Refused(said) => {
            tracing::warn!(said, "the sender gave a push up");
            Ok(())
        }
    }
}

/// Whether a status is in one of the ranges; `default` decides where none are stated: 2xx.
fn holds(ranges: &[StatusRange], status: StatusCode, default: bool) -> bool {
    match ranges.is_empty() {
        true => default && status.is_success(),
        false => ranges.iter().any(|range| (range.0..=range.1).contains(&status.as_u16())),
    }
}

fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(100) * 2_u32.saturating_pow(attempt.min(6))
}

fn retry_after(answer: &Response) -> Option<Duration> {
    answer.headers.get("retry-after")?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

fn text_of(body: &[u8]) -> String {
    escaped(&String::from_utf8_lossy(body), 200)
}
