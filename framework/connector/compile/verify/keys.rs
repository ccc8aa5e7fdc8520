//! Keys: named by the spec, or fetched.

use std::time::Duration;

use super::super::at::At;
use super::super::compiler::Compiler;
use super::super::names::Here;
use super::names;
use crate::connector::model::{KeyEncoding, KeyFormat, KeySource, KeyTexts, KeyUrl};
use crate::connector::template::Text;
use crate::spec::mistake::{Code, Mistake, Place};

/// How long what was fetched is taken as it is, where the spec does not say.
const CACHE: Duration = Duration::from_secs(3600);

impl Compiler {
    /// Keys that sender and receiver share.
    pub(super) fn shared_keys(&mut self, at: &At<'_>) -> Option<KeyTexts> {
        let texts = self.guardings(at.get("key"))?;
        Some(key_texts(at, texts))
    }

    /// Public keys: nobody has to hide them, and the request has no say in them.
    pub(super) fn public_keys(&mut self, at: &At<'_>) -> Option<KeyTexts> {
        let all = at.get("key")?.one_or_many();
        let mut texts = Vec::new();
        for at in &all {
            let text = self.text(at, Here::Request)?;
            self.not_by_request(at, &text);
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
        if let (Some(source), Some(_)) = (source, &only)
            && !pins_host(source)
        {
            self.report(
                Mistake::new(
                    Code::OpenDoor,
                    Place::value(&at.path.join("only")),
                    "this takes a key from anybody's server: whoever can name the key's URL signs as the vendor",
                )
                .help("write the host out, https://keys\\.example\\.com/.*: only the part before it may vary, and not by `.*`"),
            );
        }
        let cache = at.get("cache").and_then(|at| self.duration(&at)).unwrap_or(CACHE);
        Some(KeySource::Fetched(KeyUrl { url: url?, only: Some(only?), cache }))
    }

    /// The URL of a set of keys; nothing of a request is in it.
    pub(super) fn jwks_url(&mut self, at: &At<'_>) -> Option<KeySource> {
        let url_at = at.get("jwks_url")?;
        let url = self.url(&url_at, Here::Request, false)?;
        self.not_by_request(&url_at, &url);
        let cache = at.get("cache").and_then(|at| self.duration(&at)).unwrap_or(CACHE);
        Some(KeySource::Fetched(KeyUrl { url, only: None, cache }))
    }

    fn not_by_request(&mut self, at: &At<'_>, text: &Text) {
        let all: Vec<String> =
            self.defined.through_vars(&text.names()).into_iter().map(|(name, _)| name).collect();
        let message = if text.source().trim().is_empty() {
            "an empty key lets anybody in"
        } else if names(&all, "request") || names(&all, "item") {
            "the request itself names the key: whoever sends it signs with a key of their own"
        } else {
            return;
        };
        self.report(Mistake::new(Code::OpenDoor, Place::value(&at.path), message).help(
            "name a secret, a setting or what the vendor gave us; a URL that the vendor sends along \
             stands in `key_url`, with `only`",
        ));
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
    use super::pins_host;

    #[test]
    fn a_host_is_pinned_by_its_last_two_parts() {
        for good in [
            r"https://keys\.example\.com/.*",
            r"^https://[a-z0-9-]{3,}\.example\.com(\.cn)?/[^/]+\.pem",
            r"https://example\.com:8443/x",
            r"https://example\.com/(a|b)\.pem",
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
        ] {
            assert!(!pins_host(bad), "{bad}");
        }
    }
}
