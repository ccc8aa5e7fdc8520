//! The secrets of an instance, known only to be found: what is shown or put into a URL is held against them.
//!
//! `caller` makes one per call. A mask is no list to print: it has no `Debug`.

use crate::connector::instance::Instance;

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
            self.values.push(Hidden { name: name.to_owned(), value: value.to_owned(), forms: forms(value) });
            // The longest first, so that a secret inside another does not leave the rest of it standing.
            self.values.sort_by_key(|known| std::cmp::Reverse(known.value.len()));
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
            .filter(|known| known.value.len() >= TELLING)
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
