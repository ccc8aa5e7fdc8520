//! Who may look on while the vendor's side is provisioned: `run --record` learns where a pass begins and ends.
//!
//! In an ordinary run nobody looks on. A witness changes nothing.

use tokio::sync::watch;

use super::report::Report;
use super::state::Saved;
use crate::error::Result;

/// One way through all resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Looked at and put right.
    Reconcile,
    /// Removed.
    Destroy,
}

/// Looks on while passes are made, one at a time; it must return at once. A pass that is given up has no end.
pub trait Witness: Send + Sync + 'static {
    /// Where what is saved can be looked at, as it becomes known.
    fn knows(&self, saved: watch::Receiver<Saved>);

    /// A pass begins.
    fn begins(&self, pass: Pass);

    /// It came to its end.
    fn ended(&self, pass: Pass, outcome: &Result<Report>);
}
