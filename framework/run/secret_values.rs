//! What is suspicious about the value of a secret: what editors, shells and copying leave on it.
//!
//! `startup_checks` asks it at the start and whenever values change. It says what is wrong, and never shows a part of the
//! value.

/// Characters below which a secret can be guessed.
const SHORT: usize = 8;

/// Returns what is suspicious about a secret's value; each completes "the secret `NAME` …".
pub(super) fn oddities(name: &str, value: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    let bare = value.trim_start_matches('\u{feff}');
    if bare.len() < value.len() {
        found.push("begins with a byte order mark");
    }
    if bare.contains('\0') {
        found.push("holds a NUL byte");
    }
    if bare.starts_with(|c: char| c.is_whitespace()) {
        found.push("begins with white space");
    }
    // Keys in PEM and JSON have lines of their own, and may end with one.
    let lines = bare.trim_start().starts_with("-----BEGIN ") || bare.trim_start().starts_with('{');
    let end = if lines { bare.trim_end_matches(['\n', '\r']) } else { bare };
    if end.ends_with(['\n', '\r']) {
        found.push("ends with a line break");
    } else if end.ends_with(|c: char| c.is_whitespace()) {
        found.push("ends with white space");
    }
    if !lines && bare.trim().contains(['\n', '\r']) {
        found.push("has several lines");
    }
    let text = bare.trim();
    if text.chars().count() > 1 && ['"', '\'', '`'].iter().any(|q| text.starts_with(*q) && text.ends_with(*q))
    {
        found.push("is in quotes");
    }
    if is_assignment(name, text) {
        found.push("begins with a name and `=`, like a line of an environment file");
    }
    if !lines && text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\0' | '\t')) {
        found.push("holds a control character");
    }
    found
}

/// Whether it is so short that it can be guessed.
pub(super) fn is_short(value: &str) -> bool {
    value.trim().chars().count() < SHORT
}

/// `NAME=value`: a variable's name in capitals, or the secret's own. What follows the padding of base64 is nothing.
fn is_assignment(secret: &str, text: &str) -> bool {
    let text = text.strip_prefix("export ").unwrap_or(text);
    let Some((name, value)) = text.split_once('=') else { return false };
    let capitals = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    !value.trim_matches('=').is_empty() && (capitals || name.eq_ignore_ascii_case(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_with_leftovers_is_suspicious_and_bare_one_is_not() {
        for (value, expected) in [
            ("s3cr3t-value ", &["ends with white space"][..]),
            ("s3cr3t-value\t", &["ends with white space"]),
            ("s3cr3t-value\u{a0}", &["ends with white space"]),
            (" s3cr3t-value", &["begins with white space"]),
            ("s3cr3t-value\n", &["ends with a line break"]),
            ("s3cr3t-value\r\n", &["ends with a line break"]),
            ("s3cr3t-value\nother-value", &["has several lines"]),
            ("\u{feff}s3cr3t-value", &["begins with a byte order mark"]),
            ("\"s3cr3t-value\"", &["is in quotes"]),
            ("'s3cr3t-value'", &["is in quotes"]),
            ("s3cr3t\0value", &["holds a NUL byte"]),
            ("s3cr3t\u{1b}value", &["holds a control character"]),
            ("SIGNING_SECRET=s3cr3t", &["begins with a name and `=`, like a line of an environment file"]),
            ("export K3Y=s3cr3t", &["begins with a name and `=`, like a line of an environment file"]),
            ("key=s3cr3t", &["begins with a name and `=`, like a line of an environment file"]),
            ("s3cr3t-value", &[]),
            ("QUJDREVG==", &[]),
            ("Endpoint=sb://x.example.com/;SharedAccessKey=abc=", &[]),
            ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n", &[]),
            ("{\n \"type\": \"service_account\"\n}\n", &[]),
            ("two words", &[]),
            ("it's \"fine\" in the middle", &[]),
        ] {
            assert_eq!(oddities("key", value), expected, "{value:?}");
        }
    }

    #[test]
    fn short_value_can_be_guessed() {
        assert!(is_short("x") && is_short("1234567 ") && !is_short("12345678"));
    }
}
