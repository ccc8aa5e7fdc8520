//! The vendor's side: resources and their operations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::at::At;
use super::calls::Shared;
use super::compiler::Compiler;
use super::names::{Here, saved_by, step_saves};
use crate::connector::model::{
    Check, Cursor, Due, EXPIRES_AT, Errors, Find, Pages, Paging, Provision, Renew, RenewWay, Resource,
};
use crate::connector::pick::Pointer;
use crate::spec::mistake::{Code, Mistake, Place};

/// How often a resource is looked at where the spec does not say.
const CHECK_EVERY: Duration = Duration::from_secs(15 * 60);
/// How often it is looked at however short a time the spec says.
const OFTENEST: Duration = Duration::from_secs(1);
/// How long one that was replaced in time stays beside the new one where the spec does not say.
const OVERLAP: Duration = Duration::from_secs(5 * 60);

impl Compiler {
    /// The vendor's side, where the spec has one.
    pub fn provision(&mut self, top: &At<'_>) -> Option<Provision> {
        let at = top.get("provision")?;
        let when = at.get("when").and_then(|at| self.condition(&at, Here::Settings));
        let errors = at.get("errors").map(|at| self.errors(&at)).unwrap_or_default();
        let shared = Shared { at: Some(at.clone()), errors: Arc::new(errors) };
        let resources = at
            .get("resources")
            .map(|at| {
                self.saved_so_far = Some(BTreeSet::new());
                at.entries().filter_map(|(name, at)| self.resource(name, &at, &shared)).collect()
            })
            .unwrap_or_default();
        self.saved_so_far = None;
        let manual = at.get("manual").and_then(|at| self.text(&at, Here::Manual));
        Some(Provision { when, manual, resources })
    }

    /// Where the vendor says what went wrong, and what to do about it.
    pub fn errors(&mut self, at: &At<'_>) -> Errors {
        let message = at.get("message").map(|at| self.picks(&at)).unwrap_or_default();
        let mut advice = BTreeMap::new();
        for (status, text) in at.get("advice").iter().flat_map(At::entries) {
            if let (Some(status), Some(text)) = (self.status_key(&text, status), text.text()) {
                advice.insert(status, text.to_owned());
            }
        }
        Errors { message, advice }
    }

    fn resource<'a>(&mut self, name: &str, at: &At<'a>, shared: &Shared<'a>) -> Option<Resource> {
        self.not_built_keys(at, &["for_each"]);
        self.operations(name, at);
        let when = at.get("when").and_then(|at| self.condition(&at, Here::Settings));
        let desired = at.get("desired").and_then(|at| self.tree(&at, Here::Desired));
        let example = |key: &str| at.get("examples").and_then(|at| at.get(key)).map(|at| at.value.clone());
        let find = at.get("find").and_then(|at| self.find(&at, shared));
        let mut steps =
            |key: &str, here| at.get(key).map(|at| self.steps(name, &at, shared, here)).unwrap_or_default();
        let create = steps("create", Here::Create);
        self.save_so_far(name, saved_by(at));
        let mut steps =
            |key: &str, here| at.get(key).map(|at| self.steps(name, &at, shared, here)).unwrap_or_default();
        let adopt = steps("adopt", Here::Create);
        let update = steps("update", Here::Update);
        let repair = steps("repair", Here::Update);
        let delete = steps("delete", Here::Delete);
        let check = at.get("check").and_then(|at| self.check(&at, shared));
        let renew = at.get("renew").map(|renew| self.renew(name, at, &renew, shared));
        // What is written wrong was reported, and is not the same as nothing.
        let renew = renew.map_or(Some(None), |renew| renew.map(Some));
        Some(Resource {
            name: name.to_owned(),
            title: at.text_of("title").map_or_else(|| name.replace('_', " "), str::to_owned),
            desired: desired?,
            when,
            told_once: told_once(at),
            singleton: at.flag("singleton"),
            immutable: self.places_of_desired(at, "immutable"),
            write_only: self.places_of_desired(at, "write_only"),
            healthy_example: example("healthy").unwrap_or_else(|| Json::Object(Map::new())),
            unhealthy_example: example("unhealthy"),
            find,
            create,
            adopt,
            update,
            check,
            repair,
            renew: renew?,
            delete,
        })
    }

    fn renew<'a>(
        &mut self,
        name: &str,
        resource: &At<'a>,
        at: &At<'a>,
        shared: &Shared<'a>,
    ) -> Option<Renew> {
        let way = match at.text_of("kind")? {
            "call" => RenewWay::Call(self.steps(name, at, shared, Here::Update)),
            "replace" => {
                let overlap = at.get("overlap").map_or(Some(OVERLAP), |at| self.duration(&at))?;
                RenewWay::Replace { overlap }
            }
            _ => return None,
        };
        let due = match (at.get("left"), at.get("every")) {
            (Some(left), _) => {
                if !saved_by(resource).contains(EXPIRES_AT) && !at.has("every") {
                    self.report(
                        Mistake::new(
                            Code::MissingKey,
                            Place::value(&left.path),
                            format!("nothing saves when `{name}` runs out, so that nobody knows what is left"),
                        )
                        .help("`create` and `renew` say where the answer has it: save: {expires_at: /expires}; or renew at fixed times: every: 12h"),
                    );
                }
                Due::Left(left.text()?.trim_end_matches('%').parse().ok()?)
            }
            (None, Some(every)) => Due::Every(self.pause(&every)?),
            (None, None) => return None,
        };
        Some(Renew { way, due })
    }

    /// Pointers that must lead into `desired`.
    fn places_of_desired(&mut self, resource: &At<'_>, key: &str) -> Vec<Pointer> {
        let mut pointers = Vec::new();
        for at in resource.get(key).iter().flat_map(At::items) {
            let Some(pointer) = self.pointer(&at) else { continue };
            if resource.get("desired").is_some_and(|desired| pointer.resolve(desired.value).is_none()) {
                self.report(
                    Mistake::new(
                        Code::BadPointer,
                        Place::value(&at.path),
                        format!("`desired` has nothing at `{pointer}`"),
                    )
                    .help("name the keys that lead there: /sink/url"),
                );
            }
            pointers.push(pointer);
        }
        pointers
    }

    /// From here on these values of a resource may be there.
    pub fn save_so_far(&mut self, resource: &str, names: impl IntoIterator<Item = String>) {
        if let Some(saved) = &mut self.saved_so_far {
            saved.extend(names.into_iter().map(|name| format!("{resource}.{name}")));
        }
    }

    fn find<'a>(&mut self, at: &At<'a>, shared: &Shared<'a>) -> Option<Find> {
        let call = self.call(at, shared, Here::Find);
        let items = at.get("items").map_or(Some(Pointer::default()), |at| self.pointer(&at));
        let pages = at.get("pages").map(|at| self.pages(&at));
        let condition = at.get("where").and_then(|at| self.condition(&at, Here::Where));
        let mut call = call?;
        let save = std::mem::take(&mut call.save);
        // Pages that are written wrong were reported, and are not the same as none.
        let pages = pages.map_or(Some(None), |pages| pages.map(Some));
        Some(Find { call, items: items?, pages: pages?, condition: condition?, save })
    }

    fn pages(&mut self, at: &At<'_>) -> Option<Pages> {
        let more = at.get("more").and_then(|at| self.condition(&at, Here::Answer));
        let param = || at.text_of("param").map(str::to_owned);
        let number = |key: &str| at.get(key).and_then(|at| at.value.as_u64());
        let paging = match at.text_of("kind")? {
            "link_header" => Paging::LinkHeader,
            "url" => Paging::Url { next: at.get("next").and_then(|at| self.pick(&at))? },
            "cursor" => {
                let next = match at.get("last") {
                    Some(at) => Cursor::Last(self.pointer(&at)?),
                    None => Cursor::Answer(at.get("next").and_then(|at| self.pick(&at))?),
                };
                Paging::Cursor { next, param: param()? }
            }
            "page" => {
                Paging::Page { param: param()?, first: number("first").unwrap_or(1), size: number("size") }
            }
            "offset" => Paging::Offset { param: param()?, size: number("size") },
            _ => return None,
        };
        Some(Pages { paging, more })
    }

    fn check<'a>(&mut self, at: &At<'a>, shared: &Shared<'a>) -> Option<Check> {
        let call = self.call(at, shared, Here::Check);
        let current = at.get("current").map_or(Some(Pointer::default()), |at| self.pointer(&at));
        let every = at.get("every").map_or(Some(CHECK_EVERY), |at| self.pause(&at));
        let healthy = at.get("healthy").and_then(|at| self.condition(&at, Here::Current));
        let gone = at.get("gone").and_then(|at| self.condition(&at, Here::Answer));
        Some(Check { call: call?, current: current?, every: every?.max(OFTENEST), healthy, gone })
    }
}

/// The names that making saves, and neither a look nor another operation: the vendor tells them once.
fn told_once(resource: &At<'_>) -> Vec<String> {
    let saved = |making: bool| -> BTreeSet<String> {
        let operations = resource.entries().filter(|(key, _)| (*key == "create") == making);
        operations.flat_map(|(_, at)| at.one_or_many()).flat_map(|step| step_saves(&step)).collect()
    };
    saved(true).difference(&saved(false)).cloned().collect()
}
