//! The vendor's side: what we own there, how it is found, made, kept and removed.

use std::time::Duration;

use serde_json::Value as Json;

use super::call::Call;
use crate::connector::pick::{Pick, Pointer};
use crate::connector::template::{Condition, Text, Tree};

/// The vendor's side of the stream.
#[derive(Debug)]
pub struct Provision {
    /// When this instance provisions at all; `None` is always.
    pub when: Option<Condition>,
    /// What a person has to do where this instance does not provision.
    pub manual: Option<Text>,
    /// What we own at the vendor, in order of making.
    pub resources: Vec<Resource>,
}

/// Something we own at the vendor.
#[derive(Debug)]
pub struct Resource {
    /// Its name in `state.NAME`.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// How it should be, in the shape of the vendor's answer.
    pub desired: Tree,
    /// When there is one at all, by the settings; `None`: always.
    pub when: Option<Condition>,
    /// The saved names that only its making tells: secrets of the vendor's, maybe.
    pub told_once: Vec<String>,
    /// There is always one, without an id: checked and updated, never created.
    pub singleton: bool,
    /// Places of `desired` that no update can change.
    pub immutable: Vec<Pointer>,
    /// Places of `desired` that the vendor never shows.
    pub write_only: Vec<Pointer>,
    /// What the vendor adds when all is well.
    pub healthy_example: Json,
    /// What differs from that when it is not.
    pub unhealthy_example: Option<Json>,
    /// How it is found without an id.
    pub find: Option<Find>,
    /// How it is made.
    pub create: Vec<Step>,
    /// What is done once to one that was found.
    pub adopt: Vec<Step>,
    /// How drift is mended; empty: by making a new one.
    pub update: Vec<Step>,
    /// How it is looked at.
    pub check: Option<Check>,
    /// How it is made healthy again.
    pub repair: Vec<Step>,
    /// How it is kept from running out; `None`: it has no lifetime.
    pub renew: Option<Renew>,
    /// How it is removed.
    pub delete: Vec<Step>,
}

/// How a resource is found without an id.
#[derive(Debug)]
pub struct Find {
    /// The call that lists.
    pub call: Call,
    /// Where in the answer the list stands.
    pub items: Pointer,
    /// How the list goes on; `None`: one answer has all of it.
    pub pages: Option<Pages>,
    /// Which item is ours.
    pub condition: Condition,
    /// What is kept of it: picks into the item.
    pub save: Vec<(String, Pick)>,
}

/// How a list goes on.
#[derive(Debug)]
pub struct Pages {
    /// How the vendor cuts it.
    pub paging: Paging,
    /// Whether there is more, where the answer says so; `None`: as the paging tells.
    pub more: Option<Condition>,
}

/// How a vendor cuts a list into pages.
#[derive(Debug)]
pub enum Paging {
    /// A `Link` header with `rel="next"`.
    LinkHeader,
    /// The answer has the URL of the next page.
    Url {
        /// Where.
        next: Pick,
    },
    /// A value leads on.
    Cursor {
        /// Where it stands.
        next: Cursor,
        /// The parameter it is sent back in.
        param: String,
    },
    /// Pages have numbers.
    Page {
        /// The parameter of the number.
        param: String,
        /// The number of the first.
        first: u64,
        /// Items of a full page: one with fewer is the last. `None`: an empty one is.
        size: Option<u64>,
    },
    /// Items are counted.
    Offset {
        /// The parameter of the count of those before.
        param: String,
        /// Items of a full page: one with fewer is the last. `None`: an empty one is.
        size: Option<u64>,
    },
}

/// Where a cursor stands.
#[derive(Debug)]
pub enum Cursor {
    /// In the answer.
    Answer(Pick),
    /// In the last item of a page.
    Last(Pointer),
}

/// How a resource is looked at.
#[derive(Debug)]
pub struct Check {
    /// The call that reads it.
    pub call: Call,
    /// Where in the answer it stands.
    pub current: Pointer,
    /// How often.
    pub every: Duration,
    /// When it is well; `None`: whenever it is there.
    pub healthy: Option<Condition>,
    /// When it is gone, beside 404 and 410.
    pub gone: Option<Condition>,
}

/// How a resource is kept from running out.
#[derive(Debug)]
pub struct Renew {
    /// What is done.
    pub way: RenewWay,
    /// When.
    pub due: Due,
}

/// What renewing is.
#[derive(Debug)]
pub enum RenewWay {
    /// A call prolongs it.
    Call(Vec<Step>),
    /// A new one is made, and takes its place.
    Replace {
        /// How long the old one stays beside the new one.
        overlap: Duration,
    },
}

/// When a resource is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// When this many hundredths of its lifetime are left, by the saved value [`EXPIRES_AT`].
    Left(u8),
    /// So long after it was made, or last renewed.
    Every(Duration),
}

/// The saved value that tells when a resource runs out.
pub const EXPIRES_AT: &str = "expires_at";

/// One step of an operation.
#[derive(Debug)]
pub struct Step {
    /// What it is called in messages.
    pub name: Option<String>,
    /// Whether it is taken.
    pub when: Option<Condition>,
    /// What is sent; a step without one waits.
    pub call: Option<Call>,
    /// What it waits for.
    pub until: Option<Until>,
}

/// What a step waits for.
#[derive(Debug)]
pub struct Until {
    /// The condition.
    pub condition: Condition,
    /// How often it is tried.
    pub every: Duration,
    /// How long at most.
    pub at_most: Duration,
}

impl Resource {
    /// Where in the answer to a call the resource stands, as far as a value tells that `find` saves too: `/hook` where
    /// the one has `/hook/id` and the other `/id`.
    pub fn place_in(&self, call: &Call) -> Pointer {
        let found = self.find.iter().flat_map(|find| &find.save);
        let mut same = found.filter_map(|(name, own)| {
            let (_, answered) = call.save.iter().find(|(saved, _)| saved == name)?;
            match (own, answered) {
                (Pick::Item(own) | Pick::Body(own), Pick::Item(all) | Pick::Body(all)) => {
                    all.0.strip_suffix(own.0.as_slice()).map(|around| Pointer(around.to_vec()))
                }
                (_, _) => None,
            }
        });
        same.next().unwrap_or_default()
    }

    /// Every call of a resource's life with the name of its operation, in the order of the story.
    pub fn operations(&self) -> Vec<(&'static str, &Call)> {
        let renew: &[Step] = match &self.renew {
            Some(renew) => match &renew.way {
                RenewWay::Call(steps) => steps,
                RenewWay::Replace { .. } => &[],
            },
            None => &[],
        };
        let find = self.find.iter().map(|find| ("find", &find.call));
        let check = self.check.iter().map(|check| ("check", &check.call));
        let mut calls: Vec<(&'static str, &Call)> = find.collect();
        for (name, steps) in [("create", &self.create[..]), ("adopt", &self.adopt), ("update", &self.update)]
        {
            calls.extend(steps.iter().filter_map(|step| Some((name, step.call.as_ref()?))));
        }
        calls.extend(check);
        for (name, steps) in [("repair", &self.repair[..]), ("renew", renew), ("delete", &self.delete)] {
            calls.extend(steps.iter().filter_map(|step| Some((name, step.call.as_ref()?))));
        }
        calls
    }
}
