//! What the writer, the readers and the callers share: news of commits, the readers' connections, figures.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

use super::dedupe::Key;
use super::fault::{Fault, FaultKind};
use super::files::Files;
use super::pulse::Pulse;
use super::recent::Recent;
use super::schema;
use super::space::Usage;
use crate::condition::{Code, Conditions, Subject};
use crate::connector::instance::InstanceId;

/// Connections that wait for the next reader at most.
const IDLE: usize = 8;

/// What writer and readers share.
#[derive(Debug)]
pub(super) struct Shared {
    folder: PathBuf,
    news: watch::Sender<News>,
    idle: Mutex<Idle>,
    /// The key of the store's hashes.
    key: Mutex<Option<Key>>,
    /// The files of the open database; `None` while they are not at their path.
    files: Mutex<Option<Files>>,
    /// Which life of the store this is.
    epoch: Mutex<Arc<str>>,
    /// What an operator has to know.
    pub(super) conditions: Arc<Conditions>,
    /// The writer's thread ended by a panic.
    ended: AtomicBool,
    /// The sinks that this run has.
    registered: Mutex<Registered>,
    /// What was committed last.
    pub(super) recent: Recent,
    /// Batches that are being prepared for the writer.
    coming: AtomicUsize,
    bytes: AtomicU64,
    sync_micros: AtomicU64,
    letters: AtomicU64,
    lost: AtomicU64,
    /// What the writer is at.
    pub(super) pulse: Pulse,
    /// How old the ids were that instances forgot before their senders give up, in milliseconds.
    early: Mutex<BTreeMap<InstanceId, i64>>,
    logs_missing: AtomicU64,
}

/// Figures of the store, for people who watch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Commits since it was opened.
    pub commits: u64,
    /// Bytes in use, the write-ahead log included.
    pub bytes: u64,
    /// Dead letters of all instances.
    pub letters: u64,
    /// Records in damaged blocks that were set aside since it was opened.
    pub lost: u64,
    /// Openings that found a store without its log, though it was not closed cleanly.
    pub logs_missing: u64,
    /// What the last commit took, its sync included.
    pub last_commit: Duration,
}

/// Sinks by their instance.
pub(super) type Registered = BTreeMap<InstanceId, Vec<String>>;

/// A batch that is being prepared.
#[derive(Debug)]
pub(super) struct Coming<'a>(&'a AtomicUsize);

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What readers wait for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct News {
    /// Grows with every commit.
    pub(super) commits: u64,
    /// The queue is closed.
    pub(super) closed: bool,
}

/// Connections for readers. Those of an older generation are closed instead of used again.
#[derive(Debug, Default)]
struct Idle {
    generation: u64,
    connections: Vec<Connection>,
}

impl Shared {
    pub(super) fn new(folder: PathBuf, conditions: Arc<Conditions>) -> Self {
        Self {
            folder,
            news: watch::Sender::new(News::default()),
            idle: Mutex::default(),
            key: Mutex::default(),
            files: Mutex::default(),
            epoch: Mutex::new(Arc::from("")),
            conditions,
            ended: AtomicBool::new(false),
            registered: Mutex::default(),
            recent: Recent::default(),
            coming: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            sync_micros: AtomicU64::new(0),
            letters: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            pulse: Pulse::new(),
            early: Mutex::default(),
            logs_missing: AtomicU64::new(0),
        }
    }

    /// The news from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    /// The store was opened: its key, its files and its epoch now. Nothing that is kept of the former life is read as a
    /// part of this one.
    pub(super) fn opened(&self, key: Key, files: Files, epoch: Arc<str>) {
        self.reset_readers();
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = Some(files);
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
    }

    /// Replaces the key of the marks: an instance that was renamed keeps those of its first name.
    pub(super) fn set_key(&self, key: Key) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// The files at the path are not the open ones: nothing is read by their names.
    pub(super) fn displaced(&self) {
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.reset_readers();
    }

    /// Which life of the store this is.
    pub(super) fn epoch(&self) -> Arc<str> {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The writer's thread ended by a panic.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        let message = "the thread that writes the database has ended: nothing can be stored";
        self.conditions.raise(Code::WriterStopped, Subject::process(), message);
        // Whoever reads or waits must not wait for ever.
        self.changed();
    }

    /// Whether the writer's thread ended by a panic.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// A store was opened without its log, though it was not closed cleanly.
    pub(super) fn log_missing(&self) {
        self.logs_missing.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("forebay_store_logs_missing_total").increment(1);
    }

    /// The key of the store's hashes, for who prepares a batch.
    pub(super) fn key(&self) -> Option<Key> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An instance has these sinks.
    pub(super) fn register(&self, instance: InstanceId, sinks: Vec<String>) {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).insert(instance, sinks);
    }

    /// The sinks that this run has.
    pub(super) fn registered(&self) -> Registered {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A batch is on its way to the writer until this is dropped.
    pub(super) fn coming(&self) -> Coming<'_> {
        self.coming.fetch_add(1, Ordering::Relaxed);
        Coming(&self.coming)
    }

    /// Whether batches are on their way to the writer.
    pub(super) fn more_is_coming(&self) -> bool {
        self.coming.load(Ordering::Relaxed) > 0
    }

    /// Wakes every reader for good.
    pub(super) fn closed(&self) {
        self.news.send_modify(|news| news.closed = true);
    }

    /// A commit is safe on disk.
    pub(super) fn committed(&self, took: Duration) {
        self.sync_micros.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        metrics::histogram!("forebay_sync_seconds").record(took.as_secs_f64());
        self.changed();
    }

    /// Wakes every reader to look again.
    pub(super) fn changed(&self) {
        self.news.send_modify(|news| news.commits += 1);
    }

    /// What the store takes now.
    pub(super) fn measured(&self, usage: &Usage) {
        self.bytes.store(usage.used, Ordering::Relaxed);
        metrics::gauge!("forebay_queue_bytes").set(usage.used as f64);
    }

    /// How many dead letters there are now.
    pub(super) fn counted(&self, letters: u64) {
        self.letters.store(letters, Ordering::Relaxed);
        metrics::gauge!("forebay_dead_letters_held").set(letters as f64);
    }

    /// Instances forgot ids before their senders give up.
    pub(super) fn forgotten_early(&self, early: BTreeMap<InstanceId, i64>) {
        if !early.is_empty() {
            self.early.lock().unwrap_or_else(PoisonError::into_inner).extend(early);
        }
    }

    /// Which instances did since this was asked last, and how old those ids were, in milliseconds.
    pub(super) fn take_early(&self) -> BTreeMap<InstanceId, i64> {
        std::mem::take(&mut self.early.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records were lost with a damaged block or database.
    pub(super) fn lost(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::Relaxed);
        metrics::counter!("forebay_lost_records_total").increment(records);
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            commits: self.news.borrow().commits,
            bytes: self.bytes.load(Ordering::Relaxed),
            letters: self.letters.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            logs_missing: self.logs_missing.load(Ordering::Relaxed),
            last_commit: Duration::from_micros(self.sync_micros.load(Ordering::Relaxed)),
        }
    }

    /// Closes every idle connection, and those in use when they come back: the file may be another now.
    pub(super) fn reset_readers(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.generation += 1;
        idle.connections.clear();
        self.recent.clear();
    }

    /// Opens a connection to the database that the writer has, and to no other.
    fn connect(&self) -> Result<Connection, Fault> {
        let is_ours = || {
            let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.as_ref().is_some_and(|files| files.is_database(&schema::file(&self.folder)))
        };
        let displaced = || Fault {
            kind: FaultKind::Replaced,
            said: "the file at the path is not the open database".to_owned(),
        };
        if !is_ours() {
            return Err(displaced());
        }
        let db = schema::connect(&self.folder)?;
        if is_ours() { Ok(db) } else { Err(displaced()) }
    }

    /// Reads with a connection of its own.
    pub(super) fn with_reader<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let (generation, kept) = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            (idle.generation, idle.connections.pop())
        };
        let db = match kept {
            Some(db) => db,
            None => self.connect()?,
        };
        let outcome = read(&db);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.is_ok() && idle.generation == generation && idle.connections.len() < IDLE {
            idle.connections.push(db);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_coming_until_it_is_there() {
        let shared = Shared::new(PathBuf::new(), Arc::default());
        assert!(!shared.more_is_coming());
        let (one, other) = (shared.coming(), shared.coming());
        drop(one);
        assert!(shared.more_is_coming());
        drop(other);
        assert!(!shared.more_is_coming());
    }
}
