//! Our side: its path, how requests prove who sent them, rules, decoding, answers and the sender.

mod answers;
mod reach;
mod records;
mod respond;
mod rules;

use super::at::At;
use super::compiler::Compiler;
use super::names::Here;
use crate::connector::coding::Coding;
use crate::connector::model::{Receiver, Sender, StatusRange};
use crate::connector::units;

impl Compiler {
    /// Our side.
    pub fn receiver(&mut self, top: &At<'_>) -> Option<Receiver> {
        let at = top.get("receiver")?;
        let path = self.text_of(&at, "path", Here::Path);
        let methods =
            at.get("methods").iter().flat_map(At::items).filter_map(|at| at.text()?.parse().ok()).collect();
        let verify = at.get("verify").and_then(|at| self.verify(&at));
        let rules = at.get("rules").map(|at| at.items().filter_map(|at| self.rule(&at)).collect());
        let decode = at.get("decode").and_then(|at| self.decode(&at));
        let records = self.records(at.get("records"));
        let nested = records.as_ref().is_none_or(|records| !records.then_each.is_empty());
        let event = self.event(at.get("event"), nested);
        let respond = self.respond(at.get("respond"));
        let sender = self.sender(at.get("sender"));
        self.answers(&at, &respond, &sender);
        Some(Receiver {
            path: path?,
            methods: if at.has("methods") { methods } else { vec![http::Method::POST] },
            verify: verify?,
            rules: rules.unwrap_or_default(),
            decode: decode?,
            records: records?,
            event,
            respond,
            sender,
        })
    }

    fn sender(&mut self, at: Option<At<'_>>) -> Sender {
        let part = |key: &str| at.as_ref().and_then(|at| at.get(key));
        Sender {
            success: part("success").map_or_else(|| vec![StatusRange(200, 299)], |at| self.statuses(&at)),
            timeout: part("timeout").and_then(|at| self.duration(&at)),
            attempts: part("attempts").and_then(|at| at.value.as_u64()).and_then(|n| u32::try_from(n).ok()),
            stops_on: part("stops_on").map(|at| self.statuses(&at)).unwrap_or_default(),
            gives_up_after: part("gives_up_after").and_then(|at| self.duration(&at)),
            ordered: at.as_ref().is_some_and(|at| at.flag("ordered")),
            encoding: part("encoding").as_ref().and_then(At::text).and_then(Coding::named),
            max_body: part("max_body").as_ref().and_then(At::text).and_then(units::bytes),
        }
    }
}
