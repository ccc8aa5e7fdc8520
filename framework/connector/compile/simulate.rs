//! What the stand-in sends where it cannot invert the spec by itself.

use super::at::At;
use super::compiler::Compiler;
use super::names::Here;
use crate::connector::model::{Each, Receiver, ReplyBody, Simulate};
use crate::spec::mistake::{Code, Mistake, Place};

impl Compiler {
    /// `simulate`, which a list that is built takes: nobody can tell which body it is built from.
    pub fn simulate(&mut self, top: &At<'_>, receiver: Option<&Receiver>) -> Simulate {
        let part = |key: &str| top.get("simulate").and_then(|at| at.get(key));
        let headers = part("headers").map(|at| self.headers(&at, Here::Simulate)).unwrap_or_default();
        let query = part("query").map(|at| self.texts(&at, Here::Simulate)).unwrap_or_default();
        let body = match (part("json"), part("text")) {
            (Some(json), _) => self.tree(&json, Here::Simulate).map(ReplyBody::Json),
            (None, Some(text)) => self.text(&text, Here::Simulate).map(ReplyBody::Text),
            (None, None) => None,
        };
        let built = receiver.is_some_and(|receiver| matches!(receiver.records.each, Each::Built(_)));
        if built && part("json").or(part("text")).is_none() {
            let each = top.get("receiver").and_then(|at| at.get("records")).and_then(|at| at.get("each"));
            let place = each.map_or_else(|| Place::value(&top.path), |at| Place::value(&at.path));
            self.report(
                Mistake::new(
                    Code::MissingKey,
                    place,
                    "nobody can tell which body this list is built from: there is no `simulate`",
                )
                .help("say what the vendor sends: `simulate: {json: {opened: \"{{ items }}\", closed: []}}`"),
            );
        }
        Simulate { headers, query, body: body.unwrap_or(ReplyBody::Empty) }
    }
}
