//! The tables of the store, its format version, and how a connection to it is set up.
//!
//! Everything in this folder that opens the database opens it here. The layout, for people with `sqlite3`:
//! a row of `blocks` is a run of records of one instance, named by its first record's position.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::fault::Fault;

/// The format that this program writes and reads.
pub(super) const VERSION: i64 = 2;
/// "Fore", so that `file` and people can tell the store from any other database.
const APPLICATION: i64 = 0x466f_7265;
/// Bytes of a page.
pub(super) const PAGE: u64 = 4096;
/// How long a connection waits for another process that writes.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// On macOS an fsync leaves the data in the drive's cache unless it is asked for more. Elsewhere these do nothing.
const DURABLE: &str = "PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;";
/// A position takes so many bits of a block's key; the instance's number stands above them.
pub(super) const POSITION_BITS: u32 = 43;

/// Keys of `blocks` are `number << 43 | position`: one B-tree and no index beside it that could disagree.
/// `totals` is kept by triggers, since other processes delete dead letters too. `names` says again whose number
/// is whose: without that, one damaged page would make every record nobody's.
const TABLES: &str = "
CREATE TABLE about(
    name TEXT PRIMARY KEY,
    value BLOB
) STRICT;
CREATE TABLE instances(
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    next INTEGER NOT NULL DEFAULT 0,
    latest INTEGER,
    document TEXT
) STRICT;
CREATE TABLE names(
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL
) STRICT;
CREATE TABLE blocks(
    key INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    at INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    body BLOB NOT NULL,
    instance INTEGER GENERATED ALWAYS AS (key >> 43) VIRTUAL,
    first INTEGER GENERATED ALWAYS AS (key & 8796093022207) VIRTUAL
) STRICT;
CREATE TABLE ids(
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE cursors(
    instance INTEGER NOT NULL,
    sink TEXT NOT NULL,
    position INTEGER NOT NULL,
    note TEXT,
    registered INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY(instance, sink)
) STRICT, WITHOUT ROWID;
CREATE TABLE letters(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    instance INTEGER NOT NULL,
    what TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    id BLOB,
    sink TEXT,
    at INTEGER NOT NULL,
    retry INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX letters_to_retry ON letters(instance, sink, number) WHERE retry = 1;
CREATE TABLE totals(
    one INTEGER PRIMARY KEY CHECK (one = 1),
    letters INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO totals VALUES (1, 0, 0);
CREATE TRIGGER letters_in AFTER INSERT ON letters BEGIN
    UPDATE totals SET letters = letters + 1, bytes = bytes + length(NEW.body) + 256;
END;
CREATE TRIGGER letters_out AFTER DELETE ON letters BEGIN
    UPDATE totals SET letters = letters - 1, bytes = bytes - length(OLD.body) - 256;
END;
";

/// The same by instance. Stores of earlier versions have no such table: it is made when they are opened, behind all
/// others, whose root pages stay what they were.
const BY_INSTANCE: &str = "
CREATE TABLE letter_totals(
    instance INTEGER PRIMARY KEY,
    letters INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO letter_totals SELECT instance, count(*), sum(length(body) + 256) FROM letters GROUP BY instance;
CREATE TRIGGER letters_of_in AFTER INSERT ON letters BEGIN
    INSERT INTO letter_totals VALUES (NEW.instance, 1, length(NEW.body) + 256)
    ON CONFLICT(instance) DO UPDATE SET letters = letters + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER letters_of_out AFTER DELETE ON letters BEGIN
    UPDATE letter_totals SET letters = letters - 1, bytes = bytes - length(OLD.body) - 256
    WHERE instance = OLD.instance;
END;
";

/// Adds what stores of earlier versions lack.
pub(super) fn complete(db: &Connection) -> Result<(), Fault> {
    let there = "SELECT count(*) FROM sqlite_schema WHERE name = 'letter_totals'";
    if db.query_row(there, [], |row| row.get::<_, i64>(0))? == 0 {
        let tx = db.unchecked_transaction()?;
        tx.execute_batch(BY_INSTANCE)?;
        tx.commit()?;
    }
    Ok(())
}

/// The database's file in a data folder.
pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join("forebay.db")
}

/// A connection to a database that is there, set up, its version checked.
pub(super) fn connect(folder: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file(folder), flags)?;
    db.busy_timeout(BUSY)?;
    // Checkpoints are the writer's own work, after the answers of a commit are out.
    db.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -1024; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;",
    )?;
    db.execute_batch(DURABLE)?;
    // Only the writer's close tidies the log away. The last reader's must not: the files at the path may be others.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_prepared_statement_cache_capacity(64);
    match version(&db)? {
        VERSION => Ok(db),
        // Beyond that it is a damaged number and no version.
        found if (1..1000).contains(&found) => Err(Fault::version(found, VERSION)),
        found => Err(Fault::damaged(format!("its format version is {found}"))),
    }
}

fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Makes an empty store in `folder`: whole or not at all, since the version is set in the same transaction
/// as the tables.
pub(super) fn create(folder: &Path, key: &[u8; 16]) -> Result<(), Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(file(folder), flags)?;
    db.busy_timeout(BUSY)?;
    let fresh = version(&db)? == 0;
    if fresh {
        db.execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;")?;
    }
    db.execute_batch("PRAGMA synchronous = FULL;")?;
    db.execute_batch(DURABLE)?;
    use_log(&db)?;
    if !fresh {
        // A store that was not closed cleanly keeps its log: one that is missing is a sign of a loss.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        return Ok(());
    }
    let tx = db.transaction()?;
    tx.execute_batch(TABLES)?;
    tx.execute_batch(BY_INSTANCE)?;
    tx.pragma_update(None, "application_id", APPLICATION)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    put(&tx, "key", key)?;
    tx.commit()?;
    Ok(())
}

/// Gives the database a write-ahead log, if it has none yet. A sync that fails here is told only to whoever asks
/// beyond the answer's one row; unheard, it would leave the database without the log for good.
fn use_log(db: &Connection) -> Result<(), Fault> {
    let mut statement = db.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = statement.query([])?;
    let mut mode = String::new();
    while let Some(row) = rows.next()? {
        mode = row.get(0)?;
    }
    if mode == "wal" { Ok(()) } else { Err(Fault::broken(format!("its journal is `{mode}` and no log"))) }
}

/// A value of `about`.
pub(super) fn get(db: &Connection, name: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    db.query_row("SELECT value FROM about WHERE name = ?", [name], |row| row.get(0)).optional()
}

/// Sets a value of `about`.
pub(super) fn put(db: &Connection, name: &str, value: &[u8]) -> rusqlite::Result<()> {
    db.execute("INSERT OR REPLACE INTO about(name, value) VALUES (?, ?)", (name, value)).map(drop)
}
