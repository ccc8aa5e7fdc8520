//! What the queue should be: a list per instance, positions in it, letters, and what is remembered of ids.

use std::collections::BTreeMap;

use forebay::queue::{DeadReason, Receipt};

use super::Record;

/// An id is remembered so long, in seconds.
pub const WINDOW: i64 = 24 * 3600;

/// What is known of an id with certain bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    No,
    /// It came, and its time may be over: the queue may go either way.
    Maybe,
    Yes,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Stored,
    Duplicate,
    Dead,
}

#[derive(Debug, Clone)]
struct Mark {
    at: i64,
    known: Known,
}

/// A sink's cursor.
#[derive(Debug, Clone, Default)]
pub struct Cursor {
    pub at: usize,
    pub note: Option<String>,
    pub registered: bool,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub bytes: String,
    pub reason: DeadReason,
    pub sink: Option<String>,
    pub retry: bool,
}

/// One instance.
#[derive(Debug, Clone, Default)]
pub struct Instance {
    /// Every record that was ever stored; its place is its position.
    pub log: Vec<String>,
    pub cursors: BTreeMap<String, Cursor>,
    /// In the order of their numbers.
    pub letters: Vec<Letter>,
    pub document: Option<serde_json::Value>,
    /// What every sink had when a cursor last moved: nothing behind it may be gone.
    pub trimmed: usize,
    marks: BTreeMap<Record, Mark>,
}

impl Instance {
    fn known(&self, record: Record) -> Known {
        self.marks.get(&record).map_or(Known::No, |mark| mark.known)
    }

    /// What may become of a record.
    pub fn fates(&self, record: Record) -> Vec<Fate> {
        let others = self.marks.iter().filter(|(other, _)| other.id == record.id && **other != record);
        let others = others.map(|(_, mark)| mark.known).max().unwrap_or(Known::No);
        let mut fates = match others {
            Known::No => vec![Fate::Stored],
            Known::Maybe => vec![Fate::Stored, Fate::Dead],
            Known::Yes => vec![Fate::Dead],
        };
        match self.known(record) {
            Known::No => {}
            Known::Maybe => fates.push(Fate::Duplicate),
            Known::Yes => fates = vec![Fate::Duplicate],
        }
        fates
    }

    /// It became that.
    pub fn befell(&mut self, record: Record, fate: Fate, now: i64) {
        match fate {
            Fate::Duplicate => return,
            Fate::Stored => self.log.push(record.text()),
            Fate::Dead => self.letter(&record.text(), DeadReason::IdReused, None),
        }
        self.marks.insert(record, Mark { at: now, known: Known::Yes });
    }

    pub fn letter(&mut self, bytes: &str, reason: DeadReason, sink: Option<&str>) {
        let sink = sink.map(str::to_owned);
        self.letters.push(Letter { bytes: bytes.to_owned(), reason, sink, retry: false });
    }

    /// The clock shows this now.
    pub fn passes(&mut self, now: i64) {
        for mark in self.marks.values_mut() {
            if now - mark.at > WINDOW {
                mark.known = Known::Maybe;
            }
        }
    }

    /// A cursor moved or went: what every sink has may be trimmed.
    pub fn trims(&mut self) {
        if let Some(least) = self.cursors.values().map(|cursor| cursor.at).min() {
            self.trimmed = self.trimmed.max(least);
        }
    }

    /// The letters that are to be sent to this sink again, or, without a sink, decoded again.
    pub fn to_retry(&self, sink: Option<&str>) -> Vec<&Letter> {
        self.letters.iter().filter(|letter| letter.retry && letter.sink.as_deref() == sink).collect()
    }

    /// Removes the first `n` of those.
    pub fn retried(&mut self, sink: Option<&str>, mut n: usize) {
        self.letters.retain(|letter| {
            let gone = n > 0 && letter.retry && letter.sink.as_deref() == sink;
            n -= usize::from(gone);
            !gone
        });
    }
}

/// The sum of fates, with so many letters besides.
pub fn receipt(fates: &[Fate], letters: usize) -> Receipt {
    let count = |fate| u32::try_from(fates.iter().filter(|found| **found == fate).count()).unwrap();
    Receipt {
        stored: count(Fate::Stored),
        duplicates: count(Fate::Duplicate),
        dead: count(Fate::Dead) + u32::try_from(letters).unwrap(),
    }
}
