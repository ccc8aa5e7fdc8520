//! A secret's value: held, compared and sent, never printed.
//!
//! `Secret` has no `Display` and no `Serialize`, and its `Debug` shows nothing of it. Whoever needs the
//! text calls [`Secret::expose`], which is easy to search for. The last clone wipes the text from memory.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use zeroize::{Zeroize, Zeroizing};

/// Values that one secret may have at once, declared in the configuration.
pub const MAX_VALUES: usize = 8;

/// One secret value. Cloning shares it.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<Box<str>>>);

impl Secret {
    /// Takes charge of a secret's text. `None` when it is empty, or nothing but blanks: that is never a secret.
    pub fn new(text: &str) -> Option<Self> {
        (!text.trim().is_empty()).then(|| Self(Arc::new(Zeroizing::new(text.into()))))
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

/// A secret that is replaced while it is used. Cloning shares it.
#[derive(Clone, Debug)]
pub struct SharedSecret(Arc<RwLock<Secret>>);

impl SharedSecret {
    /// Returns its value now.
    pub fn get(&self) -> Secret {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces it; returns whether it is another value.
    pub fn replace(&self, value: Secret) -> bool {
        let mut secret = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = !secret.matches(value.expose().as_bytes());
        *secret = value;
        changed
    }
}

impl From<Secret> for SharedSecret {
    fn from(secret: Secret) -> Self {
        Self(Arc::new(RwLock::new(secret)))
    }
}

/// Overwrites bytes that held a secret.
pub fn wipe(mut bytes: Vec<u8>) {
    bytes.zeroize();
}

/// A secret as an instance holds it. The receiver accepts all of its values, calls use the first.
#[derive(Clone, Debug)]
pub struct LiveSecret {
    /// What calls use, and what the vendor is given.
    pub current: Secret,
    /// Further values that were given with it.
    pub also: Vec<Secret>,
    /// Values that were given before and are still accepted.
    pub former: Vec<Secret>,
    /// Whether it was made here, so that nobody else has it.
    pub generated: bool,
}

impl LiveSecret {
    /// Returns a secret of one value.
    pub fn new(current: Secret) -> Self {
        Self { current, also: Vec::new(), former: Vec::new(), generated: false }
    }

    /// Returns a secret of the values that were given, the first of which calls use; `None` of no value.
    pub fn given(values: Vec<Secret>) -> Option<Self> {
        let mut values = values.into_iter();
        let current = values.next()?;
        Some(Self { also: values.collect(), ..Self::new(current) })
    }

    /// Returns the values that were given, the first of which calls use.
    pub fn values(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.current).chain(&self.also)
    }

    /// Returns every value that the receiver accepts, the first of which calls use.
    pub fn accepted(&self) -> impl Iterator<Item = &Secret> {
        self.values().chain(&self.former)
    }
}
