//! What the receiver counts. Handles are made once; a request adds to them and renders no name.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::decode::Decoded;
use super::refused::Refused;
use crate::queue::{DeadReason, Receipt};

/// How often one reason of rejection is logged at most, per instance.
const NOISE: Duration = Duration::from_secs(10);

/// The counters of one instance.
pub(super) struct Meters {
    instance: String,
    /// Requests that came to its path.
    pub requests: Counter,
    /// Seconds from the head of a request to its answer.
    pub answer: Histogram,
    received: Counter,
    accepted: Counter,
    duplicates: Counter,
    last: Gauge,
    kinds: Vec<OnceLock<Counter>>,
    other: OnceLock<Counter>,
    noise: Mutex<BTreeMap<&'static str, Noise>>,
}

struct Noise {
    said: Instant,
    unsaid: u64,
}

impl Meters {
    pub(super) fn new(instance: &str, known_types: usize) -> Self {
        let instance = instance.to_owned();
        let name = || instance.clone();
        Self {
            requests: counter!("forebay_requests_total", "instance" => name()),
            answer: histogram!("forebay_answer_seconds", "instance" => name()),
            received: counter!("forebay_received_total", "instance" => name()),
            accepted: counter!("forebay_accepted_total", "instance" => name()),
            duplicates: counter!("forebay_duplicates_total", "instance" => name()),
            last: gauge!("forebay_last_accepted_timestamp_seconds", "instance" => name()),
            kinds: (0..known_types).map(|_| OnceLock::new()).collect(),
            other: OnceLock::new(),
            noise: Mutex::default(),
            instance,
        }
    }

    /// Counts what a verified request brought, before it is stored.
    pub(super) fn received(&self, decoded: &Decoded) {
        self.received.increment((decoded.records.len() + decoded.dead.len()) as u64);
    }

    /// Counts what was stored.
    pub(super) fn accepted(&self, receipt: Receipt, decoded: &Outcome, types: &[String], now: Timestamp) {
        let all = u64::from(receipt.stored) + u64::from(receipt.duplicates) + u64::from(receipt.dead);
        self.accepted.increment(all);
        self.duplicates.increment(receipt.duplicates.into());
        self.last.set(now.as_millisecond() as f64 / 1000.0);
        for (kind, count) in &decoded.kinds {
            let known =
                kind.and_then(|n| Some((self.kinds.get(usize::from(n))?, types.get(usize::from(n))?)));
            let (cell, label) = known.map_or((&self.other, "other"), |(cell, label)| (cell, label));
            cell.get_or_init(|| {
                counter!("forebay_records_by_type_total", "instance" => self.instance.clone(), "type" => label.to_owned())
            })
            .increment(*count);
        }
        for (reason, count) in &decoded.dead {
            self.dead(*reason, *count);
        }
        let buried: u64 = decoded.dead.values().sum();
        // Dead letters that only the queue could know of: an id that came again with other bytes.
        if let Some(more) = u64::from(receipt.dead).checked_sub(buried).filter(|more| *more > 0) {
            self.dead("id_reused", more);
        }
    }

    fn dead(&self, reason: &'static str, count: u64) {
        counter!("forebay_dead_letters_total", "instance" => self.instance.clone(), "reason" => reason)
            .increment(count);
    }

    /// Counts a request that was not accepted, and logs it; not more often than `NOISE` for each reason.
    pub(super) fn refused(&self, refused: &Refused, peer: std::net::SocketAddr) {
        let reason = refused.reason();
        counter!("forebay_rejected_total", "instance" => self.instance.clone(), "reason" => reason)
            .increment(1);
        if let Some(unsaid) = self.may_say(reason) {
            let status = refused.status().as_u16();
            let detail = refused.detail();
            tracing::warn!(instance = %self.instance, reason, status, %peer, unsaid, detail, "request not accepted");
        }
    }

    /// How many were kept quiet since the last one that was said; `None` where this one is kept quiet too.
    fn may_say(&self, reason: &'static str) -> Option<u64> {
        let mut noise = self.noise.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match noise.get_mut(reason) {
            Some(known) if now.duration_since(known.said) < NOISE => {
                known.unsaid += 1;
                None
            }
            Some(known) => {
                let unsaid = std::mem::take(&mut known.unsaid);
                known.said = now;
                Some(unsaid)
            }
            None => {
                noise.insert(reason, Noise { said: now, unsaid: 0 });
                Some(0)
            }
        }
    }
}

/// What is counted of a batch once it is stored.
pub(super) struct Outcome {
    kinds: BTreeMap<Option<u16>, u64>,
    dead: BTreeMap<&'static str, u64>,
}

impl From<&Decoded> for Outcome {
    fn from(decoded: &Decoded) -> Self {
        let mut outcome = Self { kinds: BTreeMap::new(), dead: BTreeMap::new() };
        for kind in &decoded.kinds {
            *outcome.kinds.entry(*kind).or_default() += 1;
        }
        for letter in &decoded.dead {
            *outcome.dead.entry(word(letter.reason)).or_default() += 1;
        }
        outcome
    }
}

/// A reason as metrics name it.
fn word(reason: DeadReason) -> &'static str {
    match reason {
        DeadReason::Undecodable => "undecodable",
        DeadReason::Schema => "schema",
        DeadReason::TooDeep => "too_deep",
        DeadReason::IdReused => "id_reused",
        DeadReason::SinkRefused => "sink_refused",
    }
}
