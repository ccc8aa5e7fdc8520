//! The queue and the store on this machine: one SQLite database in the data folder.
//!
//! `run` holds a [`Local`]; `dead-letters`, `sinks` and `destroy` open the same folder beside it with
//! [`Beside`]. One thread writes and commits for everybody who waits ([`writer`]); readers have connections of
//! their own. Nothing outside this folder knows SQLite.

mod append;
mod backup;
mod beside;
mod block;
mod buffers;
mod checkpoint;
mod cursors;
mod database;
mod dedupe;
mod fault;
mod files;
mod group;
mod group_commit;
mod held;
mod holdings;
mod instances;
mod job;
mod keys;
mod known;
mod letters;
mod lock;
mod log;
mod make;
mod mark;
mod names;
mod open;
mod pulse;
mod reader;
mod recent;
mod rescue;
mod salvage;
mod schema;
mod serving;
mod shared;
mod space;
mod state;
mod windows;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::Value as Json;
use tokio::sync::{mpsc, oneshot};

pub use self::beside::Beside;
pub use self::cursors::SinkState;
pub use self::files::NAMES;
pub use self::holdings::Holding;
pub use self::letters::{Filter, REASONS, Stored, reason_name, what_name};
pub use self::pulse::Writer as WriterState;
pub use self::shared::Stats;

use self::append::{Dedupe, Prepared};
use self::database::Database;
use self::fault::{Fault, FaultKind};
use self::job::{Also, Append, Job, Task};
use self::known::{Memory, ensure};
use self::shared::Shared;
use self::writer::{WAITING, Writer};
use super::limits::Limits;
use super::{Batch, Bound, Cursor, DeadLetter, DeadReason, DeadWhat, Receipt, Refusal, Save, SinkKey, State};
use crate::condition::Conditions;
use crate::connector::clock::Clock;
use crate::connector::instance::InstanceId;
use crate::connector::model::OnReuse;
use crate::error::{Error, Kind, Result};

/// The store of a `run`.
#[derive(Debug)]
pub struct Local {
    folder: PathBuf,
    shared: Arc<Shared>,
    /// Bytes that dead letters may take.
    dead_share: u64,
    limits: Limits,
    /// `None` once it is closed.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Set once it is looked for letters that other processes mark.
    looks: OnceLock<()>,
}

impl Local {
    /// Opens the store of a data folder, made if there is none. Refused while another process runs on it.
    ///
    /// # Errors
    /// `Configuration`: another process holds it, or another version of the program wrote it. `Io`: it cannot be read, written
    /// or locked.
    pub fn open(folder: &Path, limits: Limits, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        Self::open_with(folder, limits, clock, Arc::default())
    }

    /// Opens it like [`Local::open`], and raises in this list what an operator has to know.
    ///
    /// # Errors
    /// As [`Local::open`].
    pub fn open_with(
        folder: &Path,
        limits: Limits,
        clock: Arc<dyn Clock>,
        conditions: Arc<Conditions>,
    ) -> Result<Arc<Self>> {
        let at = |fault: Fault| Error::from(fault).at(folder.display().to_string());
        if folder.exists() && !folder.is_dir() {
            return Err(Error::new(Kind::Configuration, "a store wants a folder, and this is none")
                .at(folder.display().to_string())
                .help("give another --data-dir, or `data_dir` in the file"));
        }
        make::folder(folder).map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => denied(folder).because(error),
            _ => at(error.into()),
        })?;
        let lock = lock::take(folder)?;
        let now = clock.now().as_millisecond();
        let opened = open::checked(folder, &limits, now, open::Check::IfUnclean).map_err(at)?;
        let shared = Arc::new(Shared::new(folder.to_owned(), conditions));
        let (jobs, waiting) = mpsc::channel(WAITING);
        let (folder, dead_share) = (folder.to_owned(), space::dead_share(&limits));
        let cannot =
            |e: std::io::Error| Error::new(Kind::Io, "cannot start the thread that writes").because(e);
        let timer = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(cannot)?;
        let database = Database::new(folder.clone(), limits.clone(), clock, shared.clone(), opened);
        let writer = Writer::new(database, limits.clone(), shared.clone(), lock);
        let watch = Watch(shared.clone());
        let thread = std::thread::Builder::new()
            .name("forebay-store".to_owned())
            .spawn(move || {
                let _watch = watch;
                writer.run(waiting, &timer);
            })
            .map_err(cannot)?;
        let (jobs, thread) = (Mutex::new(Some(jobs)), Mutex::new(Some(thread)));
        let looks = OnceLock::new();
        Ok(Arc::new(Self { folder, shared, dead_share, limits, jobs, thread, looks }))
    }

    /// Where the store is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Which life of the store this is: another one after it was restored from a copy, since positions may be given out a
    /// second time then.
    pub fn epoch(&self) -> Arc<str> {
        self.shared.epoch()
    }

    /// Figures of the store.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Returns the bounds of the store.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns what the thread that writes does now.
    pub fn writer(&self) -> WriterState {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.as_ref().is_some_and(JoinHandle::is_finished) {
            return WriterState::Ended;
        }
        self.shared.pulse.read()
    }

    /// Returns the shared bound that a batch of this size would break now, and that in words, without asking the
    /// thread that writes.
    pub async fn bound(&self, size: u64) -> Option<(Bound, String)> {
        let (folder, limits, used) = (self.folder.clone(), self.limits.clone(), self.shared.stats().bytes);
        let look = move || space::free(&folder).ok().and_then(|free| space::bound(used, free, size, &limits));
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    /// Returns whether a batch of so many bytes of an instance would be taken now: an empty one that claims this size
    /// goes the whole way, the commit and its sync included.
    pub async fn probe(&self, instance: &InstanceId, size: u64) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        let batch = Batch {
            instance: instance.clone(),
            received: Timestamp::UNIX_EPOCH,
            records: Vec::new(),
            dead: Vec::new(),
            on_reuse: OnReuse::Drop,
        };
        let (batch, prepared, dedupe) = (Arc::new(batch), Prepared::default(), Dedupe::ByRule);
        let append = Append { batch, dead: Vec::new(), size, prepared, dedupe, reply, also: None };
        let Some(jobs) = self.jobs() else { return Err(Refusal::Closing) };
        if jobs.send(Job::Append(Box::new(append))).await.is_err() {
            return Err(Refusal::Broken(gone()));
        }
        drop(jobs);
        answer.await.unwrap_or_else(|_| Err(Refusal::Broken(gone()))).map(drop)
    }

    /// Returns whether a dead letter of so many bytes (1 MiB at most) of an instance would have room now.
    pub async fn dead_letter_fits(&self, instance: &InstanceId, size: u64) -> Result<bool> {
        let (instance, share, percent) = (instance.clone(), self.dead_share, self.limits.dead_share);
        let size = usize::try_from(size.min(1 << 20)).unwrap_or(0);
        self.work(move |tx, memory| {
            let letter = DeadLetter {
                what: DeadWhat::Body,
                reason: DeadReason::Undecodable,
                detail: String::new(),
                bytes: vec![0; size].into(),
                id: None,
                sink: None,
                at: Timestamp::UNIX_EPOCH,
            };
            let mut space = letters::Space::new(tx, &memory.shares, share)?;
            Ok(Ok(space.take(tx, &instance, &[letter], percent)?.is_none()))
        })
        .await
    }

    /// Takes no more work, finishes what is under way, and closes the database. Readers get `None`.
    pub async fn close(&self) -> Result<()> {
        self.shared.closed();
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        match joined {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::new(Kind::Io, "the thread that writes the store ended early")),
        }
    }

    /// Says which sinks an instance has. Returns every cursor of it: those that are not `registered` belong to
    /// sinks that were removed, and hold their records until `forebay sinks drop`.
    pub async fn register_sinks(&self, instance: &InstanceId, sinks: &[String]) -> Result<Vec<SinkState>> {
        let (instance, sinks) = (instance.clone(), sinks.to_vec());
        self.shared.register(instance.clone(), sinks.clone());
        let found = self
            .work(move |tx, memory| {
                let number = memory.instance(tx, &instance)?.number;
                Ok(Ok(cursors::register(tx, number, &sinks)?))
            })
            .await?;
        // A sink that another process dropped meanwhile begins anew: where it stood is no longer true.
        self.shared.recent.clear();
        Ok(found)
    }

    /// Every cursor of an instance.
    pub async fn sinks(&self, instance: &InstanceId) -> Result<Vec<SinkState>> {
        let instance = instance.clone();
        self.read_with(move |db| match known::find(db, &instance)? {
            Some(known) => cursors::list(db, known.number),
            None => Ok(Vec::new()),
        })
        .await
    }

    /// The cursor of one sink; `None` before it is registered.
    pub async fn cursor(&self, sink: &SinkKey) -> Result<Option<Cursor>> {
        let sink = sink.clone();
        self.read_with(move |db| match known::find(db, &sink.instance)? {
            Some(known) => cursors::load(db, known.number, &sink.sink),
            None => Ok(None),
        })
        .await
    }

    /// Letters of bodies and records that were never accepted, which a person asked to have decoded again. They
    /// stay until [`Local::settle_retry`] takes them.
    pub async fn take_retries(&self, instance: &InstanceId) -> Result<Vec<Stored>> {
        let instance = instance.clone();
        self.read_with(move |db| match known::find(db, &instance)? {
            Some(known) => letters::to_retry(db, known.number, None),
            None => Ok(Vec::new()),
        })
        .await
    }

    /// Stores what became of a letter that was decoded again, and removes the letter in the same transaction. A
    /// letter that was one for its id is delivered whatever the window says.
    pub async fn settle_retry(&self, number: i64, batch: Batch) -> Result<Receipt, Refusal> {
        let instance = batch.instance.clone();
        let found = self.read_with(move |db| match known::find(db, &instance)? {
            Some(known) => letters::reason(db, known.number, number),
            None => Ok(None),
        });
        let dedupe = match found.await.map_err(Refusal::Broken)? {
            Some(DeadReason::IdReused) => Dedupe::Force,
            Some(
                DeadReason::Undecodable | DeadReason::Schema | DeadReason::TooDeep | DeadReason::SinkRefused,
            ) => Dedupe::ByRule,
            None => return Ok(Receipt::default()),
        };
        let instance = batch.instance.clone();
        let also = move |tx: &Connection| {
            let known = ensure(tx, &instance)?;
            letters::remove(tx, known.number, number).map(drop).map_err(Fault::from)
        };
        self.store(batch, dedupe, Some(Box::new(also))).await
    }

    async fn store(&self, mut batch: Batch, dedupe: Dedupe, also: Option<Also>) -> Result<Receipt, Refusal> {
        let (reply, answer) = oneshot::channel();
        let coming = self.shared.coming();
        let (prepared, size) = (Prepared::of(self.shared.key(), &batch), batch.size());
        // Before it is sent: the writer does not wait for what it has.
        drop(coming);
        let dead = std::mem::take(&mut batch.dead);
        // The records are kept until the answer is there, so that they are dropped by the processor that has them at hand.
        let batch = Arc::new(batch);
        let append = Append { batch: batch.clone(), dead, size, prepared, dedupe, reply, also };
        let job = Job::Append(Box::new(append));
        let Some(jobs) = self.jobs() else { return Err(Refusal::Closing) };
        if jobs.send(job).await.is_err() {
            return Err(self.ended().map_or(Refusal::Closing, Refusal::Broken));
        }
        drop(jobs);
        answer.await.unwrap_or_else(|_| Err(Refusal::Broken(self.ended().unwrap_or_else(gone))))
    }

    /// What is said once the writer's thread ended by a panic.
    fn ended(&self) -> Option<Error> {
        self.shared.has_ended().then(|| {
            Error::new(Kind::Io, "the thread that writes the database has ended").help("restart the process")
        })
    }

    fn jobs(&self) -> Option<mpsc::Sender<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the writer do something inside its next transaction.
    async fn work<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &mut Memory) -> Result<Result<T>, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let Some(jobs) = self.jobs() else { return Err(gone()) };
        let ended = || self.ended().unwrap_or_else(gone);
        jobs.send(Job::Work(Box::new(Task::new(work, reply)))).await.map_err(|_| ended())?;
        drop(jobs);
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Reads on a thread that may wait for the disk.
    async fn read_with<T, F>(&self, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, Fault> + Clone + Send + 'static,
    {
        match self.try_read(read.clone()).await {
            Err(fault) if fault.kind == FaultKind::Damaged => {
                self.inspect().await;
                Ok(self.try_read(read).await?)
            }
            outcome => Ok(outcome?),
        }
    }

    async fn try_read<T, F>(&self, read: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || shared.with_reader(read))
            .await
            .unwrap_or_else(|_| Err(Fault::broken("reading was stopped")))
    }

    /// Has the whole database looked at, after a reader met damage.
    async fn inspect(&self) {
        let (done, looked) = oneshot::channel();
        if let Some(jobs) = self.jobs()
            && jobs.send(Job::Inspect(done)).await.is_ok()
        {
            drop(jobs);
            let _ = looked.await;
        }
    }

    /// Sets a damaged block aside, so that nothing is stuck behind it.
    async fn set_aside(&self, sink: &SinkKey, key: i64) -> Result<()> {
        let (folder, shared, instance) = (self.folder.clone(), self.shared.clone(), sink.instance.clone());
        self.work(move |tx, _| {
            let lost = salvage::set_aside(tx, &folder, &instance, key)?;
            shared.lost(lost);
            Ok(Ok(()))
        })
        .await
    }
}

/// What to do where the folder of the store may not be made or written.
fn denied(folder: &Path) -> Error {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let shown = folder.display();
    Error::new(Kind::Io, format!("user {user} may not create or change the data folder"))
        .at(shown.to_string())
        .help(format!(
            "`mkdir -p {shown}` and `chown {user}:{group} {shown}` as root, or name another --data-dir"
        ))
}

/// Says when the writer's thread ends by a panic.
struct Watch(Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

fn gone() -> Error {
    Error::new(Kind::Passing, "the store is closed")
}

#[async_trait]
impl State for Local {
    async fn load(&self, instance: &InstanceId) -> Result<Option<Json>> {
        let instance = instance.clone();
        self.read_with(move |db| state::load(db, &instance)).await
    }

    async fn save(&self, instance: &InstanceId, was: Option<&Json>, document: &Json) -> Result<bool> {
        let (instance, was, document) = (instance.clone(), was.cloned(), document.clone());
        self.work(move |tx, _| Ok(Ok(state::save(tx, &instance, was.as_ref(), &document)?))).await
    }

    async fn save_all(&self, saves: Vec<Save>) -> Result<Vec<bool>> {
        self.work(move |tx, _| {
            let save = |save: &Save| state::save(tx, &save.instance, save.was.as_ref(), &save.document);
            Ok(Ok(saves.iter().map(save).collect::<Result<_, _>>()?))
        })
        .await
    }

    async fn latest_event_time(&self, instance: &InstanceId) -> Result<Option<Timestamp>> {
        let instance = instance.clone();
        let latest = self.read_with(move |db| state::latest(db, &instance)).await?;
        Ok(latest.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
    }
}
