//! Keys: named by the spec, or fetched.

use std::time::Duration;

use super::super::at::At;
use super::super::compiler::Compiler;
use super::super::names::Here;
use super::names;
use crate::connector::certificates::Issuers;
use crate::connector::model::{CertificateRules, KeyEncoding, KeyFormat, KeySource, KeyTexts, KeyUrl};
use crate::connector::template::{Beside, Text};
use crate::spec::mistake::{Code, Mistake, Place};

/// How long what was fetched is taken as it is, where the spec does not say.
const CACHE: Duration = Duration::from_secs(3600);

impl Compiler {
    /// Keys that sender and receiver share.
    pub(super) fn shared_keys(&mut self, at: &At<'_>) -> Option<KeyTexts> {
        let texts = self.guardings(at.get("key"))?;
        Some(key_texts(at, texts))
    }

    /// Public keys: they need not be hidden, and the request has no say in them.
    pub(super) fn public_keys(&mut self, at: &At<'_>) -> Option<KeyTexts> {
        let all = at.get("key")?.one_or_many();
        let mut texts = Vec::new();
        for at in &all {
            let text = self.text(at, Here::Request)?;
            self.not_by_request(at, &text, "key");
            texts.push(text);
        }
        Some(key_texts(at, texts))
    }

    /// Where public keys are fetched, `only` where the URL is that.
    pub(super) fn key_url(&mut self, at: &At<'_>) -> Option<KeySource> {
        let url = at.get("url").and_then(|at| self.url(&at, Here::Request, false));
        self.regex(at, "only");
        let source = at.text_of("only");
        let only = source.and_then(|only| regex::Regex::new(&format!("^(?:{only})$")).ok());
        if let (Some(source), Some(_)) = (source, &only) {
            self.pins_key(at, source);
        }
        let host = match at.get("host") {
            None => None,
            Some(at) => {
                let host = self.text(&at, Here::Request)?;
                self.not_by_request(&at, &host, "host");
                Some(host)
            }
        };
        let certificate = match at.get("certificate") {
            None => None,
            Some(at) => Some(self.certificate(&at)?),
        };
        let cache = at.get("cache").and_then(|at| self.duration(&at)).unwrap_or(CACHE);
        Some(KeySource::Fetched(KeyUrl { url: url?, only: Some(only?), host, cache, certificate }))
    }

    /// Whether `only` says whose server it is and where on it, and nothing a request may add to that.
    fn pins_key(&mut self, at: &At<'_>, source: &str) {
        let place = Place::value(&at.path.join("only"));
        if !pins_host(source) {
            self.report(
                Mistake::new(
                    Code::OpenDoor,
                    place.clone(),
                    "this takes a key from anybody's server: whoever can name the key's URL signs as the vendor",
                )
                .help("write the host out, https://keys\\.example\\.com/certs/[a-z0-9]+\\.pem: only the part before it may vary, and not by `.*`"),
            );
        }
        if admits_query(source) {
            self.report(
                Mistake::new(
                    Code::OpenDoor,
                    place,
                    "this takes a URL with a query: an API of the vendor's that repeats what it is asked for would serve any key",
                )
                .help("say which characters the path has, https://keys\\.example\\.com/certs/[A-Za-z0-9-]+\\.pem: `.` and `[^/]` take `?` and `#` too"),
            );
        }
    }

    /// What a sender's certificate must be.
    fn certificate(&mut self, at: &At<'_>) -> Option<CertificateRules> {
        let mut names = Vec::new();
        for at in at.get("names")?.one_or_many() {
            let name = self.text(&at, Here::Request)?;
            self.not_by_request(&at, &name, "name");
            names.push(name);
        }
        let file = at.get("issuers")?;
        let text = self.file(&file)?;
        match Issuers::read(&text) {
            Ok(issuers) => Some(CertificateRules { names, issuers }),
            Err(why) => {
                self.bad_file(&file, &why);
                None
            }
        }
    }

    /// The URL of a set of keys; nothing of a request is in it.
    pub(super) fn jwks_url(&mut self, at: &At<'_>) -> Option<KeySource> {
        let url_at = at.get("jwks_url")?;
        let url = self.url(&url_at, Here::Request, false)?;
        self.not_by_request(&url_at, &url, "key");
        let cache = at.get("cache").and_then(|at| self.duration(&at)).unwrap_or(CACHE);
        Some(KeySource::Fetched(KeyUrl { url, only: None, host: None, cache, certificate: None }))
    }

    /// What proves a sender is never the request's own, and never a constant that every user of the spec shares.
    pub(super) fn not_by_request(&mut self, at: &At<'_>, text: &Text, what: &str) {
        let all: Vec<String> =
            self.defined.through_vars(&text.names()).into_iter().map(|(name, _)| name).collect();
        let place = Place::value(&at.path);
        if text.source().trim().is_empty() {
            let message = format!("an empty {what} lets anybody in");
            self.report(
                Mistake::new(Code::OpenDoor, place, message)
                    .help("name a secret, a setting or what the vendor gave us"),
            );
        } else if names(&all, "request") || names(&all, "item") || names(&all, "claims") {
            let message = format!("the request itself names the {what}: whoever sends it chooses it");
            self.report(Mistake::new(Code::OpenDoor, place, message).help(
                "name a secret, a setting or what the vendor gave us; a URL that the vendor sends along \
                 stands in `key_url`, with `only`",
            ));
        } else {
            self.not_by_default(at, text, what);
        }
    }

    /// Reports a value that a spec's own default fills in: every user of the spec who leaves it out shares it.
    pub(super) fn not_by_default(&mut self, at: &At<'_>, text: &Text, what: &str) {
        let through = self.defined.through_vars(&text.names());
        let vars = through.iter().filter_map(|(name, _)| name.strip_prefix("vars.")?.split('.').next());
        let vars = vars.filter_map(|var| Text::compile(self.defined.var_texts.get(var)?).ok());
        let literals: Vec<_> = vars.flat_map(|text| text.literals()).chain(text.literals()).collect();
        let by_filter = literals.iter().any(|literal| {
            matches!(&literal.beside, Beside::Filter(name) if name == "default")
                && literal.value.as_str().is_some_and(|text| !text.is_empty())
        });
        let by_setting = through.into_iter().find(|(name, _)| {
            let kind = name
                .strip_prefix("settings.")
                .and_then(|rest| self.defined.kinds.get(rest.split('.').next()?));
            kind.is_some_and(|kind| {
                kind.get("default").is_some_and(|value| value.as_str().is_some_and(|text| !text.is_empty()))
                    && kind.get("enum").is_none()
            })
        });
        let by = match (by_filter, by_setting) {
            (true, _) => "`default('…')`".to_owned(),
            (false, Some((name, _))) => format!("the default of `{name}`"),
            (false, None) => return,
        };
        self.report(
            Mistake::new(
                Code::OpenDoor,
                Place::value(&at.path),
                format!("{by} stands in the spec: whoever reads it knows the {what} of everybody who gave none"),
            )
            .help("leave the default out and set `required: true`, or fall back on a name of ours, `default(receiver.url)`"),
        );
    }
}

fn key_texts(at: &At<'_>, texts: Vec<Text>) -> KeyTexts {
    let encoding = match at.text_of("key_encoding") {
        Some("hex") => KeyEncoding::Hex,
        Some("base64") => KeyEncoding::Base64,
        Some("base64url") => KeyEncoding::Base64Url,
        _ => KeyEncoding::Text,
    };
    KeyTexts { texts, encoding, prefix: at.text_of("key_prefix").map(str::to_owned) }
}

/// The format of public keys; none: it is told from how they begin.
pub(super) fn key_format(at: &At<'_>) -> Option<KeyFormat> {
    match at.text_of("key_format") {
        Some("hex") => Some(KeyFormat::Hex),
        Some("base64") => Some(KeyFormat::Base64),
        Some("pem") => Some(KeyFormat::Pem),
        Some("x509_pem") => Some(KeyFormat::X509Pem),
        Some("jwk") => Some(KeyFormat::Jwk),
        _ => None,
    }
}

/// Whether the expression says which host it is, by https: the last two parts of the host's name, a group of
/// the country aside (`(\.cn)?`), are written out.
pub(in crate::connector::compile) fn pins_host(source: &str) -> bool {
    let Some(rest) = source.trim_start_matches('^').strip_prefix("https://") else { return false };
    let Some((authority, path)) = rest.split_once('/') else { return false };
    // What stands behind a bar outside of all groups is another expression.
    let depths = path.chars().scan(0_i32, |depth, c| {
        *depth += i32::from(c == '(') - i32::from(c == ')');
        Some((c, *depth))
    });
    if depths.into_iter().any(|(c, depth)| c == '|' && depth <= 0) {
        return false;
    }
    if let Some(ends) = authority.strip_suffix(')').and_then(|head| head.rsplit_once("\\.(")) {
        // The last parts of several hosts, each written out.
        let (before, ends) = ends;
        return stays_in_host(before)
            && !before.contains('|')
            && ends.split('|').all(|end| written_out(end) >= 2);
    }
    let host = authority.split(':').next().unwrap_or_default().trim_end_matches('(');
    let host = match host.strip_suffix(")?").and_then(|head| head.rsplit_once("(\\.")) {
        Some((head, country)) if country.chars().all(|c| c.is_ascii_lowercase()) => head,
        _ => host,
    };
    if !stays_in_host(authority) {
        return false;
    }
    let fixed = host.rfind([']', '+', '*', ')', '}', '?', '|']).map_or(host, |at| &host[at + 1..]);
    let label = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let mut last = fixed.rsplit("\\.");
    last.next().is_some_and(label) && last.next().is_some_and(label)
}

/// How many labels of a host this expression writes out, where it is nothing else.
fn written_out(end: &str) -> usize {
    let label = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let labels: Vec<&str> = end.split("\\.").collect();
    if labels.iter().all(|part| label(part)) { labels.len() } else { 0 }
}

/// Whether a URL with a query or a fragment may match.
fn admits_query(source: &str) -> bool {
    use regex_syntax::hir::{Class, Hir, HirKind};
    fn admits(hir: &Hir) -> bool {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => false,
            HirKind::Literal(literal) => literal.0.iter().any(|byte| matches!(byte, b'?' | b'#')),
            HirKind::Class(Class::Unicode(class)) => {
                class.iter().any(|range| ['?', '#'].iter().any(|c| (range.start()..=range.end()).contains(c)))
            }
            HirKind::Class(Class::Bytes(class)) => class
                .iter()
                .any(|range| [b'?', b'#'].iter().any(|c| (range.start()..=range.end()).contains(c))),
            HirKind::Repetition(repetition) => repetition.max != Some(0) && admits(&repetition.sub),
            HirKind::Capture(capture) => admits(&capture.sub),
            HirKind::Concat(all) | HirKind::Alternation(all) => all.iter().any(admits),
        }
    }
    // One that is none was reported already.
    regex_syntax::parse(source).is_ok_and(|hir| admits(&hir))
}

/// Whether nothing in this part of an expression matches a slash: then the host would end there, whatever is
/// written out behind it.
fn stays_in_host(authority: &str) -> bool {
    let (mut in_class, mut chars) = (false, authority.chars().peekable());
    while let Some(c) = chars.next() {
        match (in_class, c) {
            (_, '\\') => match chars.next() {
                Some('.' | '-' | ':' | 'd' | 'w' | '\\') => {}
                Some(_) | None => return false,
            },
            (false, '.') => return false,
            (false, '[') if chars.peek() == Some(&'^') => return false,
            (false, '[') => in_class = true,
            (true, '[' | '&' | '~') => return false,
            (true, ']') => in_class = false,
            (_, _) => {}
        }
    }
    !in_class
}

#[cfg(test)]
mod tests {
    use super::{admits_query, pins_host};

    #[test]
    fn pattern_that_takes_a_query_or_fragment_is_found() {
        for good in [
            r"https://keys\.example\.com/certs/[A-Za-z0-9-]+\.pem",
            r"https://[a-z-]+\.example\.com(\.cn)?/a(-[0-9]+)?\.pem",
            r"https://keys\.example\.com/\w+",
        ] {
            assert!(!admits_query(good), "{good}");
        }
        for bad in [
            r"https://keys\.example\.com/.*",
            r"https://keys\.example\.com/[^/]+\.pem",
            r"https://keys\.example\.com/\S+",
            r"https://keys\.example\.com/\?key=[a-z]+",
            r"https://keys\.example\.com/a(\?b)?",
            r"https://keys\.example\.com/a[#-&]",
            r"https://keys\.example\.com/(a|b\x3f)",
        ] {
            assert!(admits_query(bad), "{bad}");
        }
    }

    #[test]
    fn a_host_is_pinned_by_its_last_two_parts() {
        for good in [
            r"https://keys\.example\.com/.*",
            r"^https://[a-z0-9-]{3,}\.example\.com(\.cn)?/[^/]+\.pem",
            r"https://example\.com:8443/x",
            r"https://example\.com/(a|b)\.pem",
            r"https://keys\.[a-z]+\.(example\.com|example\.com\.cn|keys\.example\.org)/a",
        ] {
            assert!(pins_host(good), "{good}");
        }
        for bad in [
            r"http://keys\.example\.com/.*",
            r"https://.*",
            r"https://.*/x\.pem",
            r"https://[a-z.]+\.com/x",
            r"https://keys.example.com/x",
            r"https://keys\.example\.com",
            r"https://keys\.example\.com.*/x",
            r"https://.*\.example\.com/x",
            r"https://.+\.example\.com/x",
            r"https://\S+\.example\.com/x",
            r"https://[^a]+\.example\.com/x",
            r"https://[[:punct:]]+\.example\.com/x",
            r"https://[.-9]+\x2f\.example\.com/x",
            r"https://keys\.example\.com/x|https://.*/y",
            r"https://keys\.example\.com/(a|b)|.*",
            r"https://keys\.[a-z]+\.(example\.com|org)/a",
            r"https://keys\.[a-z]+\.(example\.com|.*\.org)/a",
            r"https://(a|b/)\.(example\.com)/a",
        ] {
            assert!(!pins_host(bad), "{bad}");
        }
    }
}
