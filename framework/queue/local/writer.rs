//! The one thread that writes: it commits for all requests waiting, with one transaction and one sync.
//!
//! After a failed write or sync everybody in the group is told, nothing of it counts, and the database is
//! opened again and checked before anything more is taken charge of.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::append::{Dedupe, Plan, judge, unjudge};
use super::fault::{Fault, FaultKind};
use super::known::Memory;
use super::lock::Lock;
use super::shared::Shared;
use super::{letters, open, space};
use crate::connector::clock::Clock;
use crate::error::{Error, Kind};
use crate::queue::limits::Limits;
use crate::queue::{Batch, Receipt, Refusal};

/// Jobs that wait for the writer at most.
pub(super) const WAITING: usize = 1024;
/// Jobs of one group at most.
const GROUP: usize = 256;
/// How long a refused vendor should wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Pause between attempts to open a broken store again, in milliseconds.
const PAUSE_MS: i64 = 1000;

/// Work for the writer.
pub(super) enum Job {
    /// A batch to store.
    Append(Append),
    /// Anything else that writes.
    Work(Box<dyn Work>),
    /// A reader met damage: look at the whole database.
    Inspect(oneshot::Sender<()>),
}

/// A batch, and who waits for it.
pub(super) struct Append {
    pub(super) batch: Batch,
    pub(super) dedupe: Dedupe,
    pub(super) reply: oneshot::Sender<Result<Receipt, Refusal>>,
    /// What else belongs to the same transaction.
    pub(super) also: Option<Also>,
}

/// What else belongs to a batch's transaction.
pub(super) type Also = Box<dyn FnOnce(&Transaction<'_>) -> Result<(), Fault> + Send>;

/// Something that writes inside the group's transaction.
pub(super) trait Work: Send {
    /// Does it. An error fails the whole group: it is for what the database says.
    fn perform(&mut self, tx: &Transaction<'_>, memory: &mut Memory) -> Result<(), Fault>;
    /// Tells whoever waits, once the group is committed or failed.
    fn settle(self: Box<Self>, outcome: Result<(), &Fault>);
}

/// The writer.
pub(super) struct Writer {
    pub(super) folder: PathBuf,
    pub(super) limits: Limits,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    /// Held until the thread ends.
    pub(super) lock: Lock,
}

/// The database as the writer has it.
pub(super) enum Store {
    /// Open and checked.
    Well(Connection, Memory),
    /// Closed after a failure, until `next_try`.
    Broken(Fault, i64),
}

/// Somebody of the group who waits for the commit.
enum Waiter {
    Append(Receipt, oneshot::Sender<Result<Receipt, Refusal>>),
    Work(Box<dyn Work>),
}

impl Writer {
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
            Ok(()) => self.shared.committed(started.elapsed()),
            Err(fault) => {
                tracing::error!(error = %fault.said, "the store failed; nothing of this commit counts")
            }
        }
        for waiter in waiters {
            waiter.settle(outcome.as_ref().map(|()| ()));
        }
        if let Err(fault) = outcome {
            self.fail(fault);
        }
    }

    /// Answers jobs while the store is broken.
    fn refuse(&self, jobs: Vec<Job>) {
        let Store::Broken(fault, _) = &self.store else { return };
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
            self.fail(Fault::damaged("a reader found damage"));
            self.store_next_try_now();
            self.reopen_when_due();
        }
        for done in asked {
            _ = done.send(());
        }
        rest
    }

    fn store_next_try_now(&mut self) {
        if let Store::Broken(_, next_try) = &mut self.store {
            *next_try = i64::MIN;
        }
    }

    /// Closes the database after a failure.
    fn fail(&mut self, fault: Fault) {
        let next_try = self.now().saturating_add(PAUSE_MS);
        let broken = Store::Broken(fault, next_try);
        if let Store::Well(db, _) = std::mem::replace(&mut self.store, broken) {
            // The frames of a failed commit must not be found again by whoever opens the log next: they may be
            // in the page cache alone. What was committed before is copied into the database, and the log is
            // emptied, while this connection still knows where the last good commit ends.
            if let Err(fault) = space::checkpoint(&db, "TRUNCATE") {
                tracing::warn!(error = %fault.said, "the log cannot be emptied yet");
            }
        }
        self.shared.reset_readers();
    }

    fn reopen_when_due(&mut self) {
        let now = self.now();
        match &self.store {
            Store::Broken(_, next_try) if *next_try <= now => {}
            Store::Broken(..) | Store::Well(..) => return,
        }
        match open::checked(&self.folder, &self.limits, now, open::Check::Always) {
            Ok((db, memory)) => {
                tracing::info!("the store is open again");
                self.store = Store::Well(db, memory);
                self.shared.reset_readers();
                self.shared.changed();
            }
            Err(fault) => {
                tracing::error!(error = %fault.said, "the store cannot be opened again yet");
                self.store = Store::Broken(fault, now.saturating_add(PAUSE_MS));
            }
        }
    }

    /// What can wait until the answers are out: checkpoints, and giving space back.
    fn tidy(&mut self, jobs: &mpsc::Receiver<Job>) {
        loop {
            let Store::Well(db, _) = &self.store else { return };
            let tidied = space::measure(db, &self.folder).and_then(|usage| {
                let (held, _) = letters::totals(db)?;
                self.shared.measured(&usage, held);
                space::checkpoint_when_due(db, &usage)?;
                space::give_back(db, &usage)
            });
            match tidied {
                Ok(true) if jobs.is_empty() => {}
                Ok(_) => return,
                Err(fault) if fault.kind == FaultKind::Busy => return,
                Err(fault) => {
                    tracing::error!(error = %fault.said, "the store cannot be tidied");
                    return self.fail(fault);
                }
            }
        }
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

impl Waiter {
    fn settle(self, outcome: Result<(), &Fault>) {
        match self {
            Self::Append(receipt, reply) => drop(reply.send(outcome.map(|()| receipt).map_err(refusal))),
            Self::Work(work) => work.settle(outcome),
        }
    }
}

/// What a vendor is told of a fault.
fn refusal(fault: &Fault) -> Refusal {
    match fault.kind {
        FaultKind::Full => Refusal::Full { retry_after: RETRY_AFTER, bound: "disk" },
        FaultKind::Damaged | FaultKind::Busy | FaultKind::Newer | FaultKind::Broken => {
            Refusal::Broken(Error::from(fault.clone()))
        }
    }
}

/// One transaction for the whole group. Those who wait for it are in `waiters`, also when it fails.
fn commit(
    db: &mut Connection,
    memory: &mut Memory,
    jobs: Vec<Job>,
    waiters: &mut Vec<Waiter>,
    folder: &std::path::Path,
    limits: &Limits,
    now: i64,
) -> Result<(), Fault> {
    let mut room = None;
    let mut plan = Plan::default();
    // Everybody who is not reached because of a fault must be told all the same.
    let mut jobs = jobs.into_iter();
    let outcome = (|| {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for job in jobs.by_ref() {
            match job {
                Job::Append(append) => {
                    let room = match &mut room {
                        Some(room) => room,
                        none => none.insert(Room::measure(&tx, folder)?),
                    };
                    append_one(&tx, memory, append, &mut plan, waiters, room, limits)?;
                }
                Job::Work(mut work) => {
                    let performed = work.perform(&tx, memory);
                    waiters.push(Waiter::Work(work));
                    performed?;
                }
                Job::Inspect(done) => _ = done.send(()),
            }
        }
        let marks = if plan.is_empty() { 0 } else { plan.write(&tx, memory, now)? };
        if marks > 0 {
            memory.window.committed(memory.next_ids, now, marks);
            memory.next_ids += 1;
        }
        if let Some(seq) = memory.window.expire(now) {
            tx.prepare_cached("DELETE FROM ids WHERE seq <= ?")?.execute([seq])?;
        }
        Ok(tx.commit()?)
    })();
    for job in jobs {
        match job {
            Job::Append(append) => waiters.push(Waiter::Append(Receipt::default(), append.reply)),
            Job::Work(work) => waiters.push(Waiter::Work(work)),
            Job::Inspect(done) => _ = done.send(()),
        }
    }
    outcome
}

/// What there is room for in this group.
struct Room {
    usage: space::Usage,
    free: u64,
    /// Bytes of dead letters, in the store and in the group.
    dead: u64,
}

impl Room {
    fn measure(db: &Connection, folder: &std::path::Path) -> Result<Self, Fault> {
        let (_, dead) = letters::totals(db)?;
        Ok(Self { usage: space::measure(db, folder)?, free: space::free(folder)?, dead })
    }
}

fn append_one(
    tx: &Transaction<'_>,
    memory: &mut Memory,
    append: Append,
    plan: &mut Plan,
    waiters: &mut Vec<Waiter>,
    room: &mut Room,
    limits: &Limits,
) -> Result<(), Fault> {
    let size = append.batch.size();
    if let Some(bound) = space::bound(&room.usage, room.free, size, limits) {
        drop(append.reply.send(Err(Refusal::Full { retry_after: RETRY_AFTER, bound })));
        return Ok(());
    }
    let instance = append.batch.instance.clone();
    let planned = judge(memory, append.batch, append.dedupe);
    let dead: u64 = planned.dead.iter().map(|letter| letter.bytes.len() as u64 + 256).sum();
    if dead > 0 && room.dead.saturating_add(dead) > space::dead_share(limits) {
        unjudge(memory, &planned);
        let full = Refusal::Full { retry_after: RETRY_AFTER, bound: "dead letters" };
        drop(append.reply.send(Err(full)));
        return Ok(());
    }
    room.dead += dead;
    room.usage.used += size;
    room.free = room.free.saturating_sub(size);
    waiters.push(Waiter::Append(planned.receipt, append.reply));
    plan.add(tx, memory, &instance, planned)?;
    append.also.map_or(Ok(()), |also| also(tx))
}

/// A function as work: its answer goes to whoever asked.
pub(super) struct Task<T, F> {
    work: Option<F>,
    answer: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Task<T, F> {
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T, Error>>) -> Self {
        Self { work: Some(work), answer: None, reply }
    }
}

impl<T, F> Work for Task<T, F>
where
    T: Send,
    F: FnOnce(&Transaction<'_>, &mut Memory) -> Result<Result<T, Error>, Fault> + Send,
{
    fn perform(&mut self, tx: &Transaction<'_>, memory: &mut Memory) -> Result<(), Fault> {
        if let Some(work) = self.work.take() {
            self.answer = Some(work(tx, memory)?);
        }
        Ok(())
    }

    fn settle(self: Box<Self>, outcome: Result<(), &Fault>) {
        let never = || Err(Error::new(Kind::Io, "the store did not get to it"));
        let answer = match outcome {
            Ok(()) => self.answer.unwrap_or_else(never),
            Err(fault) => Err(fault.clone().into()),
        };
        drop(self.reply.send(answer));
    }
}
