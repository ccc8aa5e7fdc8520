//! Which secrets of a connector verify requests: those have values that are accepted side by side while they change.

use std::collections::BTreeSet;

use super::model::Connector;

impl Connector {
    /// Returns the names of the secrets that the receiver's `verify` uses, in its own texts or by way of vars.
    pub fn verifying_secrets(&self) -> BTreeSet<String> {
        let mut names: Vec<String> = Vec::new();
        for check in self.receiver.verify.checks() {
            let signed = check.proof.signed().into_iter().flat_map(|signed| &signed.messages);
            names.extend(check.proof.key_texts().into_iter().chain(signed).flat_map(|text| text.names()));
            names.extend(check.require.iter().flat_map(|condition| condition.names()));
        }
        if names.iter().any(|name| name.starts_with("vars")) {
            names.extend(self.vars.iter().flat_map(|(_, text)| text.names()));
        }
        let secrets = names.iter().filter_map(|name| name.strip_prefix("secrets."));
        let names = secrets.filter_map(|rest| rest.split(['.', '[']).next());
        names.map(str::to_owned).collect()
    }
}
