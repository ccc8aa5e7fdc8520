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
/// Characters from which on a secret is masked wherever it is found. A shorter one is masked where it is a word of its
/// own: masked inside words it would make text unreadable, and each mask would show where its letters are.
pub const MASKED_ANYWHERE: usize = 6;

/// Returns the text of a URL, well formed or not, with everything between its scheme and the last `@` masked.
pub fn without_user(text: &str) -> String {
    let (scheme, rest) = match text.find("://") {
        Some(at) => text.split_at(at + 3),
        None => ("", text),
    };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}{MASK}@{host}"),
        None => text.to_owned(),
    }
}

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
    /// Every value of every secret of an instance, also those before a change.
    pub fn of(instance: &Instance) -> Self {
        let mut mask = Self::default();
        for (name, secret) in instance.live().iter() {
            secret.accepted().for_each(|value| mask.add(name, value.expose()));
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
        forms.fold(text.to_owned(), |text, form| {
            if form.chars().count() < MASKED_ANYWHERE {
                hide_word(&text, form)
            } else {
                text.replace(form, MASK)
            }
        })
    }

    /// Whether a value holds a secret.
    pub fn holds(&self, text: &str) -> bool {
        self.values.iter().any(|known| {
            let short = known.value.chars().count() < MASKED_ANYWHERE;
            if short { hide_word(text, &known.value) != text } else { text.contains(&known.value) }
        })
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

/// The text with a short value masked where neither a letter nor a digit stands right before or after it.
fn hide_word(text: &str, value: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let ends_word = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    while let Some(at) = rest.find(value) {
        let (before, found) = rest.split_at(at);
        let after = found.get(value.len()..).unwrap_or_default();
        out.push_str(before);
        if ends_word(out.chars().next_back()) && ends_word(after.chars().next()) {
            out.push_str(MASK);
        } else {
            out.push_str(value);
        }
        rest = after;
    }
    out.push_str(rest);
    out
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

    #[test]
    fn url_is_shown_without_its_user_however_broken() {
        for (text, shown) in [
            ("http://user:pa55word@127.0.0.1:99999", "http://****@127.0.0.1:99999"),
            ("socks5://user:pa55word@h", "socks5://****@h"),
            ("user:pa55word@h:3128", "****@h:3128"),
            ("http://user:pa55@wo/rd@h:1", "http://****@h:1"),
            ("http://h:3128", "http://h:3128"),
        ] {
            assert_eq!(without_user(text), shown);
        }
    }

    #[test]
    fn short_secret_is_masked_as_a_word_and_never_inside_one() {
        let mut mask = Mask::default();
        mask.add("client_id", "x");
        mask.add("pin", "1234");
        for (text, masked) in [
            ("acme.us.vendor.example", "acme.us.vendor.example"),
            ("x: fix", "****: fix"),
            ("id=x&pin=1234", "id=****&pin=****"),
            ("at 12345 or 1234", "at 12345 or ****"),
            ("xx x", "xx ****"),
        ] {
            assert_eq!(mask.hide(text), masked);
        }
        assert!(mask.holds("x") && !mask.holds("example"));
        mask.add("key", "longer");
        assert_eq!(mask.hide("prolonger"), "pro****");
    }
}
