//! What becomes of requests that are no events, and what is answered to all of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::connector::compile::names::Here;
use crate::connector::compile::reader::{At, Compiler};
use crate::connector::model::{Reply, ReplyBody, Respond, Rule};
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::nearest::{listed, nearest};

impl Compiler {
    pub(super) fn rule(&mut self, at: &At<'_>) -> Option<Rule> {
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

    pub(super) fn respond(&mut self, at: Option<At<'_>>) -> Respond {
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
}
