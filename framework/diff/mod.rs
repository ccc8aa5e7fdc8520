//! What a change of a connector means for the instances that run with the old version.
//!
//! Two versions are compared as meant: what an instance is given, what is sent, what is taken, what a sink gets. How
//! the text differs says nothing. `cli` reads the two and prints what was found; nothing here reads or writes a file.

mod calls;
mod finding;
mod given;
mod meant;
mod output;
mod places;
mod ranges;
mod receiver;
pub mod render;
mod resources;
mod verification;

pub use finding::{Effect, Finding};

use crate::connector::model::Connector;
use crate::docs::markdown::{code, joined};
use finding::Findings;

/// Compares two versions of a connector; `None` is one that is not there. What matters most comes first.
pub fn diff(old: Option<&Connector>, new: Option<&Connector>) -> Vec<Finding> {
    let mut found = Findings::default();
    match (old, new) {
        (None, None) => {}
        (None, Some(connector)) => begun(connector, &mut found),
        (Some(_), None) => found.breaks(
            "the connector",
            "it is gone",
            "its instances cannot start: run `forebay destroy` with the old version first",
        ),
        (Some(old), Some(new)) => both(old, new, &mut found),
    }
    let mut found = found.0;
    found.sort_by_key(|finding| finding.effect);
    found
}

/// A connector that was not there: nothing breaks, and who reviews it sees what it will do.
fn begun(connector: &Connector, found: &mut Findings) {
    found.safe("the connector", "it is new");
    let scopes = connector.provision.as_ref().map(crate::provision::scopes::scopes).unwrap_or_default();
    let scopes: Vec<String> = scopes.into_iter().map(code).collect();
    if !scopes.is_empty() {
        found.safe("permissions", format!("its calls need {}", joined(&scopes, "and")));
    }
    let hosts: Vec<String> = connector.hosts.iter().map(|host| code(host)).collect();
    if !hosts.is_empty() {
        found.safe("hosts", format!("its calls go to {}", joined(&hosts, "and")));
    }
    let secrets: Vec<String> = connector.secrets.iter().map(|secret| code(&secret.name)).collect();
    if !secrets.is_empty() {
        found.safe("secrets", format!("it takes {}", joined(&secrets, "and")));
    }
}

fn both(old: &Connector, new: &Connector, found: &mut Findings) {
    if old.name != new.name {
        found.breaks(
            "name",
            format!("it was {}, and is {}", code(&old.name), code(&new.name)),
            "an instance without an id of its own has another id, and with it another address and an empty state: give \
             `--id` with the old name",
        );
    }
    given::settings(old, new, found);
    given::secrets(old, new, found);
    calls::compare(old, new, found);
    resources::compare(old, new, found);
    receiver::compare(old, new, found);
    verification::compare(old, new, found);
    output::compare(old, new, found);
    places::compare(old, new, found);
}
