//! Tests: tls.
