//! The books of a simulation: every record that was sent, and what became of it.
//!
//! Written by the sender before a request goes out, and by the reader of the sink's file and of the dead
//! letters. Records are known by a hash of their bytes; what is settled is forgotten, so that a run without
//! end needs no more memory than what is under way.

use std::collections::HashMap;

use super::mark::{Mark, mark_of};
use super::plan::Push;
use crate::error::escaped;

/// How many of each kind are named where the books do not agree.
const NAMED: usize = 3;
/// Characters of a record that are shown there.
const SHOWN: usize = 200;

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
    good: HashMap<Mark, Open>,
    dead: HashMap<Mark, Open>,
    /// Dead letters that may come once more: their request was sent again, and the first one may have arrived.
    perhaps: HashMap<Mark, Open>,
    /// The beginnings of the first records that nobody expects in the sink, and among the dead letters.
    strange: (Vec<String>, Vec<String>),
}

/// What is sent and not seen again yet.
#[derive(Debug, Default)]
struct Open {
    many: u32,
    /// What its id was made of.
    number: Option<u64>,
}

impl Ledger {
    /// Notes a push before it goes out.
    pub fn send(&mut self, push: &Push) {
        for (n, mark) in push.good.iter().enumerate() {
            let open = self.good.entry(*mark).or_default();
            open.many += 1;
            open.number = push.numbers.get(n).copied();
        }
        for mark in &push.dead {
            self.dead.entry(*mark).or_default().many += 1;
        }
        self.counts.events += push.good.len() as u64;
        self.counts.duplicates += push.again.len() as u64;
        self.counts.broken += push.dead.len() as u64;
    }

    /// Notes that nobody can say whether a request with this push arrived.
    pub fn doubt(&mut self, push: &Push) {
        self.counts.unclear += push.records();
        for mark in &push.dead {
            self.perhaps.entry(*mark).or_default().many += 1;
        }
    }

    /// Notes that a push was given up.
    pub fn reject(&mut self, push: &Push) {
        self.counts.rejected += push.records();
    }

    /// Notes a record that stands in the sink.
    pub fn deliver(&mut self, record: &[u8]) {
        match take(&mut self.good, mark_of(record)) {
            true => self.counts.delivered += 1,
            false => {
                self.counts.unexpected += 1;
                keep(&mut self.strange.0, record);
            }
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
            false if !refused_by_sink && take(&mut self.perhaps, mark) => {}
            false => {
                self.counts.unexpected_dead += 1;
                keep(&mut self.strange.1, bytes);
            }
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
        let (missing, (strange, strange_dead)) = (self.missing(), &self.strange);
        [
            (self.good.len() as u64, "records were sent and neither delivered nor dead-lettered", &missing),
            (self.dead.len() as u64, "broken records were sent and are in no dead letter", &Vec::new()),
            (c.unexpected, "records were delivered twice, or were never sent", strange),
            (c.unexpected_dead, "dead letters hold what is good, or was never sent", strange_dead),
            (c.vanished, "records stood in the sink's file and are gone from it", &Vec::new()),
            (c.rejected, "records were refused until the sender gave up", &Vec::new()),
        ]
        .into_iter()
        .filter(|(many, ..)| *many > 0)
        .map(|(many, what, named)| match named.is_empty() {
            true => format!("{many} {what}"),
            false => format!("{many} {what}: {}", named.join(", ")),
        })
        .chain(
            (!copies.contains(&removed)).then(|| {
                format!("{} copies were sent, and {removed} were removed as duplicates", c.duplicates)
            }),
        )
        .collect()
    }

    /// The first of those that are missing, by what their ids were made of.
    fn missing(&self) -> Vec<String> {
        let mut numbers: Vec<u64> = self.good.values().filter_map(|open| open.number).collect();
        numbers.sort_unstable();
        numbers.iter().take(NAMED).map(|number| format!("the id made of {number}")).collect()
    }
}

/// Keeps the beginning of a record, if it is one of the first.
fn keep(first: &mut Vec<String>, record: &[u8]) {
    if first.len() < NAMED {
        first.push(escaped(&String::from_utf8_lossy(record), SHOWN));
    }
}

impl Push {
    /// How many records it carries.
    pub fn records(&self) -> u64 {
        (self.good.len() + self.again.len() + self.dead.len()) as u64
    }
}

/// Takes one of a mark out of the books; `false` where there is none.
fn take(open: &mut HashMap<Mark, Open>, mark: Mark) -> bool {
    match open.get_mut(&mark) {
        None => false,
        Some(Open { many: 1, .. }) => open.remove(&mark).is_some(),
        Some(open) => {
            open.many -= 1;
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(good: &[&str], again: &[&str], dead: &[&str]) -> Push {
        let marks = |texts: &[&str]| texts.iter().map(|text| mark_of(text.as_bytes())).collect();
        let numbers = (40..).take(good.len()).collect();
        Push { good: marks(good), numbers, again: marks(again), dead: marks(dead), ..Push::default() }
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
        assert_eq!(
            ledger.disagreements(1),
            [
                "1 records were sent and neither delivered nor dead-lettered: the id made of 41",
                "1 records were delivered twice, or were never sent: a"
            ]
        );
        let mut ledger = Ledger::default();
        ledger.send(&push(&["a", "b"], &["a"], &["{"]));
        ledger.deliver(b"b");
        ledger.deliver(b"a");
        ledger.bury(b"{", false);
        assert_eq!(ledger.disagreements(1), Vec::<String>::new());
        assert_eq!(ledger.disagreements(0).len(), 1, "the copy was not removed");
    }

    #[test]
    fn a_dead_letter_may_come_twice_where_its_request_was_sent_twice() {
        let (mut ledger, broken) = (Ledger::default(), push(&[], &[], &["{"]));
        ledger.send(&broken);
        ledger.doubt(&broken);
        ledger.bury(b"{", false);
        assert_eq!(ledger.disagreements(0), Vec::<String>::new(), "it need not");
        ledger.bury(b"{", false);
        assert_eq!(ledger.disagreements(0), Vec::<String>::new());
        ledger.bury(b"{", false);
        assert_eq!(ledger.disagreements(0).len(), 1, "three times is once too many");
    }
}
