//! A group: everything that waits for the writer at one moment, in one transaction with one sync.
//!
//! Only the writer's database calls it. A batch that there is no room for is refused alone; a fault is everybody's.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::append::{Plan, judge, unjudge};
use super::block::{Block, Sealed};
use super::fault::{Fault, FaultKind};
use super::group_commit::Answer;
use super::job::{Append, Job, Work};
use super::known::Memory;
use super::{letters, space};
use crate::connector::instance::InstanceId;
use crate::connector::units::size as shown;
use crate::error::Error;
use crate::points;
use crate::queue::limits::Limits;
use crate::queue::shares::Ledger;
use crate::queue::{Bound, Receipt, Refusal};

/// How long a refused vendor should wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Somebody of the group who waits for the commit.
pub(super) enum Waiter {
    Append(Receipt, oneshot::Sender<Result<Receipt, Refusal>>),
    Work(Box<dyn Work>),
    Inspect(oneshot::Sender<()>),
}

impl From<Job> for Waiter {
    fn from(job: Job) -> Self {
        match job {
            Job::Append(append) => Self::Append(Receipt::default(), append.reply),
            Job::Work(work) => Self::Work(work),
            Job::Inspect(done) => Self::Inspect(done),
        }
    }
}

impl Answer for Waiter {
    fn answer(self, outcome: Result<(), &Fault>) {
        match self {
            Self::Append(receipt, reply) => drop(reply.send(outcome.map(|()| receipt).map_err(refusal))),
            Self::Work(work) => work.settle(outcome),
            Self::Inspect(done) => _ = done.send(()),
        }
    }
}

/// What a vendor is told of a fault.
fn refusal(fault: &Fault) -> Refusal {
    match fault.kind {
        FaultKind::Full => Refusal::Full {
            retry_after: RETRY_AFTER,
            bound: Bound::Disk,
            detail: format!("the file system refused a write: {}", fault.said),
        },
        FaultKind::Damaged
        | FaultKind::Busy
        | FaultKind::Version
        | FaultKind::Broken
        | FaultKind::Replaced
        | FaultKind::Overwritten
        | FaultKind::Special => Refusal::Broken(Error::from(fault.clone())),
    }
}

/// What a group became.
#[derive(Debug)]
pub(super) struct Written {
    /// Its records.
    pub(super) blocks: Vec<(Sealed, Block)>,
    /// Whether it brought dead letters.
    pub(super) letters: bool,
}

/// Writes the whole group in one transaction, and leaves that open for [`commit`]. Those who wait for it are in `waiters`,
/// also when it fails; then the transaction is undone. `room` is what there was after the last commit.
pub(super) fn write(
    db: &Connection,
    memory: &mut Memory,
    jobs: Vec<Job>,
    waiters: &mut Vec<Waiter>,
    room: Result<Room<'_>, Fault>,
    now: i64,
) -> Result<Written, Fault> {
    let mut plan = Plan::default();
    // Everybody who is not reached because of a fault must be told all the same.
    let mut jobs = jobs.into_iter();
    points::reached("commit.begin");
    let outcome = (|| {
        let mut room = room?;
        db.execute_batch("BEGIN IMMEDIATE")?;
        for job in jobs.by_ref() {
            match job {
                Job::Append(append) => append_one(db, memory, *append, &mut plan, waiters, &mut room)?,
                Job::Work(mut work) => {
                    let performed = work.perform(db, memory);
                    waiters.push(Waiter::Work(work));
                    performed?;
                }
                Job::Inspect(done) => waiters.push(Waiter::Inspect(done)),
            }
        }
        if !plan.is_empty() {
            plan.write(db, memory, now)?;
        }
        memory.trim(db)?;
        memory.windows.expire(now);
        for seq in memory.windows.take_done() {
            db.prepare_cached("DELETE FROM ids WHERE seq = ?")?.execute([seq])?;
        }
        points::reached("commit.planned");
        points::failing("commit.fails")?;
        Ok(())
    })();
    waiters.extend(jobs.map(Waiter::from));
    if outcome.is_err() {
        undo(db);
    }
    outcome.map(|()| Written { letters: plan.has_letters(), blocks: plan.into_blocks() })
}

/// Commits and syncs what was written.
pub(super) fn commit(db: &Connection) -> Result<(), Fault> {
    let committed = db.execute_batch("COMMIT");
    if committed.is_err() {
        undo(db);
    }
    Ok(committed?)
}

fn undo(db: &Connection) {
    if !db.is_autocommit() {
        _ = db.execute_batch("ROLLBACK");
    }
}

/// What there is room for in a group.
pub(super) struct Room<'a> {
    limits: &'a Limits,
    usage: space::Usage,
    free: u64,
    /// The room for dead letters. Looked up when the first one comes.
    letters: Option<letters::Space<'a>>,
    /// Who holds how much of the store. Looked up once it matters.
    ledger: Option<Ledger<'a>>,
}

impl<'a> Room<'a> {
    /// The room that there is, by what the store took after the last commit.
    pub(super) fn new(folder: &Path, limits: &'a Limits, usage: space::Usage) -> Result<Self, Fault> {
        Ok(Self { limits, usage, free: space::free(folder)?, letters: None, ledger: None })
    }

    /// Takes room for a batch of this size. `Some`: there is none, by this bound.
    fn take(&mut self, memory: &Memory, instance: &InstanceId, size: u64) -> Option<(Bound, String)> {
        if let Some(bound) = space::bound(self.usage.used, self.free, size, self.limits) {
            return Some(bound);
        }
        let limits = self.limits;
        let all = space::all(&self.usage, self.free, limits);
        // The log grows and shrinks, whatever is stored: nobody gets the room that it leaves for a while.
        let log = self.usage.file.max(space::due(limits).saturating_mul(2));
        let used = self.usage.used.saturating_sub(self.usage.file).saturating_add(log);
        let plenty = used.saturating_add(size).saturating_add(limits.shares.reserve(all)) <= all;
        if limits.shares.members.len() > 1 && limits.shares.reserved > 0 && !plenty {
            let ledger = self.ledger.get_or_insert_with(|| Ledger::new(&limits.shares, all, memory.held()));
            if !ledger.admits(instance, size, used) {
                let (held, free) = (shown(ledger.held(instance)), shown(all.saturating_sub(self.usage.used)));
                let detail = format!(
                    "the records of `{instance}` take {held}; the {free} that are free are reserved for other \
                     instances (queue.shares)"
                );
                return Some((Bound::Share, detail));
            }
            ledger.take(instance, size);
        }
        None
    }
}

fn append_one(
    tx: &Connection,
    memory: &mut Memory,
    append: Append,
    plan: &mut Plan,
    waiters: &mut Vec<Waiter>,
    room: &mut Room<'_>,
) -> Result<(), Fault> {
    let size = append.size;
    let instance = append.batch.instance.clone();
    if let Some((bound, detail)) = room.take(memory, &instance, size) {
        drop(append.reply.send(Err(Refusal::Full { retry_after: RETRY_AFTER, bound, detail })));
        return Ok(());
    }
    let planned = judge(memory, &append.batch, append.dead, append.prepared, append.dedupe);
    if !planned.dead.is_empty() {
        let limits = room.limits;
        let letters = match &mut room.letters {
            Some(letters) => letters,
            none => none.insert(letters::Space::new(tx, &limits.shares, space::dead_share(limits))?),
        };
        if let Some(detail) = letters.take(tx, &instance, &planned.dead, limits.dead_share)? {
            unjudge(memory, &instance, &planned);
            let full = Refusal::Full { retry_after: RETRY_AFTER, bound: Bound::DeadLetters, detail };
            drop(append.reply.send(Err(full)));
            return Ok(());
        }
    }
    room.usage.used += size;
    room.free = room.free.saturating_sub(size);
    waiters.push(Waiter::Append(planned.receipt, append.reply));
    plan.add(tx, memory, &instance, planned)?;
    append.also.map_or(Ok(()), |also| also(tx))
}
