//! What the operations of a resource say together: mistakes that no single key shows.
//!
//! Called once for each resource, and once at the end for what nobody names. The shape of each key was checked
//! before, by the language's schema.

use super::at::At;
use super::compiler::Compiler;
use super::names::step_saves;
use crate::connector::model::EXPIRES_AT;
use crate::connector::template::Condition;
use crate::spec::mistake::{Code, Mistake, Place};

/// The operations that may be lists of steps.
const OPERATIONS: &[&str] = &["create", "adopt", "update", "repair", "delete"];

impl Compiler {
    /// Holds the operations of a resource against each other.
    pub fn operations(&mut self, name: &str, resource: &At<'_>) {
        for key in OPERATIONS {
            for step in resource.get(key).iter().flat_map(At::one_or_many) {
                self.wait(&step);
            }
        }
        self.made_once(resource);
        self.known_once_made(name, resource);
        self.replaceable(resource);
    }

    /// A wait has something to wait for, and time for more than one look.
    fn wait(&mut self, step: &At<'_>) {
        let Some(until) = step.get("until") else { return };
        let names = until.text().and_then(|text| Condition::compile(text).ok()).map(|until| until.names());
        if !step.has("call")
            && let Some(name) = names.iter().flatten().find(|name| name.split('.').next() == Some("response"))
        {
            self.report(
                Mistake::new(
                    Code::NotHere,
                    Place::value(&until.path),
                    format!("a step without `call` has no answer, and `{name}` is part of one"),
                )
                .help("name what is waited for in `state`, or give the step the call that is made again and again"),
            );
        }
        let time = |key: &str| step.text_of(key).and_then(crate::connector::units::duration);
        if let (Some(every), Some(at_most), Some(at)) = (time("every"), time("at_most"), step.get("at_most"))
            && at_most < every
        {
            self.report(
                Mistake::new(
                    Code::BadDuration,
                    Place::value(&at.path),
                    "the wait is over before it is looked at a second time",
                )
                .help("`at_most` is the whole wait, and `every` the time between two looks"),
            );
        }
    }

    /// The call that makes one is made once: made again until something holds, it would make many.
    fn made_once(&mut self, resource: &At<'_>) {
        let first =
            resource.get("create").and_then(|at| at.one_or_many().into_iter().find(|at| at.has("call")));
        let Some(until) = first.filter(|at| !at.has("when")).and_then(|at| at.get("until")) else { return };
        self.report(
            Mistake::new(Code::Orphan, Place::key(&until.path), "each try would make another one")
                .help("make it in one step, and wait in the next, with the call that shows it"),
        );
    }

    /// What tells ours from others when it is found is known when it was made, too.
    fn known_once_made(&mut self, name: &str, resource: &At<'_>) {
        let (Some(find), Some(create)) = (resource.get("find"), resource.get("create")) else { return };
        let made: Vec<String> = create.one_or_many().iter().flat_map(step_saves).collect();
        for (saved, at) in find.get("save").iter().flat_map(At::entries) {
            let captured = self.defined.captured.contains(&format!("{name}.{saved}"));
            if saved != EXPIRES_AT && !captured && !made.iter().any(|known| known == saved) {
                self.report(
                    Mistake::new(
                        Code::Orphan,
                        Place::key(&at.path),
                        format!("`find` saves `{saved}`, and `create` does not"),
                    )
                    .help(format!(
                        "what was just made must be known by the same values: a step of `create` says `save: {{{saved}: …}}`"
                    ))
                    .related(Place::key(&create.path), "nothing here saves it"),
                );
            }
        }
    }

    /// Of a singleton there is no other that could take its place.
    fn replaceable(&mut self, resource: &At<'_>) {
        let kind = resource.get("renew").and_then(|at| at.get("kind"));
        if let (true, Some(kind)) =
            (resource.flag("singleton"), kind.filter(|kind| kind.text() == Some("replace")))
        {
            self.report(
                Mistake::new(
                    Code::Exclusive,
                    Place::value(&kind.path),
                    "there is only one, so that no other can take its place",
                )
                .help("renew a singleton by a call: `kind: call`"),
            );
        }
    }
}
