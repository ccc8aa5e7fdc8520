//! Tests: bad specs.
