//! What is defined or saved, and named by nothing: a slip of the pen, or what a change left behind.
//!
//! Called at the end, when every text was compiled and its names were noted.

use super::names::step_saves;
use super::reader::{At, Compiler};
use crate::connector::model::EXPIRES_AT;
use crate::spec::mistake::{Code, Mistake, Place};

impl Compiler {
    /// Definitions and saved values that nothing names.
    pub fn unused(&mut self, top: &At<'_>) {
        self.unused_definitions(top);
        self.unused_saves(top);
    }

    fn unused_definitions(&mut self, top: &At<'_>) {
        for group in ["settings", "secrets", "vars"] {
            for (name, at) in top.get(group).iter().flat_map(At::entries) {
                let full = format!("{group}.{name}");
                let inner = format!("{full}.");
                if self.named.iter().any(|named| *named == full || named.starts_with(&inner)) {
                    continue;
                }
                let help = match group {
                    "vars" => "remove it, or name it where it is wanted",
                    _ => {
                        "a person would fill in what changes nothing: remove it, or name it where it is wanted"
                    }
                };
                self.report(
                    Mistake::new(Code::Unused, Place::key(&at.path), format!("nothing uses `{full}`"))
                        .help(help),
                );
            }
        }
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
