//! Places that settings decide: a header, a pointer. What stands there is compared with the settings' defaults elsewhere;
//! here it is told what becomes of an instance that gives another value.

use std::collections::BTreeSet;

use super::finding::Findings;
use crate::connector::model::{BySetting, Connector};
use crate::docs::markdown::{code, joined};

/// Compares which setting decides which place. A setting that is gone has been told.
pub fn compare(old: &Connector, new: &Connector, found: &mut Findings) {
    let keys = |connector: &Connector| -> BTreeSet<String> {
        connector.by_settings.iter().map(|one| one.key.clone()).collect()
    };
    for key in keys(old).union(&keys(new)) {
        let (was, is) = (settings(old, key), settings(new, key));
        let gone: Vec<String> =
            was.difference(&is).filter(|name| defines(new, name)).map(|name| code(name)).collect();
        let came: Vec<String> = is.difference(&was).map(|name| code(name)).collect();
        if !gone.is_empty() {
            let now =
                if came.is_empty() { String::new() } else { format!(", and {} does", joined(&came, "and")) };
            found.breaks(
                key.as_str(),
                format!("the setting {} does not decide any more where it stands{now}", joined(&gone, "and")),
                "an instance that gives another value than the default looks for it elsewhere from now on",
            );
        } else if !came.is_empty() {
            found.safe(
                key.as_str(),
                format!("where it stands can be said, by the setting {}", joined(&came, "and")),
            );
        }
    }
}

/// The settings that decide the places under a key.
fn settings<'a>(connector: &'a Connector, key: &str) -> BTreeSet<&'a str> {
    let under = |one: &&BySetting| one.key == key;
    connector.by_settings.iter().filter(under).map(|one| one.setting.as_str()).collect()
}

fn defines(connector: &Connector, name: &str) -> bool {
    connector.settings.iter().any(|setting| setting.name == name)
}
