//! The secrets of an instance, known only to be found: what is shown or put into a URL is held against them.
//!
//! `caller` makes one per call. A mask is no list to print: it has no `Debug`.

use serde_json::Value as Json;

use crate::connector::instance::Instance;
use crate::connector::model::Connector;
use crate::connector::template::Scope;

/// What stands where a secret stood.
pub const MASK: &str = "****";

/// Shorter values are not looked for in a URL: they would be found everywhere.
const TELLING: usize = 8;

/// The values that must not be seen.
#[derive(Clone, Default)]
pub struct Mask {
    values: Vec<Hidden>,
}

/// One of them.
#[derive(Clone)]
struct Hidden {
    name: String,
    value: String,
    /// The vendor told it; it may be an id.
    saved: bool,
    /// The value as it can stand in a URL, itself first.
    forms: Vec<String>,
}

impl Mask {
    /// Every live secret of an instance, also the one before a change.
    pub fn of(instance: &Instance) -> Self {
        let mut mask = Self::default();
        let secrets = match instance.secrets.read() {
            Ok(secrets) => secrets.clone(),
            // A writer that panicked leaves whole values behind: they are still the secrets.
            Err(poisoned) => poisoned.into_inner().clone(),
        };
        for (name, secret) in secrets.iter() {
            mask.add(name, secret.current.expose());
            if let Some(previous) = &secret.previous {
                mask.add(name, previous.expose());
            }
        }
        mask
    }

    /// One value more, and what people call it.
    pub fn add(&mut self, name: &str, value: &str) {
        if !value.is_empty() && !self.values.iter().any(|known| known.value == value) {
            self.values.push(Hidden {
                name: name.to_owned(),
                value: value.to_owned(),
                saved: false,
                forms: forms(value),
            });
            // The longest first, so that a secret inside another does not leave the rest of it standing.
            self.values.sort_by_key(|known| std::cmp::Reverse(known.value.len()));
        }
    }

    /// What the vendor told once, when something was made, may be a secret of its own: a key that it signs with.
    /// Ids that stand in URLs may be among it, so that nothing is refused for holding one.
    pub fn add_saved(&mut self, connector: &Connector, scope: &Scope) {
        let resources = connector.provision.iter().flat_map(|provision| &provision.resources);
        for resource in resources.filter(|resource| !resource.told_once.is_empty()) {
            let Some(state) = scope.value_of("state") else { return };
            for name in &resource.told_once {
                let value = state.get(&resource.name).and_then(|saved| saved.get(name));
                if let Some(value) = value.and_then(Json::as_str).filter(|text| text.len() >= TELLING) {
                    self.add(name, value);
                    self.values
                        .iter_mut()
                        .filter(|known| known.value == value)
                        .for_each(|known| known.saved = true);
                }
            }
        }
    }

    /// The text with every secret in it replaced, also where it stands percent-encoded.
    pub fn hide(&self, text: &str) -> String {
        let forms = self.values.iter().flat_map(|known| &known.forms);
        forms.fold(text.to_owned(), |text, form| text.replace(form, MASK))
    }

    /// Whether a value holds a secret.
    pub fn holds(&self, text: &str) -> bool {
        self.values.iter().any(|known| text.contains(&known.value))
    }

    /// The name of a secret that stands in a URL, as it is or percent-encoded.
    pub fn found_in_url(&self, url: &str) -> Option<&str> {
        self.values
            .iter()
            .filter(|known| known.value.len() >= TELLING && !known.saved)
            .find(|known| known.forms.iter().any(|form| url.contains(form)))
            .map(|known| known.name.as_str())
    }
}

/// A value as it is, in a form or query, with `%20` for a blank, and in a path.
fn forms(value: &str) -> Vec<String> {
    let form: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let mut forms = vec![value.to_owned(), form.replace('+', "%20"), form];
    if let Ok(mut url) = url::Url::parse("https://host/") {
        url.set_path(value);
        forms.push(url.path().trim_start_matches('/').to_owned());
        url.set_query(Some(value));
        forms.extend(url.query().map(str::to_owned));
    }
    forms.retain(|form| !form.is_empty());
    forms.dedup();
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        let mut mask = Mask::default();
        mask.add("key", "p@ss word/ü+1");
        for written in [
            "p@ss word/ü+1",
            "p%40ss+word%2F%C3%BC%2B1",
            "p%40ss%20word%2F%C3%BC%2B1",
            "p@ss%20word/%C3%BC+1",
        ] {
            assert_eq!(mask.hide(&format!("a {written} b")), "a **** b", "{written}");
            assert_eq!(mask.found_in_url(&format!("https://h/{written}")), Some("key"), "{written}");
        }
        assert_eq!(mask.found_in_url("https://h/"), None);
    }

    #[test]
    fn a_short_secret_is_hidden_but_not_looked_for_in_urls() {
        let mut mask = Mask::default();
        mask.add("pin", "api");
        mask.add("nothing", "");
        assert_eq!(mask.found_in_url("https://h/api"), None);
        assert_eq!(mask.hide("no api"), "no ****");
    }
}
