//! What the stand-in pushes, in which portions: distinct events, some again, some broken.
//!
//! Asked by the sender for the next push. The mixture is fixed by the number of the event, so that a run can
//! be repeated: of 1,000 events 50 come again and 10 broken ones stand between them.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::events::{Event, Maker};
use super::invert::write;
use super::ledger::{Mark, mark_of};
use super::sign::shape;
use crate::connector::model::{Connector, Decode, OnReuse};
use crate::connector::pick::Pointer;
use crate::error::Result;

/// One event in so many comes again.
const AGAIN_EVERY: u64 = 20;
/// One broken event stands behind so many good ones.
const BROKEN_EVERY: u64 = 100;
/// How many events are remembered to come again.
const REMEMBERED: usize = 256;
/// Broken events of one run, so that a run without end does not fill the store with dead letters.
const MOST_BROKEN: u64 = 1_000;

/// One request that the vendor makes.
#[derive(Debug, Clone, Default)]
pub struct Push {
    /// The body.
    pub body: Vec<u8>,
    /// Headers that carry part of the event.
    pub headers: Vec<(String, String)>,
    /// Records that must come out of a sink.
    pub good: Vec<Mark>,
    /// Copies of records that came before.
    pub again: Vec<Mark>,
    /// What must become a dead letter.
    pub dead: Vec<Mark>,
}

/// What is still to be pushed.
#[derive(Debug)]
pub struct Plan {
    maker: Maker,
    shape: Shape,
    most: u64,
    /// A signature in the body changes it: nothing comes again or broken, since it would be signed anew.
    signed_body: bool,
    on_reuse: OnReuse,
    next: u64,
    pushes: u64,
    broken: u64,
    dice: u64,
    remembered: VecDeque<(u64, Event)>,
    /// Without ids a copy is a copy of a whole request.
    last: Option<Push>,
}

/// How items become a body.
#[derive(Debug, Clone)]
enum Shape {
    /// One item a line, now and then a document.
    Lines { also_json: bool },
    /// A document: the list of items at a pointer.
    Document { each: Pointer },
    /// One item is the body.
    Single,
}

impl Plan {
    /// The plan for a connector, with pushes of at most so many events.
    pub fn new(connector: &Connector, started: Timestamp, most: u64) -> Result<Self> {
        let maker = Maker::new(connector, started)?;
        let receiver = &connector.receiver;
        let each = receiver.records.each.iter().find(|p| p.0.is_empty()).or(receiver.records.each.first());
        let each = each.cloned().unwrap_or_default();
        let shape = match receiver.decode {
            _ if maker.is_alone() || shape::alone(connector) => Shape::Single,
            Decode::JsonLines { also_json } if each.0.is_empty() => Shape::Lines { also_json },
            Decode::JsonLines { .. } => Shape::Document { each },
            Decode::Json => Shape::Document { each },
        };
        let (next, dice) = (0, 0x9e37_79b9_7f4a_7c15);
        let on_reuse = receiver.event.on_reuse;
        let remembered = VecDeque::with_capacity(REMEMBERED);
        let signed_body = shape::in_body(connector);
        Ok(Self {
            maker,
            shape,
            most,
            signed_body,
            on_reuse,
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
            return Some(Push { again: last.good.clone(), good: Vec::new(), ..last });
        }
        if self.next >= until {
            return None;
        }
        self.pushes += 1;
        let size = match self.shape {
            Shape::Single => 1,
            Shape::Lines { .. } | Shape::Document { .. } => 1 + self.roll(self.most),
        };
        if self.is_broken_turn() && !self.signed_body && !matches!(self.shape, Shape::Lines { .. }) {
            return Some(self.broken_body(now));
        }
        Some(self.fill(size, until, now))
    }

    /// Other bytes under ids that are stored; asked for when everything before is acknowledged.
    pub fn reused(&mut self, how_many: u64, now: Timestamp) -> Vec<Push> {
        if !self.maker.has_ids() || self.signed_body {
            return Vec::new();
        }
        let numbers: Vec<u64> =
            self.remembered.iter().rev().map(|(n, _)| *n).take(how_many as usize).collect();
        let push = |n| {
            let event = self.maker.make_reused(n, now);
            let mark = mark_of(&event.record);
            let mut push = Push {
                body: self.body(std::slice::from_ref(&event.item)),
                headers: event.headers,
                ..Push::default()
            };
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
        (self.broken < MOST_BROKEN).then(|| self.broken_body(now))
    }

    /// An event that belongs to nobody: what a stranger sends, and what must not come out of any sink.
    pub fn stray(&mut self, n: u64, now: Timestamp) -> Push {
        let event = self.maker.make(u64::MAX / 4 + n, now);
        Push { body: self.body(&[event.item]), headers: event.headers, ..Push::default() }
    }

    fn fill(&mut self, size: u64, until: u64, now: Timestamp) -> Push {
        let mut push = Push::default();
        let mut items = Vec::new();
        while (items.len() as u64) < size && self.next < until {
            let n = self.next;
            let event = self.maker.make(n, now);
            push.good.push(mark_of(&event.record));
            items.push(event.item.clone());
            push.headers.clone_from(&event.headers);
            self.next += 1;
            if n % AGAIN_EVERY == 1 % AGAIN_EVERY
                && self.maker.has_ids()
                && !self.signed_body
                && !matches!(self.shape, Shape::Single)
            {
                let (copy, mark) =
                    self.recall().unwrap_or_else(|| (event.item.clone(), mark_of(&event.record)));
                items.push(copy);
                push.again.push(mark);
            }
            if n % BROKEN_EVERY == 1 && matches!(self.shape, Shape::Lines { .. }) && self.broken < MOST_BROKEN
            {
                let line = self.broken_item(now);
                push.dead.push(mark_of(line.as_bytes()));
                items.push(line);
            }
            self.remember(n, event);
        }
        push.body = match push.dead.is_empty() {
            true => self.body(&items),
            false => lines(&items),
        };
        // Where copies cannot stand in one body with the others, every so often the whole request comes again.
        let whole = !self.maker.has_ids() || matches!(self.shape, Shape::Single);
        if whole && !self.signed_body && (self.pushes % AGAIN_EVERY == 1) {
            self.last = Some(push.clone());
        }
        push
    }

    fn is_broken_turn(&self) -> bool {
        self.broken < MOST_BROKEN && self.next / BROKEN_EVERY >= self.broken && self.next > 0
    }

    /// A body that is cut off is one dead letter, whatever was in it.
    fn broken_body(&mut self, now: Timestamp) -> Push {
        let item = self.broken_item(now);
        let mut push = Push { dead: vec![mark_of(item.as_bytes())], ..Push::default() };
        push.headers = self.maker.make(u64::MAX / 2 + self.broken, now).headers;
        push.body = item.into_bytes();
        push
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

    fn body(&self, items: &[String]) -> Vec<u8> {
        match &self.shape {
            Shape::Single => items.concat().into_bytes(),
            Shape::Lines { also_json: true } if self.pushes % 5 == 2 => array(items),
            Shape::Lines { .. } => lines(items),
            // A vendor that sends lists sends a single event as itself, too, where the spec allows it.
            Shape::Document { each } if each.0.is_empty() && items.len() == 1 => items.concat().into_bytes(),
            Shape::Document { each } if each.0.is_empty() => array(items),
            Shape::Document { each } => {
                let marker = Json::String("forebay items stand here".to_owned());
                let mut body = Json::Null;
                write(&mut body, each, marker.clone());
                let list = String::from_utf8(array(items)).unwrap_or_default();
                // The items go in as text, so that their bytes are those that were noted.
                body.to_string().replacen(&marker.to_string(), &list, 1).into_bytes()
            }
        }
    }

    fn remember(&mut self, n: u64, event: Event) {
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((n, event));
    }

    fn recall(&mut self) -> Option<(String, Mark)> {
        let many = self.remembered.len() as u64;
        let index = if many == 0 { return None } else { self.roll(many) };
        self.remembered
            .get(usize::try_from(index).ok()?)
            .map(|(_, event)| (event.item.clone(), mark_of(&event.record)))
    }

    /// A number below `below`, from a small generator that always begins alike (xorshift).
    fn roll(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % below
    }
}

fn lines(items: &[String]) -> Vec<u8> {
    let mut body = items.join("\n").into_bytes();
    body.push(b'\n');
    body
}

fn array(items: &[String]) -> Vec<u8> {
    format!("[{}]", items.join(",")).into_bytes()
}
