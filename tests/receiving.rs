//! Tests: receiving.
