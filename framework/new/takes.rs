//! What answers a question of `forebay new`, and what is wrong with an answer that does not.
//!
//! Called with whatever a flag or a person says; what passes can be put into a spec as it stands.

use url::Url;

/// What is said where there is none.
pub const NONE: &str = "none";
/// The longest answer.
pub(super) const LONGEST: usize = 200;

/// What answers a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A line of text.
    Line,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The name of a header.
    Header,
    /// The name of a header, `pair:NAME`, or none.
    TimeOrNone,
    /// A text of visible characters without quotes, or none.
    MarkOrNone,
    /// A JSON Pointer, or none.
    PointerOrNone,
    /// A JSON Pointer, `header:NAME`, or none.
    PlaceOrNone,
    /// An https URL.
    Url,
    /// An https URL, or none.
    UrlOrNone,
}

impl Takes {
    /// What stands behind the question, where the words themselves do not say it.
    pub fn hint(self) -> String {
        match self {
            Takes::Line | Takes::Header => String::new(),
            Takes::Choice(words) => words.join(", "),
            Takes::TimeOrNone => "a header, pair:t where it stands beside the signature, or none".to_owned(),
            Takes::MarkOrNone => "such as sha256=, or none".to_owned(),
            Takes::PointerOrNone => "a JSON Pointer such as /data/events, or none".to_owned(),
            Takes::PlaceOrNone => "a JSON Pointer, header:NAME, or none".to_owned(),
            Takes::Url => "https://...".to_owned(),
            Takes::UrlOrNone => "https://..., or none".to_owned(),
        }
    }

    /// What is wrong with an answer, as a sentence for the one who gave it.
    pub fn check(self, text: &str) -> std::result::Result<(), String> {
        let good = match self {
            // What is said of a connector stands in texts that are built, too.
            Takes::Line => !text.trim().is_empty() && !text.contains("{{") && !text.contains("{%"),
            Takes::Choice(words) => words.contains(&text),
            Takes::Header => is_header(text),
            Takes::TimeOrNone => {
                text == NONE || is_header(text) || text.strip_prefix("pair:").is_some_and(is_header)
            }
            Takes::MarkOrNone => text == NONE || is_mark(text),
            Takes::PointerOrNone => text == NONE || is_pointer(text),
            Takes::PlaceOrNone => {
                text == NONE || is_pointer(text) || text.strip_prefix("header:").is_some_and(is_header)
            }
            Takes::Url => is_url(text),
            Takes::UrlOrNone => text == NONE || is_url(text),
        };
        let short = text.chars().count() <= LONGEST && !text.chars().any(char::is_control);
        match (good, short) {
            (true, true) => Ok(()),
            (_, false) => Err(format!("that is no one line of at most {LONGEST} characters")),
            (false, true) => Err(match self {
                Takes::Line => "it cannot be empty, or hold {{ or {%".to_owned(),
                Takes::Header => "a header has letters, digits and dashes".to_owned(),
                Takes::Url => "it is no https URL without a query".to_owned(),
                Takes::Choice(_)
                | Takes::TimeOrNone
                | Takes::MarkOrNone
                | Takes::PointerOrNone
                | Takes::PlaceOrNone
                | Takes::UrlOrNone => format!("it takes: {}", self.hint()),
            }),
        }
    }
}

fn is_header(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// What may stand between double quotes in YAML as it is, and is no template.
fn is_mark(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"'\\{}".contains(&b))
}

/// Pointers of plain names: what else a name may hold, a person writes by hand.
fn is_pointer(text: &str) -> bool {
    let plain = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b"_-.$@".contains(&b))
    };
    text.strip_prefix('/').is_some_and(|names| names.split('/').all(plain))
}

fn is_url(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"'\\{}<>#|".contains(&b));
    plain
        && Url::parse(text).is_ok_and(|url| {
            url.scheme() == "https"
                && url.host_str().is_some()
                && url.query().is_none()
                && url.username().is_empty()
        })
}
