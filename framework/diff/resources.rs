//! What we own at the vendor. What an instance knows of it stands in its state by the resource's name: a name that is
//! gone loses it, and what stays at the vendor is nobody's.

use super::finding::Findings;
use super::meant;
use crate::connector::model::{Connector, Provision, Resource, Step};
use crate::connector::template::{Condition, Tree, Vars};
use crate::docs::markdown::{code, joined};
use crate::docs::words;

/// Compares the vendor's side.
pub fn compare(old: &Connector, new: &Connector, found: &mut Findings) {
    match (&old.provision, &new.provision) {
        (None, None) => {}
        (None, Some(provision)) => begun(new, provision, found),
        (Some(provision), None) => {
            if !provision.resources.is_empty() {
                for resource in &provision.resources {
                    gone(resource, None, found);
                }
            }
        }
        (Some(a), Some(b)) => both((old, a), (new, b), found),
    }
}

fn begun(new: &Connector, provision: &Provision, found: &mut Findings) {
    if provision.resources.is_empty() {
        return;
    }
    let when = provision.when.as_ref().map(|when| format!(" when {}", words::condition(new, when)));
    found.look(
        "provision",
        format!("the stream is made by Forebay{}", when.unwrap_or_default()),
        "one that was made by hand stays beside it, unless `find` tells that it is the same",
    );
}

fn both((old, a): (&Connector, &Provision), (new, b): (&Connector, &Provision), found: &mut Findings) {
    if meant::part(&a.when, &old.vars) != meant::part(&b.when, &new.vars) {
        let said = |connector: &Connector, when: &Option<Condition>| {
            when.as_ref().map_or_else(
                || "always".to_owned(),
                |when| format!("when {}", words::condition(connector, when)),
            )
        };
        found.look(
            "provision.when",
            format!("the stream was made by Forebay {}, and is {}", said(old, &a.when), said(new, &b.when)),
            "an instance of which that does not hold any more leaves its stream at the vendor",
        );
    }
    for resource in &a.resources {
        match b.resources.iter().find(|other| other.name == resource.name) {
            Some(other) => changed((resource, &old.vars), (other, &new.vars), found),
            None => {
                let fresh = |other: &&Resource| a.resources.iter().all(|known| known.name != other.name);
                let same = |other: &&Resource| other.title == resource.title;
                let heir = b.resources.iter().filter(fresh).find(same);
                gone(resource, heir, found);
            }
        }
    }
    for resource in &b.resources {
        if a.resources.iter().all(|known| known.name != resource.name) {
            found.look(
                &resource.name,
                format!("the {} is made at the vendor", resource.title),
                "at the next start of every instance that provisions",
            );
        }
    }
    let order = |provision: &Provision, other: &Provision| -> Vec<String> {
        let shared = |resource: &&Resource| other.resources.iter().any(|known| known.name == resource.name);
        provision.resources.iter().filter(shared).map(|resource| resource.name.clone()).collect()
    };
    if order(a, b) != order(b, a) {
        found.look("provision.resources", "they are made in another order", "");
    }
}

fn gone(resource: &Resource, heir: Option<&Resource>, found: &mut Findings) {
    let meaning = match heir {
        Some(heir) => format!(
            "the state of it is lost: {} begins without one, and what was made stays at the vendor unless `find` \
             finds it; run `forebay destroy` with the old version first, or keep the name",
            code(&heir.name)
        ),
        None => "what was made stays at the vendor, and nobody looks after it or removes it: run `forebay destroy` \
                 with the old version first"
            .to_owned(),
    };
    found.breaks(&resource.name, format!("the resource {} is gone", code(&resource.title)), meaning);
}

fn changed((a, old): (&Resource, &Vars), (b, new): (&Resource, &Vars), found: &mut Findings) {
    desired((a, old), (b, new), found);
    let about = |what: &str| format!("{}.{what}", a.name);
    if a.singleton != b.singleton {
        let change =
            if b.singleton { "there is always one now" } else { "it is made now, and was always there" };
        found.breaks(
            about("singleton"),
            change,
            "what an instance knows of it does not fit: destroy it with the old version first",
        );
    }
    if meant::part(&a.when, old) != meant::part(&b.when, new) {
        found.look(
            about("when"),
            "when there is one at all is decided otherwise",
            "an instance of which that does not hold leaves it at the vendor",
        );
    }
    if let (Some(x), Some(y)) = (&a.find, &b.find)
        && (meant::part(&x.condition, old), &x.items) != (meant::part(&y.condition, new), &y.items)
    {
        found.look(
            about("find"),
            "which one is ours is told otherwise",
            "an instance that starts anew may adopt another one, or make a second",
        );
    }
    if (&a.immutable, &a.write_only) != (&b.immutable, &b.write_only) {
        found.look(about("desired"), "what an update can change, or the vendor shows, is said otherwise", "");
    }
    saved(a, b, found);
    steps((a, old), (b, new), found);
    kept((a, old), (b, new), found);
}

/// When the steps of an operation are taken, and what they wait for; their calls are compared with all the others.
fn steps((a, old): (&Resource, &Vars), (b, new): (&Resource, &Vars), found: &mut Findings) {
    let forms = |steps: &[Step], vars: &Vars| -> Vec<String> {
        steps.iter().map(|step| meant::part(&(&step.when, &step.until), vars)).collect()
    };
    let pairs = [
        ("create", &a.create, &b.create),
        ("adopt", &a.adopt, &b.adopt),
        ("update", &a.update, &b.update),
        ("repair", &a.repair, &b.repair),
        ("delete", &a.delete, &b.delete),
    ];
    for (what, was, is) in pairs {
        if was.len() == is.len() && forms(was, old) != forms(is, new) {
            let change = "when a step is taken, or what it waits for, is decided otherwise";
            found.look(format!("{}.{what}", a.name), change, "");
        }
    }
}

/// How it should be: what differs is written to the vendor at the next look.
fn desired((a, old): (&Resource, &Vars), (b, new): (&Resource, &Vars), found: &mut Findings) {
    let mut places = Vec::new();
    differing("", (&a.desired, old), (&b.desired, new), &mut places);
    for place in places {
        let fixed = b.update.is_empty()
            || b.immutable.iter().any(|pointer| {
                let pointer = pointer.to_string();
                place == pointer || place.starts_with(&format!("{pointer}/"))
            });
        let meaning = match (fixed, b.singleton || b.create.is_empty()) {
            (false, _) => {
                "every instance that provisions updates it at its next look; one made by hand has to be changed by hand"
            }
            (true, false) => {
                "no update can change that: every instance that provisions makes a new one and removes the old one"
            }
            (true, true) => "nothing in the spec can change that: it stays as it is",
        };
        let place = if place.is_empty() { String::new() } else { format!(" at {}", code(&place)) };
        found.look(format!("{}.desired", a.name), format!("it should be otherwise{place}"), meaning);
    }
}

/// The places at which data differ, the outermost that say it.
fn differing(place: &str, (a, old): (&Tree, &Vars), (b, new): (&Tree, &Vars), places: &mut Vec<String>) {
    match (a, b) {
        (Tree::Map(before), Tree::Map(after)) => {
            let below = |key: &str| format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
            for (key, value) in before {
                match after.iter().find(|(other, _)| other == key) {
                    Some((_, other)) => differing(&below(key), (value, old), (other, new), places),
                    None => places.push(below(key)),
                }
            }
            let known = |key: &str| before.iter().any(|(other, _)| other == key);
            places.extend(after.iter().filter(|(key, _)| !known(key)).map(|(key, _)| below(key)));
        }
        (_, _) if meant::tree(a, old) != meant::tree(b, new) => places.push(place.to_owned()),
        (_, _) => {}
    }
}

/// What is known of it by name.
fn saved(a: &Resource, b: &Resource, found: &mut Findings) {
    let names = |resource: &Resource| -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let found = resource.find.iter().flat_map(|find| &find.save);
        let calls = resource.operations();
        for (name, _) in calls.iter().flat_map(|(_, call)| &call.save).chain(found) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    };
    let (before, after) = (names(a), names(b));
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these
            .iter()
            .filter(|name| !those.contains(name))
            .map(|name| code(&format!("state.{}.{name}", a.name)))
            .collect()
    };
    let (gone, come) = (only(&before, &after), only(&after, &before));
    if !gone.is_empty() {
        found.safe(format!("{}.save", a.name), format!("{} is not kept any more", joined(&gone, "and")));
    }
    if !come.is_empty() {
        found.look(
            format!("{}.save", a.name),
            format!("{} is kept too", joined(&come, "and")),
            "an instance that has one already does not know it until a call saves it",
        );
    }
}

/// How it is looked after.
fn kept((a, old): (&Resource, &Vars), (b, new): (&Resource, &Vars), found: &mut Findings) {
    let about = |what: &str| format!("{}.{what}", a.name);
    match (&a.check, &b.check) {
        (Some(_), None) => found.look(
            about("check"),
            "it is looked at no more",
            "what happens to it at the vendor stays unseen",
        ),
        (None, Some(check)) => found.look(
            about("check"),
            format!("it is looked at every {}", words::duration(check.every)),
            "one that was changed at the vendor is put right",
        ),
        (Some(x), Some(y)) => {
            if x.every != y.every {
                let (was, is) = (words::duration(x.every), words::duration(y.every));
                found.safe(about("check"), format!("it was looked at every {was}, and is every {is}"));
            }
            let told = |check: &crate::connector::model::Check, vars: &Vars| {
                (meant::part(&check.healthy, vars), meant::part(&check.gone, vars), check.current.clone())
            };
            if told(x, old) != told(y, new) {
                found.look(about("check"), "whether it is well, or gone, is told otherwise", "");
            }
        }
        (None, None) => {}
    }
    match (&a.renew, &b.renew) {
        (Some(_), None) => found.breaks(
            about("renew"),
            "it is not renewed any more",
            "where it runs out at the vendor, the stream ends",
        ),
        (None, Some(_)) => found.look(about("renew"), "it is renewed before it runs out", ""),
        (Some(x), Some(y)) if x.due != y.due => {
            found.look(about("renew"), "it is renewed at another time", "")
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    for (what, was, is, meaning) in [
        ("delete", !a.delete.is_empty(), !b.delete.is_empty(), "`forebay destroy` leaves it at the vendor"),
        ("repair", !a.repair.is_empty(), !b.repair.is_empty(), "one that the vendor suspends stays so"),
        ("create", !a.create.is_empty(), !b.create.is_empty(), "one that is gone is not made anew"),
    ] {
        if was && !is {
            found.look(about(what), format!("the spec has no `{what}` for it any more"), meaning);
        }
    }
}
