//! Findings as text: for people, for programs, for code scanning and for pull requests. Everything here is text out
//! of diagnostics; `cli` writes it.

mod github;
mod human;
pub mod json;
mod sarif;

pub use github::{github, notice};
pub use human::human;
pub use sarif::sarif;
