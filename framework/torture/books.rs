//! The books: every event by its number, when it was answered, and what stands in each sink.
//!
//! Written by the load when a push is answered, and by the sinks' readers. A record is known by a hash of its
//! bytes; everything else is a few bits an event, so that the memory of a torture is bounded.

use std::collections::HashMap;

use super::bits::Bits;
use super::schedule::Damage;
use crate::simulate::ledger::{Mark, mark_of};
use crate::simulate::plan::Push;

/// A push with the numbers of what it carries.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The push.
    pub push: Push,
    /// The numbers of its events, copies included.
    pub numbers: Vec<u32>,
}

/// How requests were answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// 2xx: taken charge of.
    pub taken: u64,
    /// 503: nothing of it stored.
    pub later: u64,
    /// Anything else, to a push that is as it should be.
    pub wrong: u64,
    /// A wrong key, refused.
    pub strangers: u64,
    /// A wrong key, taken.
    pub let_in: u64,
    /// None: the connection broke, was cut by us, or the child was killed.
    pub none: u64,
    /// Records that were sent on top: copies in a push, and whole pushes again.
    pub copies: u64,
}

/// What was done to the files of the store, and what stood in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injury {
    /// What.
    pub damage: Damage,
    /// Records that some sink had not got yet.
    pub behind: u64,
}

/// A dead letter that must be there.
#[derive(Debug, Clone, Copy, Default)]
struct Expected {
    /// The requests that carried it and that may have been stored.
    sent: u32,
    /// In which epoch it was answered, from 1 on; 0: not yet.
    answered: u16,
    found: u32,
}

/// The books.
#[derive(Debug, Default)]
pub struct Books {
    numbers: HashMap<Mark, u32>,
    /// In which epoch each event was answered first, from 1 on; 0: not yet. An injury ends an epoch.
    answered: Vec<u16>,
    dead: HashMap<Mark, Expected>,
    /// How requests were answered.
    pub answers: Answers,
    injuries: Vec<Injury>,
    /// Dead letters that nobody expects.
    pub strange_letters: u64,
    /// Dead letters whose bytes are gone, as the store says.
    pub damaged_letters: u64,
}

impl Books {
    /// Gives the events of a push their numbers.
    pub fn issue(&mut self, push: Push) -> Issued {
        let mut numbers = Vec::with_capacity(push.good.len() + push.again.len());
        for mark in &push.good {
            let number = u32::try_from(self.answered.len()).unwrap_or(u32::MAX);
            self.numbers.insert(*mark, number);
            self.answered.push(0);
            numbers.push(number);
        }
        numbers.extend(push.again.iter().filter_map(|mark| self.numbers.get(mark)));
        self.answers.copies += push.again.len() as u64;
        for mark in &push.dead {
            self.dead.entry(*mark).or_default();
        }
        Issued { push, numbers }
    }

    /// A push goes out whole: it may be stored, whatever is answered.
    pub fn send(&mut self, issued: &Issued) {
        for mark in &issued.push.dead {
            self.dead.entry(*mark).or_default().sent += 1;
        }
    }

    /// A push was answered 2xx.
    pub fn answer(&mut self, issued: &Issued) {
        let epoch = self.epoch();
        for number in &issued.numbers {
            if let Some(answered @ 0) = self.answered.get_mut(*number as usize) {
                *answered = epoch;
            }
        }
        for mark in &issued.push.dead {
            if let Some(expected) = self.dead.get_mut(mark).filter(|expected| expected.answered == 0) {
                expected.answered = epoch;
            }
        }
    }

    /// The files of the store are damaged: what was answered until now may be harmed by it.
    pub fn injure(&mut self, injury: Injury) {
        self.injuries.push(injury);
    }

    fn epoch(&self) -> u16 {
        u16::try_from(self.injuries.len() + 1).unwrap_or(u16::MAX)
    }

    /// The number of a record.
    pub fn number(&self, record: &[u8]) -> Option<u32> {
        self.numbers.get(&mark_of(record)).copied()
    }

    /// A dead letter stands in the store.
    pub fn bury(&mut self, bytes: &[u8]) {
        match self.dead.get_mut(&mark_of(bytes)) {
            Some(expected) => expected.found += 1,
            None => self.strange_letters += 1,
        }
    }

    /// Events that were made.
    pub fn issued(&self) -> u64 {
        self.answered.len() as u64
    }

    /// Events that were answered 2xx.
    pub fn acknowledged(&self) -> u64 {
        self.answered.iter().filter(|epoch| **epoch > 0).count() as u64
    }

    /// What is missing in a sink, by what may have become of it.
    pub fn missing(&self, sinks: &[&SinkBook]) -> Missing {
        let mut missing = Missing::default();
        for (number, epoch) in (0_u32..).zip(&self.answered) {
            if *epoch == 0 || sinks.iter().all(|sink| sink.there.has(number)) {
                continue;
            }
            match self.harm(*epoch) {
                Harm::None => missing.lost += 1,
                Harm::MustBeSaid => missing.must_be_said += 1,
                Harm::CannotBeTold => missing.cannot_be_told += 1,
            }
        }
        missing
    }

    /// What the injuries may have done to a record that was answered in this epoch and got nowhere.
    fn harm(&self, epoch: u16) -> Harm {
        let mut harm = Harm::None;
        for injury in self.injuries.iter().skip(usize::from(epoch) - 1) {
            // Every sink had everything: whatever is missing later was not in these files.
            if injury.behind == 0 {
                break;
            }
            match (injury.damage.harms(), injury.damage.can_be_told()) {
                (true, false) => return Harm::CannotBeTold,
                (true, true) => harm = Harm::MustBeSaid,
                (false, _) => {}
            }
        }
        harm
    }

    /// How the dead letters are.
    pub fn letters(&self) -> Letters {
        let mut letters = Letters { strange: self.strange_letters, ..Letters::default() };
        for expected in self.dead.values() {
            letters.found += u64::from(expected.found.min(1));
            letters.again += u64::from(expected.found.saturating_sub(1));
            letters.beyond += u64::from(expected.found.saturating_sub(expected.sent));
            if expected.answered > 0 {
                letters.expected += 1;
            }
            if expected.answered > 0 && expected.found == 0 {
                let injured = self
                    .injuries
                    .iter()
                    .skip(usize::from(expected.answered) - 1)
                    .any(|injury| injury.damage.harms());
                if injured { letters.injured += 1 } else { letters.lost += 1 }
            }
        }
        letters
    }
}

enum Harm {
    None,
    MustBeSaid,
    CannotBeTold,
}

/// Records that were answered 2xx and are not in a sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missing {
    /// No injury explains it.
    pub lost: u64,
    /// They stood in a database that was damaged: the store must have counted them.
    pub must_be_said: u64,
    /// They stood in a log that was damaged, which cannot be told from one that was never longer.
    pub cannot_be_told: u64,
}

/// The dead letters of broken events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Letters {
    /// Broken events that were answered 2xx.
    pub expected: u64,
    /// Those of all broken events that are there.
    pub found: u64,
    /// There again: the push that carried it was stored more than once, since a broken event has no id.
    pub again: u64,
    /// There more often than it was sent.
    pub beyond: u64,
    /// Gone, and no injury explains it.
    pub lost: u64,
    /// Gone, and they stood in files that were damaged.
    pub injured: u64,
    /// There, and nobody sent it.
    pub strange: u64,
}

/// What stands in one sink.
#[derive(Debug, Default, Clone)]
pub struct SinkBook {
    there: Bits,
    settled: Bits,
    /// Distinct records.
    pub delivered: u64,
    /// Records that came again, as at-least-once allows this sink.
    pub again: u64,
    /// Records that came again, beyond that.
    pub beyond: u64,
    /// Records that nobody sent.
    pub strange: u64,
}

impl SinkBook {
    /// A record came.
    pub fn take(&mut self, number: Option<u32>) {
        let Some(number) = number else {
            self.strange += 1;
            return;
        };
        match (self.there.put(number), self.settled.has(number)) {
            (true, _) => self.delivered += 1,
            (false, false) => self.again += 1,
            (false, true) => self.beyond += 1,
        }
    }

    /// The store knows that the sink has it: from now on it must not come again.
    pub fn settle(&mut self, number: u32) {
        self.settled.put(number);
    }

    /// The files of the store were damaged: it may have forgotten what this sink has.
    pub fn forgive(&mut self) {
        self.settled.clear();
    }
}
