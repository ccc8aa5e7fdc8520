//! The one thread that writes: it commits for all requests waiting, with one transaction and one sync.
//!
//! After a failed write or sync everybody in the group is told, nothing of it counts, and the database is
//! opened again and checked before anything more is taken charge of.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::fault::{Fault, FaultKind};
use super::group::{commit, refusal};
use super::job::Job;
use super::known::Memory;
use super::lock::Lock;
use super::open::{Check, Opened};
use super::shared::Shared;
use super::{letters, open, space};
use crate::connector::clock::Clock;
use crate::points;
use crate::queue::limits::Limits;

/// Jobs that wait for the writer at most.
pub(super) const WAITING: usize = 1024;
/// Jobs of one group at most.
const GROUP: usize = 256;
/// Pause between attempts to open a broken store again, in milliseconds.
const PAUSE_MS: i64 = 1000;
/// Damage that is met twice within so many milliseconds, though the check finds none, has the store replaced.
const SUSPICION_MS: i64 = 60_000;

/// The writer.
pub(super) struct Writer {
    folder: PathBuf,
    limits: Limits,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    store: Store,
    /// When damage was last met in a database that passed its check.
    suspected: Option<i64>,
    /// Held until the thread ends.
    lock: Lock,
}

/// The database as the writer has it.
enum Store {
    /// Open and checked.
    Well(Connection, Memory),
    /// Not used after a failure.
    Broken(Broken),
}

/// A database after a failure.
struct Broken {
    fault: Fault,
    /// When it is tried again, in milliseconds.
    next_try: i64,
    /// The connection that failed, until the log has been emptied through it.
    old: Option<Connection>,
    check: Check,
}

impl Writer {
    pub(super) fn new(
        folder: PathBuf,
        limits: Limits,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
        opened: Opened,
        lock: Lock,
    ) -> Self {
        let store = Store::Well(opened.db, opened.memory);
        Self { folder, limits, clock, shared, store, suspected: None, lock }
    }

    /// Works until every sender of jobs is gone, then closes the store.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            let mut group = vec![job];
            while group.len() < GROUP
                && let Ok(job) = jobs.try_recv()
            {
                group.push(job);
            }
            self.group(group);
            self.tidy(&jobs);
        }
        self.close();
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    fn group(&mut self, jobs: Vec<Job>) {
        let jobs = self.inspect(jobs);
        self.reopen_when_due();
        let now = self.now();
        let Store::Well(db, memory) = &mut self.store else { return self.refuse(jobs) };
        let mut waiters = Vec::with_capacity(jobs.len());
        let started = Instant::now();
        let outcome = commit(db, memory, jobs, &mut waiters, &self.folder, &self.limits, now);
        match &outcome {
            Ok(()) => {
                points::reached("commit.done");
                self.shared.committed(started.elapsed());
            }
            Err(fault) => {
                tracing::error!(error = %fault.said, "the store failed; nothing of this commit counts")
            }
        }
        for waiter in waiters {
            waiter.settle(outcome.as_ref().copied());
        }
        points::reached("commit.answered");
        match outcome {
            // Another process wrote for too long: nothing of this group was begun.
            Err(Fault { kind: FaultKind::Busy, .. }) | Ok(()) => {}
            Err(fault) => self.fail(fault),
        }
    }

    /// Answers jobs while the store is broken.
    fn refuse(&self, jobs: Vec<Job>) {
        let Store::Broken(Broken { fault, .. }) = &self.store else { return };
        for job in jobs {
            match job {
                Job::Append(append) => drop(append.reply.send(Err(refusal(fault)))),
                Job::Work(work) => work.settle(Err(fault)),
                Job::Inspect(done) => _ = done.send(()),
            }
        }
    }

    /// Takes the requests to look at the database out of a group, and answers them.
    fn inspect(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let mut asked = Vec::new();
        let mut rest = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job {
                Job::Inspect(done) => asked.push(done),
                job => rest.push(job),
            }
        }
        if !asked.is_empty() && matches!(self.store, Store::Well(..)) {
            self.fail(Fault::damaged("a reader met damage"));
            if let Store::Broken(broken) = &mut self.store {
                broken.next_try = i64::MIN;
            }
            self.reopen_when_due();
        }
        for done in asked {
            _ = done.send(());
        }
        rest
    }

    /// Takes the database out of use after a failure.
    fn fail(&mut self, fault: Fault) {
        let now = self.now();
        let damaged = fault.kind == FaultKind::Damaged;
        let again = self.suspected.is_some_and(|before| now.saturating_sub(before) < SUSPICION_MS);
        // Damage does not pass by itself: the check, which mends it, need not wait.
        let next_try = if damaged && !again { now } else { now.saturating_add(PAUSE_MS) };
        let check = if damaged && again { Check::Replace } else { Check::Always };
        if damaged {
            self.suspected = Some(now);
        }
        let broken = Broken { fault, next_try, old: None, check };
        if let Store::Well(db, _) = std::mem::replace(&mut self.store, Store::Broken(broken))
            && let Store::Broken(broken) = &mut self.store
        {
            broken.old = Some(db);
        }
        self.shared.reset_readers();
    }

    fn reopen_when_due(&mut self) {
        let now = self.now();
        let Store::Broken(broken) = &mut self.store else { return };
        // A longer wait than the pause means that the clock went back.
        if (1..=PAUSE_MS).contains(&broken.next_try.saturating_sub(now)) {
            return;
        }
        broken.next_try = now.saturating_add(PAUSE_MS);
        match reopen(broken, &self.folder, &self.limits, now) {
            Ok(opened) => {
                points::reached("reopen.done");
                tracing::info!("the store is open again");
                self.shared.lost(opened.lost);
                self.store = Store::Well(opened.db, opened.memory);
                self.shared.reset_readers();
                self.shared.changed();
            }
            Err(fault) => {
                tracing::error!(error = %fault.said, "the store cannot be opened again yet");
                broken.fault = fault;
            }
        }
    }

    /// What can wait until the answers are out: checkpoints, and giving space back while nobody waits.
    fn tidy(&mut self, jobs: &mpsc::Receiver<Job>) {
        let mut gave = false;
        loop {
            let Store::Well(db, _) = &self.store else { return };
            match self.tidy_once(db, jobs, gave) {
                Ok(true) => gave = true,
                Ok(false) => return,
                Err(fault) if fault.kind == FaultKind::Busy => return,
                Err(fault) => {
                    tracing::error!(error = %fault.said, "the store cannot be tidied");
                    return self.fail(fault);
                }
            }
        }
    }

    /// `true`: there may be more to give back.
    fn tidy_once(&self, db: &Connection, jobs: &mpsc::Receiver<Job>, gave: bool) -> Result<bool, Fault> {
        let usage = space::measure(db, &self.folder)?;
        let (held, _) = letters::totals(db)?;
        self.shared.measured(&usage, held);
        space::checkpoint_when_due(db, &usage, &self.limits)?;
        if !jobs.is_empty() {
            return Ok(false);
        }
        if space::give_back(db, &usage)? {
            return Ok(true);
        }
        // The file becomes shorter only when the log is copied into it.
        if gave {
            space::checkpoint(db, "TRUNCATE")?;
        }
        Ok(false)
    }

    fn close(self) {
        self.shared.reset_readers();
        if let Store::Well(db, _) = self.store
            && let Err(fault) = open::close(db)
        {
            tracing::error!(error = %fault.said, "the store was not closed cleanly; it is checked at the next start");
        }
        drop(self.lock);
    }
}

/// Opens the database again.
///
/// The frames of a failed commit must not be found by whoever opens the log next: they may be in the page cache
/// alone, and what is committed behind them would be lost with them. So the log is emptied first, through the
/// connection that still knows where the last good commit ends.
fn reopen(broken: &mut Broken, folder: &Path, limits: &Limits, now: i64) -> Result<Opened, Fault> {
    points::reached("reopen.begin");
    if let Some(old) = &broken.old {
        match space::checkpoint(old, "TRUNCATE") {
            Ok(true) => {}
            Ok(false) => return Err(Fault::broken("others keep the log from being emptied")),
            // What cannot be read is left to the check.
            Err(fault) if fault.kind == FaultKind::Damaged => {}
            Err(fault) => return Err(fault),
        }
        broken.old = None;
        points::reached("reopen.emptied");
    }
    open::checked(folder, limits, now, broken.check)
}
