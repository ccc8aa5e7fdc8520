//! Rules: what becomes of requests that are no events.
//!
//! Whether a rule can be reached, is used and lets nobody in is asked in `reach`.

use std::collections::{BTreeMap, BTreeSet};

use crate::connector::compile::at::At;
use crate::connector::compile::calls::Shared;
use crate::connector::compile::compiler::Compiler;
use crate::connector::compile::names::Here;
use crate::connector::compile::verify::pins_host;
use crate::connector::model::{Call, Capture, End, Lifecycle, Rule, Run, Sample, SampleBody};
use crate::spec::fix::Fix;
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::nearest::{Meant, listed, meant};

impl Compiler {
    /// A request that is no event, and what becomes of it.
    pub(super) fn rule(&mut self, at: &At<'_>) -> Option<Rule> {
        self.rule_names(at);
        self.per_item(at);
        let path = at.get("path").and_then(|at| self.text(&at, Here::Path));
        let when = at.get("when").and_then(|at| self.condition(&at, Here::Request));
        let capture = at.get("capture").map(|at| self.captures(&at)).unwrap_or_default();
        let run = at.get("run").and_then(|at| self.run(&at));
        let end = match at.get("respond") {
            Some(at) => self.reply(&at, Here::Reply).map(End::Reply),
            None => at.flag("ignore").then_some(End::Ignored),
        };
        let sample = at.get("sample").and_then(|at| self.sample(&at));
        Some(Rule {
            name: at.text_of("name")?.to_owned(),
            method: method(at),
            path,
            per_item: is_per_item(at),
            when,
            verified: is_verified(at),
            capture,
            run,
            end,
            sample: sample?,
        })
    }

    /// A rule per item looks at what is decoded, of requests that are verified, and ends none of them.
    fn per_item(&mut self, at: &At<'_>) {
        if !is_per_item(at) {
            return;
        }
        let mut refuse = |key: &str, message: &str, help: &str| {
            let Some(place) = at.get(key).map(|at| Place::key(&at.path)) else { return };
            self.report(Mistake::new(Code::Contradiction, place, message).help(help));
        };
        refuse(
            "respond",
            "a rule per item ends no request, and so answers none",
            "leave `respond` out: the request is answered by `receiver.respond`; `ignore: true` leaves the item out",
        );
        for key in ["path", "method"] {
            refuse(
                key,
                "a rule per item is asked about events, and they come to the receiver's own path and methods",
                "leave it out",
            );
        }
        if !is_verified(at) {
            refuse("verify", "items are read of verified requests only", "leave `verify: skip` out");
        }
        if at.get("run").is_some_and(|run| run.value.is_object()) {
            refuse(
                "run",
                "a rule per item makes no call: a request may hold thousands of items",
                "run an operation of a resource, `RESOURCE.check`, or leave `per: item` out",
            );
        }
    }

    fn captures(&mut self, at: &At<'_>) -> Vec<Capture> {
        let mut captures = Vec::new();
        for (name, at) in at.entries() {
            if let (Some((resource, name)), Some(place)) = (name.split_once('.'), self.pick(&at)) {
                captures.push(Capture { resource: resource.to_owned(), name: name.to_owned(), place });
            }
        }
        captures
    }

    fn run(&mut self, at: &At<'_>) -> Option<Run> {
        if let Some(text) = at.text() {
            let (resource, operation) = text.split_once('.')?;
            let operation = match operation {
                "check" => Lifecycle::Check,
                "create" => Lifecycle::Create,
                "update" => Lifecycle::Update,
                "repair" => Lifecycle::Repair,
                "renew" => Lifecycle::Renew,
                _ => return None,
            };
            return Some(Run::Operation { resource: resource.to_owned(), operation });
        }
        self.not_built_keys(at, &["save", "when"]);
        let call = self.call(at, &Shared::default(), Here::Reply)?;
        self.regex(at, "only");
        let source = at.text_of("only");
        let only = source.and_then(|only| regex::Regex::new(&format!("^(?:{only})$")).ok());
        self.leads_home(at, &call, source);
        Some(Run::Call { call: Box::new(call), only })
    }

    /// A call that a request has a say in goes where `only` says, and carries nothing of ours.
    fn leads_home(&mut self, at: &At<'_>, call: &Call, only: Option<&str>) {
        let names = self.defined.through_vars(&call.url.names());
        let by_request = names.iter().any(|(name, _)| name == "request" || name.starts_with("request."));
        let place = |key: &str| Place::value(&at.path.join(key));
        match only {
            None if by_request => self.report(
                Mistake::new(
                    Code::OpenDoor,
                    place("call"),
                    "the request says where this call goes, and nothing says where it may go",
                )
                .help("say it in `only`, for the whole URL: 'https://api\\.example\\.com/confirm\\?.*'"),
            ),
            Some(only) if !pins_host(only) => self.report(
                Mistake::new(Code::OpenDoor, place("only"), "this lets a call go to anybody's server")
                    .help("write the host out, https://api\\.example\\.com/.*: only the part before it may vary, and not by `.*`"),
            ),
            Some(_) | None => {}
        }
        if by_request && call.auth.as_ref().is_some_and(|auth| auth.literal() != Some("none")) {
            self.report(
                Mistake::new(
                    Code::OpenDoor,
                    place("auth"),
                    "our credentials would go where the request says",
                )
                .help("a call whose URL comes with a request is signed by nothing: leave `auth` out"),
            );
        }
    }

    fn sample(&mut self, at: &At<'_>) -> Option<Sample> {
        let headers = at.get("headers").map(|at| self.headers(&at, Here::Sample)).unwrap_or_default();
        let query = at.get("query").map(|at| self.texts(&at, Here::Sample)).unwrap_or_default();
        let body = if let Some(at) = at.get("json") {
            SampleBody::Json(self.tree(&at, Here::Sample)?)
        } else if let Some(at) = at.get("form") {
            SampleBody::Form(self.texts(&at, Here::Sample))
        } else if let Some(at) = at.get("text") {
            SampleBody::Text(self.text(&at, Here::Sample)?)
        } else {
            SampleBody::Empty
        };
        Some(Sample { headers, query, body })
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
            // Where nothing is provisioned, a person makes the resource, and a name is all there is of it.
            if !resources.is_empty() && !resources.contains_key(resource) {
                let rest = &name[resource.len()..];
                self.no_resource((resource, rest), place.clone(), &resources);
            }
        }
        let Some(run) = at.get("run") else { return };
        let Some((resource, operation)) = run.text().and_then(|text| text.split_once('.')) else { return };
        match resources.get(resource) {
            None => {
                let rest = format!(".{operation}");
                self.no_resource((resource, &rest), Place::value(&run.path), &resources);
            }
            Some(operations) if !operations.contains(operation) => {
                let known = || operations.iter().map(String::as_str);
                let place =
                    Place::within(&run.path, resource.len() + 1..resource.len() + 1 + operation.len());
                let near = meant(operation, known());
                let help = match near {
                    Some(Meant { name, .. }) => format!("did you mean `{resource}.{name}`?"),
                    None => format!("it has {}", listed(known())),
                };
                let fix = near.map(|near| Fix::meant(place.clone(), near));
                let message = format!("`{resource}` has no `{operation}`");
                self.report(Mistake::new(Code::Undefined, place, message).help(help).fix(fix));
            }
            Some(_) => {}
        }
    }

    /// A place that begins with the name of a resource that does not exist, and goes on with the rest.
    fn no_resource(
        &mut self,
        (name, rest): (&str, &str),
        place: Place,
        resources: &BTreeMap<String, BTreeSet<String>>,
    ) {
        let known = || resources.keys().map(String::as_str);
        let near = meant(name, known());
        let help = match near {
            Some(Meant { name, .. }) => format!("did you mean `{name}`?"),
            None => format!("`provision.resources` has {}", listed(known())),
        };
        let fix =
            near.map(|near| Fix::text(place.clone(), format!("{}{rest}", near.name)).safe_if(near.sure));
        let message = format!("there is no resource `{name}`");
        self.report(Mistake::new(Code::Undefined, place, message).help(help).fix(fix));
    }
}

/// The method that a rule is routed by.
pub(super) fn method(rule: &At<'_>) -> http::Method {
    rule.text_of("method").and_then(|method| method.parse().ok()).unwrap_or(http::Method::POST)
}

/// Whether a rule is asked about every item.
pub(super) fn is_per_item(rule: &At<'_>) -> bool {
    rule.text_of("per") == Some("item")
}

/// Whether a rule takes requests that proved who sent them.
pub(super) fn is_verified(rule: &At<'_>) -> bool {
    rule.text_of("verify") != Some("skip")
}
