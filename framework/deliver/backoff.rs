//! How long a worker waits after a failure: doubling, with jitter, bounded.
//!
//! Workers call it. It sleeps nowhere and keeps only a count of failures.

use std::time::Duration;

use crate::call::retry::chance;

/// How fast a worker tries again, and how long it goes on when it is told to stop.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait of our own choosing.
    pub most: Duration,
    /// The longest wait that another side may ask for.
    pub most_asked: Duration,
    /// How long a worker goes on delivering after it was told to stop.
    pub drain: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            most: Duration::from_secs(60),
            most_asked: Duration::from_secs(300),
            drain: Duration::from_secs(10),
        }
    }
}

/// The waits of one run of failures.
#[derive(Debug)]
pub struct Backoff {
    pace: Pace,
    failures: u32,
}

impl Backoff {
    /// No failures yet.
    pub fn new(pace: Pace) -> Self {
        Self { pace, failures: 0 }
    }

    /// Returns the longest wait of our own choosing.
    pub fn longest(&self) -> Duration {
        self.pace.most
    }

    /// Something worked: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait before the next try. What the other side asked for is a floor, and jitter goes on top of it:
    /// many senders told the same second must not come back in the same instant.
    pub fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let doubled = self.pace.first.saturating_mul(1 << self.failures.min(16)).min(self.pace.most);
        self.failures = self.failures.saturating_add(1);
        match asked {
            Some(asked) => asked.min(self.pace.most_asked) + self.pace.first.mul_f64(chance()),
            None => doubled.mul_f64(0.5 + chance() / 2.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_begin_again_after_a_success() {
        let pace = Pace { first: Duration::from_secs(1), most: Duration::from_secs(8), ..Pace::default() };
        let mut backoff = Backoff::new(pace);
        for expected in [1.0, 2.0, 4.0, 8.0, 8.0] {
            let wait = backoff.wait(None).as_secs_f64();
            assert!(wait >= expected / 2.0 && wait <= expected, "{wait} for {expected}");
        }
        backoff.reset();
        assert!(backoff.wait(None) <= pace.first);
    }

    #[test]
    fn what_the_other_side_asks_for_is_kept_but_bounded() {
        let mut backoff = Backoff::new(Pace::default());
        assert!(backoff.wait(Some(Duration::from_secs(30))) >= Duration::from_secs(30));
        assert!(backoff.wait(Some(Duration::from_secs(1 << 40))) < Duration::from_secs(302));
    }
}
