//! The floor `receive`.

pub mod limits;
