//! The vendor's side: found, adopted, created, kept, repaired and destroyed.
//!
//! `life` is the story. It looks (`look`), judges (`decide`, by `drift`) and acts (`act`); `plan` looks and judges
//! the same way and writes nothing; `keep` is the schedule and `destroy` the end. `state` is what is remembered, and
//! `aside` what becomes of those that are replaced or said to be gone. `rotation` is which former values of secrets are
//! still accepted.

mod act;
mod aside;
pub mod captures;
mod decide;
mod destroy;
pub mod drift;
mod fingerprint;
mod keep;
mod life;
mod look;
mod making;
pub mod manual;
mod names;
pub mod plan;
mod provisioner;
mod renew;
pub mod report;
pub mod rotation;
pub mod scopes;
pub mod secrets;
pub mod state;
pub mod witness;

pub use provisioner::{Provisioner, is_automatic};
pub use report::{Failing, Lifetimes, Report, Status, What};
