//! What is defined or saved, and named by nothing: a slip of the pen, or what a change left behind.
//!
//! Called at the end, when every text was compiled and its names were noted.

use super::at::At;
use super::compiler::Compiler;
use super::names::step_saves;
use crate::connector::model::EXPIRES_AT;
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::nearest::listed;

impl Compiler {
    /// Definitions and saved values that nothing names.
    pub fn unused(&mut self, top: &At<'_>) {
        self.unused_definitions(top);
        self.unused_saves(top);
    }

    fn unused_definitions(&mut self, top: &At<'_>) {
        for group in ["settings", "secrets", "vars"] {
            let definitions = top.get(group);
            let unused: Vec<(String, At<'_>)> = definitions
                .iter()
                .flat_map(At::entries)
                .map(|(name, at)| (format!("{group}.{name}"), at))
                .filter(|(name, _)| !self.is_named(name))
                .collect();
            let help = match group {
                "vars" => "remove it, or name it where it is wanted",
                _ => "a person would fill in what changes nothing: remove it, or name it where it is wanted",
            };
            let about = |name: &str, at: &At<'_>| {
                Mistake::new(Code::Unused, Place::key(&at.path), format!("nothing uses {name}")).help(help)
            };
            match unused.as_slice() {
                [] => {}
                // Several at once miss what used them all.
                [(_, first), others @ ..] if !others.is_empty() => {
                    let all = listed(unused.iter().map(|(name, _)| name.as_str()));
                    let mistake = others.iter().fold(about(&all, first), |mistake, (_, at)| {
                        mistake.related(Place::key(&at.path), "nor this")
                    });
                    self.report(mistake);
                }
                few => few.iter().for_each(|(name, at)| self.report(about(&format!("`{name}`"), at))),
            }
        }
    }

    fn is_named(&self, name: &str) -> bool {
        let inner = format!("{name}.");
        self.named.iter().any(|named| named == name || named.starts_with(&inner))
    }

    fn unused_saves(&mut self, top: &At<'_>) {
        let resources = top.get("provision").and_then(|at| at.get("resources"));
        for (name, resource) in resources.iter().flat_map(At::entries) {
            let timed = resource.get("renew").is_some_and(|at| at.has("left"));
            let found = resource.get("find").map(|at| step_saves(&at)).unwrap_or_default();
            let operations = resource.entries().filter(|(key, _)| *key != "find");
            for step in operations.flat_map(|(_, at)| at.one_or_many()) {
                for (saved, at) in step.get("save").iter().flat_map(At::entries) {
                    let known = (saved == EXPIRES_AT && timed) || found.iter().any(|name| name == saved);
                    if !known && !self.named.contains(&format!("state.{name}.{saved}")) {
                        self.report(
                            Mistake::new(
                                Code::Unused,
                                Place::key(&at.path),
                                format!("nothing uses `state.{name}.{saved}`"),
                            )
                            .help("what is saved is kept for ever: remove it, or name it where it is wanted"),
                        );
                    }
                }
            }
        }
    }
}
