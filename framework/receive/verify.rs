//! Who sent a request: token, basic and hmac, compared in constant time, with both values of a secret that
//! is being changed.
//!
//! The caller learns nothing of why; the log and the metric do. A check returns its reason, never a bool.

use aws_lc_rs::hmac;
use bytes::Bytes;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use jiff::Timestamp;

use super::events;
use super::keys::{Expected, Keys};
use super::request::{Found, Head, in_head};
use crate::connector::model::{Encoding, Signature, SignedTime, Verify};
use crate::connector::pick::Pick;

/// Why a request did not prove who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The place of the token or signature is empty.
    Missing,
    /// It is there more than once.
    Several,
    /// It is not written as it should be.
    Malformed,
    /// It is another one.
    Wrong,
    /// The time of signing is missing, or no time.
    NoTime,
    /// The time of signing is too far from now, either way.
    Stale,
}

impl Rejection {
    /// The word for metrics and logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "key_missing",
            Self::Several => "key_several",
            Self::Malformed => "key_malformed",
            Self::Wrong => "key_wrong",
            Self::NoTime => "time_missing",
            Self::Stale => "time_stale",
        }
    }
}

/// A request whose sender is proven. Only [`by_head`] and [`by_body`] make one.
#[derive(Debug)]
pub struct Verified(());

/// What the headers alone tell.
#[derive(Debug)]
pub(super) enum Told {
    /// Who sent it.
    Sender(Verified),
    /// That it is nobody we know.
    Stranger(Rejection),
    /// Nothing: the proof takes the body.
    Nothing,
}

/// Whether the head of a request is enough to tell who sent it.
pub(super) fn needs_body(verify: &Verify) -> bool {
    match verify {
        Verify::Token { place, .. } => !in_head(place),
        Verify::Basic { .. } => false,
        Verify::Hmac { .. } => true,
    }
}

/// What can be told before the body is read.
pub(super) fn by_head(verify: &Verify, keys: &Keys, head: &Head) -> Told {
    if needs_body(verify) {
        return Told::Nothing;
    }
    match by_text(verify, keys, head, &[]) {
        Ok(verified) => Told::Sender(verified),
        Err(rejection) => Told::Stranger(rejection),
    }
}

/// The same with the raw body.
pub(super) fn by_body(
    verify: &Verify,
    keys: &Keys,
    head: &Head,
    body: &Bytes,
    message: &[u8],
    now: Timestamp,
) -> Result<Verified, Rejection> {
    match verify {
        Verify::Token { .. } | Verify::Basic { .. } => by_text(verify, keys, head, body),
        Verify::Hmac { signature, timestamp, .. } => {
            let tag = signed(signature, head, body)?;
            if let Some(time) = timestamp {
                fresh(time, head, body, now)?;
            }
            keys.signed(message, &tag).then_some(Verified(())).ok_or(Rejection::Wrong)
        }
    }
}

fn by_text(verify: &Verify, keys: &Keys, head: &Head, body: &[u8]) -> Result<Verified, Rejection> {
    let given = match verify {
        Verify::Token { place, .. } => one(head.pick(place, body))?.into_owned(),
        Verify::Basic { .. } => credentials(head)?,
        Verify::Hmac { .. } => return Err(Rejection::Malformed),
    };
    keys.matches(&given).then_some(Verified(())).ok_or(Rejection::Wrong)
}

/// Exactly one value, and not an empty one.
fn one(found: Found<'_>) -> Result<std::borrow::Cow<'_, [u8]>, Rejection> {
    match found {
        Found::Nothing => Err(Rejection::Missing),
        Found::Several => Err(Rejection::Several),
        Found::One(value) if value.is_empty() => Err(Rejection::Missing),
        Found::One(value) => Ok(value),
    }
}

/// `user:password` of an RFC 7617 header; the scheme is matched in any case.
fn credentials(head: &Head) -> Result<Vec<u8>, Rejection> {
    let value = one(head.pick(&Pick::Header("authorization".to_owned()), &[]))?;
    let (scheme, encoded) = value.split_at_checked(6).ok_or(Rejection::Malformed)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return Err(Rejection::Malformed);
    }
    base64(encoded.trim_ascii()).ok_or(Rejection::Malformed)
}

fn signed(signature: &Signature, head: &Head, body: &[u8]) -> Result<Vec<u8>, Rejection> {
    let value = one(head.pick(&signature.place, body))?;
    let prefix = signature.prefix.as_deref().unwrap_or_default();
    let text = value.strip_prefix(prefix.as_bytes()).ok_or(Rejection::Malformed)?;
    let tag = match signature.encoding {
        Encoding::Hex => HEXLOWER_PERMISSIVE.decode(text).ok(),
        Encoding::Base64 => base64(text),
        Encoding::Base64Url => {
            let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
            BASE64URL_NOPAD.decode(text.get(..end).unwrap_or_default()).ok()
        }
    };
    tag.filter(|tag| !tag.is_empty()).ok_or(Rejection::Malformed)
}

/// Base64 with its padding or without.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if text.ends_with(b"=") { BASE64.decode(text).ok() } else { BASE64_NOPAD.decode(text).ok() }
}

fn fresh(time: &SignedTime, head: &Head, body: &[u8], now: Timestamp) -> Result<(), Rejection> {
    let value = one(head.pick(&time.place, body)).map_err(|rejection| match rejection {
        Rejection::Several => Rejection::Several,
        Rejection::Missing
        | Rejection::Malformed
        | Rejection::Wrong
        | Rejection::NoTime
        | Rejection::Stale => Rejection::NoTime,
    })?;
    let text = std::str::from_utf8(&value).map_err(|_| Rejection::NoTime)?;
    let signed = events::parse_time(text, time.format).ok_or(Rejection::NoTime)?;
    if now.duration_since(signed).unsigned_abs() > time.tolerance {
        return Err(Rejection::Stale);
    }
    Ok(())
}

impl Keys {
    /// Whether any live value is this one. Every value is looked at, whichever matches.
    fn matches(&self, given: &[u8]) -> bool {
        match &self.expected {
            Expected::Texts(texts) => texts.iter().fold(false, |matches, text| matches | text.matches(given)),
            Expected::Hashes(_) => false,
        }
    }

    /// Whether the message was signed with any live key.
    fn signed(&self, message: &[u8], tag: &[u8]) -> bool {
        match &self.expected {
            Expected::Hashes(keys) => {
                keys.iter().fold(false, |signed, key| signed | hmac::verify(key, message, tag).is_ok())
            }
            Expected::Texts(_) => false,
        }
    }
}
