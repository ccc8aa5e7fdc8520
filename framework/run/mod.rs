//! An instance at work: the order of start and stop, for one instance or for many on one listener.
//!
//! `cli` gathers the world (listeners, clock, transports, store, signals) and calls [`host::run`]; `simulate`
//! calls it with the stand-in's transport. Nothing here opens a port or reads the environment.

pub mod admin;
mod certificate;
pub mod changes;
pub mod config;
mod dead_letters;
pub mod health;
pub mod host;
mod instructions;
mod leftovers;
pub mod log;
mod log_filter;
mod log_format;
pub mod log_writer;
pub mod metrics;
mod observed;
mod provisioning;
mod receiving;
mod refusing;
mod retries;
mod rotation;
pub mod ruling;
mod secret_values;
mod sinking;
pub mod startup_checks;
mod stream_conditions;
mod summary;
mod watchdog;
pub mod world;
