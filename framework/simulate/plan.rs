//! What the stand-in pushes, in which portions: distinct events, some again, some broken.
//!
//! Asked by the sender for the next push. The mixture is fixed by the number of the event, so that a run can
//! be repeated: of 1,000 events 50 come again and 10 broken ones stand between them.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::events::{Event, Maker};
use super::frame::Frame;
use super::mark::{Mark, mark_of};
use super::sign::shape;
use crate::connector::model::{Connector, OnReuse};
use crate::connector::record::Remember;
use crate::error::Result;

/// One event in so many comes again.
const AGAIN_EVERY: u64 = 20;
/// One broken event stands behind so many good ones.
const BROKEN_EVERY: u64 = 100;
/// How many events are remembered to come again.
const REMEMBERED: usize = 256;
/// The shortest window of ids that copies are sent for: a simulation may pause longer than a shorter one.
const SHORTEST: Duration = Duration::from_secs(60);
/// Broken events of one run, so that a run without end does not fill the store with dead letters.
const MOST_BROKEN: u64 = 1_000;

/// One request that the vendor makes.
#[derive(Debug, Clone, Default)]
pub struct Push {
    /// The body.
    pub body: Vec<u8>,
    /// Headers that carry part of the event.
    pub headers: Vec<(String, String)>,
    /// Parameters of the query that do.
    pub query: Vec<(String, String)>,
    /// The items, where the spec says what body they make.
    pub items: Option<Json>,
    /// Records that must come out of a sink.
    pub good: Vec<Mark>,
    /// What the ids of those were made of, in their order, as far as that is known.
    pub numbers: Vec<u64>,
    /// Copies of records that came before.
    pub again: Vec<Mark>,
    /// What must become a dead letter.
    pub dead: Vec<Mark>,
}

/// What is still to be pushed.
#[derive(Debug)]
pub struct Plan {
    maker: Maker,
    frame: Frame,
    /// Whether a push holds one event alone.
    alone: bool,
    most: u64,
    /// A signature in the body changes it: nothing comes again or broken, since it would be signed anew.
    signed_body: bool,
    on_reuse: OnReuse,
    /// Whether what comes again is a duplicate to the receiver.
    dedupes: bool,
    next: u64,
    pushes: u64,
    broken: u64,
    dice: u64,
    remembered: VecDeque<(u64, Event)>,
    /// Without ids a copy is a copy of a whole request.
    last: Option<Push>,
}

impl Plan {
    /// The plan for a connector, with pushes of at most so many events.
    pub fn new(connector: &Connector, started: Timestamp, most: u64) -> Result<Self> {
        let maker = Maker::new(connector, started)?;
        let receiver = &connector.receiver;
        let frame = Frame::of(connector);
        let alone = maker.is_alone() || frame.is_single() || shape::alone(connector);
        let (next, dice) = (0, 0x9e37_79b9_7f4a_7c15);
        let on_reuse = receiver.event.on_reuse;
        let remember = if maker.has_ids() { receiver.event.with_id } else { receiver.event.without_id };
        let dedupes = match remember {
            Remember::Window => true,
            Remember::For(window) => window >= SHORTEST,
            Remember::Never => false,
        };
        let remembered = VecDeque::with_capacity(REMEMBERED);
        let signed_body = shape::in_body(connector);
        Ok(Self {
            maker,
            frame,
            alone,
            most,
            signed_body,
            on_reuse,
            dedupes,
            next,
            pushes: 0,
            broken: 0,
            dice,
            remembered,
            last: None,
        })
    }

    /// The next push, with events up to number `until`; `None` when there are no more.
    pub fn next(&mut self, until: u64, now: Timestamp) -> Option<Push> {
        if let Some(last) = self.last.take() {
            return Some(Push { again: last.good.clone(), good: Vec::new(), numbers: Vec::new(), ..last });
        }
        if self.next >= until {
            return None;
        }
        self.pushes += 1;
        let size = if self.alone { 1 } else { 1 + self.roll(self.most) };
        if self.is_broken_turn() && !self.signed_body && self.frame.can_break() && !self.is_lines() {
            return Some(self.broken_body(now));
        }
        Some(self.fill(size, until, now))
    }

    /// Other bytes under ids that are stored; asked for when everything before is acknowledged.
    pub fn reused(&mut self, how_many: u64, now: Timestamp) -> Vec<Push> {
        if !self.maker.can_reuse() || self.signed_body || !self.dedupes {
            return Vec::new();
        }
        let numbers: Vec<u64> =
            self.remembered.iter().rev().map(|(n, _)| *n).take(how_many as usize).collect();
        let push = |n| {
            let event = self.maker.make_reused(n, now);
            let mark = mark_of(&event.record);
            let mut push = self.push(vec![event]);
            match self.on_reuse {
                OnReuse::DeadLetter => push.dead.push(mark),
                OnReuse::Drop => push.again.push(mark),
                OnReuse::Deliver => push.good.push(mark),
            }
            push
        };
        numbers.into_iter().map(push).collect()
    }

    /// A body that is cut off in its only event; `None` where there were enough broken ones.
    pub fn torn(&mut self, now: Timestamp) -> Option<Push> {
        (self.broken < MOST_BROKEN && self.frame.can_break()).then(|| self.broken_body(now))
    }

    /// An event that belongs to nobody: what a stranger sends, and what must not come out of any sink.
    pub fn stray(&mut self, n: u64, now: Timestamp) -> Push {
        let event = self.maker.make(u64::MAX / 4 + n, now);
        self.push(vec![event])
    }

    /// A push that holds these.
    fn push(&self, events: Vec<Event>) -> Push {
        let body = self.frame.body(&events, self.pushes);
        let items = self.frame.is_built().then(|| {
            events.iter().filter_map(|event| serde_json::from_str::<Json>(&event.item).ok()).collect()
        });
        let (headers, query) =
            events.into_iter().next_back().map(|last| (last.headers, last.query)).unwrap_or_default();
        Push { body, headers, query, items, ..Push::default() }
    }

    /// Whether one of several documents in a body can be broken alone.
    fn is_lines(&self) -> bool {
        self.frame.is_lines() && !self.alone
    }

    fn fill(&mut self, size: u64, until: u64, now: Timestamp) -> Push {
        let mut push = Push::default();
        let mut events = Vec::new();
        let mut broken = false;
        while (events.len() as u64) < size && self.next < until {
            let n = self.next;
            let event = self.maker.make(n, now);
            push.good.push(mark_of(&event.record));
            push.numbers.push(self.maker.number(n));
            events.push(event.clone());
            self.next += 1;
            let again = n % AGAIN_EVERY == 1 % AGAIN_EVERY && self.dedupes && self.maker.has_ids();
            if again && !self.signed_body && !self.alone {
                let copy = self.recall().unwrap_or_else(|| event.clone());
                push.again.push(mark_of(&copy.record));
                events.push(copy);
            }
            if n % BROKEN_EVERY == 1 && self.is_lines() && self.broken < MOST_BROKEN {
                let line = self.broken_item(now);
                push.dead.push(mark_of(line.as_bytes()));
                events.push(Event { item: line, ..Event::default() });
                broken = true;
            }
            self.remember(n, event);
        }
        let made = match broken {
            // Other bodies than lines would be broken as a whole.
            true => Push { body: self.frame.lines(&events), ..Push::default() },
            false => self.push(events),
        };
        let Push { good, numbers, again, dead, .. } = push;
        let push = Push { good, numbers, again, dead, ..made };
        // Where copies cannot stand in one body with the others, every so often the whole request comes again.
        let whole = !self.maker.has_ids() || self.alone;
        if whole && self.dedupes && !self.signed_body && (self.pushes % AGAIN_EVERY == 1) {
            self.last = Some(push.clone());
        }
        push
    }

    fn is_broken_turn(&self) -> bool {
        self.broken < MOST_BROKEN && self.next / BROKEN_EVERY >= self.broken && self.next > 0
    }

    /// A body that is cut off is one dead letter, whatever was in it.
    fn broken_body(&mut self, now: Timestamp) -> Push {
        let half = self.broken_item(now);
        let whole = self.maker.make(u64::MAX / 2 + self.broken, now);
        let (body, dead) = self.frame.broken(&half);
        Push { body, items: None, dead: vec![mark_of(&dead)], ..self.push(vec![whole]) }
    }

    /// The first half of an event that never comes whole.
    fn broken_item(&mut self, now: Timestamp) -> String {
        self.broken += 1;
        let item = self.maker.make(u64::MAX / 2 + self.broken, now).item;
        let mut half = item.len() / 2;
        while !item.is_char_boundary(half) {
            half += 1;
        }
        item[..half].to_owned()
    }

    fn remember(&mut self, n: u64, event: Event) {
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((n, event));
    }

    fn recall(&mut self) -> Option<Event> {
        let many = self.remembered.len() as u64;
        let index = if many == 0 { return None } else { self.roll(many) };
        self.remembered.get(usize::try_from(index).ok()?).map(|(_, event)| event.clone())
    }

    /// A number below `below`, from a small generator that always begins alike (xorshift).
    fn roll(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % below
    }
}
