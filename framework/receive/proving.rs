//! Proving who sent a request by its body: on which thread, at which public URL, with which keys.
//!
//! `accept` makes a [`Proving`] once the body is there and waits for [`proven`]; nothing else makes a request of unknown
//! origin a verified one. What a former value of a secret proves is accepted and counted.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::budget::Hold;
use super::client::Group;
use super::endpoint::{Endpoint, Known};
use super::refused::Refused;
use super::request::Head;
use super::unread::SMALL;
use super::verify::{self, Failure, Keys, Prover, Told, Verified};
use crate::connector::template::{RequestFacts, Scope};

/// Keys that are fetched for one request.
const MOST_FETCHES: usize = 4;
/// Large bodies whose sender is proven at once.
pub(super) const PROVING: usize = 2;
/// What a former public URL is counted as, beside the names of secrets.
const RECEIVER_URL: &str = "receiver.url";

/// What it takes to prove who sent a request; of its own, so that it may be done on another thread.
#[derive(Clone)]
pub(super) struct Proving {
    endpoint: Arc<Endpoint>,
    known: Arc<Known>,
    head: Arc<Head>,
    body: Bytes,
    facts: Arc<RequestFacts>,
    /// The public URL among those that the vendor may still use; none: the newest.
    former: Option<usize>,
    now: jiff::Timestamp,
    /// Whose share of calls for keys it takes.
    client: Group,
    /// What the body takes, for as long as a proof works with it.
    hold: Option<Arc<Hold>>,
}

impl Proving {
    /// A request whose body is there, of a client that is not known and holding nothing.
    pub(super) fn new(
        endpoint: &Arc<Endpoint>,
        known: &Arc<Known>,
        head: &Arc<Head>,
        body: &Bytes,
        now: jiff::Timestamp,
    ) -> Self {
        let facts = whole(endpoint.facts(head, body.clone()));
        let (endpoint, known, head) = (endpoint.clone(), known.clone(), head.clone());
        let (client, former, hold) = (Group::Unknown, None, None);
        Self { endpoint, known, head, body: body.clone(), facts, former, now, client, hold }
    }

    /// The same for a client, and with what the body takes.
    pub(super) fn of(self, client: Group, hold: Option<Arc<Hold>>) -> Self {
        Self { client, hold, ..self }
    }

    /// The same at a public URL that the vendor may still use.
    fn at_former(&self, number: usize) -> Option<Self> {
        let (url, _) = self.known.former.get(number)?;
        let facts = whole(self.endpoint.facts_at(Some(url), &self.head, self.body.clone()));
        Some(Self { facts, former: Some(number), ..self.clone() })
    }

    fn prove(&self) -> Result<Verified, Failure> {
        let former = self.former.and_then(|number| self.known.former.get(number));
        let scopes = former.map_or(self.known.scopes.as_slice(), |(_, scopes)| scopes.as_slice());
        let verified = self.prove_with(&self.known.keys, scopes)?;
        if former.is_some() {
            self.endpoint.meters.proved_by_former(RECEIVER_URL);
            return Ok(verified);
        }
        for without in &self.known.without {
            if let Err(Failure::Rejected(_)) = self.prove_with(&without.keys, &without.scopes) {
                self.endpoint.meters.proved_by_former(&without.secret);
            }
        }
        Ok(verified)
    }

    fn prove_with(&self, keys: &Keys, scopes: &[Scope]) -> Result<Verified, Failure> {
        let prover = Prover {
            keys,
            fetched: &self.endpoint.fetched,
            scopes,
            facts: self.facts.clone(),
            head: &self.head,
            body: &self.body,
            now: self.now,
        };
        prover.prove(&self.endpoint.instance.connector.receiver.verify)
    }
}

/// Counts a request that the head proves by a former value of a secret.
pub(super) fn former_by_head(endpoint: &Endpoint, known: &Known, head: &Head) {
    let verify = &endpoint.instance.connector.receiver.verify;
    for without in &known.without {
        if !matches!(verify::by_head(verify, &without.keys, head), Ok(Told::Sender(_))) {
            endpoint.meters.proved_by_former(&without.secret);
        }
    }
}

/// What is signed is seen whatever its size.
fn whole(facts: RequestFacts) -> Arc<RequestFacts> {
    Arc::new(RequestFacts { parsed: usize::MAX, ..facts })
}

/// Only a request that proved its sender gets past here: at the newest public URL, or at one that its vendor may still
/// use.
pub(super) async fn proven(turns: &Arc<Semaphore>, proving: Proving) -> Result<Verified, Refused> {
    let newest = proven_at(turns, &proving).await;
    if let Err(Refused::Rejected(_)) = newest {
        for former in (0..proving.known.former.len()).filter_map(|number| proving.at_former(number)) {
            if let Ok(verified) = proven_at(turns, &former).await {
                return Ok(verified);
            }
        }
    }
    newest
}

/// Proves the sender at one public URL. A large body is proven on a thread that serves no other request, few at once, and
/// keeps its turn and its memory until the work is done even where the request is dropped. A key that takes fetching is fetched, as
/// often as there are checks that may name one.
async fn proven_at(turns: &Arc<Semaphore>, proving: &Proving) -> Result<Verified, Refused> {
    for _ in 0..=MOST_FETCHES {
        let proof = if proving.body.len() <= SMALL {
            proving.prove()
        } else {
            let turn = turns.clone().acquire_owned().await.map_err(|_| Refused::Stopping)?;
            let proving = proving.clone();
            let work = tokio::task::spawn_blocking(move || {
                let _held = (turn, proving.hold.clone());
                proving.prove()
            });
            work.await.map_err(|error| Refused::Broken(error.to_string()))?
        };
        match proof {
            Ok(verified) => return Ok(verified),
            Err(Failure::Rejected(rejection)) => return Err(rejection.into()),
            Err(Failure::NotReady(detail)) => return Err(Refused::NotReady(detail)),
            Err(Failure::TooMuch(detail)) => return Err(Refused::TooMuch(detail)),
            Err(Failure::Wants(want)) => {
                let (fetched, client) = (&proving.endpoint.fetched, proving.client);
                fetched.fetch(&want, client, proving.now).await.map_err(Refused::NotReady)?;
            }
        }
    }
    Err(Refused::NotReady("the request names too many keys".to_owned()))
}
