//! The names under which instances remember their ids. A renamed instance keeps the name that it had first, so that an
//! event that was stored before is not taken for a new one.
//!
//! `about` has a row `name:NUMBER` for each instance whose name in the marks is not its id.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use super::fault::Fault;
use super::schema;
use crate::connector::instance::InstanceId;

fn row(number: i64) -> String {
    format!("name:{number}")
}

/// The names of the instances whose name is not their id.
pub(super) fn load(db: &Connection) -> Result<HashMap<InstanceId, String>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT instances.id, about.value FROM about JOIN instances ON about.name = 'name:' || instances.number
         WHERE about.name > 'name:' AND about.name < 'name;'",
    )?;
    let mut rows = statement.query([])?;
    let mut found = HashMap::new();
    while let Some(row) = rows.next()? {
        let (id, name): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        if let (Some(id), Ok(name)) = (InstanceId::parse(&id), String::from_utf8(name)) {
            found.insert(id, name);
        }
    }
    Ok(found)
}

/// Gives a new instance a name of its own where another one remembers its ids under this id.
pub(super) fn claim(tx: &Connection, number: i64, id: &InstanceId) -> rusqlite::Result<()> {
    let taken: Option<String> = tx
        .prepare_cached("SELECT name FROM about WHERE name > 'name:' AND name < 'name;' AND value = ?")?
        .query_row([id.as_str().as_bytes()], |row| row.get(0))
        .optional()?;
    // No id holds this sign.
    let name = taken.filter(|taken| *taken != row(number)).map(|_| format!("{id}#{number}"));
    name.map_or(Ok(()), |name| schema::put(tx, &row(number), name.as_bytes()))
}

/// An instance has another id from now on.
pub(super) fn renamed(tx: &Connection, number: i64, from: &InstanceId, to: &InstanceId) -> Result<(), Fault> {
    let name = schema::get(tx, &row(number))?.unwrap_or_else(|| from.as_str().as_bytes().to_vec());
    if name == to.as_str().as_bytes() {
        forget(tx, number)
    } else {
        Ok(schema::put(tx, &row(number), &name)?)
    }
}

/// An instance is no more.
pub(super) fn forget(tx: &Connection, number: i64) -> Result<(), Fault> {
    tx.execute("DELETE FROM about WHERE name = ?", [row(number)])?;
    Ok(())
}

/// Copies the names from a damaged database, as far as they can be read.
pub(super) fn copy(old: &Connection, tx: &Connection) -> Result<(), Fault> {
    let Ok(mut statement) =
        old.prepare_cached("SELECT name, value FROM about WHERE name > 'name:' AND name < 'name;'")
    else {
        return Ok(());
    };
    let Ok(mut rows) = statement.query([]) else { return Ok(()) };
    while let Ok(Some(row)) = rows.next() {
        if let (Ok(name), Ok(value)) = (row.get::<_, String>(0), row.get::<_, Vec<u8>>(1)) {
            schema::put(tx, &name, &value)?;
        }
    }
    Ok(())
}
