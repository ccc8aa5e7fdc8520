//! What the writer knows of the store without asking it: its key, its instances, the ids of the window.
//!
//! Read anew from the database whenever that was opened again, so that a transaction whose outcome was
//! unclear is known as the database has it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension};

use super::block::crc;
use super::dedupe::Key;
use super::fault::Fault;
use super::held::{self, Held};
use super::keys::position;
use super::schema::{self, POSITION_BITS};
use super::windows::Windows;
use super::{cursors, names};
use crate::connector::instance::InstanceId;
use crate::queue::SinkKey;
use crate::queue::limits::Limits;
use crate::queue::shares::Shares;

/// Rows of ids after which those that are too many are forgotten, while they are loaded.
const EXPIRE_EVERY: u64 = 4096;

/// An instance as the log knows it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Its number in keys.
    pub(super) number: i64,
    /// The position of the next record.
    pub(super) next: u64,
    /// The latest event time, in milliseconds.
    pub(super) latest: Option<i64>,
    /// What its records take.
    pub(super) held: Held,
}

/// What the writer knows.
#[derive(Debug)]
pub(super) struct Memory {
    /// The key of the store's hashes.
    pub(super) key: Key,
    pub(super) instances: HashMap<InstanceId, Known>,
    pub(super) windows: Windows,
    /// What each instance can rely on.
    pub(super) shares: Shares,
    max_bytes: u64,
    /// The next row of `ids`.
    pub(super) next_ids: i64,
    /// How many rows of `ids` could not be read.
    pub(super) forgotten: u64,
    /// Cursors that the commit in the making moves.
    pub(super) moved: Vec<(SinkKey, u64)>,
    /// Instances whose cursors the commit in the making moves.
    pub(super) untrimmed: BTreeMap<InstanceId, i64>,
}

impl Memory {
    /// Reads it. `clean`: the store was closed cleanly.
    pub(super) fn load(db: &Connection, limits: &Limits, now: i64, clean: bool) -> Result<Self, Fault> {
        let key = schema::get(db, "key")?
            .and_then(|key| <[u8; 16]>::try_from(key).ok().map(Key::new))
            .ok_or_else(|| Fault::damaged("its key is missing"))?;
        let mut memory = Self {
            key,
            instances: HashMap::new(),
            windows: Windows::new(limits),
            shares: limits.shares.clone(),
            max_bytes: limits.max_bytes,
            next_ids: 1,
            forgotten: 0,
            moved: Vec::new(),
            untrimmed: BTreeMap::new(),
        };
        memory.load_instances(db)?;
        let mut kept = held::kept(db, limits.max_bytes, clean)?;
        for known in memory.instances.values_mut() {
            let kept = kept.remove(&known.number).filter(|(next, _)| *next == known.next);
            known.held = match kept {
                Some((_, held)) => held,
                None => held::count(db, known.number, limits.max_bytes)?,
            };
            known.held.recount(db, known.number)?;
        }
        memory.key = memory.key.named(names::load(db)?);
        memory.load_ids(db, now)?;
        Ok(memory)
    }

    fn load_instances(&mut self, db: &Connection) -> Result<(), Fault> {
        let mut statement = db.prepare("SELECT id, number, next, latest FROM instances")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            let id = InstanceId::parse(&id).ok_or_else(|| Fault::damaged("an instance's id is none"))?;
            let number = row.get(1)?;
            let next = position(row.get(2)?)?.max(cursors::end(db, number)?);
            if next >= 1 << POSITION_BITS {
                return Err(Fault::damaged("a position is beyond every bound"));
            }
            self.instances.insert(id, Known { number, next, latest: row.get(3)?, held: Held::default() });
        }
        Ok(())
    }

    fn load_ids(&mut self, db: &Connection, now: i64) -> Result<(), Fault> {
        // Rows that are not needed any more are there until the next commit: their numbers are taken.
        self.next_ids = db.query_row("SELECT coalesce(max(seq), 0) + 1 FROM ids", [], |row| row.get(0))?;
        let names: HashMap<i64, &InstanceId> =
            self.instances.iter().map(|(id, known)| (known.number, id)).collect();
        let mut statement = db.prepare_cached("SELECT seq, at, checksum, body FROM ids ORDER BY seq")?;
        let mut rows = statement.query([])?;
        let mut loaded = 0;
        while let Some(row) = rows.next()? {
            let (seq, at): (i64, i64) = (row.get(0)?, row.get(1)?);
            let body = row.get_ref(3)?.as_blob().map_err(|e| Fault::damaged(e.to_string()))?;
            if i64::from(crc(&[body])) == row.get::<_, i64>(2)? {
                self.windows.load(seq, at, now, body, |number| names.get(&number).copied().cloned());
            } else {
                self.forgotten += 1;
                self.windows.spoiled(seq);
            }
            loaded += 1;
            if loaded % EXPIRE_EVERY == 0 {
                self.windows.expire(now);
            }
        }
        self.windows.expire(now);
        Ok(())
    }

    /// Deletes the blocks that every sink has, once a commit for each instance whose cursors moved. They do not
    /// wait for the next commit: should the cursors be damaged, what is kept comes again.
    pub(super) fn trim(&mut self, tx: &Connection) -> Result<(), Fault> {
        while let Some((instance, number)) = self.untrimmed.pop_first() {
            let Some(least) = cursors::trim(tx, number)? else { continue };
            if let Some(known) = self.instances.get_mut(&instance) {
                known.held.trim(least);
            }
        }
        Ok(())
    }

    /// The instance, made now if it is new. Numbers are given by the database, since other processes may make
    /// an instance too.
    pub(super) fn instance(&mut self, tx: &Connection, id: &InstanceId) -> Result<&mut Known, Fault> {
        match self.instances.entry(id.clone()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(slot) => {
                let known = Known { held: Held::new(self.max_bytes), ..ensure(tx, id)? };
                self.key = self.key.clone().named(names::load(tx)?);
                Ok(slot.insert(known))
            }
        }
    }

    /// What every instance holds of the store, in bytes.
    pub(super) fn held(&self) -> BTreeMap<InstanceId, u64> {
        self.instances.iter().map(|(id, known)| (id.clone(), known.held.bytes())).collect()
    }

    /// Another process wrote into the store: it may have deleted blocks.
    pub(super) fn recount(&mut self, db: &Connection) -> Result<(), Fault> {
        self.instances.values_mut().try_for_each(|known| known.held.recount(db, known.number))
    }
}

/// The row of an instance, made if it is new.
pub(super) fn ensure(tx: &Connection, id: &InstanceId) -> Result<Known, Fault> {
    if let Some(known) = find(tx, id)? {
        return Ok(known);
    }
    tx.execute("INSERT INTO instances(id) VALUES (?)", [id.as_str()])?;
    let number = tx.last_insert_rowid();
    tx.execute("INSERT OR REPLACE INTO names(number, id) VALUES (?, ?)", (number, id.as_str()))?;
    names::claim(tx, number, id)?;
    Ok(Known { number, next: 0, latest: None, held: Held::default() })
}

/// The row of an instance.
pub(super) fn find(db: &Connection, id: &InstanceId) -> Result<Option<Known>, Fault> {
    let row: Option<(i64, i64, Option<i64>)> = db
        .prepare_cached("SELECT number, next, latest FROM instances WHERE id = ?")?
        .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    row.map(|(number, next, latest)| {
        Ok(Known { number, next: position(next)?, latest, held: Held::default() })
    })
    .transpose()
}
