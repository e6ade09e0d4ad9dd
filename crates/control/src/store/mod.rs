//! The control store: one SQLite file, WAL, `synchronous=FULL`. What a committed transaction wrote
//! survives any crash; an API call is acknowledged only after its commit.
//!
//! Resources are kept as [`Item`]s: typed records in JSON under a kind, a key and a parent. Reads
//! within a transaction see its own writes.

use crate::wake::Wake;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// A stored record.
pub trait Item: Serialize + DeserializeOwned {
    /// Unique among all kinds, for example `ecs.cluster`. Never changes once released.
    const KIND: &'static str;
    /// Unique within the kind, usually the ARN or id.
    fn key(&self) -> String;
    /// What it is listed under, usually the owner's key; empty where there is none.
    fn parent(&self) -> String {
        String::new()
    }
}

/// The store's own failures; to an API's caller they are an internal error.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the control store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("a stored {kind} cannot be read: {source}")]
    Damaged { kind: &'static str, source: serde_json::Error },
    #[error("the key of stored secrets: {0}")]
    Key(std::io::Error),
}

/// The open store. One writer at a time; readers see the last commit.
pub struct Store {
    path: PathBuf,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    /// Rises with every commit that changed something, but for those that [`Tx::only_routes`] was said of.
    pub changed: Wake,
    /// Rises with every commit that changed a record of IAM.
    policies: AtomicU64,
    /// Rises with every commit that changed something.
    pub routes: Wake,
}

/// A transaction, for reading or for writing.
pub struct Tx<'a> {
    connection: &'a Connection,
    dirty: Cell<bool>,
    /// A record of IAM was written.
    policies: Cell<bool>,
    only_routes: Cell<bool>,
}

/// Each entry is applied once, in order; the number of applied ones is kept in `user_version`.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE item (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL, key TEXT NOT NULL, parent TEXT NOT NULL, body TEXT NOT NULL,
        UNIQUE (kind, key));
    CREATE INDEX item_by_parent ON item (kind, parent, seq);
    CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE log_event (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        stream TEXT NOT NULL, at_ms INTEGER NOT NULL, ingested_ms INTEGER NOT NULL, message TEXT NOT NULL);
    CREATE INDEX log_event_by_stream ON log_event (stream, at_ms, seq);
"];

impl Store {
    /// Opens or makes the store at `path` and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut writer = connect(path)?;
        migrate(&mut writer)?;
        let reader = connect(path)?;
        // A write in what only reads would be undone without a word; this makes it an error.
        reader.pragma_update(None, "query_only", "ON")?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            changed: Wake::default(),
            policies: AtomicU64::default(),
            routes: Wake::default(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which version of IAM's records is committed, or, for a moment, one before it.
    pub fn policies_version(&self) -> u64 {
        self.policies.load(Ordering::Acquire)
    }

    /// Runs `f` on the last committed state.
    pub fn read<T, E: From<StoreError>>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        let mut connection = lock(&self.reader);
        let transaction = connection.transaction().map_err(StoreError::from)?;
        f(&Tx::new(&transaction))
    }

    /// Runs `f` in a transaction of its own: committed if it returns `Ok`, undone if not.
    /// Signals [`changed`](Self::changed) if it wrote something.
    pub fn write<T, E: From<StoreError>>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        let mut connection = lock(&self.writer);
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(StoreError::from)?;
        let (value, dirty, policies, only_routes) = {
            let tx = Tx::new(&transaction);
            (f(&tx)?, tx.dirty.get(), tx.policies.get(), tx.only_routes.get())
        };
        transaction.commit().map_err(StoreError::from)?;
        if policies {
            self.policies.fetch_add(1, Ordering::AcqRel);
        }
        drop(connection);
        if dirty {
            self.routes.signal();
            if !only_routes {
                self.changed.signal();
            }
        }
        Ok(value)
    }

    /// Ends every wait for a change.
    pub fn stop(&self) {
        self.changed.stop();
        self.routes.stop();
    }
}

impl<'a> Tx<'a> {
    fn new(connection: &'a Connection) -> Self {
        Self { connection, dirty: Cell::new(false), policies: Cell::new(false), only_routes: Cell::new(false) }
    }

    /// Whether this transaction has written a record of IAM.
    pub fn wrote_policies(&self) -> bool {
        self.policies.get()
    }

    fn wrote<T: Item>(&self) {
        self.dirty.set(true);
        if T::KIND.starts_with("iam.") {
            self.policies.set(true);
        }
    }

    /// A record as it is stored, for those who look at records of any kind.
    pub fn json(&self, kind: &'static str, key: &str) -> Result<Option<serde_json::Value>, StoreError> {
        let body: Option<String> = self
            .connection
            .prepare_cached("SELECT body FROM item WHERE kind = ?1 AND key = ?2")?
            .query_row(params![kind, key], |row| row.get(0))
            .optional()?;
        body.map(|body| serde_json::from_str(&body).map_err(|source| StoreError::Damaged { kind, source })).transpose()
    }

    /// What is written here matters to those alone who hand out routes and watch cuts: nobody else is woken, while clients
    /// wait for the next step.
    pub fn only_routes(&self) {
        self.only_routes.set(true);
    }

    pub fn get<T: Item>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let body: Option<String> = self
            .connection
            .prepare_cached("SELECT body FROM item WHERE kind = ?1 AND key = ?2")?
            .query_row(params![T::KIND, key], |row| row.get(0))
            .optional()?;
        body.map(|body| decode(&body)).transpose()
    }

    /// All of a kind, oldest first.
    pub fn all<T: Item>(&self) -> Result<Vec<T>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT body FROM item WHERE kind = ?1 ORDER BY seq")?;
        let rows = statement.query_map(params![T::KIND], |row| row.get::<_, String>(0))?;
        rows.map(|body| decode(&body?)).collect()
    }

    /// Those of a kind under one parent, oldest first.
    pub fn children<T: Item>(&self, parent: &str) -> Result<Vec<T>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT body FROM item WHERE kind = ?1 AND parent = ?2 ORDER BY seq")?;
        let rows = statement.query_map(params![T::KIND, parent], |row| row.get::<_, String>(0))?;
        rows.map(|body| decode(&body?)).collect()
    }

    /// Stores the item, replacing the one with the same key. An unchanged item costs no write.
    pub fn put<T: Item>(&self, item: &T) -> Result<(), StoreError> {
        let body = serde_json::to_string(item).map_err(|source| StoreError::Damaged { kind: T::KIND, source })?;
        let (key, parent) = (item.key(), item.parent());
        // Asked first: an INSERT takes a number of the sequence, and so is a write, even where it turns out to conflict.
        let same: Option<bool> = self
            .connection
            .prepare_cached("SELECT body = ?3 AND parent = ?4 FROM item WHERE kind = ?1 AND key = ?2")?
            .query_row(params![T::KIND, key, body, parent], |row| row.get(0))
            .optional()?;
        let statement = match same {
            Some(true) => return Ok(()),
            Some(false) => "UPDATE item SET body = ?3, parent = ?4 WHERE kind = ?1 AND key = ?2",
            None => "INSERT INTO item (kind, key, body, parent) VALUES (?1, ?2, ?3, ?4)",
        };
        self.connection.prepare_cached(statement)?.execute(params![T::KIND, key, body, parent])?;
        self.wrote::<T>();
        Ok(())
    }

    /// Returns whether there was one.
    pub fn delete<T: Item>(&self, key: &str) -> Result<bool, StoreError> {
        let n = self
            .connection
            .prepare_cached("DELETE FROM item WHERE kind = ?1 AND key = ?2")?
            .execute(params![T::KIND, key])?;
        if n > 0 {
            self.wrote::<T>();
        }
        Ok(n > 0)
    }

    /// The next value of a named counter, from 1. Not handed out twice once committed.
    pub fn next(&self, name: &str) -> Result<u64, StoreError> {
        self.dirty.set(true);
        let value: i64 = self
            .connection
            .prepare_cached(
                "INSERT INTO counter (name, value) VALUES (?1, 1)
                 ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
            )?
            .query_row(params![name], |row| row.get(0))?;
        Ok(value as u64)
    }

    /// The underlying connection, for tables other than items. Call [`touch`](Self::touch) after writing.
    pub fn connection(&self) -> &rusqlite::Connection {
        self.connection
    }

    /// Says that something was written past [`put`](Self::put), so that reconcilers wake.
    pub fn touch(&self) {
        self.dirty.set(true);
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let applied: usize = transaction.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))? as usize;
    for migration in MIGRATIONS.iter().skip(applied) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    transaction.commit()?;
    Ok(())
}

fn decode<T: Item>(body: &str) -> Result<T, StoreError> {
    serde_json::from_str(body).map_err(|source| StoreError::Damaged { kind: T::KIND, source })
}

fn lock(mutex: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    // A panic inside a transaction rolled it back; the connection itself is sound.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        id: String,
        owner: String,
        n: u32,
    }

    impl Item for Thing {
        const KIND: &'static str = "test.thing";
        fn key(&self) -> String {
            self.id.clone()
        }
        fn parent(&self) -> String {
            self.owner.clone()
        }
    }

    fn thing(id: &str, owner: &str, n: u32) -> Thing {
        Thing { id: id.into(), owner: owner.into(), n }
    }

    #[test]
    fn commits_survive_reopening_and_errors_undo() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.db");
        {
            let store = Store::open(&path).unwrap();
            let mut seen = store.changed.level();
            store
                .write(|tx| {
                    tx.put(&thing("b", "x", 1))?;
                    tx.put(&thing("a", "x", 2))?;
                    tx.put(&thing("c", "y", 3))
                })
                .unwrap();
            assert_eq!(store.changed.wait(&mut seen, Duration::ZERO), crate::wake::Woken::Signal);
            let undone: Result<(), StoreError> = store.write(|tx| {
                tx.put(&thing("b", "x", 99))?;
                tx.delete::<Thing>("a")?;
                Err(StoreError::Sqlite(rusqlite::Error::InvalidQuery))
            });
            assert!(undone.is_err());
            // The same value again is no change: nothing is written, and nobody is woken for it.
            let written = || std::fs::read(path.with_extension("db-wal")).unwrap();
            let before = written();
            store.write(|tx| tx.put(&thing("a", "x", 2))).unwrap();
            assert_eq!(written(), before);
            assert_eq!(store.changed.wait(&mut seen, Duration::ZERO), crate::wake::Woken::Timer);
        }
        let store = Store::open(&path).unwrap();
        assert!(store.read(|tx| tx.put(&thing("d", "x", 4))).is_err(), "a read cannot write");
        store
            .read(|tx| -> Result<(), StoreError> {
                assert_eq!(tx.children::<Thing>("x")?, vec![thing("b", "x", 1), thing("a", "x", 2)]);
                assert_eq!(tx.all::<Thing>()?.len(), 3);
                assert_eq!(tx.get::<Thing>("c")?, Some(thing("c", "y", 3)));
                Ok(())
            })
            .unwrap();
        assert_eq!(store.write(|tx| tx.next("n")).unwrap(), 1);
        assert_eq!(store.write(|tx| tx.next("n")).unwrap(), 2);
    }
}
