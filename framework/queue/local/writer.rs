//! The one thread that writes: it commits for all requests waiting, with one transaction and one sync.
//!
//! [`super::group_commit`] has the order of a commit, [`super::database`] what it is stored in. This file has what goes on
//! around it: gathering a group, looking at the files while it is idle, checkpoints, and giving space back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::checkpoint::{self, Checkpoints};
use super::database::{Database, OpenStore, Store};
use super::fault::{Fault, FaultKind};
use super::group_commit::GroupCommit;
use super::job::Job;
use super::lock::Lock;
use super::shared::Shared;
use super::{letters, space};
use crate::condition::{Code, Subject};
use crate::points;
use crate::queue::limits::Limits;

/// Jobs that wait for the writer at most.
pub(super) const WAITING: usize = 1024;
/// Jobs of one group at most.
const GROUP: usize = 256;
/// How long a commit waits for batches that are nearly there: less than it takes itself.
const COMPANY: Duration = Duration::from_micros(200);
/// How often the files are compared while nothing is committed, and a failed store is tried.
const COMPARE: Duration = Duration::from_millis(500);
/// How long no batch has come when space is given back.
const QUIET: Duration = Duration::from_secs(1);
/// How often dead letters are counted while none come in.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// The writer.
pub(super) struct Writer {
    commit: GroupCommit<Database>,
    limits: Limits,
    shared: Arc<Shared>,
    checkpoints: Checkpoints,
    /// When dead letters were counted last. Other processes drop some too.
    counted: Option<Instant>,
    /// When a batch came last.
    busy: Option<Instant>,
    /// When the files were compared last.
    compared: Instant,
    /// Held until the thread ends.
    lock: Lock,
}

impl Writer {
    pub(super) fn new(database: Database, limits: Limits, shared: Arc<Shared>, lock: Lock) -> Self {
        Self {
            commit: GroupCommit::new(database),
            limits,
            shared,
            checkpoints: Checkpoints::default(),
            counted: None,
            busy: None,
            compared: Instant::now(),
            lock,
        }
    }

    /// Works until every sender of jobs is gone, then closes the store. `timer` tells it that time has passed.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>, timer: &Runtime) {
        while let Some(job) = self.next(&mut jobs, timer) {
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

    /// The next job, waited for as long as it takes. Meanwhile the files are compared, a failed store is tried, and space
    /// is given back once it has been quiet for a moment.
    fn next(&mut self, jobs: &mut mpsc::Receiver<Job>, timer: &Runtime) -> Option<Job> {
        loop {
            match jobs.try_recv() {
                Ok(job) => return Some(job),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            let waited = timer.block_on(async { tokio::time::timeout(COMPARE, jobs.recv()).await });
            match waited {
                Ok(job) => return job,
                Err(_) => self.idle(jobs),
            }
        }
    }

    /// What is done while nothing comes.
    fn idle(&mut self, jobs: &mpsc::Receiver<Job>) {
        self.compare();
        self.commit.recover_when_due(self.now());
        self.shared.pulse.idle();
        let quiet = self.busy.is_none_or(|last| last.elapsed() >= QUIET);
        if quiet && self.commit.disk.usage.is_some_and(|usage| space::can_give_back(&usage, false)) {
            self.tidy(jobs);
        }
    }

    /// Compares the files at the path with the open ones.
    fn compare(&mut self) {
        self.compared = Instant::now();
        if self.commit.failure().is_some() {
            return;
        }
        if let Err(fault) = self.commit.disk.compare() {
            self.fail(fault);
        } else if let Err(error) = self.lock.renew(self.commit.disk.folder()) {
            tracing::warn!(%error, "the file `lock` was removed while Forebay runs, and cannot be made again");
        }
    }

    fn now(&self) -> i64 {
        self.commit.disk.now()
    }

    fn fail(&mut self, fault: Fault) {
        self.commit.disk.fail(&fault);
        self.commit.fail(fault, self.commit.disk.now());
    }

    fn group(&mut self, jobs: Vec<Job>) {
        let jobs = self.inspect(jobs);
        let now = self.now();
        self.commit.recover_when_due(now);
        if jobs.is_empty() {
            return;
        }
        if jobs.iter().any(|job| matches!(job, Job::Append(_))) {
            self.busy = Some(Instant::now());
        }
        self.commit.group(jobs, now);
        points::reached("commit.answered");
        // While commits go on, what no commit changes has been compared. The lock has not.
        if self.compared.elapsed() >= COMPARE {
            self.compare();
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
        if !asked.is_empty() && matches!(self.commit.disk.store, Store::Open(_)) {
            self.fail(Fault::damaged("a reader met damage"));
            self.commit.recover(self.now());
        }
        for done in asked {
            _ = done.send(());
        }
        rest
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
        let disk = &mut self.commit.disk;
        let folder = disk.folder().to_owned();
        let Store::Open(OpenStore { db, files, memory }) = &mut disk.store else {
            return Ok(space::Usage::default());
        };
        let usage = space::measure(db, &folder)?;
        files.note_frames(usage.frames)?;
        // It changes when another process writes.
        let version: i64 = db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if disk.version != Some(version) {
            disk.version = Some(version);
            memory.recount(db)?;
        }
        self.shared.measured(&usage);
        let due = self.counted.is_none_or(|before| before.elapsed() > COUNT_EVERY);
        if due || disk.letters {
            self.shared.counted(letters::totals(db)?.0);
            self.counted = Some(Instant::now());
            disk.letters = false;
        }
        disk.usage = Some(usage);
        Ok(usage)
    }

    /// `true`: there may be more to give back.
    fn tidy_once(
        &mut self,
        usage: &space::Usage,
        jobs: &mpsc::Receiver<Job>,
        gave: bool,
    ) -> Result<bool, Fault> {
        let Store::Open(OpenStore { db, files, .. }) = &mut self.commit.disk.store else { return Ok(false) };
        if checkpoint::due(usage, &self.limits) {
            // What another program wrote over must not become ours.
            files.compare(db)?;
            self.checkpoints.copy(db, usage, &self.limits)?;
            files.note_checkpoint(db)?;
        }
        self.say_blocked(usage);
        let Store::Open(OpenStore { db, files, .. }) = &mut self.commit.disk.store else { return Ok(false) };
        if !jobs.is_empty() {
            return Ok(false);
        }
        let busy = self.busy.is_some_and(|last| last.elapsed() < QUIET);
        let given = space::give_back(db, usage, busy)?;
        if given {
            files.note_commit()?;
            return Ok(true);
        }
        // The file becomes shorter only when the log is copied into it.
        if gave {
            files.compare(db)?;
            self.checkpoints.empty(db)?;
            files.note_checkpoint(db)?;
        }
        Ok(false)
    }

    /// Says that a reader keeps the log from starting over, or that none does any more.
    fn say_blocked(&self, usage: &space::Usage) {
        let (code, subject) = (Code::CheckpointBlocked, Subject::process());
        if self.checkpoints.blocked(usage, &self.limits) {
            let message = format!(
                "a reader with an open transaction keeps forebay.db-wal from starting over: it has {} MiB",
                usage.wal >> 20
            );
            self.shared.conditions.raise(code, subject, message);
        } else {
            self.shared.conditions.clear(code, &subject);
        }
    }

    fn close(self) {
        self.shared.reset_readers();
        self.commit.disk.close();
        drop(self.lock);
    }
}
