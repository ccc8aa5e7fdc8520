//! The time, as an argument.

use jiff::Timestamp;

use crate::points;

/// Where the time comes from. Below `cli` nothing asks the system for it.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        points::shifted(Timestamp::now())
    }
}
