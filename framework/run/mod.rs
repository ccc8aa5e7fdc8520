//! The floor `run`.
