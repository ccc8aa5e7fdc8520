//! Whether the thread that writes is alive: it says when it begins to work and when it waits again.
//!
//! The writer calls [`Pulse::working`], [`Pulse::checking`] and [`Pulse::idle`]; [`super::Local::writer`] reads it. Two
//! atomic stores a commit, no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the thread that writes does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// It waits for work.
    Idle,
    /// It commits, for so long already.
    Working(Duration),
    /// It checks the whole database after a failure, which takes minutes if that is large.
    Checking(Duration),
    /// It has ended, and nothing can be stored any more.
    Ended,
}

/// When the current work began.
#[derive(Debug)]
pub(super) struct Pulse {
    origin: Instant,
    /// Milliseconds since `origin`, twice, plus one for a check; 0 while idle.
    since: AtomicU64,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), since: AtomicU64::new(0) }
    }

    /// The writer begins a group.
    pub(super) fn working(&self) {
        self.since.store(self.now() << 1, Ordering::Relaxed);
    }

    /// The writer begins a check of the database.
    pub(super) fn checking(&self) {
        self.since.store(self.now() << 1 | 1, Ordering::Relaxed);
    }

    /// The writer waits for work.
    pub(super) fn idle(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    /// Returns what it does.
    pub(super) fn read(&self) -> Writer {
        let since = self.since.load(Ordering::Relaxed);
        let lasted = Duration::from_millis(self.now().saturating_sub(since >> 1));
        match (since, since & 1) {
            (0, _) => Writer::Idle,
            (_, 1) => Writer::Checking(lasted),
            _ => Writer::Working(lasted),
        }
    }

    /// Milliseconds since the origin, at least 1.
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX >> 1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulse_tells_idle_work_and_check_apart() {
        let pulse = Pulse::new();
        assert_eq!(pulse.read(), Writer::Idle);
        pulse.working();
        std::thread::sleep(Duration::from_millis(5));
        assert!(matches!(pulse.read(), Writer::Working(lasted) if lasted >= Duration::from_millis(3)));
        pulse.checking();
        assert!(matches!(pulse.read(), Writer::Checking(_)));
        pulse.idle();
        assert_eq!(pulse.read(), Writer::Idle);
    }
}
