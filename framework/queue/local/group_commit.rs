//! The order of a group commit, apart from SQLite: write, sync, answer; and after a failure nothing before the recovery.
//!
//! The writer drives it with its disk, and `model` drives it with one that fails and loses power at every step, under
//! every order of threads that the model checker tries. Nothing here knows what a job is or where it is stored.
//!
//! ```text
//!           write, sync: ok, everybody gets a receipt
//!            ┌──────┐
//!            ▼      │   write or sync failed, or the store was found broken
//!          ready ───┴──────────────────────────────────────────────▶ failed
//!            ▲                                                          │ every job is refused
//!            └──────────────── recover: ok, at most once a second ──────┘
//! ```

use super::fault::{Fault, FaultKind};

/// Pause between attempts to recover, in milliseconds.
pub(super) const PAUSE_MS: i64 = 1000;
/// Damage that is met twice within so many milliseconds, though the check finds none, has the database replaced.
const SUSPICION_MS: i64 = 60_000;

/// Where groups are stored.
pub(super) trait Disk {
    /// Something to do in a group's transaction.
    type Job;
    /// Somebody who waits for its outcome.
    type Waiter: Answer + From<Self::Job>;

    /// Writes a group in one transaction. Everybody who waits for it is in `waiters` afterwards, also when it fails.
    fn write(&mut self, jobs: Vec<Self::Job>, waiters: &mut Vec<Self::Waiter>) -> Result<(), Fault>;

    /// Makes what was written durable, and makes sure that it is where the next start looks for it.
    fn sync(&mut self) -> Result<(), Fault>;

    /// Opens and checks the store again after a failure. `again`: damage was met a second time in a store that had
    /// passed its check.
    fn recover(&mut self, fault: &Fault, again: bool) -> Result<(), Fault>;
}

/// Takes the outcome of a group.
pub(super) trait Answer {
    /// Sends it to whoever waits.
    fn answer(self, outcome: Result<(), &Fault>);
}

/// The state of the group commit.
pub(super) struct GroupCommit<D> {
    pub(super) disk: D,
    failure: Option<Failure>,
    /// When damage was last met.
    suspected: Option<i64>,
    /// Only for the test that shows that the model finds it.
    answers_before_sync: bool,
}

/// A store that is out of use.
struct Failure {
    fault: Fault,
    again: bool,
    /// When it is tried again, in milliseconds.
    next_try: i64,
}

impl<D: Disk> GroupCommit<D> {
    /// Begins with a disk that is open and checked.
    pub(super) fn new(disk: D) -> Self {
        Self { disk, failure: None, suspected: None, answers_before_sync: false }
    }

    /// Stores a group and answers everybody in it, at this time in milliseconds.
    pub(super) fn group(&mut self, jobs: Vec<D::Job>, now: i64) {
        if let Some(failure) = &self.failure {
            for job in jobs {
                D::Waiter::from(job).answer(Err(&failure.fault));
            }
            return;
        }
        let mut waiters = Vec::with_capacity(jobs.len());
        let written = self.disk.write(jobs, &mut waiters);
        if cfg!(test) && self.answers_before_sync {
            waiters.drain(..).for_each(|waiter| waiter.answer(written.as_ref().copied()));
        }
        let outcome = written.and_then(|()| self.disk.sync());
        for waiter in waiters {
            waiter.answer(outcome.as_ref().copied());
        }
        match outcome {
            // Another process wrote for too long: nothing of this group was begun.
            Err(Fault { kind: FaultKind::Busy, .. }) | Ok(()) => {}
            Err(fault) => self.fail(fault, now),
        }
    }

    /// Takes the store out of use.
    pub(super) fn fail(&mut self, fault: Fault, now: i64) {
        let damaged = fault.kind == FaultKind::Damaged;
        let again = damaged && self.suspected.is_some_and(|before| now.saturating_sub(before) < SUSPICION_MS);
        if damaged {
            self.suspected = Some(now);
        }
        // Damage does not pass by itself: the check, which repairs it, need not wait.
        let next_try = if damaged && !again { now } else { now.saturating_add(PAUSE_MS) };
        self.failure = Some(Failure { fault, again, next_try });
    }

    /// Recovers if that is due.
    pub(super) fn recover_when_due(&mut self, now: i64) {
        let Some(failure) = &self.failure else { return };
        // A longer wait than the pause means that the clock went back.
        if !(1..=PAUSE_MS).contains(&failure.next_try.saturating_sub(now)) {
            self.recover(now);
        }
    }

    /// Recovers now. `true`: the store is in use.
    pub(super) fn recover(&mut self, now: i64) -> bool {
        let Some(failure) = &mut self.failure else { return true };
        failure.next_try = now.saturating_add(PAUSE_MS);
        match self.disk.recover(&failure.fault, failure.again) {
            Ok(()) => self.failure = None,
            Err(fault) => failure.fault = fault,
        }
        self.failure.is_none()
    }

    /// The failure that keeps the store out of use.
    pub(super) fn failure(&self) -> Option<&Fault> {
        self.failure.as_ref().map(|failure| &failure.fault)
    }
}

#[cfg(test)]
mod model;
