//! Our side: path, rules, decoding, picks, answers and the sender.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::names::Here;
use super::reader::{At, Compiler};
use super::values::time_format;
use crate::connector::model::{
    Decode, EventPicks, OnReuse, Receiver, Records, Reply, ReplyBody, Respond, Rule, Sender, StatusRange,
};
use crate::connector::pick::Pointer;
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::nearest::{listed, nearest};

impl Compiler {
    /// Our side.
    pub fn receiver(&mut self, top: &At<'_>) -> Option<Receiver> {
        let at = top.get("receiver")?;
        let path = self.text_of(&at, "path", Here::Path);
        let verify = at.get("verify").and_then(|at| self.verify(&at));
        let rules = at.get("rules").map(|at| at.items().filter_map(|at| self.rule(&at)).collect());
        let decode = at.get("decode").and_then(|at| self.decode(&at));
        let records = self.records(at.get("records"));
        let event = self.event(at.get("event"));
        let respond = self.respond(at.get("respond"));
        let sender = self.sender(at.get("sender"));
        self.accepted_is_success(&at, &respond, &sender);
        Some(Receiver {
            path: path?,
            verify: verify?,
            rules: rules.unwrap_or_default(),
            decode: decode?,
            records,
            event,
            respond,
            sender,
        })
    }

    fn rule(&mut self, at: &At<'_>) -> Option<Rule> {
        self.not_built_keys(at, &["path", "capture", "run"]);
        self.rule_names(at);
        Some(Rule {
            name: at.text_of("name")?.to_owned(),
            method: at.text_of("method").and_then(|method| method.parse().ok()),
            when: at.get("when").and_then(|at| self.condition(&at, Here::Request)),
            verified: at.text_of("verify") != Some("skip"),
            respond: at.get("respond").and_then(|at| self.reply(&at, Here::Reply)),
            sample: at.get("sample").map_or(Json::Null, |at| at.value.clone()),
        })
    }

    /// The resources that a rule names exist, and have the operation that it runs.
    fn rule_names(&mut self, at: &At<'_>) {
        let Some(resources) = self.defined.operations.clone() else { return };
        let captured = at
            .get("capture")
            .iter()
            .flat_map(At::entries)
            .map(|(name, at)| (name.to_owned(), Place::key(&at.path)))
            .collect::<Vec<_>>();
        for (name, place) in &captured {
            let resource = name.split('.').next().unwrap_or_default();
            if !resources.contains_key(resource) {
                self.no_resource(resource, place.clone(), &resources);
            }
        }
        let Some(run) = at.get("run") else { return };
        let Some((resource, operation)) = run.text().and_then(|text| text.split_once('.')) else { return };
        match resources.get(resource) {
            None => self.no_resource(resource, Place::value(&run.path), &resources),
            Some(operations) if !operations.contains(operation) => self.report(
                Mistake::new(
                    Code::Undefined,
                    Place::value(&run.path),
                    format!("`{resource}` has no `{operation}`"),
                )
                .help(format!("it has {}", listed(operations.iter().map(String::as_str)))),
            ),
            Some(_) => {}
        }
    }

    fn no_resource(&mut self, name: &str, place: Place, resources: &BTreeMap<String, BTreeSet<String>>) {
        let known = || resources.keys().map(String::as_str);
        let help = match nearest(name, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("`provision.resources` has {}", listed(known())),
        };
        self.report(
            Mistake::new(Code::Undefined, place, format!("there is no resource `{name}`")).help(help),
        );
    }

    fn decode(&mut self, at: &At<'_>) -> Option<Decode> {
        match at.text_of("format")? {
            "json" => Some(Decode::Json),
            "json_lines" => Some(Decode::JsonLines { also_json: at.has("also") }),
            format @ ("form" | "xml" | "syslog" | "none") => {
                self.not_built(Place::value(&at.path.join("format")), &format!("the format `{format}`"));
                None
            }
            _ => None,
        }
    }

    fn records(&mut self, at: Option<At<'_>>) -> Records {
        if let Some(at) = &at {
            self.not_built_keys(at, &["then_each", "layers", "otherwise"]);
        }
        let mut pointers = |key: &str| {
            let pointers = at.as_ref().and_then(|at| at.get(key)).map(|at| self.pointers(&at));
            pointers.unwrap_or_else(|| vec![Pointer::default()])
        };
        Records { each: pointers("each"), unwrap: pointers("unwrap") }
    }

    fn event(&mut self, at: Option<At<'_>>) -> EventPicks {
        let part = |key: &str| at.as_ref().and_then(|at| at.get(key));
        let mut picks = |key: &str| part(key).map(|at| self.picks(&at)).unwrap_or_default();
        let (id, time, kind) = (picks("id"), picks("time"), picks("type"));
        let written = part("time").and_then(|at| at.one_or_many().into_iter().find(|at| at.has("format")));
        EventPicks {
            id,
            time,
            time_format: time_format(written.as_ref().and_then(|at| at.text_of("format"))),
            kind,
            on_reuse: match at.as_ref().and_then(|at| at.text_of("on_reuse")) {
                Some("drop") => OnReuse::Drop,
                Some("deliver") => OnReuse::Deliver,
                _ => OnReuse::DeadLetter,
            },
        }
    }

    fn respond(&mut self, at: Option<At<'_>>) -> Respond {
        let mut reply =
            |key: &str| at.as_ref().and_then(|at| at.get(key)).and_then(|at| self.reply(&at, Here::Respond));
        let accepted =
            reply("accepted").unwrap_or(Reply { status: 200, headers: Vec::new(), body: ReplyBody::Empty });
        Respond { accepted, rejected: reply("rejected"), ignored: reply("ignored") }
    }

    fn reply(&mut self, at: &At<'_>, here: Here) -> Option<Reply> {
        self.not_built_keys(at, &["xml"]);
        let status = at.get("status").and_then(|at| self.status(&at));
        let headers = at.get("headers").map(|at| self.headers(&at, here)).unwrap_or_default();
        let body = if let Some(at) = at.get("json") {
            ReplyBody::Json(self.tree(&at, here)?)
        } else if let Some(at) = at.get("text") {
            ReplyBody::Text(self.text(&at, here)?)
        } else {
            ReplyBody::Empty
        };
        Some(Reply { status: status?, headers, body })
    }

    /// What the sender takes for a failure it sends again, for ever: an accepted request must not look like one.
    fn accepted_is_success(&mut self, at: &At<'_>, respond: &Respond, sender: &Sender) {
        let status = respond.accepted.status;
        if sender.success.iter().any(|range| (range.0..=range.1).contains(&status)) {
            return;
        }
        let place = at.get("respond").and_then(|at| at.get("accepted")).and_then(|at| at.get("status"));
        let place = place.map_or_else(|| Place::value(&at.path), |at| Place::value(&at.path));
        let message = format!("accepted requests get {status}, which is no success to the sender");
        self.report(
            Mistake::new(Code::Contradiction, place, message)
                .help("take a status that `sender.success` lists; without a list it is any 2xx"),
        );
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
        }
    }
}
