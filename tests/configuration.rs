//! Tests: configuration.
