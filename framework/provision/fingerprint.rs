//! Keyed fingerprints of secrets: enough to see that one changed, nothing to learn it from.
//!
//! `drift` compares by them where the vendor shows no secret; `state` keeps the key and what was last sent.

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use serde_json::Value as Json;

use crate::connector::pick::Pointer;
use crate::error::{Error, Kind, Result};

/// The key of one instance's fingerprints.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl Key {
    /// A new key, and how it is kept.
    pub fn generate() -> Result<String> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| Error::new(Kind::Io, "the system gives no random numbers"))?;
        Ok(HEXLOWER.encode(&bytes))
    }

    /// The key as it was kept. An unreadable one is a key like any other: everything counts as changed.
    pub fn kept(text: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()))
    }

    /// The fingerprint of a value at a place. The place is part of it, so that two places with one secret
    /// do not look alike.
    pub fn of(&self, place: &Pointer, value: &Json) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(place.to_string().as_bytes());
        context.update(&[0]);
        context.update(value.to_string().as_bytes());
        HEXLOWER.encode(context.sign().as_ref())
    }
}
