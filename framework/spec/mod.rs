//! The floor `spec`.
