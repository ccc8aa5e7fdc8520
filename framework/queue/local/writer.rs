//! The one thread that writes: it commits for all requests waiting, with one transaction and one sync.
//!
//! After a failed write or sync everybody in the group is told, nothing of it counts, and the database is
//! opened again and checked before anything more is taken charge of.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::fault::{Fault, FaultKind};
use super::group::{Committed, Room, commit, refusal};
use super::job::Job;
use super::known::Memory;
use super::lock::Lock;
use super::open::{Check, Opened};
use super::shared::{Registered, Shared};
use super::{cursors, held, letters, open, space};
use crate::connector::clock::Clock;
use crate::points;
use crate::queue::limits::Limits;

/// Jobs that wait for the writer at most.
pub(super) const WAITING: usize = 1024;
/// Jobs of one group at most.
const GROUP: usize = 256;
/// How long a commit waits for batches that are nearly there: less than it takes itself.
const COMPANY: Duration = Duration::from_micros(200);
/// Pause between attempts to open a broken store again, in milliseconds.
const PAUSE_MS: i64 = 1000;
/// How long no batch has come when space is given back.
const QUIET: Duration = Duration::from_secs(1);
/// How often dead letters are counted while none come in.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Damage that is met twice within so many milliseconds, though the check finds none, has the store replaced.
const SUSPICION_MS: i64 = 60_000;

/// The writer.
pub(super) struct Writer {
    folder: PathBuf,
    limits: Limits,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    store: Store,
    /// What the store took when that was measured last; `None` after it was opened.
    usage: Option<space::Usage>,
    /// When dead letters were counted last. Other processes drop some too.
    counted: Option<Instant>,
    /// The version of the database when it was last looked at: another process that writes changes it.
    version: Option<i64>,
    /// When a batch came last.
    busy: Option<Instant>,
    /// When damage was last met in a database that passed its check.
    suspected: Option<i64>,
    /// Held until the thread ends.
    lock: Lock,
}

/// The database as the writer has it.
enum Store {
    /// Open and checked.
    Well(Connection, Box<Memory>),
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
        shared.opened(opened.memory.key.clone());
        let store = Store::Well(opened.db, Box::new(opened.memory));
        Self {
            folder,
            limits,
            clock,
            shared,
            store,
            usage: None,
            counted: None,
            version: None,
            busy: None,
            suspected: None,
            lock,
        }
    }

    /// Works until every sender of jobs is gone, then closes the store.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        // What tells this thread that time has passed. Without it space is given back at the next commit.
        let timer = tokio::runtime::Builder::new_current_thread().enable_time().build().ok();
        while let Some(job) = self.next(&mut jobs, timer.as_ref()) {
            self.shared.pulse.working();
            let mut group = vec![job];
            // Each commit writes a handful of pages whatever is in it, and syncs them.
            if self.shared.more_is_coming() {
                std::thread::sleep(COMPANY);
            }
            while group.len() < GROUP
                && let Ok(job) = jobs.try_recv()
            {
                group.push(job);
            }
            self.group(group);
            self.tidy(&jobs);
            self.shared.pulse.idle();
        }
        self.close();
    }

    /// The next job, waited for as long as it takes. While there is space to give back, that is done as soon as
    /// it has been quiet for a moment.
    fn next(&mut self, jobs: &mut mpsc::Receiver<Job>, timer: Option<&Runtime>) -> Option<Job> {
        while let Some(timer) = timer
            && self.usage.is_some_and(|usage| space::can_give_back(&usage, false))
        {
            let waited = timer.block_on(async { tokio::time::timeout(QUIET, jobs.recv()).await });
            match waited {
                Ok(job) => return job,
                Err(_) => self.tidy(jobs),
            }
        }
        jobs.blocking_recv()
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    fn group(&mut self, jobs: Vec<Job>) {
        let jobs = self.inspect(jobs);
        self.reopen_when_due();
        if jobs.is_empty() {
            return;
        }
        if jobs.iter().any(|job| matches!(job, Job::Append(_))) {
            self.busy = Some(Instant::now());
        }
        let now = self.now();
        let Store::Well(db, memory) = &mut self.store else { return self.refuse(jobs) };
        let mut waiters = Vec::with_capacity(jobs.len());
        let started = Instant::now();
        let room = match self.usage {
            Some(usage) => Ok(usage),
            None => space::measure(db, &self.folder),
        };
        let room = room.and_then(|usage| Room::new(&self.folder, &self.limits, usage));
        let outcome = commit(db, memory, jobs, &mut waiters, room, now);
        let outcome = match outcome {
            Ok(Committed { blocks, letters }) => {
                points::reached("commit.done");
                self.shared.recent.keep(blocks);
                for (sink, position) in memory.moved.drain(..) {
                    self.shared.recent.moved(&sink, position);
                }
                self.shared.forgotten_early(memory.windows.take_early());
                self.shared.committed(started.elapsed());
                if letters {
                    self.counted = None;
                }
                Ok(())
            }
            Err(fault) => {
                tracing::error!(error = %fault.said, "the store failed; nothing of this commit counts");
                Err(fault)
            }
        };
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
        self.shared.pulse.checking();
        let reopened = reopen(broken, &self.folder, &self.limits, now).and_then(|mut opened| {
            register(&mut opened, &self.shared.registered())?;
            Ok(opened)
        });
        self.shared.pulse.working();
        match reopened {
            Ok(opened) => {
                points::reached("reopen.done");
                tracing::info!("the store is open again");
                self.shared.lost(opened.lost);
                self.shared.opened(opened.memory.key.clone());
                self.store = Store::Well(opened.db, Box::new(opened.memory));
                (self.usage, self.counted, self.version) = (None, None, None);
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
            match self.measure().and_then(|usage| self.tidy_once(&usage, jobs, gave)) {
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

    /// Measures what the store takes, for the next commit and for people.
    fn measure(&mut self) -> Result<space::Usage, Fault> {
        let Store::Well(db, memory) = &mut self.store else { return Ok(space::Usage::default()) };
        let usage = space::measure(db, &self.folder)?;
        // It changes when another process writes.
        let version: i64 = db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if self.version != Some(version) {
            self.version = Some(version);
            memory.recount(db)?;
        }
        self.shared.measured(&usage);
        if self.counted.is_none_or(|before| before.elapsed() > COUNT_EVERY) {
            self.shared.counted(letters::totals(db)?.0);
            self.counted = Some(Instant::now());
        }
        self.usage = Some(usage);
        Ok(usage)
    }

    /// `true`: there may be more to give back.
    fn tidy_once(&self, usage: &space::Usage, jobs: &mpsc::Receiver<Job>, gave: bool) -> Result<bool, Fault> {
        let Store::Well(db, _) = &self.store else { return Ok(false) };
        space::checkpoint_when_due(db, usage, &self.limits)?;
        if !jobs.is_empty() {
            return Ok(false);
        }
        let busy = self.busy.is_some_and(|last| last.elapsed() < QUIET);
        if space::give_back(db, usage, busy)? {
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
        if let Store::Well(db, memory) = self.store
            && let Err(fault) = held::save(&db, memory.instances.values()).and_then(|()| open::close(db))
        {
            tracing::error!(error = %fault.said, "the store was not closed cleanly; it is checked at the next start");
        }
        drop(self.lock);
    }
}

/// Registers the sinks of this run again, before anything is trimmed: a database that was replaced may have lost their
/// cursors. Those begin at the oldest record kept.
fn register(opened: &mut Opened, registered: &Registered) -> Result<(), Fault> {
    let tx = opened.db.transaction()?;
    for (instance, sinks) in registered {
        let number = opened.memory.instance(&tx, instance)?.number;
        cursors::register(&tx, number, sinks)?;
    }
    Ok(tx.commit()?)
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
