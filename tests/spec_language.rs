//! Tests: spec language.
