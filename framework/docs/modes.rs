//! The modes of a connector: who makes the stream, and what Forebay does about it by itself.

use super::markdown::{code, joined, list};
use super::words;
use crate::connector::model::{Connector, Provision, Resource};

/// The part of the page.
pub fn body(connector: &Connector) -> String {
    let vendor = &connector.vendor;
    let by_hand = format!("a person makes the stream at {vendor}, and Forebay receives what is posted");
    match &connector.provision {
        Some(provision) if !provision.resources.is_empty() => match &provision.when {
            Some(when) => list([
                format!("When {}: {}", words::condition(connector, when), kept(provision)),
                format!("Else: {by_hand}."),
            ]),
            None => format!("There is one: {}\n", kept(provision)),
        },
        Some(_) | None => format!("There is one: {by_hand}.\n"),
    }
}

/// What Forebay does about all that it owns at the vendor.
fn kept(provision: &Provision) -> String {
    let each: Vec<String> = provision.resources.iter().map(life).collect();
    format!("Forebay {}.", each.join("; it "))
}

/// What it does about one of them, in the order of its life.
fn life(resource: &Resource) -> String {
    let mut deeds = Vec::new();
    let title = &resource.title;
    match (resource.singleton, resource.find.is_some(), resource.create.is_empty()) {
        (true, _, _) if resource.update.is_empty() => deeds.push(format!("looks up the {title}")),
        (true, _, _) => deeds.push(format!("sets up the {title}")),
        (false, true, false) => {
            deeds.push(format!("looks for the {title}, and makes one where there is none"))
        }
        (false, true, true) => deeds.push(format!("looks for the {title}")),
        (false, false, _) => deeds.push(format!("makes the {title}")),
    }
    if let Some(check) = &resource.check {
        deeds.push(format!("looks at it every {}", words::duration(check.every)));
    }
    if !resource.update.is_empty() {
        deeds.push("mends what differs".to_owned());
    } else if !resource.singleton && resource.check.is_some() {
        deeds.push("makes a new one where it differs".to_owned());
    }
    if !resource.repair.is_empty() {
        deeds.push("repairs it where it is not well".to_owned());
    }
    if resource.renew.is_some() {
        deeds.push("renews it before it runs out".to_owned());
    }
    if !resource.delete.is_empty() {
        deeds.push(format!("removes it on {}", code("forebay destroy")));
    }
    joined(&deeds, "and")
}
