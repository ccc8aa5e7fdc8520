//! The floor `simulate`.
