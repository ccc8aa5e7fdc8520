//! What goes out: URLs and their hosts, queries, headers, statuses as keys.

use std::ops::Range;

use super::at::At;
use super::check::secret_in_url;
use super::compiler::Compiler;
use super::names::Here;
use crate::connector::template::Text;
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::path::Path;

impl Compiler {
    /// A URL that stands alone.
    pub fn url(&mut self, at: &At<'_>, here: Here, secret_allowed: bool) -> Option<Text> {
        self.url_within(at, 0, here, secret_allowed)
    }

    /// A URL that begins at a byte of a text: `POST https://…`.
    pub fn url_within(
        &mut self,
        at: &At<'_>,
        start: usize,
        here: Here,
        secret_allowed: bool,
    ) -> Option<Text> {
        let text = self.text_within(at, start, here)?;
        if !secret_allowed {
            self.no_secret(at, start, &text, "a URL");
        }
        let source = text.source();
        let (beginning, var) = self.beginning(source);
        if let Some((message, help)) = wrong_url(&beginning, text.literal().is_some()) {
            // What a var says is the var's mistake, once, wherever it is used.
            let place = match var {
                Some(var) => Place::value(&Path(vec!["vars".to_owned(), var])),
                None => Place::within(&at.path, start..start + source.len()),
            };
            self.report(Mistake::new(Code::BadUrl, place, message).help(help));
        }
        Some(text)
    }

    /// What a URL begins with, as far as it is fixed, and the var that says so: vars at its beginning are
    /// followed.
    fn beginning(&self, source: &str) -> (String, Option<String>) {
        let mut source = source.to_owned();
        let mut by = None;
        for _ in 0..8 {
            let Some(rest) = source.strip_prefix("{{") else { break };
            let Some((name, after)) = rest.split_once("}}") else { break };
            let Some(var) = name.trim().strip_prefix("vars.") else { break };
            let Some(text) = self.defined.var_texts.get(var) else { break };
            by = Some(var.to_owned());
            source = format!("{text}{after}");
        }
        match source.find("{{").or_else(|| source.find("{%")) {
            Some(end) => (source[..end].to_owned(), by),
            None => (source, by),
        }
    }

    /// Reports a secret that a text in a URL would show, also one that a var brings.
    fn no_secret(&mut self, at: &At<'_>, start: usize, text: &Text, what: &str) {
        for (name, by) in self.defined.through_vars(&text.names()) {
            if !name.starts_with("secrets.") && !name.starts_with("auth.") {
                continue;
            }
            let shown = by.map_or_else(|| name.clone(), |var| format!("vars.{var}"));
            let bytes = at.text().and_then(|source| place_in(source, start, &shown));
            let place = bytes.map_or_else(|| Place::value(&at.path), |bytes| Place::within(&at.path, bytes));
            let way = self.defined.way(&text.names(), &name);
            let what = if way.len() > 1 { format!("{what}: {}", way.join(" → ")) } else { what.to_owned() };
            let mistake = secret_in_url(&name, place, &what);
            let var = way.get(1).and_then(|var| self.defined.places.get(var));
            self.report(match var {
                Some(var) => mistake.related(Place::value(var), "it is brought along here"),
                None => mistake,
            });
        }
    }

    /// The parameters of a query.
    pub fn query(&mut self, at: &At<'_>, here: Here, secret_allowed: bool) -> Vec<(String, Text)> {
        at.entries()
            .filter_map(|(name, at)| {
                let text = self.text(&at, here)?;
                if !secret_allowed {
                    self.no_secret(&at, 0, &text, "the query of a URL");
                }
                Some((name.to_owned(), text))
            })
            .collect()
    }

    /// Headers by name.
    pub fn headers(&mut self, at: &At<'_>, here: Here) -> Vec<(String, Text)> {
        for (name, at) in at.entries() {
            self.header_key(name, &at);
        }
        self.texts(at, here)
    }

    fn header_key(&mut self, name: &str, at: &At<'_>) {
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            self.report(bad_header(name, Place::key(&at.path)));
        } else if let Some(text) = at.text()
            && text.contains(['\n', '\r'])
        {
            self.report(
                Mistake::new(Code::BadHeader, Place::value(&at.path), "a header has one line")
                    .help("write the value on one line, without `|` or `>`"),
            );
        }
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

/// A name that HTTP does not take for a header.
pub fn bad_header(name: &str, place: Place) -> Mistake {
    let shown = crate::error::escaped(name, 60);
    Mistake::new(Code::BadHeader, place, format!("`{shown}` cannot be the name of a header"))
        .help("letters, digits and `-`, without a colon: X-Api-Key")
}

/// What keeps a URL with this fixed beginning from being called.
fn wrong_url(beginning: &str, complete: bool) -> Option<(String, &'static str)> {
    const HTTPS: &str = "every call goes over https; plain http is for loopback addresses alone";
    if beginning.is_empty() {
        // It begins with a value; the call itself checks what comes of it.
        return complete.then(|| {
            ("there is no URL".to_owned(), "write METHOD and URL: GET https://api.example.com/hooks")
        });
    }
    let Some((scheme, rest)) = beginning.split_once("://") else {
        return Some((
            "a URL begins with `https://`".to_owned(),
            "write the whole URL, or let it begin with a var or a setting: {{ vars.api }}/hooks",
        ));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match scheme.to_ascii_lowercase().as_str() {
        "https" => {}
        "http" if is_loopback(authority) => {}
        other => return Some((format!("`{other}://` cannot be called"), HTTPS)),
    }
    if authority.contains('@') {
        return Some(("a URL with a user name in it".to_owned(), "use an auth of the kind `basic`"));
    }
    if beginning.contains('#') {
        return Some((
            "a URL with a fragment".to_owned(),
            "`#` and what follows is never sent: leave it out, or write %23",
        ));
    }
    if complete && url::Url::parse(beginning).is_err() {
        return Some((format!("`{beginning}` is no URL"), "write https://HOST/PATH"));
    }
    None
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Where a name stands in a text.
fn place_in(source: &str, start: usize, name: &str) -> Option<Range<usize>> {
    source.get(start..)?.find(name).map(|at| start + at..start + at + name.len())
}
