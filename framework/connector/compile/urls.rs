//! What stands on the wire by name: URLs, queries, headers, statuses as keys.

use super::names::Here;
use super::reader::{At, Compiler};
use crate::connector::template::Text;
use crate::spec::mistake::{Code, Mistake, Place};

impl Compiler {
    /// A URL that stands alone.
    pub fn url(&mut self, at: &At<'_>, here: Here, secret_in_url: bool) -> Option<Text> {
        self.url_within(at, 0, here, secret_in_url)
    }

    /// A URL that begins at a byte of a text: `POST https://…`.
    pub fn url_within(
        &mut self,
        at: &At<'_>,
        start: usize,
        _here: Here,
        _secret_in_url: bool,
    ) -> Option<Text> {
        let source = at.text()?.get(start..)?;
        Text::compile(source)
            .map_err(|e| {
                self.report(Mistake::new(Code::TemplateSyntax, Place::value(&at.path), e.to_string()))
            })
            .ok()
    }

    /// The parameters of a query.
    pub fn query(&mut self, at: &At<'_>, here: Here, _secret_in_url: bool) -> Vec<(String, Text)> {
        self.texts(at, here)
    }

    /// Headers by name.
    pub fn headers(&mut self, at: &At<'_>, here: Here) -> Vec<(String, Text)> {
        for (name, at) in at.entries() {
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                let message = format!("`{name}` cannot be the name of a header");
                self.report(
                    Mistake::new(Code::BadHeader, Place::key(&at.path), message)
                        .help("letters, digits and `-`: X-Api-Key"),
                );
            }
        }
        self.texts(at, here)
    }

    /// A status that stands as a key.
    pub fn status_key(&mut self, at: &At<'_>, key: &str) -> Option<u16> {
        let status = key.parse::<u16>().ok().filter(|n| (100..600).contains(n));
        if status.is_none() {
            self.report(
                Mistake::new(Code::BadStatus, Place::key(&at.path), format!("`{key}` is no HTTP status"))
                    .help("a status is a number from 100 to 599"),
            );
        }
        status
    }
}
