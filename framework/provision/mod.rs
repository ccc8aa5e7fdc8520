//! The vendor's side: found, adopted, created, kept, repaired and destroyed.
//!
//! `life` is the story. It looks (`look`), judges (`decide`, by `drift`) and acts (`act`); `plan` looks and judges
//! the same way and writes nothing; `keep` is the schedule and `destroy` the end. `state` is what is remembered.

mod act;
mod decide;
pub mod drift;
mod fingerprint;
pub mod life;
mod look;
mod names;
pub mod report;
pub mod secrets;
pub mod state;

pub use life::{Provisioner, is_automatic};
pub use report::{Report, Status, What};
