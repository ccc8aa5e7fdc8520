//! What the receiver counts. Handles are made once; a request adds to them and renders no name.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::client::Client;
use super::decode::Decoded;
use super::known_types::KnownTypes;
use super::refused::Refused;
use crate::error::Error;
use crate::queue::{DeadReason, Receipt};

/// How often one reason of rejection is logged at most, per instance.
const QUIET: Duration = Duration::from_secs(10);
/// How often dead letters of one reason are logged at most, per instance.
const DEAD_QUIET: Duration = Duration::from_secs(60);

/// What an instance received since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that came to its path.
    pub requests: u64,
    /// Requests that were turned away.
    pub rejected: u64,
    /// New records, safe in the queue.
    pub stored: u64,
    /// Records that were known.
    pub duplicates: u64,
    /// Dead letters, safe in the queue.
    pub dead: u64,
    /// When records were last taken charge of.
    pub last_accepted: Option<Timestamp>,
    /// When a request was last turned away, and why.
    pub last_rejected: Option<(Timestamp, &'static str)>,
}

/// The counters of one instance.
pub(super) struct Meters {
    instance: String,
    requests: Counter,
    answer: Histogram,
    received: Counter,
    accepted: Counter,
    duplicates: Counter,
    last: Gauge,
    kinds: Vec<OnceLock<Counter>>,
    other: OnceLock<Counter>,
    tally: Mutex<Tally>,
    said: Mutex<BTreeMap<&'static str, Said>>,
}

/// When a reason was last logged, and how often it was not since.
struct Said {
    at: Timestamp,
    suppressed: u64,
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
            tally: Mutex::default(),
            said: Mutex::default(),
            instance,
        }
    }

    pub(super) fn tally(&self) -> Tally {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts a request before anything is known about it.
    pub(super) fn request(&self) {
        self.requests.increment(1);
        self.count(|tally| tally.requests += 1);
    }

    /// Counts an answer and the time it took.
    pub(super) fn answered(&self, took: Duration) {
        self.answer.record(took);
    }

    /// Counts what a verified request brought, before it is stored.
    pub(super) fn received(&self, decoded: &Decoded) {
        self.received.increment((decoded.records.len() + decoded.dead.len()) as u64);
    }

    /// Counts what was stored.
    pub(super) fn stored(&self, receipt: Receipt, brought: &Brought, types: &KnownTypes, now: Timestamp) {
        let all = u64::from(receipt.stored) + u64::from(receipt.duplicates) + u64::from(receipt.dead);
        self.accepted.increment(all);
        self.last.set(now.as_second() as f64);
        self.duplicates.increment(receipt.duplicates.into());
        let mut first = false;
        self.count(|tally| {
            first = receipt.stored > 0 && tally.stored == 0;
            tally.stored += u64::from(receipt.stored);
            tally.duplicates += u64::from(receipt.duplicates);
            tally.dead += u64::from(receipt.dead);
            tally.last_accepted = Some(now);
        });
        for (kind, count) in &brought.kinds {
            let known = kind.and_then(|kind| self.kinds.get(usize::from(kind)).zip(types.name(kind)));
            let (cell, label) = known.map_or((&self.other, "other"), |(cell, label)| (cell, label));
            cell.get_or_init(|| {
                let (instance, label) = (self.instance.clone(), label.to_owned());
                counter!("forebay_records_by_type_total", "instance" => instance, "type" => label)
            })
            .increment(*count);
        }
        if first {
            tracing::info!(instance = %self.instance, records = receipt.stored, "first events received and stored");
        }
        let buried: u64 = brought.dead.values().map(|(count, _)| count).sum();
        for (reason, (count, detail)) in &brought.dead {
            self.dead(reason, *count);
            self.warn_dead(reason, *count, detail, now);
        }
        // Dead letters that only the queue could know of: an id that came again with other bytes.
        if let Some(reused) = u64::from(receipt.dead).checked_sub(buried).filter(|count| *count > 0) {
            let reason = word(DeadReason::IdReused);
            self.dead(reason, reused);
            self.warn_dead(reason, reused, "an event came with a known id and other bytes", now);
        }
    }

    fn dead(&self, reason: &'static str, count: u64) {
        let instance = self.instance.clone();
        counter!("forebay_dead_letters_total", "instance" => instance, "reason" => reason).increment(count);
    }

    /// Logs dead letters with the command that shows them: the first of a reason at once, then at most one line a
    /// minute with the count of all since.
    fn warn_dead(&self, reason: &'static str, count: u64, detail: &str, now: Timestamp) {
        let Some(before) = self.may_say(reason, count, DEAD_QUIET, now) else { return };
        let instance = &self.instance;
        let show = format!("forebay dead-letters list --id {instance}");
        tracing::warn!(%instance, reason, count = before + count, detail, show, "records became dead letters and are not delivered");
    }

    /// Counts a request that was turned away, and logs it: the first of a reason at once, then not more
    /// often than `QUIET` lets it. The counters count every one.
    pub(super) fn refused(&self, refused: &Refused, client: &Client, now: Timestamp) {
        let reason = refused.reason();
        let instance = self.instance.clone();
        counter!("forebay_rejected_total", "instance" => instance, "reason" => reason).increment(1);
        self.count(|tally| {
            tally.rejected += 1;
            tally.last_rejected = Some((now, reason));
        });
        if let Some(suppressed) = self.may_say(reason, 1, QUIET, now) {
            let (status, detail) = (refused.status().as_u16(), refused.detail());
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::warn!(instance = %self.instance, reason, status, %client, suppressed, detail, "request not accepted");
        }
    }

    /// Counts a request that a former value of a secret proved, or a former public URL.
    pub(super) fn proved_by_former(&self, secret: &str) {
        let (instance, secret) = (self.instance.clone(), secret.to_owned());
        counter!("forebay_former_secret_accepted_total", "instance" => instance, "secret" => secret)
            .increment(1);
    }

    /// Logs an answer of the spec that could not be built, not more often than a refusal.
    pub(super) fn unanswerable(&self, whose: &str, error: &Error, now: Timestamp) {
        if let Some(suppressed) = self.may_say("unanswerable", 1, QUIET, now) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::warn!(instance = %self.instance, whose, suppressed, %error, "an answer could not be built");
        }
    }

    /// Returns how many were suppressed since the last line; `None` if these `count` are suppressed too.
    fn may_say(&self, reason: &'static str, count: u64, quiet: Duration, now: Timestamp) -> Option<u64> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let known = said.entry(reason).or_insert(Said { at: Timestamp::MIN, suppressed: 0 });
        if now.duration_since(known.at).unsigned_abs() < quiet {
            known.suppressed += count;
            return None;
        }
        known.at = now;
        Some(std::mem::take(&mut known.suppressed))
    }
}

/// Counts a request whose head was refused before anybody could tell for whom it was.
pub(super) fn head_refused(reason: &'static str) {
    counter!("forebay_rejected_total", "instance" => "", "reason" => reason).increment(1);
}

/// What a batch brought by type and by reason, counted once it is stored.
pub(super) struct Brought {
    kinds: BTreeMap<Option<u16>, u64>,
    /// By reason: how many, and why the first one is one.
    dead: BTreeMap<&'static str, (u64, String)>,
}

impl From<&Decoded> for Brought {
    fn from(decoded: &Decoded) -> Self {
        let mut brought = Self { kinds: BTreeMap::new(), dead: BTreeMap::new() };
        for kind in &decoded.kinds {
            *brought.kinds.entry(*kind).or_default() += 1;
        }
        for letter in &decoded.dead {
            brought.dead.entry(word(letter.reason)).or_insert_with(|| (0, letter.detail.clone())).0 += 1;
        }
        brought
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
