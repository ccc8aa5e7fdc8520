//! A record on its way in: cut out of a body, read once, checked, and only then storable.
//!
//! `Record → Checked` is enforced by types: only `RecordSchema::check` makes a [`Checked`], and only a
//! `Checked` can be put into a batch.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::node::Node;

/// How long a queue remembers ids unless it is configured, or a sender repeats requests for longer.
pub const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// How long the id of a record makes another one with the same id a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Remember {
    /// As long as the queue remembers ids.
    #[default]
    Window,
    /// So long, and no longer than the queue does.
    For(Duration),
    /// Not at all: every record is new.
    Never,
}

/// A record that was cut out and read, but not checked. Id, check and bytes all come of one tree.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// The record as the vendor sent it, byte for byte; raw line breaks between tokens are taken out.
    pub bytes: Bytes,
    /// The same, read.
    pub tree: Node<'a>,
    /// What tells it from every other event of its instance: the picked id, or a hash of body and index.
    pub id: Bytes,
    /// How long that id is remembered.
    pub remember: Remember,
    /// When it happened, as the vendor says.
    pub time: Option<Timestamp>,
}

/// A record that passed the output schema, with what the picks found.
#[derive(Debug, Clone)]
pub struct Checked {
    pub(super) bytes: Bytes,
    /// Bytes of an envelope before the record; behind it stands one more. 0: there is none.
    pub(super) before: usize,
    pub(super) id: Bytes,
    pub(super) remember: Remember,
    pub(super) time: Option<Timestamp>,
}

impl Checked {
    /// What is delivered: the record, in its envelope where the spec asks for one.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    /// The record as the vendor sent it, byte for byte; raw line breaks between tokens are taken out. It is what
    /// tells versions of an event apart: an envelope says when it came, and that differs each time.
    pub fn record(&self) -> &[u8] {
        let end = self.bytes.len() - usize::from(self.before > 0);
        self.bytes.get(self.before..end).unwrap_or_default()
    }
    /// The record in an envelope: an object whose last value it is. `before` is everything up to that value.
    pub fn enclosed(self, before: &str) -> Self {
        let bytes = [before.as_bytes(), self.record(), b"}"].concat();
        Self { bytes: bytes.into(), before: before.len(), ..self }
    }
    /// What tells it from every other event of its instance: the picked id, or a hash of body and index.
    pub fn id(&self) -> &Bytes {
        &self.id
    }
    /// How long that id is remembered.
    pub fn remember(&self) -> Remember {
        self.remember
    }
    /// When it happened, as the vendor says.
    pub fn time(&self) -> Option<Timestamp> {
        self.time
    }
}
