//! The types of event that a spec knows, by name and by number: each is looked for once a record.

use std::collections::HashMap;
use std::sync::Arc;

use crate::connector::model::Output;

/// The known types of one connector.
pub(super) struct KnownTypes {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u16>,
}

impl KnownTypes {
    /// Of more types than have a number the rest is not known.
    pub(super) fn of(output: &Output) -> Self {
        let names: Vec<Arc<str>> = output.known_types.keys().map(|name| name.as_str().into()).collect();
        Self { numbers: names.iter().cloned().zip(0..=u16::MAX).collect(), names }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The number of a type, where it is known.
    pub(super) fn number(&self, name: &str) -> Option<u16> {
        self.numbers.get(name).copied()
    }

    /// The name of a known type.
    pub(super) fn name(&self, number: u16) -> Option<&str> {
        self.names.get(usize::from(number)).map(AsRef::as_ref)
    }
}
