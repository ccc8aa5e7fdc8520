//! A text in parts: what a signature covers, without a copy of the body.
//!
//! `Text::render_parts` makes one for each message of a verification. The body of a request stands in it as the
//! bytes that came; everything else is what was rendered, and bounded as any text is.

use std::borrow::Cow;

use bytes::Bytes;

use super::fault::{Fault, MAX_TEXT, TOO_LONG};

/// A text in parts, in their order.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    parts: Vec<Part>,
    /// Bytes of the parts that were rendered.
    rendered: usize,
}

#[derive(Debug, Clone)]
enum Part {
    Rendered(Vec<u8>),
    Body(Bytes),
}

impl Parts {
    /// Adds what was rendered. `body` are the bytes of the request's body: what is made of it may be as large.
    pub(super) fn push(&mut self, text: &[u8], body: usize) -> Result<(), Fault> {
        self.rendered += text.len();
        if self.rendered > MAX_TEXT.saturating_add(body) {
            return Err(Fault::bound(TOO_LONG));
        }
        match self.parts.last_mut() {
            Some(Part::Rendered(before)) => before.extend_from_slice(text),
            Some(Part::Body(_)) | None => self.parts.push(Part::Rendered(text.to_vec())),
        }
        Ok(())
    }

    /// Adds the body of the request. It may stand in a text twice and no more.
    pub(super) fn push_body(&mut self, body: Bytes) -> Result<(), Fault> {
        if self.parts.iter().filter(|part| matches!(part, Part::Body(_))).count() >= 2 {
            return Err(Fault::bound(TOO_LONG));
        }
        self.parts.push(Part::Body(body));
        Ok(())
    }

    /// Returns the bytes of each part, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(|part| match part {
            Part::Rendered(text) => text.as_slice(),
            Part::Body(body) => body.as_ref(),
        })
    }

    /// Returns the number of bytes of all parts.
    pub fn len(&self) -> usize {
        self.iter().map(<[u8]>::len).sum()
    }

    /// Tells whether there is no byte in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the whole text. It is copied only where it has several parts.
    pub fn joined(&self) -> Cow<'_, [u8]> {
        let mut parts = self.iter();
        match (parts.next(), parts.next()) {
            (None, _) => Cow::Borrowed(&[]),
            (Some(only), None) => Cow::Borrowed(only),
            (Some(_), Some(_)) => Cow::Owned(self.iter().collect::<Vec<_>>().concat()),
        }
    }
}
