//! The books: every event by its number, when it was answered, and what stands in each sink.
//!
//! Written by the load when a push is answered, and by the sinks' readers. A record is known by a hash of its
//! bytes; everything else is a few bits an event, so that the memory of a torture is bounded.

use std::collections::HashMap;

use super::bits::Bits;
use super::schedule::Damage;
use crate::simulate::mark::{Mark, mark_of};
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
    numbers: HashMap<u64, u32>,
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
            self.numbers.insert(short(*mark), number);
            self.answered.push(0);
            numbers.push(number);
        }
        numbers.extend(push.again.iter().filter_map(|mark| self.numbers.get(&short(*mark))));
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
        self.numbers.get(&short(mark_of(record))).copied()
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
                (false, false) => missing.lost += 1,
                (true, false) => missing.database += 1,
                (false, true) => missing.log += 1,
                (true, true) => missing.either += 1,
            }
        }
        missing
    }

    /// Whether damage to the database, and whether damage to its log, may have harmed a record that was answered
    /// in this epoch and got nowhere.
    fn harm(&self, epoch: u16) -> (bool, bool) {
        let after = self.injuries.iter().skip(usize::from(epoch) - 1);
        // Where every sink had everything, whatever is missing later did not stand in these files.
        after.take_while(|injury| injury.behind > 0).fold((false, false), |(database, log), injury| {
            match injury.damage {
                Damage::FlipDatabase | Damage::CutDatabase => (true, log),
                Damage::FlipLog | Damage::CutLog => (database, true),
                Damage::TornLog => (database, log),
            }
        })
    }

    /// Records that damaged logs may have held, at most.
    pub fn in_logs(&self) -> u64 {
        let log = |injury: &&Injury| matches!(injury.damage, Damage::FlipLog | Damage::CutLog);
        self.injuries.iter().filter(log).map(|injury| injury.behind).fold(0, u64::saturating_add)
    }

    /// How the dead letters are.
    pub fn letters(&self) -> Letters {
        let (strange, damaged) = (self.strange_letters, self.damaged_letters);
        let mut letters = Letters { strange, damaged, ..Letters::default() };
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

/// Half a mark: among a few million records of our own making two alike are not to be expected.
fn short(mark: Mark) -> u64 {
    mark as u64
}

/// Records that were answered 2xx and are not in a sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missing {
    /// No injury explains it.
    pub lost: u64,
    /// A damaged database may have held it: then the store has counted it.
    pub database: u64,
    /// The damaged end of a log may have held it: what is left of it looks like a log that was never longer, so
    /// that nobody can count what is gone.
    pub log: u64,
    /// The one or the other.
    pub either: u64,
}

impl Missing {
    /// Of those that damage explains: what the store has counted, and what nobody can, when the store says that
    /// it lost so many.
    pub fn explained(&self, said: u64) -> (u64, u64) {
        let counted = self.either.min(said.saturating_sub(self.database));
        (self.database + counted, self.log + self.either - counted)
    }
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
    /// There, but the store says that their bytes are damaged.
    pub damaged: u64,
    /// There, and nobody sent it.
    pub strange: u64,
}

/// What stands in one sink.
#[derive(Debug, Default, Clone)]
pub struct SinkBook {
    there: Bits,
    settled: Bits,
    /// Settled before the last damage.
    forgiven: Bits,
    /// Came again since then.
    spent: Bits,
    /// Records of lower numbers were issued before the last damage: their ids may be forgotten.
    issued_before: u64,
    /// Distinct records.
    pub delivered: u64,
    /// Records that came again, as at-least-once allows this sink.
    pub again: u64,
    /// Records that came again after the store was damaged and may have forgotten that they are there.
    pub forgotten: u64,
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
        if self.there.put(number) {
            self.delivered += 1;
        } else if u64::from(number) < self.issued_before {
            self.forgotten += 1;
        } else if !self.settled.has(number) && !self.forgiven.has(number) {
            self.again += 1;
        } else if !self.settled.has(number) || (self.forgiven.has(number) && self.spent.put(number)) {
            // Once because the cursor is forgotten, and once because the id is, when a copy of it is sent.
            self.forgotten += 1;
        } else {
            self.beyond += 1;
        }
    }

    /// The store knows that the sink has it: from now on it must not come again.
    pub fn settle(&mut self, number: u32) {
        self.settled.put(number);
    }

    /// The files of the store were damaged. With the id of a record, a copy of it is new; and a sink that has no
    /// memory of its own gets both, whether it had the record before or not.
    pub fn forgive_issued(&mut self, issued: u64) {
        self.issued_before = issued;
        self.forgive();
    }

    /// The files of the store were damaged: it may have forgotten what this sink has.
    pub fn forgive(&mut self) {
        self.forgiven.join(&self.settled);
        self.settled.clear();
        self.spent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(good: &[&str], dead: &[&str]) -> Push {
        let marks = |texts: &[&str]| texts.iter().map(|text| mark_of(text.as_bytes())).collect();
        Push { good: marks(good), dead: marks(dead), ..Push::default() }
    }

    fn answered(books: &mut Books, push: Push) -> Issued {
        let issued = books.issue(push);
        books.send(&issued);
        books.answer(&issued);
        issued
    }

    fn sink(books: &Books, records: &[&str]) -> SinkBook {
        let mut sink = SinkBook::default();
        records.iter().for_each(|record| sink.take(books.number(record.as_bytes())));
        sink
    }

    #[test]
    fn what_was_answered_and_is_in_no_sink_is_lost() {
        let mut books = Books::default();
        answered(&mut books, push(&["a", "b"], &[]));
        books.issue(push(&["never answered"], &[]));
        let (whole, part) = (sink(&books, &["b", "a"]), sink(&books, &["a", "never answered"]));
        assert_eq!(books.missing(&[&whole]), Missing::default());
        assert_eq!(books.missing(&[&whole, &part]), Missing { lost: 1, ..Missing::default() });
        assert_eq!((books.issued(), books.acknowledged(), part.delivered), (3, 2, 2));
        assert_eq!(sink(&books, &["a", "nobody's"]).strange, 1);
    }

    #[test]
    fn damage_explains_only_what_it_can_have_harmed() {
        let missing = |injuries: &[(Damage, u64)]| {
            let mut books = Books::default();
            answered(&mut books, push(&["before"], &[]));
            for (damage, behind) in injuries {
                books.injure(Injury { damage: *damage, behind: *behind });
            }
            answered(&mut books, push(&["after"], &[]));
            books.missing(&[&SinkBook::default()])
        };
        let lost = Missing { lost: 1, ..Missing::default() };
        assert_eq!(missing(&[(Damage::CutDatabase, 1)]), Missing { database: 1, ..lost });
        assert_eq!(missing(&[(Damage::FlipLog, 1)]), Missing { log: 1, ..lost });
        assert_eq!(missing(&[(Damage::TornLog, 1), (Damage::CutLog, 1)]), Missing { log: 1, ..lost });
        assert_eq!(missing(&[(Damage::FlipDatabase, 1), (Damage::CutLog, 1)]), Missing { either: 1, ..lost });
        assert_eq!(missing(&[(Damage::TornLog, 1)]), Missing { lost: 2, ..lost }, "it harms nothing");
        // Every sink had everything: it was not in the files that were damaged.
        assert_eq!(missing(&[(Damage::CutLog, 0)]), Missing { lost: 2, ..lost });
        assert_eq!(missing(&[(Damage::TornLog, 0), (Damage::CutLog, 1)]), Missing { lost: 2, ..lost });
    }

    #[test]
    fn what_the_store_counts_is_set_against_the_database_first() {
        let missing = Missing { lost: 0, database: 3, log: 2, either: 4 };
        assert_eq!(missing.explained(0), (3, 6));
        assert_eq!(missing.explained(5), (5, 4));
        assert_eq!(missing.explained(100), (7, 2));
    }

    #[test]
    fn what_is_settled_must_not_come_again_but_after_damage() {
        let mut sink = SinkBook::default();
        sink.take(Some(1));
        sink.take(Some(1));
        assert_eq!((sink.delivered, sink.again, sink.beyond, sink.forgotten), (1, 1, 0, 0));
        sink.settle(1);
        sink.take(Some(1));
        assert_eq!((sink.delivered, sink.again, sink.beyond, sink.forgotten), (1, 1, 1, 0));
        sink.forgive();
        for _ in 0..3 {
            sink.take(Some(1));
            sink.settle(1);
        }
        assert_eq!((sink.delivered, sink.again, sink.beyond, sink.forgotten), (1, 1, 2, 2));
        sink.forgive_issued(4);
        for number in [1, 3, 4] {
            sink.take(Some(number));
            sink.settle(number);
        }
        sink.take(Some(3));
        assert_eq!((sink.delivered, sink.again, sink.beyond, sink.forgotten), (3, 1, 2, 4));
        sink.take(Some(4));
        assert_eq!((sink.beyond, sink.forgotten), (3, 4), "it was issued after the damage");
    }

    #[test]
    fn a_broken_event_is_there_as_often_as_it_was_sent_at_most() {
        let mut books = Books::default();
        let issued = answered(&mut books, push(&[], &["{"]));
        assert_eq!(books.letters(), Letters { expected: 1, lost: 1, ..Letters::default() });
        books.bury(b"{");
        assert_eq!(books.letters(), Letters { expected: 1, found: 1, ..Letters::default() });
        books.bury(b"{");
        assert_eq!((books.letters().again, books.letters().beyond), (1, 1));
        books.send(&issued);
        assert_eq!((books.letters().again, books.letters().beyond), (1, 0));
        books.bury(b"never sent");
        assert_eq!(books.letters().strange, 1);
        books.injure(Injury { damage: Damage::CutLog, behind: 0 });
        answered(&mut books, push(&[], &["["]));
        assert_eq!((books.letters().lost, books.letters().injured), (1, 0), "[ came after the damage");
    }
}
