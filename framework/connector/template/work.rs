//! How much one evaluation may work through: fuel counts its steps, and this the bytes that the steps handle.
//!
//! A step may be a hash of megabytes, and a list may hold itself many times over. Every filter, join and walk through
//! a value spends here; [`within`] begins an evaluation, and one inside of another (a var) spends what is left of it.

use std::cell::Cell;

use minijinja::{Error, Value};

use super::fault::{Fault, refused};

/// Bytes: a body of the largest size a few times over.
const MOST: usize = 256 << 20;
/// What a value costs beside its bytes.
pub(super) const NODE: usize = 32;

const TOO_MUCH: &str = "it takes too much work";

thread_local! {
    /// What the evaluation under way may still spend.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    /// Whether it met another bound.
    static MET: Cell<bool> = const { Cell::new(false) };
}

/// Ends the evaluation also where it panics.
struct Ended;

impl Drop for Ended {
    fn drop(&mut self) {
        LEFT.set(None);
        MET.set(false);
    }
}

/// Runs an evaluation. One that spent everything fails, whatever it came to.
pub(super) fn within<T>(evaluate: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    if LEFT.get().is_some() {
        return evaluate();
    }
    LEFT.set(Some(MOST));
    let _ended = Ended;
    let outcome = evaluate();
    if LEFT.get() == Some(0) {
        return Err(Fault::bound(TOO_MUCH));
    }
    outcome.map_err(|mut fault| {
        fault.bound |= MET.get();
        fault
    })
}

/// The error of a bound other than that on work: the evaluation under way fails by it, and says so.
pub(super) fn beyond(what: impl Into<String>) -> Error {
    MET.set(true);
    refused(what)
}

/// Ends the evaluation under way where no error can be returned.
pub(super) fn exhaust() {
    LEFT.set(LEFT.get().map(|_| 0));
}

/// Takes so many bytes of what is left.
pub(super) fn spend(bytes: usize) -> Result<(), Error> {
    let left = LEFT.get().map(|left| left.saturating_sub(bytes));
    LEFT.set(left);
    if left == Some(0) { Err(refused(TOO_MUCH)) } else { Ok(()) }
}

/// The bytes that a value holds itself: of a list the places of its items.
pub(super) fn weight(value: &Value) -> usize {
    let own = value.as_str().map(str::len).or_else(|| value.as_bytes().map(<[u8]>::len));
    NODE + own.unwrap_or_else(|| value.len().unwrap_or(0).saturating_mul(NODE))
}
