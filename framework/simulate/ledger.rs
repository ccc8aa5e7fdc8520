//! The books of a simulation: every record that was sent, and what became of it.
//!
//! Written by the sender before a request goes out, and by the reader of the sink's file and of the dead
//! letters. Records are known by a hash of their bytes; what is settled is forgotten, so that a run without
//! end needs no more memory than what is under way.

use std::collections::HashMap;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::plan::Push;

/// A record, known by its bytes.
pub type Mark = u128;

/// The mark of a record's bytes.
pub fn mark_of(bytes: &[u8]) -> Mark {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish128().as_u128()
}

/// How many of what. All are records, but for `requests` and `retries`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Distinct good events that were sent.
    pub events: u64,
    /// Copies that were sent on top.
    pub duplicates: u64,
    /// Broken ones, and other bytes under a known id, that were sent on top.
    pub broken: u64,
    /// Records that came out of the sink, each that was expected once.
    pub delivered: u64,
    /// Dead letters that were expected or that hold a record that is expected.
    pub dead: u64,
    /// Records whose request was never accepted.
    pub rejected: u64,
    /// Records in requests of which nobody can say whether they arrived before they were sent again.
    pub unclear: u64,
    /// Records in the sink that nobody expects there: a copy, or bytes that were never sent.
    pub unexpected: u64,
    /// Dead letters that nobody expects.
    pub unexpected_dead: u64,
    /// Records that stood in the sink's file and stand there no more.
    pub vanished: u64,
    /// Requests that were made, attempts included.
    pub requests: u64,
    /// Attempts after a first one.
    pub retries: u64,
}

/// The books.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The sums.
    pub counts: Counts,
    good: HashMap<Mark, u32>,
    dead: HashMap<Mark, u32>,
}

impl Ledger {
    /// Notes a push before it goes out.
    pub fn send(&mut self, push: &Push) {
        for mark in &push.good {
            *self.good.entry(*mark).or_default() += 1;
        }
        for mark in &push.dead {
            *self.dead.entry(*mark).or_default() += 1;
        }
        self.counts.events += push.good.len() as u64;
        self.counts.duplicates += push.again.len() as u64;
        self.counts.broken += push.dead.len() as u64;
    }

    /// Notes that a push was given up.
    pub fn reject(&mut self, push: &Push) {
        self.counts.rejected += push.records();
    }

    /// Notes a record that stands in the sink.
    pub fn deliver(&mut self, record: &[u8]) {
        match take(&mut self.good, mark_of(record)) {
            true => self.counts.delivered += 1,
            false => self.counts.unexpected += 1,
        }
    }

    /// Notes a dead letter, by its bytes: what was expected to be one, or a record that a sink refused.
    pub fn bury(&mut self, bytes: &[u8], refused_by_sink: bool) {
        let mark = mark_of(bytes);
        let known = match refused_by_sink {
            true => take(&mut self.good, mark),
            false => take(&mut self.dead, mark),
        };
        match known {
            true => self.counts.dead += 1,
            false => self.counts.unexpected_dead += 1,
        }
    }

    /// Records that are sent and neither delivered nor dead.
    pub fn under_way(&self) -> usize {
        self.good.len()
    }

    /// What does not agree, one sentence each; empty: everything does. `removed` is how many copies the
    /// instance says it removed.
    pub fn disagreements(&self, removed: u64) -> Vec<String> {
        let c = &self.counts;
        let copies = c.duplicates..=c.duplicates + c.unclear;
        [
            (self.good.len() as u64, "records were sent and neither delivered nor dead-lettered"),
            (self.dead.len() as u64, "broken records were sent and are in no dead letter"),
            (c.unexpected, "records were delivered twice, or were never sent"),
            (c.unexpected_dead, "dead letters hold what is good, or was never sent"),
            (c.vanished, "records stood in the sink's file and are gone from it"),
            (c.rejected, "records were refused until the sender gave up"),
        ]
        .into_iter()
        .filter(|(many, _)| *many > 0)
        .map(|(many, what)| format!("{many} {what}"))
        .chain(
            (!copies.contains(&removed)).then(|| {
                format!("{} copies were sent, and {removed} were removed as duplicates", c.duplicates)
            }),
        )
        .collect()
    }
}

impl Push {
    /// How many records it carries.
    pub fn records(&self) -> u64 {
        (self.good.len() + self.again.len() + self.dead.len()) as u64
    }
}

/// Takes one of a mark out of the books; `false` where there is none.
fn take(open: &mut HashMap<Mark, u32>, mark: Mark) -> bool {
    match open.get_mut(&mark) {
        None => false,
        Some(1) => open.remove(&mark).is_some(),
        Some(many) => {
            *many -= 1;
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(good: &[&str], again: &[&str], dead: &[&str]) -> Push {
        let marks = |texts: &[&str]| texts.iter().map(|text| mark_of(text.as_bytes())).collect();
        Push { good: marks(good), again: marks(again), dead: marks(dead), ..Push::default() }
    }

    #[test]
    fn sums_agree_only_record_by_record() {
        let mut ledger = Ledger::default();
        ledger.send(&push(&["a", "b"], &["a"], &["{"]));
        ledger.deliver(b"a");
        ledger.bury(b"{", false);
        assert_eq!(ledger.disagreements(1).len(), 1, "b is missing");
        // As many records as were sent, but not those: the sum is right and the books are not.
        ledger.deliver(b"a");
        assert_eq!(ledger.disagreements(1).len(), 2, "a twice, b missing");
        let mut ledger = Ledger::default();
        ledger.send(&push(&["a", "b"], &["a"], &["{"]));
        ledger.deliver(b"b");
        ledger.deliver(b"a");
        ledger.bury(b"{", false);
        assert_eq!(ledger.disagreements(1), Vec::<String>::new());
        assert_eq!(ledger.disagreements(0).len(), 1, "the copy was not removed");
    }
}
