//! Tests: store faults.
