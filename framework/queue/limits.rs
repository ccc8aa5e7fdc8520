//! The bounds of the queue, and what they are unless the configuration says otherwise.

use std::time::Duration;

use super::shares::Shares;
use crate::connector::record::REMEMBERED;

/// The bounds of one store.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the store; at it, new batches are refused until sinks have made room.
    pub max_bytes: u64,
    /// The share of `max_bytes` that dead letters may take, in percent.
    pub dead_share: u8,
    /// Bytes of the file system that stay free.
    pub min_free: u64,
    /// Ids remembered, of all instances together.
    pub dedupe_count: usize,
    /// How long an id is remembered.
    pub dedupe_age: Duration,
    /// What of all that each instance can rely on.
    pub shares: Shares,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 10 << 30,
            dead_share: 10,
            min_free: 1 << 30,
            dedupe_count: 1_000_000,
            dedupe_age: REMEMBERED,
            shares: Shares::default(),
        }
    }
}
