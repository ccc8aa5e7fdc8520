//! A record on its way in: cut out of a body, read once, checked, and only then storable.
//!
//! `Record → Checked` is enforced by types: only `RecordSchema::check` makes a [`Checked`], and only a
//! `Checked` can be put into a batch.

use bytes::Bytes;
use jiff::Timestamp;

use super::node::Node;

/// A record that was cut out and read, but not checked. Id, check and bytes all come of one tree.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// The record as the vendor sent it, byte for byte; raw line breaks between tokens are taken out.
    pub bytes: Bytes,
    /// The same, read.
    pub tree: Node<'a>,
    /// What tells it from every other event of its instance: the picked id, or a hash of body and index.
    pub id: Bytes,
    /// When it happened, as the vendor says.
    pub time: Option<Timestamp>,
}

/// A record that passed the output schema, with what the picks found.
#[derive(Debug, Clone)]
pub struct Checked {
    pub(super) bytes: Bytes,
    pub(super) id: Bytes,
    pub(super) time: Option<Timestamp>,
}

impl Checked {
    /// The record as the vendor sent it, byte for byte; raw line breaks between tokens are taken out.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    /// The record alone.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
    /// What tells it from every other event of its instance: the picked id, or a hash of body and index.
    pub fn id(&self) -> &Bytes {
        &self.id
    }
    /// When it happened, as the vendor says.
    pub fn time(&self) -> Option<Timestamp> {
        self.time
    }
}
