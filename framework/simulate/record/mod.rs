//! What an instance does at both ends of its stream, kept to be played again: `forebay run --record`.
//!
//! `cli` makes a [`Recording`] and gives it to `run` as the way out and as who looks on; at the end [`finish`] makes a case
//! of what was kept. `draft` writes it, `disguise` replaces what is secret, and the case is played before it is written. It
//! changes nothing of what the instance does, and what it keeps is bounded.

mod disguise;
mod draft;
mod finish;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value as Json;
use tokio::sync::watch;

pub use self::finish::{Finished, finish};
use crate::call::{Request, Response, Transport, TransportError};
use crate::connector::clock::Clock;
use crate::connector::instance::Instance;
use crate::error::Result;
use crate::provision::report::Report;
use crate::provision::state::Saved;
use crate::provision::witness::{Pass, Witness as PassWitness};
use crate::receive::{Answered, Told, Witness as RequestWitness};

/// Requests that are kept.
const MOST_REQUESTS: usize = 200;
/// Calls that are kept.
const MOST_CALLS: usize = 500;
/// Bytes of all bodies that are kept.
const MOST_BYTES: usize = 2 << 20;

/// What an instance does, as it does it.
pub struct Recording {
    instance: OnceLock<Arc<Instance>>,
    clock: Arc<dyn Clock>,
    saved: Mutex<Vec<watch::Receiver<Saved>>>,
    book: Mutex<Book>,
}

/// What was kept so far.
#[derive(Default)]
struct Book {
    events: Vec<Event>,
    /// Which of them is the pass that goes on: what comes meanwhile stands behind it.
    pass: Option<usize>,
    /// Calls outside of a pass: a rule's, or a key that is fetched. The next request that is answered made them.
    loose: Vec<Exchange>,
    /// Calls that wait for their answer.
    open: usize,
    /// Requests that came while a call was open, for that call.
    meanwhile: Vec<Incoming>,
    /// What was saved when it was last looked at, and anything was.
    state: Json,
    requests: usize,
    calls: usize,
    bytes: usize,
    left_out: LeftOut,
}

/// What was not kept, and why.
#[derive(Debug, Default, Clone, Copy)]
pub struct LeftOut {
    /// Requests that were not accepted: they prove nothing, and cannot be signed anew.
    pub refused: u64,
    /// Requests beyond the bounds.
    pub beyond: u64,
    /// Calls that got no answer, or came beyond the bounds.
    pub calls: u64,
}

/// What happened, in its order.
enum Event {
    Pass(PassKept),
    Request(Box<Incoming>),
}

/// One way through all resources.
struct PassKept {
    pass: Pass,
    at: Timestamp,
    exchanges: Vec<Exchange>,
    /// What was done, or what the error said; `None` where it was given up.
    outcome: Option<Result<Vec<&'static str>, String>>,
}

/// A call and its answer.
struct Exchange {
    request: Request,
    meanwhile: Vec<Incoming>,
    answer: Response,
}

/// A request of the vendor and its reply.
struct Incoming {
    at: Timestamp,
    method: http::Method,
    path: String,
    query: String,
    headers: http::HeaderMap,
    body: Bytes,
    exchanges: Vec<Exchange>,
    reply: http::Response<Bytes>,
}

impl Recording {
    /// Begins.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { instance: OnceLock::new(), clock, saved: Mutex::default(), book: Mutex::default() })
    }

    /// Says whose it is, before the instance does anything.
    pub fn is_of(&self, instance: Arc<Instance>) {
        let _ = self.instance.set(instance);
    }

    /// Whether no pass goes on.
    pub fn is_idle(&self) -> bool {
        self.book().pass.is_none()
    }

    /// The time, to the millisecond: nobody reads more of it in a case.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    /// What is saved now, as far as anybody knows.
    fn state(&self) -> Option<Json> {
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |one: &watch::Receiver<Saved>| one.borrow().now.clone();
        saved.iter().map(known).find(|state| state.as_object().is_some_and(|state| !state.is_empty()))
    }

    /// The same way out, which is looked at on the way.
    pub fn over(self: &Arc<Self>, inner: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(Overheard { inner, recording: self.clone() })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn learn(&mut self, state: Option<Json>) {
        if let Some(state) = state {
            self.state = state;
        }
    }

    /// Whether there is room for so many bytes more.
    fn has_room(&mut self, bytes: usize) -> bool {
        let fits = self.bytes + bytes <= MOST_BYTES;
        self.bytes += if fits { bytes } else { 0 };
        fits
    }
}

/// A way out that keeps what goes over it.
struct Overheard {
    inner: Arc<dyn Transport>,
    recording: Arc<Recording>,
}

#[async_trait]
impl Transport for Overheard {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        self.recording.book().open += 1;
        let sent = self.inner.send(request.clone()).await;
        let mut book = self.recording.book();
        book.open -= 1;
        let meanwhile = if book.open == 0 { std::mem::take(&mut book.meanwhile) } else { Vec::new() };
        let Ok(answer) = &sent else {
            book.left_out.calls += 1;
            return sent;
        };
        let room = book.calls < MOST_CALLS && book.has_room(request.body.len() + answer.body.len());
        if !room {
            book.left_out.calls += 1;
            return sent;
        }
        book.calls += 1;
        let exchange = Exchange { request, meanwhile, answer: answer.clone() };
        let book = &mut *book;
        match book.pass.and_then(|at| book.events.get_mut(at)) {
            Some(Event::Pass(pass)) => pass.exchanges.push(exchange),
            Some(Event::Request(_)) | None => book.loose.push(exchange),
        }
        sent
    }
}

impl PassWitness for Recording {
    fn begins(&self, pass: Pass) {
        let at = self.now();
        let mut book = self.book();
        book.pass = Some(book.events.len());
        book.events.push(Event::Pass(PassKept { pass, at, exchanges: Vec::new(), outcome: None }));
    }

    fn knows(&self, saved: watch::Receiver<Saved>) {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).push(saved);
    }

    fn ended(&self, pass: Pass, outcome: &Result<Report>) {
        let state = self.state();
        let mut book = self.book();
        book.learn(state);
        let book = &mut *book;
        // Another one may have begun since, by somebody else: then this one was given up.
        if let Some(Event::Pass(kept)) = book.pass.and_then(|at| book.events.get_mut(at))
            && kept.pass == pass
        {
            kept.outcome = Some(match outcome {
                Ok(report) => Ok(report.deeds.iter().map(|deed| deed.what.word()).collect()),
                Err(error) => Err(error.sentence.clone()),
            });
            book.pass = None;
        }
    }
}

impl RequestWitness for Recording {
    fn wants_stages(&self) -> bool {
        false
    }

    fn told(&self, _: Told) {}

    fn answered(&self, request: &Answered<'_>) {
        let (at, state) = (self.now(), self.state());
        let mut book = self.book();
        book.learn(state);
        let exchanges = if book.pass.is_none() { std::mem::take(&mut book.loose) } else { Vec::new() };
        let body = request.body.cloned().unwrap_or_default();
        if request.refused.is_some() {
            book.left_out.refused += 1;
            return;
        }
        if book.requests == MOST_REQUESTS || !book.has_room(body.len() + request.answer.body().len()) {
            book.left_out.beyond += 1;
            return;
        }
        book.requests += 1;
        let incoming = Incoming {
            at,
            method: request.head.method.clone(),
            path: request.head.path.clone(),
            query: request.head.query.clone(),
            headers: request.head.headers.clone(),
            body,
            exchanges,
            reply: request.answer.clone(),
        };
        if book.open > 0 && book.pass.is_some() {
            book.meanwhile.push(incoming);
        } else {
            book.events.push(Event::Request(Box::new(incoming)));
        }
    }
}
