//! Cases: recorded exchanges and requests, played against the code that runs in production.
//!
//! `forebay test` calls [`play`]. It touches loopback and the data folder it is given, and nothing else.

mod compare;
mod play;
mod receiver;
mod script;

pub use play::{World, play};
