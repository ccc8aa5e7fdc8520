//! The life of a request, every stage in its order.
//!
//! limits → who → rules → verify → inflate → decode → records → check → store → answer. `server` calls
//! [`accept`] for every request; nothing is answered with 2xx before the queue gave its receipt. Dropped at any await,
//! a request gives back all that it held, or what still works for it holds it until that has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::{Notify, Semaphore};

use super::answer::{self, Answer};
use super::budget::{Budgets, Hold, Ticket};
use super::client::Client;
use super::connections::Peer;
use super::endpoint::Endpoint;
use super::holdings::End;
use super::inflate;
use super::limits::Limits;
use super::meters;
use super::proving::{PROVING, Proving, former_by_head, proven};
use super::refused::Refused;
use super::request::{Head, Raw};
use super::router::Router;
use super::store::store;
use super::unknown::Unknown;
use super::unread::Unread;
use super::verify::{self, Told, Verified};
use super::{body, rules, shared, told};
use crate::connector::coding::Coding;

/// What rules and answers see of a compressed body, inflated.
const INFLATED: usize = 256 << 10;
/// Large bodies that are decoded at once.
const HEAVY: usize = 2;

/// What all requests of one listener share.
pub(super) struct Gate {
    pub router: Arc<Router>,
    pub limits: Limits,
    pub(super) budgets: Arc<Budgets>,
    unknown: Unknown,
    heavy: Arc<Semaphore>,
    middling: Arc<Semaphore>,
    proving: Arc<Semaphore>,
    stopping: AtomicBool,
    in_flight: AtomicUsize,
    ended: Notify,
}

impl Gate {
    pub(super) fn new(router: Arc<Router>, limits: Limits) -> Self {
        // What an instance may be sent can also be held in memory.
        let (body, inflated) = router.greatest().unwrap_or((limits.body, limits.inflated));
        let widest = Limits { body, inflated, ..limits.clone() };
        Self {
            budgets: Arc::new(Budgets::new(&widest, router.greatest_unproven())),
            unknown: Unknown::default(),
            router,
            heavy: Arc::new(Semaphore::new(HEAVY)),
            middling: Arc::new(Semaphore::new(
                std::thread::available_parallelism().map_or(HEAVY, usize::from).max(HEAVY),
            )),
            proving: Arc::new(Semaphore::new(PROVING)),
            stopping: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            ended: Notify::new(),
            limits,
        }
    }

    /// From now on new requests are refused.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Returns when no request that was taken in is without its answer.
    pub(super) async fn quiet(&self) {
        loop {
            let ended = self.ended.notified();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Whether no request and nothing that works for one holds anything.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let in_flight = self.in_flight.load(Ordering::SeqCst);
        in_flight == 0 && self.budgets.used() == 0 && self.turns() == 0
    }

    /// Bytes that requests hold.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.budgets.used()
    }

    /// How many turns for large bodies are taken.
    #[cfg(test)]
    pub(super) fn turns(&self) -> usize {
        let middling = std::thread::available_parallelism().map_or(HEAVY, usize::from).max(HEAVY);
        let all = [(HEAVY, &self.heavy), (middling, &self.middling), (PROVING, &self.proving)];
        all.map(|(most, turns)| most - turns.available_permits()).iter().sum()
    }

    fn enter(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight(self)
    }
}

#[cfg(test)]
impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let in_flight = self.in_flight.load(Ordering::SeqCst);
        write!(f, "{in_flight} in flight, {} bytes, {} turns", self.budgets.used(), self.turns())
    }
}

/// A request that was taken in.
struct InFlight<'a>(&'a Gate);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}

/// Answers one request. What is left of its body stays in `raw`.
pub(super) async fn accept(gate: &Gate, raw: &mut Raw) -> Answer {
    let begin = tokio::time::Instant::now();
    let routes = gate.router.find(&raw.head.path);
    let instance = routes.first().map_or(0, |route| Arc::as_ptr(&route.endpoint) as usize);
    let ticket = Ticket::new(End::new(raw.peer.clone()), raw.client.group, instance);
    // Over HTTP/2 a request takes memory from its head on, and until its answer was read. Over HTTP/1 there is one at a
    // time, and what it takes begins with its body.
    let begun = if raw.ahead > 0 { ticket.claim(&gate.budgets, raw.head.weight()) } else { Ok(()) };
    let Some(route) = routes.first() else {
        raw.ticket = Some(ticket);
        raw.peer.last_was(false);
        meters::head_refused(Refused::UnknownPath.reason());
        gate.unknown.log(&gate.router, raw);
        return answer::refused(&Refused::UnknownPath, None);
    };
    if route.prefix > 0 {
        raw.head = Arc::new(raw.head.below(route.prefix));
    }
    if routes.len() > 1 {
        let _in_flight = gate.enter();
        let head = raw.head.clone();
        let all = routes.iter().map(|route| &*route.endpoint).filter(|endpoint| endpoint.admits(&raw.client));
        let all = if begun.is_ok() { all.collect() } else { Vec::new() };
        raw.ticket = Some(ticket);
        raw.peer.last_was(false);
        return shared::answer(all, gate.stopping(), &head).await;
    }
    let endpoint = route.endpoint.clone();
    endpoint.meters.request();
    // Until it is authenticated, and while its body comes, a request may lose what it has to another: then it is
    // dropped where it is.
    let ended = match begun {
        Err(crowded) => Err(crowded.into()),
        Ok(()) => tokio::select! {
            biased;
            ended = life(gate, &endpoint, raw, &ticket) => ended,
            () = ticket.lost() => Err(Refused::Crowded),
        },
    };
    if ended.is_err() && !ticket.is_authenticated() {
        raw.peer.last_was(false);
    }
    raw.ticket = Some(ticket);
    let (answer, refused) = match ended {
        Ok(answer) => (answer, None),
        Err(refused) => {
            endpoint.meters.refused(&refused, &raw.client, endpoint.clock.now());
            (refusal(&endpoint, &refused), Some(refused))
        }
    };
    endpoint.meters.answered(begin.elapsed());
    told::answered(&endpoint, raw, &answer, refused.as_ref());
    answer
}

/// Answers one request that is at hand whole, and came over no connection: what an endpoint's witness is told of it is
/// what becomes of it.
pub async fn explain(router: Arc<Router>, limits: Limits, request: http::Request<Bytes>) -> Answer {
    let (parts, body) = request.into_parts();
    let body = http_body_util::Full::new(body).map_err(|never| match never {}).boxed_unsync();
    let peer = Arc::new(Peer::new(std::net::SocketAddr::from(([127, 0, 0, 1], 0))));
    let client = Client::direct(peer.address.ip());
    let head = Arc::new(Head::from(parts));
    let mut raw = Raw { head, peer, client, ahead: 0, body, read: None, ticket: None };
    accept(&Gate::new(router, limits), &mut raw).await
}

/// The stages. Each either hands on what the next one needs, or ends the request.
async fn life(
    gate: &Gate,
    endpoint: &Arc<Endpoint>,
    raw: &mut Raw,
    ticket: &Ticket,
) -> Result<Answer, Refused> {
    // 1. limits: connections, header time and the size of the head stand in `serving`, those of the body in
    //    `body`. Here: a process that stops takes nothing new, the client has to be one of those that the operator
    //    admits, and a method has to be one of the spec's.
    let _in_flight = gate.enter();
    if gate.stopping() {
        return Err(Refused::Stopping);
    }
    if !endpoint.admits(&raw.client) {
        return Err(Refused::Source(raw.client.to_string()));
    }
    if !endpoint.takes(&raw.head) {
        return Err(Refused::Method);
    }
    let (now, known) = (endpoint.clock.now(), endpoint.known());
    let head = raw.head.clone();
    told::routed(endpoint, &head);

    // 2. who: what the headers alone can tell is told before the body is read.
    let verify = &endpoint.instance.connector.receiver.verify;
    let told = verify::by_head(verify, &known.keys, &head).map_err(Refused::NotReady);
    if let Ok(Told::Sender(_)) = told {
        ticket.authenticated();
        former_by_head(endpoint, &known, &head);
    }
    told::by_head(endpoint, &told);
    if !rules::any(endpoint, false, &head) {
        if let Ok(Told::Stranger(_)) = told {
            told::proofs(endpoint, &known, &head, None, now);
        }
        match told {
            Ok(Told::Stranger(rejection)) => return Err(rejection.into()),
            Err(refused) => return Err(refused),
            Ok(Told::Sender(_) | Told::Nothing) => {}
        }
    }
    ticket.claim(&gate.budgets, head.weight())?;
    let mut hold = Hold::new(&gate.budgets, ticket);
    let announced = body::announced(&head.headers);
    let bytes =
        body::read(&mut raw.body, announced, endpoint.body, raw.ahead, &gate.limits, &mut hold).await?;
    let hold = Arc::new(hold);
    told::read(endpoint, raw, &bytes);
    let facts = || Arc::new(endpoint.facts(&head, bytes.clone()));

    // 3. rules that need no verification.
    let asked = rules::Asked { endpoint, known: &known, head: &head, body: &bytes };
    if let Some(answer) = asked.apply(false, facts).await? {
        return Ok(answer);
    }

    // 4. verify, on the raw bytes; then the rules that need it.
    let proof = match told {
        Ok(Told::Sender(verified)) => Ok(verified),
        Ok(Told::Stranger(rejection)) => Err(rejection.into()),
        Ok(Told::Nothing) => {
            let client = raw.client.group;
            let hold = Some(hold.clone());
            let proving = Proving::new(endpoint, &known, &head, &bytes, now).of(client, hold);
            proven(&gate.proving, proving).await
        }
        Err(refused) => Err(refused),
    };
    told::proofs(endpoint, &known, &head, Some(&bytes), now);
    let verified = proof?;
    ticket.authenticated();
    // What proved the sender has ended, and gave back its part.
    let hold = Arc::into_inner(hold).ok_or_else(|| Refused::Broken("a proof goes on".to_owned()))?;
    let hold = hold.authenticated(bytes.len()).await?;
    let coding = inflate::coding(&head.headers)?;
    told::inflated(endpoint, coding);
    let open = match coding {
        Some(coding) if endpoint.accepted.request || rules::any(endpoint, true, &head) => {
            small(coding, &bytes)
        }
        Some(_) | None => bytes.clone(),
    };
    let facts = || Arc::new(endpoint.facts(&head, open.clone()));
    if let Some(answer) = (rules::Asked { body: &open, ..asked }).apply(true, facts).await? {
        return Ok(answer);
    }
    if head.path != endpoint.path {
        return Err(Refused::UnknownPath);
    }
    if !endpoint.takes_events(&head.method) {
        return Err(Refused::Method);
    }

    // 5. to 7. inflate, decode, records, check: from here on nothing that came is thrown away.
    let unread = Unread {
        endpoint: endpoint.clone(),
        head: head.clone(),
        bytes: bytes.clone(),
        coding,
        most: endpoint.inflated,
        now,
        _verified: verified,
    };
    let turns = (&gate.middling, &gate.heavy);
    let (decoded, hold, inflated) = unread.read(&gate.budgets, turns, ticket, hold).await?;
    endpoint.meters.received(&decoded);
    told::decoded(endpoint, &decoded);
    asked.apply_to_items(&decoded.ruled).await?;

    // 8. dedupe, append and sync: whole or not at all.
    let receipt = store(endpoint, decoded, now, (hold, inflated)).await?;
    told::stored(endpoint, &receipt);

    // 9. answer.
    Ok(answer::accepted(endpoint, &known.scope, facts, receipt))
}

/// What rules and answers see of a compressed body that was verified: handshakes and pings are small. What is not
/// they see as it came.
fn small(coding: Coding, bytes: &Bytes) -> Bytes {
    let inflated = (bytes.len() <= INFLATED / 16).then(|| coding.inflate(bytes, INFLATED).ok()).flatten();
    inflated.unwrap_or_else(|| bytes.clone())
}

/// Who sent a request, told by its head where that is enough and by its body where it takes it; the error is the word
/// for it in metrics. [`life`] does the same, stage by stage: this is for measuring and testing what a proof costs.
pub async fn who(endpoint: &Arc<Endpoint>, request: http::Request<Bytes>) -> Result<Verified, &'static str> {
    let (parts, body) = request.into_parts();
    let head = Head::from(parts);
    let (now, known) = (endpoint.clock.now(), endpoint.known());
    let told = verify::by_head(&endpoint.instance.connector.receiver.verify, &known.keys, &head);
    let proof = match told.map_err(Refused::NotReady) {
        Ok(Told::Sender(verified)) => Ok(verified),
        Ok(Told::Stranger(rejection)) => Err(rejection.into()),
        Ok(Told::Nothing) => {
            let turns = Arc::new(Semaphore::new(PROVING));
            proven(&turns, Proving::new(endpoint, &known, &Arc::new(head), &body, now)).await
        }
        Err(refused) => Err(refused),
    };
    proof.map_err(|refused| refused.reason())
}

/// The answer to a request that ended early; the spec may say how a rejected one looks.
fn refusal(endpoint: &Endpoint, refused: &Refused) -> Answer {
    let rejected = &endpoint.instance.connector.receiver.respond.rejected;
    if let (Refused::Rejected(_), Some(reply)) = (refused, rejected) {
        let now = endpoint.clock.now();
        match answer::by_spec(reply, &endpoint.known().scope.with_now(now)) {
            Ok(answer) => return answer,
            Err(error) => endpoint.meters.unanswerable("rejected", &error, now),
        }
    }
    answer::refused(refused, Some(endpoint))
}
