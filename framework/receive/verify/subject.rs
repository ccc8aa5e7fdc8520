//! What a check looks at: a request, or one item of its body.

use std::borrow::Cow;

use super::rejection::Rejection;
use crate::connector::pick::Pick;
use crate::receive::request::{Found, Head};

/// What a check looks at.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    /// The head of the request.
    pub head: &'a Head,
    /// Its raw body.
    pub body: &'a [u8],
    /// The item, where items are checked one by one; picks of an item go into it.
    pub item: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// Exactly one value at a place, and not an empty one.
    pub(super) fn one(&self, place: &'a Pick) -> Result<Cow<'a, [u8]>, Rejection> {
        let body = match (place, self.item) {
            (Pick::Item(_), Some(item)) => item.as_bytes(),
            (Pick::Item(_) | Pick::Body(_) | Pick::Header(_) | Pick::Query(_) | Pick::Form(_), _) => {
                self.body
            }
        };
        match self.head.pick(place, body) {
            Found::Nothing => Err(Rejection::Missing),
            Found::Several => Err(Rejection::Several),
            Found::One(value) if value.is_empty() => Err(Rejection::Missing),
            Found::One(value) => Ok(value),
        }
    }
}

/// What follows an authentication scheme, which is matched in any case (RFC 9110 section 11.1).
pub(super) fn after_scheme<'a>(value: &'a [u8], scheme: Option<&str>) -> Result<&'a [u8], Rejection> {
    let Some(scheme) = scheme else { return Ok(value) };
    let (head, rest) = value.split_at_checked(scheme.len()).ok_or(Rejection::Malformed)?;
    match rest.strip_prefix(b" ") {
        Some(rest) if head.eq_ignore_ascii_case(scheme.as_bytes()) => Ok(rest.trim_ascii()),
        Some(_) | None => Err(Rejection::Malformed),
    }
}
