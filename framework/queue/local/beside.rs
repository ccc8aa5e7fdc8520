//! The store as another process sees it: beside a `run`, or without one.
//!
//! It takes no lock for longer than one short transaction, makes no checkpoint and checks nothing: that is for
//! `run`. `dead-letters`, `sinks` and `destroy` use it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};
use serde_json::Value as Json;

use super::fault::Fault;
use super::holdings::{self, Holding};
use super::{Filter, SinkState, Stored, cursors, files, known, letters, lock, open, schema, state};
use crate::connector::instance::InstanceId;
use crate::error::{Error, Kind, Result};
use crate::queue::State;

/// A store that another process may be running on.
#[derive(Debug)]
pub struct Beside {
    db: Mutex<Connection>,
    runs: Option<u32>,
}

impl Beside {
    /// Whether there is a store in a data folder.
    pub fn exists(folder: &Path) -> bool {
        schema::file(folder).is_file()
    }

    /// Opens the store of a data folder. It must be there.
    ///
    /// # Errors
    /// `Configuration`: there is none, or another version of the program wrote it. `Io`: it cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        if !Self::exists(folder) {
            return Err(Error::new(Kind::Configuration, "there is no store in this data folder")
                .at(folder.display().to_string())
                .help("give the --data-dir that `forebay run` uses"));
        }
        let trouble = |fault: Fault| Error::from(fault).at(folder.display().to_string());
        files::refuse_special(folder).map_err(trouble)?;
        let has_log = files::has_log(folder);
        // What a crash left in the log stays there for the next run to look over.
        let db = schema::connect(folder).map_err(trouble)?;
        schema::complete(&db).map_err(trouble)?;
        open::remember_missing_log(&db, has_log).map_err(trouble)?;
        Ok(Self { db: Mutex::new(db), runs: lock::holder(folder) })
    }

    /// The process that runs on this store, as seen when it was opened.
    pub fn runner(&self) -> Option<u32> {
        self.runs
    }

    fn with<T>(&self, f: impl FnOnce(&mut Connection) -> Result<T, Fault>) -> Result<T> {
        f(&mut self.db.lock().unwrap_or_else(PoisonError::into_inner)).map_err(Error::from)
    }

    /// Reads what belongs to an instance; nothing where the store does not know it.
    fn of<T: Default>(
        &self,
        instance: &InstanceId,
        f: impl FnOnce(&Connection, i64) -> Result<T, Fault>,
    ) -> Result<T> {
        self.with(|db| match known::find(db, instance)? {
            Some(known) => f(db, known.number),
            None => Ok(T::default()),
        })
    }

    /// Changes what belongs to an instance, in one synced transaction.
    fn change<T: Default>(
        &self,
        instance: &InstanceId,
        f: impl FnOnce(&Connection, i64) -> Result<T, Fault>,
    ) -> Result<T> {
        self.with(|db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let Some(known) = known::find(&tx, instance)? else { return Ok(T::default()) };
            let changed = f(&tx, known.number)?;
            tx.commit()?;
            Ok(changed)
        })
    }

    /// The instances that the store knows, by id.
    pub fn instances(&self) -> Result<Vec<InstanceId>> {
        self.with(|db| {
            let mut statement = db.prepare("SELECT id FROM instances ORDER BY id")?;
            let ids: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok(ids.iter().filter_map(|id| InstanceId::parse(id)).collect())
        })
    }

    /// Dead letters of an instance after a number, without their bytes, at most `max`.
    pub fn letters(
        &self,
        instance: &InstanceId,
        filter: &Filter,
        after: i64,
        max: usize,
    ) -> Result<Vec<Stored>> {
        self.of(instance, |db, number| letters::list(db, number, filter, after, max))
    }

    /// One dead letter, whole.
    pub fn letter(&self, instance: &InstanceId, number: i64) -> Result<Option<Stored>> {
        self.of(instance, |db, of| letters::show(db, of, number))
    }

    /// Asks for letters to be sent again. Returns the numbers that there are no letters of.
    pub fn retry(&self, instance: &InstanceId, numbers: &[i64]) -> Result<Vec<i64>> {
        self.each(instance, numbers, letters::mark)
    }

    /// Removes letters. Returns the numbers that there are no letters of.
    pub fn drop_letters(&self, instance: &InstanceId, numbers: &[i64]) -> Result<Vec<i64>> {
        self.each(instance, numbers, letters::remove)
    }

    fn each(
        &self,
        instance: &InstanceId,
        numbers: &[i64],
        f: impl Fn(&Connection, i64, i64) -> rusqlite::Result<bool>,
    ) -> Result<Vec<i64>> {
        if self.of(instance, |_, number| Ok(Some(number)))?.is_none() {
            return Ok(numbers.to_vec());
        }
        self.change(instance, |tx, of| {
            let mut missing = Vec::new();
            for number in numbers {
                if !f(tx, of, *number)? {
                    missing.push(*number);
                }
            }
            Ok(missing)
        })
    }

    /// Every cursor of an instance.
    pub fn sinks(&self, instance: &InstanceId) -> Result<Vec<SinkState>> {
        self.of(instance, cursors::list)
    }

    /// Removes the cursor of a sink, and the records that no other sink needs. `false`: there is none.
    pub fn drop_sink(&self, instance: &InstanceId, sink: &str) -> Result<bool> {
        let removed = self.change(instance, |tx, number| Ok(cursors::remove(tx, number, sink)?))?;
        if removed {
            self.with(|db| {
                let Some(known) = known::find(db, instance)? else { return Ok(()) };
                let least =
                    cursors::list(db, known.number)?.into_iter().map(|sink| sink.cursor.position.0).min();
                holdings::free(db, known.number, least.unwrap_or(known.next))
            })?;
        }
        Ok(removed)
    }

    /// What every instance has in the store, by id.
    pub fn holdings(&self) -> Result<Vec<Holding>> {
        self.with(|db| holdings::list(db))
    }

    /// Bytes that the records of an instance take, compressed.
    pub fn bytes(&self, instance: &InstanceId) -> Result<u64> {
        self.of(instance, holdings::bytes)
    }

    /// Removes everything that an instance has in the store. `false`: there is no such instance.
    pub fn drop_instance(&self, instance: &InstanceId) -> Result<bool> {
        self.with(|db| holdings::remove(db, instance))
    }

    /// Gives an instance another id, which must be free. `false`: there is no such instance.
    pub fn rename_instance(&self, from: &InstanceId, to: &InstanceId) -> Result<bool> {
        self.with(|db| holdings::rename(db, from, to))
    }
}

#[async_trait]
impl State for Beside {
    async fn load(&self, instance: &InstanceId) -> Result<Option<Json>> {
        self.with(|db| state::load(db, instance))
    }

    async fn save(&self, instance: &InstanceId, was: Option<&Json>, document: &Json) -> Result<bool> {
        self.with(|db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let saved = state::save(&tx, instance, was, document)?;
            tx.commit()?;
            Ok(saved)
        })
    }

    async fn latest_event_time(&self, instance: &InstanceId) -> Result<Option<Timestamp>> {
        let latest = self.with(|db| state::latest(db, instance))?;
        Ok(latest.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
    }
}
