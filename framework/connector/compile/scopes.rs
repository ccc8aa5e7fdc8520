//! Permissions: what the calls take, held against what the auths ask for.

use std::collections::BTreeMap;

use super::at::At;
use super::compiler::Compiler;
use crate::connector::template::Text;
use crate::spec::mistake::{Code, Mistake, Place};

impl Compiler {
    /// Every call lists what it takes where others do, and an auth asks for that and no more.
    pub fn scopes(&mut self, top: &At<'_>) {
        let calls = provisioning(top);
        let listing: Vec<&At<'_>> = calls.iter().filter(|call| call.has("scope")).collect();
        let Some(first) = listing.first().and_then(|call| call.get("scope")) else { return };
        let silent: Vec<At<'_>> =
            calls.iter().filter(|call| !call.has("scope")).filter_map(|call| call.get("call")).collect();
        if let Some((line, others)) = silent.split_first() {
            let mut mistake = Mistake::new(
                Code::Scopes,
                Place::value(&line.path),
                "other calls list their permission, and this does not",
            )
            .help("add `scope:`: who grants permissions reads them from the page, and makes no calls")
            .related(Place::value(&first.path), "here it is listed");
            for other in others {
                mistake = mistake.related(Place::value(&other.path), "nor does this");
            }
            self.report(mistake);
        }
        let shared = top.get("provision").and_then(|at| at.get("auth"));
        for (name, auth) in top.get("auth").iter().flat_map(At::entries) {
            let Some(asked) = auth.get("params").and_then(|params| params.get("scope")) else { continue };
            let Some(text) = asked.text().and_then(|text| Text::compile(text).ok()) else { continue };
            let Some(list) = text.literal() else { continue };
            let mut needed: BTreeMap<&str, At<'_>> = BTreeMap::new();
            for call in &listing {
                let signer = call.get("auth").or_else(|| shared.clone());
                if signer.as_ref().is_some_and(|signer| may_choose(signer, name))
                    && let Some(scope) = call.get("scope")
                {
                    scope.text().into_iter().flat_map(words).for_each(|word| {
                        needed.entry(word).or_insert_with(|| scope.clone());
                    });
                }
            }
            self.asked(&asked, list, &needed);
        }
    }

    fn asked(&mut self, asked: &At<'_>, list: &str, needed: &BTreeMap<&str, At<'_>>) {
        // The application's own grants stand for a list that nobody sees here.
        if needed.is_empty() || words(list).any(|word| word.ends_with("/.default")) {
            return;
        }
        for word in words(list).filter(|word| !needed.contains_key(word)) {
            let at = asked.text().and_then(|text| text.find(word)).unwrap_or_default();
            self.report(
                Mistake::new(
                    Code::Scopes,
                    Place::within(&asked.path, at..at + word.len()),
                    format!("the permission `{word}` is asked for, and no call needs it"),
                )
                .help("ask for the least: leave it out, or name it as the `scope` of the call that takes it"),
            );
        }
        for (word, at) in needed.iter().filter(|(word, _)| !words(list).any(|asked| asked == **word)) {
            self.report(
                Mistake::new(
                    Code::Scopes,
                    Place::value(&at.path),
                    format!("this call needs `{word}`, which is not asked for"),
                )
                .help(format!("add it to the `scope` of the auth: {list} {word}"))
                .related(Place::value(&asked.path), "what is asked for"),
            );
        }
    }
}

/// The permissions in a list.
fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([' ', ',']).filter(|word| !word.is_empty())
}

/// Whether an `auth:` may stand for the auth of this name.
fn may_choose(at: &At<'_>, name: &str) -> bool {
    let text = at.text().and_then(|source| Text::compile(source).ok());
    text.is_some_and(|text| text.literal().is_none_or(|fixed| fixed == name))
}

/// The calls of all resources.
fn provisioning<'a>(top: &At<'a>) -> Vec<At<'a>> {
    let resources = top.get("provision").and_then(|at| at.get("resources"));
    let resources = resources.iter().flat_map(At::entries);
    let operations = resources.flat_map(|(_, resource)| resource.entries().collect::<Vec<_>>());
    operations.flat_map(|(_, at)| at.one_or_many()).filter(|at| at.has("call")).collect()
}
