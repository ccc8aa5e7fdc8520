//! The floor `provision`.
