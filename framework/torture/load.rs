//! The load: pushes as the vendor would send them, and worse, from several senders at once.
//!
//! A round starts it and ends it. What was not answered 2xx comes again, in this round or in a later one, until
//! it is: so does a vendor.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::books::{Books, Issued};
use super::collector::Collector;
use super::schedule::{Dice, Fault};
use super::subject::Subject;
use crate::call::{Request, Transport};
use crate::connector::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::simulate::plan::{Plan, Push};
use crate::simulate::sender::request;

/// Senders at once.
const WIDTH: usize = 6;
/// The patience of a sender.
const PATIENCE: Duration = Duration::from_secs(10);
/// The rest after an answer that was no 2xx.
const REST: Duration = Duration::from_millis(30);
/// Events that may be issued and not delivered: the sinks must be able to keep up.
const MOST_UNDER_WAY: u64 = 50_000;
/// Pushes that may be held back.
const MOST_HELD: usize = 32;

/// What all senders share.
pub struct Load {
    /// Whose stream it is.
    pub subject: Subject,
    /// What reaches loopback.
    pub transport: Arc<dyn Transport>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The books.
    pub books: Arc<Mutex<Books>>,
    /// Who knows how far the sinks are.
    pub collector: Arc<Collector>,
    /// Events a second, at most.
    pub rate: f64,
    /// Events in all, at most.
    pub most: u64,
    /// Faults that are left out.
    pub without: Vec<Fault>,
    /// What is to be sent.
    pub source: Mutex<Source>,
}

/// What is to be sent.
pub struct Source {
    /// New events.
    pub plan: Plan,
    /// Pushes that were not answered 2xx yet, or held back so that later ones go first.
    pub waiting: VecDeque<Issued>,
    /// When the next push is due.
    pub due: Option<Instant>,
    /// Events of strangers so far.
    pub strays: u64,
}

/// What one request came to.
enum Fate {
    Taken,
    Later,
    Wrong(StatusCode),
    Unknown,
}

impl Load {
    /// Sends until `stop` turns true; everything that is under way then is waited for. With `last` nothing new is
    /// sent, and it ends when nothing waits any more.
    pub async fn pour(
        self: Arc<Self>,
        receiver: SocketAddr,
        seed: u64,
        last: bool,
        stop: watch::Receiver<bool>,
    ) -> Result<()> {
        let mut dice = Dice(seed);
        let mut senders = JoinSet::new();
        for _ in 0..WIDTH {
            let sender = Sender { load: self.clone(), receiver, dice: Dice(dice.roll()), last };
            senders.spawn(sender.send_all(stop.clone()));
        }
        while let Some(ended) = senders.join_next().await {
            ended.map_err(|e| Error::new(Kind::Io, "a sender ended in the middle").because(e))??;
        }
        Ok(())
    }

    fn source(&self) -> std::sync::MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pushes that still wait to be answered.
    pub fn waiting(&self) -> usize {
        self.source().waiting.len()
    }
}

struct Sender {
    load: Arc<Load>,
    receiver: SocketAddr,
    dice: Dice,
    last: bool,
}

impl Sender {
    async fn send_all(mut self, mut stop: watch::Receiver<bool>) -> Result<()> {
        while !*stop.borrow() {
            let Some((issued, due)) = self.next() else {
                if self.last {
                    return Ok(());
                }
                tokio::time::sleep(REST).await;
                continue;
            };
            // Paced, so that the load is bounded; a push that is not sent in this round is sent in the next.
            let paced = tokio::select! {
                () = tokio::time::sleep_until(due) => true,
                _ = stop.wait_for(|stop| *stop) => false,
            };
            if !paced || !self.last && self.misbehave(&issued).await? {
                self.load.source().waiting.push_back(issued);
                continue;
            }
            self.deliver(issued).await?;
        }
        Ok(())
    }

    /// What is sent next, and when.
    fn next(&mut self) -> Option<(Issued, Instant)> {
        let load = self.load.clone();
        let mut source = load.source();
        let issued = match source.waiting.pop_front() {
            Some(issued) => issued,
            None if self.last => return None,
            None => self.fresh(&mut source)?,
        };
        let now = Instant::now();
        let due = source.due.map_or(now, |due| due.max(now));
        let records = issued.push.records().max(1) as f64;
        source.due = Some(due + Duration::from_secs_f64(records / self.load.rate));
        Some((issued, due))
    }

    fn fresh(&mut self, source: &mut Source) -> Option<Issued> {
        let now = self.load.clock.now();
        let torn = self.wants(Fault::Pushes) && self.dice.percent(1);
        let delivered = self.load.collector.delivered();
        let mut books = self.load.books();
        if books.issued() >= self.load.most || books.issued().saturating_sub(delivered) > MOST_UNDER_WAY {
            return None;
        }
        let push = torn.then(|| source.plan.torn(now)).flatten();
        let push = push.or_else(|| source.plan.next(u64::MAX / 8, now))?;
        Some(books.issue(push))
    }

    fn wants(&self, fault: Fault) -> bool {
        !self.load.without.contains(&fault)
    }

    /// What a push may meet before it is sent. `true`: it is held back, and a later one goes first.
    async fn misbehave(&mut self, issued: &Issued) -> Result<bool> {
        if self.wants(Fault::Connections) && self.dice.percent(3) {
            self.break_off(&issued.push).await?;
        }
        if !self.wants(Fault::Pushes) {
            return Ok(false);
        }
        if self.dice.percent(2) {
            self.knock().await?;
        }
        Ok(self.dice.percent(5) && self.load.waiting() < MOST_HELD)
    }

    async fn deliver(&mut self, issued: Issued) -> Result<()> {
        self.load.books().send(&issued);
        let fate = self.send(&issued.push).await?;
        {
            let mut books = self.load.books();
            match &fate {
                Fate::Taken => {
                    books.answers.taken += 1;
                    books.answer(&issued);
                }
                Fate::Later => books.answers.later += 1,
                Fate::Wrong(status) => {
                    books.answers.wrong += 1;
                    tracing::warn!(%status, "a good push was refused");
                }
                Fate::Unknown => books.answers.none += 1,
            }
        }
        match fate {
            Fate::Taken if !self.last && self.wants(Fault::Pushes) && self.dice.percent(4) => {
                // The vendor did not get the answer, and sends it again.
                self.load.books().answers.copies += issued.push.records();
                self.load.source().waiting.push_back(issued);
            }
            Fate::Taken => {}
            Fate::Later | Fate::Unknown | Fate::Wrong(_) => {
                self.load.source().waiting.push_back(issued);
                tokio::time::sleep(REST).await;
            }
        }
        Ok(())
    }

    fn request(&self, push: &Push, wrong_key: bool) -> Result<Request> {
        let subject = &self.load.subject;
        let instance = if wrong_key { &subject.stranger } else { &subject.instance };
        let to = (subject.public_url(), self.receiver);
        request(instance, &serde_json::Value::Null, push, to, self.load.clock.now())
    }

    async fn send(&self, push: &Push) -> Result<Fate> {
        let request = self.request(push, false)?;
        Ok(match tokio::time::timeout(PATIENCE, self.load.transport.send(request)).await {
            Ok(Ok(answer)) if answer.status.is_success() => Fate::Taken,
            Ok(Ok(answer)) if answer.status == StatusCode::SERVICE_UNAVAILABLE => Fate::Later,
            Ok(Ok(answer)) => Fate::Wrong(answer.status),
            Ok(Err(_)) | Err(_) => Fate::Unknown,
        })
    }

    /// A stranger knocks, with a wrong key.
    async fn knock(&self) -> Result<()> {
        let push = {
            let mut source = self.load.source();
            source.strays += 1;
            let n = source.strays;
            source.plan.stray(n, self.load.clock.now())
        };
        let request = self.request(&push, true)?;
        let same = self.request(&push, false)?;
        // Where a connector's secrets are placeholders, there is no other key.
        if request.headers == same.headers && request.url == same.url && request.body == same.body {
            return Ok(());
        }
        let answer = tokio::time::timeout(PATIENCE, self.load.transport.send(request)).await;
        let mut books = self.load.books();
        match answer {
            Ok(Ok(answer)) if answer.status.is_success() => books.answers.let_in += 1,
            Ok(Ok(_)) => books.answers.strangers += 1,
            Ok(Err(_)) | Err(_) => books.answers.none += 1,
        }
        Ok(())
    }

    /// The push begins, and its connection breaks in the middle of the body.
    async fn break_off(&mut self, push: &Push) -> Result<()> {
        let request = self.request(push, false)?;
        let sent = self.dice.below(request.body.len() as u64) as usize;
        let path = &request.url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut bytes =
            format!("POST {path} HTTP/1.1\r\ncontent-length: {}\r\n", request.body.len()).into_bytes();
        for (name, value) in &request.headers {
            bytes.extend_from_slice(format!("{name}: ").as_bytes());
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend(request.body.iter().take(sent));
        // The child may be gone already; then the connection was never there to be broken.
        if let Ok(mut stream) = TcpStream::connect(self.receiver).await {
            let _ = stream.write_all(&bytes).await;
        }
        self.load.books().answers.none += 1;
        Ok(())
    }
}
