//! The floor `receive`.
