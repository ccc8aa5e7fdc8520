//! A plain hash of a message made from the request. It proves who sent it where the message holds a secret;
//! else it binds the body to another check that does.

use aws_lc_rs::digest;
use serde_json::Value as Json;

use super::failure::Failure;
use super::matter::Matter;
use super::signed;
use crate::connector::model::{Hash, Signed};
use crate::connector::template::Parts;

/// Checks it; gives the names that `require` may use. The secret in the message may have two live values.
pub(super) fn check(
    matter: &Matter<'_>,
    hash: Hash,
    signed: &Signed,
) -> Result<Vec<(&'static str, Json)>, Failure> {
    let given = signed::read(matter, signed)?;
    let mut matches = false;
    let messages = signed::messages(matter, signed, &given, matter.scopes.len())?;
    for message in &messages.all {
        matches |= given.has(of_parts(algorithm(hash), message).as_ref());
    }
    if matches { Ok(given.names) } else { Err(messages.wrong()) }
}

/// The hash of a text, part by part.
pub(super) fn of_parts(algorithm: &'static digest::Algorithm, message: &Parts) -> digest::Digest {
    let mut context = digest::Context::new(algorithm);
    message.iter().for_each(|part| context.update(part));
    context.finish()
}

fn algorithm(hash: Hash) -> &'static digest::Algorithm {
    match hash {
        Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    }
}
