//! Which Content-Encoding a request has. What is undone is undone after verification only: unverified bytes are
//! never inflated.

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::refused::Refused;
use crate::connector::coding::Coding;

/// The coding that the headers name, `None` where they name none. Refused: one that nobody here can undo, or
/// codings on top of each other, which no vendor needs and which would multiply what a bomb can do.
pub(super) fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Refused> {
    let mut coding = None;
    for value in headers.get_all(CONTENT_ENCODING) {
        for word in value.to_str().map_err(|_| Refused::Coding)?.split(',').map(str::trim) {
            let word = word.to_ascii_lowercase();
            match (word.strip_prefix("x-").unwrap_or(&word), coding) {
                ("" | "identity", _) => {}
                (name, None) => coding = Some(Coding::named(name).ok_or(Refused::Coding)?),
                (_, Some(_)) => return Err(Refused::Coding),
            }
        }
    }
    Ok(coding)
}
