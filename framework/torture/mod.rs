//! Torture: the real receiver, queue and sinks in a child process, under load, while everything around them fails.
//!
//! `cli` calls [`life::run`]. The child is this same program with `run`; nothing in it knows that it is tortured.
//! Every id is accounted for at the end: what was answered must stand in every sink, and none of it twice.

pub mod bits;
pub mod books;
pub mod child;
pub mod collector;
pub mod damage;
pub mod life;
pub mod load;
pub mod report;
pub mod schedule;
pub mod subject;
