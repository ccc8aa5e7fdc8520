//! A secret's value: held, compared and sent, never printed.
//!
//! `Secret` has no `Display` and no `Serialize`, and its `Debug` shows nothing of it. Whoever needs the
//! text calls [`Secret::expose`], which is easy to search for.

use std::fmt;
use std::sync::Arc;

/// One secret value. Cloning shares it.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes charge of a secret's text. `None` when it is empty, or nothing but blanks: that is never a secret.
    pub fn new(text: &str) -> Option<Self> {
        (!text.trim().is_empty()).then(|| Self(text.into()))
    }

    /// The text itself, for signing, comparing and sending.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Equal without telling by time where the first difference is.
    pub fn matches(&self, other: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), other).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// A secret as an instance holds it. While it is being changed it has two live values.
#[derive(Clone, Debug)]
pub struct LiveSecret {
    /// The newest: what calls use.
    pub current: Secret,
    /// The one before, which the receiver still takes until the vendor has the newest.
    pub previous: Option<Secret>,
}
