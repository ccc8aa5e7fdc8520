//! Tests: templates.
