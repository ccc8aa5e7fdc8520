//! Which cases a connector wants, worked out from its spec: what `forebay test` says where there are none.
//!
//! Called by `cli`. It looks at the connector alone and judges nothing.

use crate::connector::model::{Connector, Decode, OnReuse, Proof};
use crate::connector::record::Remember;

/// One kind of case, in words: what it shows.
pub fn wanting(connector: &Connector) -> Vec<String> {
    let mut wanted = Vec::new();
    for resource in connector.provision.iter().flat_map(|provision| &provision.resources) {
        let name = &resource.name;
        let mut add = |there: bool, what: &str| {
            if there {
                wanted.push(format!("`{name}` {what}"));
            }
        };
        add(!resource.create.is_empty(), "is not there and is created, kept at the next look, and deleted");
        add(resource.find.is_some(), "is there already and is adopted");
        add(!resource.update.is_empty(), "differs from what is desired and is updated");
        add(!resource.repair.is_empty(), "is unwell and is repaired");
        add(resource.renew.is_some(), "runs out and is renewed");
        add(!resource.create.is_empty(), "is refused by the vendor, with its own words");
    }
    let receiver = &connector.receiver;
    wanted.push("a good request, its reply and its records, byte for byte".to_owned());
    let checks = receiver.verify.checks();
    let signed = checks.iter().any(|check| !matches!(check.proof, Proof::Token { .. } | Proof::Basic { .. }));
    wanted.push(if signed {
        "a request with a wrong signature, one without any, and one whose body was changed: 401".to_owned()
    } else {
        "a request with a wrong key, and one without any: 401".to_owned()
    });
    if checks.iter().any(|check| check.proof.signed().is_some_and(|signed| signed.timestamp.is_some())) {
        wanted.push("a good request that is replayed when its time of signing is too old: 401".to_owned());
    }
    for rule in &receiver.rules {
        wanted.push(format!("the request of the rule `{}`, and its answer", rule.name));
    }
    wanted.push(match receiver.event.on_reuse {
        _ if receiver.event.with_id == Remember::Never => {
            "an event that comes twice: two records, since nothing is a duplicate".to_owned()
        }
        OnReuse::DeadLetter => {
            "an event that comes twice, and other bytes under its id: a dead letter".to_owned()
        }
        OnReuse::Drop | OnReuse::Deliver => "an event that comes twice: one record".to_owned(),
    });
    if !matches!(receiver.decode, Decode::Nothing(_)) {
        wanted.push(
            "a body that is broken, or a record that fails the schema: a dead letter, and the rest goes on"
                .to_owned(),
        );
    }
    wanted
}
