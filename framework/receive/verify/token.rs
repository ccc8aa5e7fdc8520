//! A secret value at a place, and HTTP Basic.

use super::encoding::base64;
use super::keys::Expected;
use super::rejection::Rejection;
use super::subject::{Subject, after_scheme};
use crate::connector::model::Proof;
use crate::connector::pick::Pick;
use crate::connector::secret::Secret;

/// Whether the secret value is the expected one.
pub(super) fn check(proof: &Proof, expected: &Expected, subject: &Subject<'_>) -> Result<(), Rejection> {
    let Expected::Texts(expected) = expected else { return Err(Rejection::Malformed) };
    match proof {
        Proof::Token { place, scheme, .. } => {
            let value = subject.one(place)?;
            among(expected, after_scheme(&value, scheme.as_deref())?)
        }
        Proof::Basic { username, .. } => {
            let place = Pick::Header("authorization".to_owned());
            let value = Subject { item: None, ..*subject };
            let value = value.one(&place)?.into_owned();
            let pair = base64(after_scheme(&value, Some("basic"))?).ok_or(Rejection::Malformed)?;
            let colon = pair.iter().position(|byte| *byte == b':').ok_or(Rejection::Malformed)?;
            // Where any user is taken, the password alone is expected.
            let from = if username.is_some() { 0 } else { colon + 1 };
            among(expected, pair.get(from..).unwrap_or_default())
        }
        Proof::Hmac { .. } | Proof::Digest { .. } | Proof::PublicKey { .. } | Proof::Jwt(_) => {
            Err(Rejection::Malformed)
        }
    }
}

/// Every expected value is looked at, whichever matches.
fn among(expected: &[Secret], given: &[u8]) -> Result<(), Rejection> {
    let matches = expected.iter().fold(false, |matches, secret| matches | secret.matches(given));
    if matches { Ok(()) } else { Err(Rejection::Wrong) }
}
