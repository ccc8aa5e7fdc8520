//! How a request proves who sent it.

use std::time::Duration;

use super::settings::Encoding;
use crate::connector::pick::{Pick, TimeFormat};
use crate::connector::template::Text;

/// How a request proves who sent it.
#[derive(Debug)]
pub enum Verify {
    /// A secret value at a place. Told from the headers where the place is a header or the query.
    Token {
        /// Where it stands.
        place: Pick,
        /// What it must equal.
        equals: Text,
    },
    /// HTTP Basic.
    Basic {
        /// The user.
        username: Text,
        /// The password.
        password: Text,
    },
    /// A keyed hash of a message made from the request.
    Hmac {
        /// The hash.
        hash: Hash,
        /// Keys; any of them accepts.
        keys: Vec<Text>,
        /// How a key is written.
        key_encoding: KeyEncoding,
        /// What stands before the key and is cut off (`whsec_`).
        key_prefix: Option<String>,
        /// What is signed.
        message: Text,
        /// Where the signature stands.
        signature: Signature,
        /// When it was signed.
        timestamp: Option<SignedTime>,
    },
}

/// A hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, for vendors that know nothing newer.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyEncoding {
    /// Its bytes are the text's.
    #[default]
    Text,
    /// Hexadecimal.
    Hex,
    /// Base64.
    Base64,
}

/// Where a signature stands.
#[derive(Debug)]
pub struct Signature {
    /// The place.
    pub place: Pick,
    /// What stands before it: `sha256=`.
    pub prefix: Option<String>,
    /// How it is written.
    pub encoding: Encoding,
}

/// When a request was signed.
#[derive(Debug)]
pub struct SignedTime {
    /// The place.
    pub place: Pick,
    /// How it is written.
    pub format: TimeFormat,
    /// How far it may lie from now, either way.
    pub tolerance: Duration,
}
