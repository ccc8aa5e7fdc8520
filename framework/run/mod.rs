//! The floor `run`.

pub mod admin;
pub mod config;
pub mod health;
pub mod log;
pub mod metrics;
