//! Who chooses which auth: every choice is an auth, every auth can be chosen, and none is signed by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::super::at::At;
use super::super::compiler::Compiler;
use super::super::names::Here;
use crate::connector::template::Text;
use crate::spec::fix::Fix;
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::nearest::{Meant, listed, meant, nearest};

impl Compiler {
    /// The name of an auth: fixed, or the value of a setting.
    pub fn auth_name(&mut self, at: &At<'_>, here: Here) -> Option<Text> {
        let text = self.text(at, here)?;
        if let (Some(name), Some(auths)) = (text.literal(), &self.defined.auths)
            && name != "none"
            && !name.contains('{')
            && !auths.contains_key(name)
        {
            let place = Place::value(&at.path);
            let near = meant(name, auths.keys().map(String::as_str));
            let help = match near {
                Some(Meant { name, .. }) => format!("did you mean `{name}`?"),
                None => format!("`auth` has {}", listed(auths.keys().map(String::as_str))),
            };
            let message = format!("there is no auth `{name}`");
            let fix = near.map(|near| Fix::meant(place.clone(), near));
            self.report(Mistake::new(Code::Undefined, place, message).help(help).fix(fix));
        }
        Some(text)
    }

    /// Holds the auths against whatever chooses among them: every choice is an auth, every auth can be chosen.
    pub fn auth_choices(&mut self, top: &At<'_>) {
        let Some(auths) = self.defined.auths.clone() else { return };
        let mut chosen: BTreeSet<String> = BTreeSet::new();
        let mut choice = None;
        for at in auth_keys(top) {
            let Some(text) = at.text().and_then(|source| Text::compile(source).ok()) else { continue };
            if let Some(name) = text.literal() {
                // Braces that are lost are reported where they stand, and leave open what was meant.
                if name.contains('{') {
                    return;
                }
                // A name with a slip in it is reported where it stands; what it means can be chosen.
                let meant = nearest(name, auths.keys().map(String::as_str));
                chosen.insert(if auths.contains_key(name) { name } else { meant.unwrap_or(name) }.to_owned());
                continue;
            }
            let setting = text.lone_name().and_then(|name| name.strip_prefix("settings.").map(str::to_owned));
            let Some(setting) = setting.and_then(|name| top.get("settings")?.get(&name)) else { return };
            match setting.get("enum") {
                Some(list) => {
                    chosen.extend(self.auth_enum(&list, &auths));
                    choice = Some(Place::value(&list.path));
                }
                None => {
                    self.report(
                        Mistake::new(
                            Code::AuthChoice,
                            Place::key(&setting.path),
                            "this setting chooses an auth and has no `enum`",
                        )
                        .help(format!(
                            "say which values it takes: `enum: [{}]`",
                            auths.keys().cloned().collect::<Vec<_>>().join(", ")
                        )),
                    );
                    // Which of them it will choose is not said yet.
                    chosen.extend(auths.keys().cloned());
                }
            }
        }
        for (name, at) in top.get("auth").iter().flat_map(At::entries) {
            if !chosen.is_empty() && !chosen.contains(name) && name != "none" {
                let message = format!("no call can choose the auth `{name}`");
                let mistake = Mistake::new(Code::AuthChoice, Place::key(&at.path), message)
                    .help("add it to the `enum` of the setting that chooses, or remove it");
                self.report(match &choice {
                    Some(list) => mistake.related(list.clone(), "what can be chosen"),
                    None => mistake,
                });
            }
        }
    }

    /// Reports auths that sign each other in a circle, once.
    pub fn auth_cycles(&mut self, top: &At<'_>) {
        let auths: Vec<(&str, At<'_>)> = top.get("auth").iter().flat_map(At::entries).collect();
        let signs: BTreeMap<&str, BTreeSet<String>> =
            auths.iter().map(|(name, at)| (*name, signers(top, at))).collect();
        let mut reported = BTreeSet::new();
        for (name, at) in &auths {
            let around = reached(&signs, name);
            if !around.contains(*name) || !reported.is_disjoint(&around) {
                continue;
            }
            let path = at.path.join("auth");
            let message = format!("the auth `{name}` would sign itself");
            let mut mistake = Mistake::new(Code::Cycle, Place::value(&path), message).help(
                "one auth may sign the call of another, as long as none leads back: `auth: none` sends it unsigned",
            );
            for (other, at) in auths.iter().filter(|(other, _)| other != name && around.contains(*other)) {
                let words = format!("`{other}` is part of the circle");
                mistake = mistake.related(Place::value(&at.path.join("auth")), words);
            }
            reported.extend(around);
            self.report(mistake);
        }
    }

    /// The values of a setting that chooses an auth.
    fn auth_enum(&mut self, list: &At<'_>, auths: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
        let mut names = Vec::new();
        for item in list.items() {
            let Some(name) = item.text() else { continue };
            names.push(name.to_owned());
            if name == "none" || auths.contains_key(name) {
                continue;
            }
            let near = meant(name, auths.keys().map(String::as_str));
            let help = match near {
                // The one that was meant is not reported as never chosen as well.
                Some(Meant { name, .. }) => {
                    names.push(name.to_owned());
                    format!("did you mean `{name}`?")
                }
                None => format!("add `{name}` under `auth`, or remove it here"),
            };
            let message = format!("`{name}` can be chosen, and there is no auth of that name");
            let place = Place::value(&item.path);
            let fix = near.map(|near| Fix::meant(place.clone(), near));
            self.report(Mistake::new(Code::AuthChoice, place, message).help(help).fix(fix));
        }
        names
    }
}

/// The auths that may sign the call of this one.
fn signers(top: &At<'_>, at: &At<'_>) -> BTreeSet<String> {
    let Some(text) = at.text_of("auth").and_then(|source| Text::compile(source).ok()) else {
        return BTreeSet::new();
    };
    if let Some(name) = text.literal() {
        return BTreeSet::from([name.to_owned()]);
    }
    let setting = text.lone_name().and_then(|name| name.strip_prefix("settings.").map(str::to_owned));
    let setting = setting.and_then(|name| top.get("settings")?.get(&name)?.get("enum"));
    setting.iter().flat_map(At::items).filter_map(|at| at.text().map(str::to_owned)).collect()
}

/// Every auth that is needed, directly or not.
fn reached(signs: &BTreeMap<&str, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut next: Vec<&String> = signs.get(from).into_iter().flatten().collect();
    while let Some(name) = next.pop() {
        if found.insert(name.clone()) {
            next.extend(signs.get(name.as_str()).into_iter().flatten());
        }
    }
    found
}

/// Every `auth:` that picks an auth by name.
fn auth_keys<'a>(top: &At<'a>) -> Vec<At<'a>> {
    let provision = top.get("provision");
    let resources = provision.as_ref().and_then(|at| at.get("resources"));
    let operations =
        resources.iter().flat_map(At::entries).flat_map(|(_, at)| at.entries().collect::<Vec<_>>());
    let calls = operations.flat_map(|(_, at)| at.one_or_many());
    let auths = top.get("auth");
    let inside = auths.iter().flat_map(At::entries).map(|(_, at)| at);
    let rules = top.get("receiver").and_then(|at| at.get("rules"));
    let runs = rules.iter().flat_map(At::items).filter_map(|rule| rule.get("run"));
    let verify = top.get("receiver").and_then(|at| at.get("verify"));
    provision
        .iter()
        .cloned()
        .chain(calls)
        .chain(inside)
        .chain(runs)
        .chain(verify)
        .filter_map(|at| at.get("auth"))
        .collect()
}
