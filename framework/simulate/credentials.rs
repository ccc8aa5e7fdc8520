//! How credentials stand in a request, as the stand-in compares and sends them.

use data_encoding::BASE64;
use http::HeaderMap;

/// The value of `Authorization` for a user and password joined by a colon (RFC 7617).
pub fn basic(pair: &str) -> String {
    format!("Basic {}", BASE64.encode(pair.as_bytes()))
}

pub(super) fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A header's text; one that is no text equals nothing.
pub(super) fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
