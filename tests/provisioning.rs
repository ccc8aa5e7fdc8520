//! Tests: provisioning.
