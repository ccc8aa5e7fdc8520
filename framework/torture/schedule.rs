//! What happens when: rounds of a child's life, each with its fault, drawn from a seed.
//!
//! The same seed and the same length give the same rounds; how many of them fit into the time is the machine's
//! affair. Nothing here does anything.

use std::time::Duration;

/// The kinds of faults, as a person leaves them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9; without it every round ends by SIGTERM.
    Kill,
    /// SIGSTOP for a while, then SIGCONT.
    Stop,
    /// A sink that answers 500, hangs, breaks off in its answer, or is slow.
    Sinks,
    /// A store that is allowed hardly more than it holds.
    Quota,
    /// Pushes that come twice, out of order, malformed, or with a wrong key.
    Pushes,
    /// Connections that break in the middle of a body.
    Connections,
    /// Files of the store that are damaged between two runs.
    Damage,
}

/// What a sink does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Takes it and says so.
    Well,
    /// Does not take it: 500.
    Refuses,
    /// Reads it and never answers.
    Hangs,
    /// Takes it, and breaks off in the middle of the answer.
    BreaksOff,
    /// Takes it, late.
    Slow,
}

/// What is done to the files of the store while nobody runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// A bit of the database is flipped.
    FlipDatabase,
    /// Its last pages are cut off.
    CutDatabase,
    /// A bit of the write-ahead log is flipped.
    FlipLog,
    /// The end of the log is cut off, synced commits with it: a disk that lied.
    CutLog,
    /// Half a frame more stands at the end of the log: a power cut in the middle of a commit.
    TornLog,
}

impl Damage {
    /// Whether it destroys anything that was synced.
    pub fn harms(self) -> bool {
        match self {
            Self::FlipDatabase | Self::CutDatabase | Self::FlipLog | Self::CutLog => true,
            Self::TornLog => false,
        }
    }
}

/// One life of the child.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// How long it serves.
    pub lasts: Duration,
    /// Stopped after so long, for so long.
    pub stopped: Option<(Duration, Duration)>,
    /// What the sink does in the middle of it.
    pub mood: Mood,
    /// Whether the store has hardly any room.
    pub quota: bool,
    /// By kill -9, or by SIGTERM.
    pub killed: bool,
    /// What is done to the files afterwards.
    pub damage: Option<Damage>,
    /// For what is drawn while it lasts.
    pub seed: u64,
}

/// One card of the deck that rounds are dealt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Card {
    Plain,
    Graceful,
    Stopped,
    Sink(Mood),
    Quota,
    Damaged(Damage),
}

const CARDS: [Card; 12] = [
    Card::Sink(Mood::Refuses),
    Card::Sink(Mood::Hangs),
    Card::Sink(Mood::BreaksOff),
    Card::Sink(Mood::Slow),
    Card::Stopped,
    Card::Quota,
    Card::Damaged(Damage::FlipDatabase),
    Card::Damaged(Damage::CutDatabase),
    Card::Damaged(Damage::FlipLog),
    Card::Damaged(Damage::CutLog),
    Card::Damaged(Damage::TornLog),
    Card::Graceful,
];
/// Rounds that only end by kill, in every deck but the first.
const PLAIN: usize = 8;

/// The rounds, without end.
#[derive(Debug)]
pub struct Schedule {
    dice: Dice,
    without: Vec<Fault>,
    longest: Duration,
    deck: Vec<Card>,
    decks: u64,
}

impl Schedule {
    /// The rounds of a seed, for a torture of such a length, without some faults.
    pub fn new(seed: u64, total: Duration, without: &[Fault]) -> Self {
        // Short tortures have short rounds, so that every fault has its turn.
        let longest = (total / 15).clamp(Duration::from_millis(400), Duration::from_millis(2400));
        Self { dice: Dice(seed), without: without.to_vec(), longest, deck: Vec::new(), decks: 0 }
    }

    /// Whether a kind of fault is wanted.
    pub fn wants(&self, fault: Fault) -> bool {
        !self.without.contains(&fault)
    }

    fn deal(&mut self) -> Card {
        if self.deck.is_empty() {
            self.deck.extend(CARDS);
            if self.decks > 0 {
                self.deck.extend([Card::Plain; PLAIN]);
            }
            self.decks += 1;
        }
        let at = self.dice.below(self.deck.len() as u64) as usize;
        let card = self.deck.swap_remove(at);
        let fault = match card {
            Card::Plain | Card::Graceful => return card,
            Card::Stopped => Fault::Stop,
            Card::Sink(_) => Fault::Sinks,
            Card::Quota => Fault::Quota,
            Card::Damaged(_) => Fault::Damage,
        };
        if self.wants(fault) { card } else { Card::Plain }
    }
}

impl Iterator for Schedule {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        let card = self.deal();
        let least = self.longest / 4;
        let lasts = least + self.dice.part_of(self.longest - least);
        let stopped = (lasts / 4, least + self.dice.part_of(lasts / 2));
        let mut round = Round {
            lasts,
            stopped: None,
            mood: Mood::Well,
            quota: false,
            killed: self.wants(Fault::Kill),
            damage: None,
            seed: self.dice.roll(),
        };
        match card {
            Card::Plain => {}
            Card::Graceful => round.killed = false,
            Card::Stopped => round.stopped = Some(stopped),
            Card::Sink(mood) => round.mood = mood,
            // A store fills up where a sink does not take anything.
            Card::Quota => (round.quota, round.mood) = (true, Mood::Refuses),
            Card::Damaged(damage @ (Damage::FlipDatabase | Damage::CutDatabase)) => {
                // A graceful end copies the log into the database, and the sink that failed has left records there.
                (round.damage, round.mood, round.killed) = (Some(damage), Mood::Refuses, false);
            }
            Card::Damaged(damage) => round.damage = Some(damage),
        }
        Some(round)
    }
}

/// A small generator (splitmix64) that is the same on every machine.
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.roll() % below.max(1)
    }

    /// Whether something that happens in so many of a hundred cases happens now.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn part_of(&mut self, whole: Duration) -> Duration {
        whole.mul_f64(self.below(1000) as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_rounds_again_and_the_first_deck_has_every_fault() {
        let rounds = |seed| {
            Schedule::new(seed, Duration::from_secs(20), &[]).take(CARDS.len()).collect::<Vec<Round>>()
        };
        assert_eq!(rounds(7), rounds(7));
        assert_ne!(rounds(7), rounds(8));
        for seed in 0..20 {
            let rounds = rounds(seed);
            let mut damages: Vec<Damage> = rounds.iter().filter_map(|round| round.damage).collect();
            damages.dedup();
            assert_eq!(damages.len(), 5);
            let mut moods: Vec<Mood> = rounds.iter().map(|round| round.mood).collect();
            moods.retain(|mood| *mood != Mood::Well);
            assert_eq!(moods.len(), 7, "four of their own, one that fills the store, two before damage");
            assert_eq!(rounds.iter().filter(|round| round.quota).count(), 1);
            assert_eq!(rounds.iter().filter(|round| round.stopped.is_some()).count(), 1);
            assert_eq!(rounds.iter().filter(|round| round.killed).count(), CARDS.len() - 3);
        }
    }

    #[test]
    fn ten_minutes_have_room_for_two_hundred_kills() {
        for seed in 0..20 {
            let schedule = Schedule::new(seed, Duration::from_secs(600), &[]);
            // Starting, and waiting for what is in flight, take half a second a round.
            let (mut time, mut kills) = (Duration::ZERO, 0);
            for round in schedule {
                time += round.lasts + round.stopped.map_or(Duration::ZERO, |(_, long)| long);
                time += Duration::from_millis(700);
                if time > Duration::from_secs(600) {
                    break;
                }
                kills += u32::from(round.killed);
            }
            assert!(kills >= 220, "{kills}");
        }
    }

    #[test]
    fn what_is_left_out_does_not_happen() {
        let without = [Fault::Kill, Fault::Stop, Fault::Sinks, Fault::Quota, Fault::Damage];
        for round in Schedule::new(1, Duration::from_secs(20), &without).take(100) {
            assert!(!round.killed && round.stopped.is_none() && !round.quota && round.damage.is_none());
            assert_eq!(round.mood, Mood::Well);
        }
    }
}
