//! The SQLite database as the disk of the group commit: written, synced, compared with the files at its path, and opened
//! again after a failure.
//!
//! Only the writer's thread has it. When the files at the path are not the open ones any more, nothing is stored: what was
//! acknowledged is saved from the open files ([`super::backup`]), and the same connection goes on once they are back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::backup::{self, Copies, Saving};
use super::checkpoint;
use super::fault::{Fault, FaultKind};
use super::files::Files;
use super::group::{self, Room, Waiter, Written};
use super::group_commit::Disk;
use super::job::Job;
use super::known::Memory;
use super::open::{Check, Findings, Opened};
use super::shared::{Registered, Shared};
use super::{cursors, held, open, space};
use crate::condition::{Code, Subject};
use crate::connector::clock::Clock;
use crate::points;
use crate::queue::limits::Limits;

/// How long a reader may keep the log of a failed database from being emptied, for each attempt.
const PATIENCE: Duration = Duration::from_millis(20);
/// Pause before a copy that could not be saved is tried again, in milliseconds.
const SAVE_AGAIN_MS: i64 = 5_000;

/// The database of a running store.
pub(super) struct Database {
    folder: PathBuf,
    limits: Limits,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    pub(super) store: Store,
    /// What the store took when that was measured last; `None` after it was opened.
    pub(super) usage: Option<space::Usage>,
    /// The version of the database when it was last looked at: another process that writes changes it.
    pub(super) version: Option<i64>,
    /// What is written and not committed, and since when.
    written: Option<(Written, Instant)>,
    /// The last commit brought dead letters.
    pub(super) letters: bool,
    copies: Copies,
}

/// The database as it is now.
pub(super) enum Store {
    /// Open and checked.
    Open(OpenStore),
    /// Not used after a failure. The connection is kept until the log has been emptied through it.
    Failed(Option<Connection>),
    /// Open, and its files are not at their path, or were written by another program.
    Displaced(Displaced),
}

/// A database in use.
pub(super) struct OpenStore {
    pub(super) db: Connection,
    pub(super) memory: Box<Memory>,
    pub(super) files: Files,
}

/// A database whose files are not at their path.
pub(super) struct Displaced {
    saving: Saving,
    /// When saving is tried again, in milliseconds.
    save_again: i64,
    memory: Box<Memory>,
    files: Files,
}

impl Database {
    pub(super) fn new(
        folder: PathBuf,
        limits: Limits,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
        opened: Opened,
    ) -> Self {
        let mut database = Self {
            folder,
            limits,
            clock,
            shared,
            store: Store::Failed(None),
            usage: None,
            version: None,
            written: None,
            letters: false,
            copies: Copies::default(),
        };
        database.take(opened);
        database
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    /// Takes an opened database into use.
    fn take(&mut self, opened: Opened) {
        let Opened { db, memory, files, findings } = opened;
        self.shared.opened(memory.key.clone(), files.clone(), findings.epoch.as_str().into());
        self.store = Store::Open(OpenStore { db, memory: Box::new(memory), files });
        (self.usage, self.version) = (None, None);
        self.report(&findings);
    }

    /// Says what an opening found.
    fn report(&mut self, findings: &Findings) {
        self.shared.lost(findings.lost);
        if findings.log_missing {
            self.shared.log_missing();
            let message = "the store was not closed cleanly and its log forebay.db-wal is missing: events that were \
                           acknowledged after the last checkpoint are lost";
            self.shared.conditions.raise(Code::StoreLogMissing, Subject::process(), message);
        }
        if let Some(why) = findings.renewed {
            tracing::warn!(epoch = findings.epoch, "{why}: the store begins a new epoch");
        }
        self.copies.find(&self.folder, &self.shared.conditions);
    }

    /// Compares the files at the path with the open ones, and looks for copies that were removed, while no commit does.
    pub(super) fn compare(&mut self) -> Result<(), Fault> {
        self.copies.recheck(&self.shared.conditions);
        let Store::Open(OpenStore { db, files, .. }) = &mut self.store else { return Ok(()) };
        files.compare(db)
    }

    /// Takes the database out of use after a failure.
    pub(super) fn fail(&mut self, fault: &Fault) {
        self.written = None;
        self.usage = None;
        let Store::Open(OpenStore { db, memory, files }) =
            std::mem::replace(&mut self.store, Store::Failed(None))
        else {
            return;
        };
        let displaced = matches!(fault.kind, FaultKind::Replaced | FaultKind::Overwritten);
        if !displaced {
            self.store = Store::Failed(Some(db));
            return self.shared.reset_readers();
        }
        self.shared.displaced();
        let message = format!("{}; requests are refused", fault.said);
        self.shared.conditions.raise(Code::StoreReplaced, Subject::process(), message);
        let now = self.now();
        let saving = Saving::begin(db, &self.folder, &self.limits, now);
        self.store = Store::Displaced(Displaced { saving, save_again: now + SAVE_AGAIN_MS, memory, files });
    }

    /// Opens the database again.
    ///
    /// The frames of a failed commit must not be found by whoever opens the log next: they may be in the page cache
    /// alone, and what is committed behind them would be lost with them. So the log is emptied first, through the
    /// connection that still knows where the last good commit ends.
    fn reopen(&mut self, check: Check) -> Result<(), Fault> {
        points::reached("reopen.begin");
        if let Store::Failed(old) = &mut self.store
            && let Some(db) = old
        {
            match checkpoint::empty_within(db, PATIENCE) {
                Ok(true) => {}
                Ok(false) => return Err(Fault::broken("others keep the log from being emptied")),
                // What cannot be read is left to the check.
                Err(fault) if fault.kind == FaultKind::Damaged => {}
                Err(fault) => return Err(fault),
            }
            *old = None;
            points::reached("reopen.emptied");
        }
        let mut opened = open::checked(&self.folder, &self.limits, self.now(), check)?;
        register(&mut opened, &self.shared.registered())?;
        // Our own commit just now.
        opened.files.note_commit()?;
        points::reached("reopen.done");
        tracing::info!("the store is open again");
        self.take(opened);
        self.shared.reset_readers();
        self.shared.changed();
        Ok(())
    }

    /// Goes on with the open files once they are back, and meanwhile sees to it that they are saved.
    fn put_back(&mut self, fault: &Fault) -> Result<(), Fault> {
        let now = self.now();
        let Store::Displaced(mut displaced) = std::mem::replace(&mut self.store, Store::Failed(None)) else {
            return Ok(());
        };
        displaced.saving.settle(false);
        let (db, saved) = match displaced.saving {
            Saving::Ended(db, saved) => (db, saved),
            running @ Saving::Running(_) => {
                displaced.saving = running;
                self.store = Store::Displaced(displaced);
                return Err(fault.clone());
            }
            // The connection is lost, and with it what was not saved. What is at the path is opened next time.
            Saving::Gone => {
                return Err(Fault::broken("the thread that saves the database ended early"));
            }
        };
        let mut files = displaced.files;
        match files.compare(&db) {
            Ok(()) => {
                if let Ok(copy) = &saved {
                    backup::remove(copy);
                }
                tracing::info!("the files of the store are back");
                self.shared.opened(displaced.memory.key.clone(), files.clone(), self.shared.epoch());
                self.store = Store::Open(OpenStore { db, memory: displaced.memory, files });
                self.clear();
                self.shared.changed();
                Ok(())
            }
            Err(Fault { kind: FaultKind::Overwritten, .. }) => {
                // The same file with other content: what it holds now is checked, with what the log adds to it.
                drop(db);
                self.reopen(Check::Overwritten)?;
                self.account(&displaced.memory, saved);
                self.clear();
                Ok(())
            }
            Err(still) => {
                self.waits(&still, &saved);
                let mut saving = Saving::Ended(db, saved);
                // A longer wait than the pause means that the clock went back.
                if !(1..=SAVE_AGAIN_MS).contains(&displaced.save_again.saturating_sub(now)) {
                    displaced.save_again = now + SAVE_AGAIN_MS;
                    saving = saving.again(&self.folder, &self.limits, now);
                }
                self.store = Store::Displaced(Displaced { saving, files, ..displaced });
                Err(still)
            }
        }
    }

    /// Says that the files are still not there, and where they are saved.
    fn waits(&self, fault: &Fault, saved: &Result<PathBuf, Fault>) {
        let saved = match saved {
            Ok(copy) => format!("what was acknowledged before is saved in {}", copy.display()),
            Err(why) => format!("what was acknowledged before cannot be saved: {}", why.said),
        };
        let message = format!("{}; requests are refused; {saved}", fault.said);
        self.shared.conditions.raise(Code::StoreReplaced, Subject::process(), message);
    }

    fn clear(&self) {
        self.shared.conditions.clear(Code::StoreReplaced, &Subject::process());
    }

    /// Counts what a database lacks that another program wrote over. Where it lacks nothing, its copy is removed.
    fn account(&self, before: &Memory, saved: Result<PathBuf, Fault>) {
        let Store::Open(OpenStore { memory, .. }) = &self.store else { return };
        let next = |id| memory.instances.get(id).map_or(0, |known| known.next);
        let lost = before.instances.iter().map(|(id, known)| known.next.saturating_sub(next(id))).sum();
        self.shared.lost(lost);
        match saved {
            Ok(copy) if lost == 0 && before.key == memory.key => {
                backup::remove(&copy);
                self.shared
                    .conditions
                    .clear(Code::StoreCopyWaiting, &Subject::process().item(copy.display()));
            }
            Ok(copy) => {
                tracing::error!(lost, copy = %copy.display(), "records are missing from the database that was written over")
            }
            Err(why) => {
                tracing::error!(lost, error = %why.said, "records are missing, and no copy could be saved")
            }
        }
    }

    /// Closes it. What was displaced is not marked as closed cleanly: its copy is made sure of instead.
    pub(super) fn close(self) {
        match self.store {
            Store::Open(OpenStore { db, memory, mut files }) => {
                let held = memory.instances.values().map(|known| (known.number, known.next, &known.held));
                let saved = files.compare(&db).and_then(|()| held::save(&db, held));
                if let Err(fault) = saved.and_then(|()| open::close(db)) {
                    tracing::error!(error = %fault.said, "the store was not closed cleanly; it is checked at the next start");
                }
            }
            Store::Displaced(mut displaced) => {
                displaced.saving.settle(true);
                let now = self.clock.now().as_millisecond();
                let mut saving = displaced.saving.again(&self.folder, &self.limits, now);
                saving.settle(true);
                match saving {
                    Saving::Ended(_, Ok(copy)) => {
                        tracing::error!(copy = %copy.display(), "the files of the store did not come back; what was acknowledged is in the copy: if forebay.db is still missing at the next start, the copy takes its place, else start Forebay once with the copy's folder as --data-dir");
                    }
                    Saving::Ended(_, Err(why)) => {
                        tracing::error!(error = %why.said, "the files of the store did not come back, and no copy could be saved");
                    }
                    Saving::Running(_) | Saving::Gone => {}
                }
            }
            Store::Failed(_) => {}
        }
    }
}

impl Disk for Database {
    type Job = Job;
    type Waiter = Waiter;

    fn write(&mut self, jobs: Vec<Job>, waiters: &mut Vec<Waiter>) -> Result<(), Fault> {
        let (now, started) = (self.now(), Instant::now());
        let Store::Open(OpenStore { db, memory, files }) = &mut self.store else {
            waiters.extend(jobs.into_iter().map(Waiter::from));
            return Err(Fault::broken("the store is not open"));
        };
        let room = files.before_commit(db).and_then(|()| match self.usage {
            Some(usage) => Ok(usage),
            None => space::measure(db, &self.folder),
        });
        let room = room.and_then(|usage| Room::new(&self.folder, &self.limits, usage));
        let written = group::write(db, memory, jobs, waiters, room, now);
        let written = written.map(|written| (written, started));
        let outcome = written.map(|written| self.written = Some(written));
        self.checked(outcome)
    }

    fn sync(&mut self) -> Result<(), Fault> {
        let Store::Open(OpenStore { db, memory, files }) = &mut self.store else {
            return Err(Fault::broken("the store is not open"));
        };
        let committed = group::commit(db);
        if committed.is_ok() {
            points::reached("commit.done");
            let (Written { blocks, letters }, started) = match self.written.take() {
                Some((written, started)) => (written, started),
                None => return Ok(()),
            };
            self.shared.recent.keep(blocks);
            for (sink, position) in memory.moved.drain(..) {
                self.shared.recent.moved(&sink, position);
            }
            self.shared.forgotten_early(memory.windows.take_early());
            self.letters |= letters;
            self.shared.committed(started.elapsed());
        }
        // No receipt for what the next start does not find.
        let found = committed.and_then(|()| files.after_commit(db));
        self.checked(found)
    }

    fn recover(&mut self, fault: &Fault, again: bool) -> Result<(), Fault> {
        self.shared.pulse.checking();
        let recovered = match &self.store {
            Store::Displaced(_) => self.put_back(fault),
            Store::Failed(_) if again => self.reopen(Check::Replace),
            Store::Failed(_) | Store::Open(_) => self.reopen(Check::Always),
        };
        self.shared.pulse.working();
        if let Err(fault) = &recovered
            && !matches!(self.store, Store::Displaced(_))
        {
            tracing::error!(error = %fault.said, "the store cannot be opened again yet");
        }
        recovered
    }
}

impl Database {
    /// Takes the database out of use where a step failed.
    fn checked(&mut self, outcome: Result<(), Fault>) -> Result<(), Fault> {
        match &outcome {
            Ok(()) | Err(Fault { kind: FaultKind::Busy, .. }) => {}
            Err(fault) => {
                tracing::error!(error = %fault.said, "the store failed; nothing of this commit counts");
                self.fail(fault);
            }
        }
        outcome
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
