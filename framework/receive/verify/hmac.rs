//! A keyed hash of a message made from the request: any key, any message, any signature accepts.

use aws_lc_rs::hmac;
use serde_json::Value as Json;

use super::failure::Failure;
use super::keys::Expected;
use super::matter::Matter;
use super::rejection::Rejection;
use super::signed;
use crate::connector::model::Signed;

/// Checks it; gives the names that `require` may use.
pub(super) fn check(
    matter: &Matter<'_>,
    signed: &Signed,
    expected: &Expected,
) -> Result<Vec<(&'static str, Json)>, Failure> {
    let Expected::Hashes(keys) = expected else { return Err(Rejection::Malformed.into()) };
    let given = signed::read(matter, signed)?;
    let mut matches = false;
    let messages = signed::messages(matter, signed, &given, 1)?;
    for message in &messages.all {
        for key in keys.iter() {
            let mut context = hmac::Context::with_key(key);
            message.iter().for_each(|part| context.update(part));
            matches |= given.has(context.sign().as_ref());
        }
    }
    if matches { Ok(given.names) } else { Err(messages.wrong()) }
}
