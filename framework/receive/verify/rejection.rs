//! Why a request did not prove who sent it, in the words of metrics and logs.

use crate::connector::certificates::Untrusted;

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
    /// It is signed in a way that the spec does not take.
    Algorithm,
    /// The key that it names is none of the vendor's.
    UnknownKey,
    /// It names a key at a place that the spec does not take.
    KeyPlace,
    /// The certificate of the key that it names does not hold.
    Certificate(Untrusted),
    /// The token is expired, not valid yet, or meant for somebody else.
    Claims,
    /// What the spec requires besides does not hold.
    Required,
    /// The list whose items prove it is missing, empty or no list.
    NoItems,
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
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "key_id_unknown",
            Self::KeyPlace => "key_url",
            Self::Certificate(_) => "certificate",
            Self::Claims => "claims",
            Self::Required => "required",
            Self::NoItems => "items_missing",
        }
    }
}
