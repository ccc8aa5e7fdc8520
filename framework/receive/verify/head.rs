//! What the head of a request tells of its sender, before the body is read.
//!
//! `accept` asks here first: a stranger costs no body, and a known sender gets the larger budget. A check that
//! takes the body tells nothing here; it never makes one of several pass that the body could still fail. One that the
//! settings leave out is no check, and what `require` demands of the settings is decided before any request.

use super::keys::{Keys, Material};
use super::rejection::Rejection;
use super::subject::Subject;
use super::{Verified, token};
use crate::connector::model::{Demand, Proof, Verify};
use crate::receive::request::{Head, in_head};

/// What the head alone tells.
#[derive(Debug)]
pub(in crate::receive) enum Told {
    /// Who sent it.
    Sender(Verified),
    /// That it is nobody we know.
    Stranger(Rejection),
    /// Nothing: the proof takes the body.
    Nothing,
}

/// What can be told before the body is read. `Err`: a key is not known yet.
pub(in crate::receive) fn by_head(verify: &Verify, keys: &Keys, head: &Head) -> Result<Told, String> {
    match verify {
        Verify::One(check) => check_by_head(check, keys, head),
        Verify::AllOf(all) => {
            let mut told = Ok(Told::Sender(Verified(())));
            for one in all {
                match (by_head(one, keys, head), &told) {
                    (Ok(Told::Stranger(why)), _) => return Ok(Told::Stranger(why)),
                    (Ok(Told::Sender(_)), _) | (_, Err(_)) => {}
                    (other, Ok(_)) => told = other,
                }
            }
            told
        }
        Verify::AnyOf(any) => {
            let mut told: Option<Result<Told, String>> = None;
            for one in any {
                match by_head(one, keys, head) {
                    Ok(Told::Sender(verified)) => return Ok(Told::Sender(verified)),
                    Ok(Told::Stranger(why)) if told.is_none() => told = Some(Ok(Told::Stranger(why))),
                    Ok(Told::Stranger(_)) => {}
                    // What the body may still tell comes before a key that is not there.
                    Ok(Told::Nothing) => told = Some(Ok(Told::Nothing)),
                    Err(why) if !matches!(told, Some(Ok(Told::Nothing))) => told = Some(Err(why)),
                    Err(_) => {}
                }
            }
            told.unwrap_or(Ok(Told::Nothing))
        }
    }
}

pub(super) fn check_by_head(check: &Demand, keys: &Keys, head: &Head) -> Result<Told, String> {
    if keys.excludes(check) {
        return Ok(Told::Stranger(Rejection::Required));
    }
    let in_head = match &check.proof {
        Proof::Token { place, .. } => in_head(place),
        Proof::Basic { .. } => true,
        Proof::Hmac { .. } | Proof::Digest { .. } | Proof::PublicKey { .. } | Proof::Jwt(_) => false,
    };
    if !in_head || check.each.is_some() {
        return Ok(Told::Nothing);
    }
    let expected = match keys.of(check) {
        Material::Known(expected) => expected,
        Material::Missing(why) => return Err(why.clone()),
        Material::Excluded | Material::PerRequest => return Ok(Told::Nothing),
    };
    let subject = Subject { head, body: &[], item: None };
    Ok(match token::check(&check.proof, expected, &subject) {
        Err(rejection) => Told::Stranger(rejection),
        Ok(()) if keys.is_settled(check) => Told::Sender(Verified(())),
        Ok(()) => Told::Nothing,
    })
}
