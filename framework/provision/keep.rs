//! The schedule: provisioning at the start until it succeeds or is refused, then a check at intervals.
//!
//! `run` calls [`Provisioner::settle`] once and then [`Provisioner::keep`], which ends with the process or when
//! somebody runs `destroy`. A pass that fails is tried again with backoff, refused or not: what failed and when the
//! next try is stands in [`Provisioner::status`], from where `run` makes a condition of it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::provisioner::{Provisioner, provisioned};
use super::report::{Lifetimes, Report, What};
use crate::error::{Error, Kind, Result};

/// How often it is looked where the spec says nothing.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// The first wait after a passing fault; it doubles up to the longest.
const FIRST: Duration = Duration::from_secs(1);
/// How long nobody looks at the clock where something has a lifetime.
const NAP: Duration = Duration::from_secs(30);
/// The first wait after a refusal; it doubles up to the interval of the checks, but not beyond the longest.
const REFUSED: Duration = Duration::from_secs(30);
/// How often other endpoints that match `find` are counted.
const COUNTED: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
/// The longest of our own choosing.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// The longest that a vendor may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

impl Provisioner {
    /// Reconciles until it succeeds, is refused for good (the error), or the process stops (`None`).
    pub async fn settle(&self, mut shutdown: watch::Receiver<bool>) -> Result<Option<Report>> {
        let mut retry = FIRST;
        loop {
            let outcome = tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return Ok(None),
                outcome = self.reconcile() => outcome,
            };
            match outcome {
                Ok(report) => return Ok(Some(report)),
                Err(error) if error.kind == Kind::Passing => {
                    let wait = self.after(&error, retry);
                    retry = (retry * 2).min(LONGEST);
                    tokio::select! {
                        _ = shutdown.wait_for(|stop| *stop) => return Ok(None),
                        () = tokio::time::sleep(jittered(wait)) => {}
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Checks on schedule, and at once when it is nudged (secrets changed). After a pass that failed it is tried again
    /// with backoff. Ends with the process, or when the instance was destroyed; it never fails.
    pub async fn keep(&self, nudge: &Notify, mut shutdown: watch::Receiver<bool>) {
        let every = self.every();
        let (mut retry, mut refused) = (FIRST, REFUSED);
        let mut punctual = !self.is_failing();
        let mut wait = if punctual { every } else { self.after_refusal(&mut refused, every) };
        let mut counted: Option<Timestamp> = None;
        loop {
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = nudge.notified() => {}
                () = self.rest(jittered(wait), punctual) => {}
            }
            let outcome = tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                outcome = self.reconcile() => outcome,
            };
            punctual = outcome.is_ok();
            match outcome {
                Ok(report) if report.destroyed => return,
                Ok(report) => {
                    (wait, retry, refused) = (every, FIRST, REFUSED);
                    let now = self.clock.now();
                    // A pass that made or adopted one has just asked `find`.
                    let kept = report.deeds.iter().all(|deed| deed.what == What::Kept);
                    if kept && counted.is_none_or(|at| now.duration_since(at).abs() >= COUNTED) {
                        counted = Some(now);
                        tokio::select! {
                            _ = shutdown.wait_for(|stop| *stop) => return,
                            () = self.count_duplicates() => {}
                        }
                    }
                }
                Err(error) if error.kind == Kind::Passing => {
                    wait = self.after(&error, retry);
                    (retry, refused) = ((retry * 2).min(LONGEST), REFUSED);
                }
                Err(_) => {
                    wait = self.after_refusal(&mut refused, every);
                    retry = FIRST;
                }
            }
        }
    }

    /// Waits, but no longer than until something is to be renewed. That is read off the wall clock every now and
    /// then, since a process that sleeps does not see time pass. After a fault the wait is kept whole.
    async fn rest(&self, wait: Duration, punctual: bool) {
        let mut left = wait;
        while !left.is_zero() {
            let nap = match self.lifetimes().await {
                Ok(Lifetimes { due: Some(due), .. }) if punctual => {
                    let until = due.duration_since(self.clock.now());
                    let until = Duration::try_from(until).unwrap_or_default();
                    if until.is_zero() && left < wait {
                        return;
                    }
                    until.max(FIRST).min(NAP)
                }
                Ok(_) | Err(_) => left,
            };
            let nap = nap.min(left);
            tokio::time::sleep(nap).await;
            left -= nap;
        }
    }

    /// The shortest `check.every` of its resources.
    fn every(&self) -> Duration {
        let Ok(Some(provision)) = provisioned(&self.instance) else { return EVERY };
        let checks = provision.resources.iter().filter_map(|resource| resource.check.as_ref());
        checks.map(|check| check.every).min().unwrap_or(EVERY)
    }

    /// Returns how long to wait after a fault that may pass: as long as the vendor asked, at least `own`.
    fn after(&self, error: &Error, own: Duration) -> Duration {
        let wait = self.asked_wait().map_or(own, |asked| asked.min(LONGEST_ASKED).max(own));
        tracing::debug!(
            instance = %self.instance.id, error = %error, wait_s = wait.as_secs(),
            "provisioning failed, which may pass; it is tried again"
        );
        self.tries_again_in(wait);
        wait
    }

    /// Returns how long to wait after a refusal; the next one after another is twice as long.
    fn after_refusal(&self, refused: &mut Duration, every: Duration) -> Duration {
        let wait = *refused;
        *refused = (wait * 2).min(every.clamp(REFUSED, LONGEST));
        self.tries_again_in(wait);
        wait
    }
}

/// Up to a tenth longer, so that many instances do not ask at one moment.
fn jittered(wait: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness the wait is as long as it is.
    let chance = aws_lc_rs::rand::fill(&mut byte).map_or(0.0, |()| f64::from(byte[0]) / 255.0);
    wait.mul_f64(1.0 + chance * 0.1)
}
