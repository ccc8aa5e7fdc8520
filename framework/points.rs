//! Fault points: named places where a test kills the process, has a step fail, or moves the clock.
//!
//! They exist under the feature `fault-points` alone, which only the tests' build has; everywhere else these
//! functions are empty and gone. A test sets them by the variable `FAILPOINTS` of the process that it starts:
//! `commit.planned=3*off->return` kills it when it is there for the fourth time. Nothing here is for users.

use jiff::Timestamp;

/// Takes what `FAILPOINTS` says. The command line calls it, once.
#[inline]
pub fn arm() {
    // Dropping the scenario would disarm every point.
    #[cfg(feature = "fault-points")]
    std::mem::forget(fail::FailScenario::setup());
}

/// The process is at this place. A test may have it end here, as a kill would.
#[inline]
pub fn reached(_name: &'static str) {
    #[cfg(feature = "fault-points")]
    fail::fail_point!(_name, |_| std::process::abort());
}

/// A step that a test may have fail, as the disk would.
///
/// # Errors
/// Only what a test injects.
#[inline]
pub fn failing(_name: &'static str) -> std::io::Result<()> {
    #[cfg(feature = "fault-points")]
    fail::fail_point!(_name, |_| Err(std::io::Error::other("a fault point says so")));
    Ok(())
}

/// The time as a test has it: `clock=return(-3600)` is an hour ago.
#[inline]
pub fn shifted(now: Timestamp) -> Timestamp {
    #[cfg(feature = "fault-points")]
    fail::fail_point!("clock", |seconds| {
        let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(0);
        now.saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(now)
    });
    now
}
