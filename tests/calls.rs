//! Tests: calls.
