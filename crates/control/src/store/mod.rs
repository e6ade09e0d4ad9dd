//! The control store: one SQLite file, WAL, `synchronous=FULL`. What a committed transaction wrote
//! survives any crash; an API call is acknowledged only after its commit.
//!
//! Resources are kept as [`Item`]s: typed records in JSON under a kind, a key, a parent and an owner. Reads
//! within a transaction see its own writes. What was decoded once is kept ([`cache`]); what is written is told
//! ([`feed`]); what is made of all records of a kind is counted on ([`tally`]).

mod cache;
pub mod feed;
pub mod tally;

use crate::wake::Wake;
use cache::Cache;
use feed::{Change, Feed, Feeds};
use rusqlite::{Connection, OptionalExtension, ToSql, TransactionBehavior, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tally::{Tallies, Tally};

/// A stored record.
pub trait Item: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Unique among all kinds, for example `ecs.cluster`. Never changes once released.
    const KIND: &'static str;
    /// Unique within the kind, usually the ARN or id.
    fn key(&self) -> String;
    /// What it is listed under, usually the owner's key; empty where there is none.
    fn parent(&self) -> String {
        String::new()
    }
    /// What else it is found by, for example the service of a task; empty where there is none.
    fn owner(&self) -> String {
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

/// The open store. One writer at a time; readers see the last commit and wait for nobody.
pub struct Store {
    path: PathBuf,
    writer: Mutex<Connection>,
    /// Those that nobody reads by now.
    readers: Mutex<Vec<Connection>>,
    cache: Cache,
    feeds: Feeds,
    tallies: Tallies,
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
    cache: &'a Cache,
    tallies: &'a Tallies,
    /// It holds the store, so that nobody else writes.
    is_writer: bool,
    dirty: Cell<bool>,
    changes: RefCell<Vec<Change>>,
    /// A record of IAM was written.
    policies: Cell<bool>,
    only_routes: Cell<bool>,
}

/// Each entry is applied once, in order; the number of applied ones is kept in `user_version`.
const MIGRATIONS: &[&str] = &[
    "
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
",
    "
    ALTER TABLE item ADD COLUMN owner TEXT NOT NULL DEFAULT '';
    ALTER TABLE item ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
    UPDATE item SET owner = json_extract(body, '$.service[0]')
        WHERE kind = 'ecs.task' AND json_extract(body, '$.service[0]') IS NOT NULL;
    DROP INDEX item_by_parent;
    CREATE INDEX item_by_parent ON item (kind, parent, seq, version);
    CREATE INDEX item_by_owner ON item (kind, owner, seq, version) WHERE owner <> '';
    CREATE TABLE kind (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
",
    "
    CREATE INDEX item_by_parent_and_key ON item (kind, parent, key);
",
];

/// Connections that are kept for reading.
const READERS: usize = 8;

impl Store {
    /// Opens or makes the store at `path` and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut writer = connect(path)?;
        migrate(&mut writer)?;
        let last = writer.query_row("SELECT ifnull(max(version), 0) FROM kind", [], |row| row.get(0))?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            readers: Mutex::new(vec![connect_reader(path)?]),
            cache: Cache::new(last),
            feeds: Feeds::default(),
            tallies: Tallies::default(),
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
        self.read_from(|_| Ok(()), |tx, ()| f(tx))
    }

    /// Runs `f` on a committed state, with what was written between the state of the last call and this one. Waits until
    /// nobody writes.
    pub fn read_on<T, E: From<StoreError>>(
        &self,
        feed: &Feed,
        f: impl FnOnce(&Tx<'_>, Vec<Change>) -> Result<T, E>,
    ) -> Result<T, E> {
        let begin = |tx: &Tx<'_>| {
            let _writer = lock(&self.writer);
            // A reader's state is that of its first look.
            tx.versions(&["link.proxy"])?;
            Ok(feed.take())
        };
        self.read_from(begin, f)
    }

    fn read_from<S, T, E: From<StoreError>>(
        &self,
        begin: impl FnOnce(&Tx<'_>) -> Result<S, StoreError>,
        f: impl FnOnce(&Tx<'_>, S) -> Result<T, E>,
    ) -> Result<T, E> {
        let idle = lock(&self.readers).pop();
        let mut connection = idle.map_or_else(|| connect_reader(&self.path), Ok)?;
        let read = {
            let transaction = connection.transaction().map_err(StoreError::from)?;
            let tx = Tx::new(&transaction, self, false);
            begin(&tx).map_err(E::from).and_then(|begun| f(&tx, begun))
        };
        let mut idle = lock(&self.readers);
        if idle.len() < READERS {
            idle.push(connection);
        }
        read
    }

    /// Tells from now on which records of these kinds are written; of all, where none is named.
    pub fn follow(&self, kinds: &'static [&'static str]) -> Arc<Feed> {
        self.feeds.open(kinds)
    }

    /// Runs `f` in a transaction of its own: committed if it returns `Ok`, undone if not.
    /// Signals [`changed`](Self::changed) if it wrote something.
    pub fn write<T, E: From<StoreError>>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        let mut connection = lock(&self.writer);
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(StoreError::from)?;
        let unwinding = Unwinding(&self.tallies);
        let before = self.cache.number();
        let (value, dirty, policies, only_routes, changes) = {
            let tx = Tx::new(&transaction, self, true);
            let value = f(&tx);
            (value, tx.dirty.get(), tx.policies.get(), tx.only_routes.get(), tx.changes.into_inner())
        };
        self.tallies.ending(before, &changes);
        std::mem::forget(unwinding);
        let value = value?;
        transaction.commit().map_err(StoreError::from)?;
        // While no other can write, so that each feed has them in order.
        self.feeds.tell(&changes);
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

    /// Looks at what is counted of the last committed state. Waits until nobody writes.
    pub fn tally<A: Tally, R>(&self, look: impl FnOnce(&A) -> R) -> Result<R, StoreError> {
        let mut connection = lock(&self.writer);
        let transaction = connection.transaction()?;
        Tx::new(&transaction, self, true).tally(look)
    }

    /// Ends every wait for a change.
    pub fn stop(&self) {
        self.changed.stop();
        self.routes.stop();
    }
}

/// A panic in a transaction leaves nobody who knows what was written.
struct Unwinding<'a>(&'a Tallies);

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl<'a> Tx<'a> {
    fn new(connection: &'a Connection, store: &'a Store, is_writer: bool) -> Self {
        Self {
            connection,
            cache: &store.cache,
            tallies: &store.tallies,
            is_writer,
            dirty: Cell::new(false),
            changes: RefCell::default(),
            policies: Cell::new(false),
            only_routes: Cell::new(false),
        }
    }

    /// Whether this transaction has written a record of IAM.
    pub fn wrote_policies(&self) -> bool {
        self.policies.get()
    }

    fn wrote(&self, version: i64, change: Change) -> Result<(), StoreError> {
        self.dirty.set(true);
        if change.kind.starts_with("iam.") {
            self.policies.set(true);
        }
        if !self.has_written(change.kind) {
            self.connection
                .prepare_cached(
                    "INSERT INTO kind (name, version) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET version = excluded.version",
                )?
                .execute(params![change.kind, version])?;
        }
        self.changes.borrow_mut().push(change);
        Ok(())
    }

    fn has_written(&self, kind: &str) -> bool {
        self.changes.borrow().iter().any(|change| change.kind == kind)
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
        Ok(self.find(key)?.map(Arc::unwrap_or_clone))
    }

    /// All of a kind, oldest first.
    pub fn all<T: Item>(&self) -> Result<Vec<T>, StoreError> {
        Ok(self.shared::<T>()?.iter().map(|item| T::clone(item)).collect())
    }

    /// Those of a kind under one parent, oldest first.
    pub fn children<T: Item>(&self, parent: &str) -> Result<Vec<T>, StoreError> {
        Ok(self.children_of(parent)?.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    /// [`get`](Self::get) without a copy.
    pub fn find<T: Item>(&self, key: &str) -> Result<Option<Arc<T>>, StoreError> {
        let rows = self.rows("SELECT seq, version FROM item WHERE kind = ?1 AND key = ?2", params![T::KIND, key])?;
        Ok(self.decoded(&rows)?.pop())
    }

    /// [`all`](Self::all) without a copy.
    pub fn shared<T: Item>(&self) -> Result<Arc<Vec<Arc<T>>>, StoreError> {
        self.derived(T::KIND, &[T::KIND], || {
            let statement = "SELECT seq, version FROM item INDEXED BY item_by_parent WHERE kind = ?1 AND ?2 = ''";
            let mut rows = self.rows(statement, params![T::KIND, ""])?;
            rows.sort_unstable();
            self.decoded(&rows)
        })
    }

    /// [`children`](Self::children) without copies.
    pub fn children_of<T: Item>(&self, parent: &str) -> Result<Vec<Arc<T>>, StoreError> {
        let statement = "SELECT seq, version FROM item WHERE kind = ?1 AND parent = ?2 ORDER BY seq";
        self.decoded(&self.rows(statement, params![T::KIND, parent])?)
    }

    /// At most `most` of a kind under one parent whose keys come after `after`, in the order of their keys.
    pub fn children_after<T: Item>(&self, parent: &str, after: &str, most: usize) -> Result<Vec<Arc<T>>, StoreError> {
        let statement =
            "SELECT seq, version FROM item WHERE kind = ?1 AND parent = ?2 AND key > ?3 ORDER BY key LIMIT ?4";
        self.decoded(&self.rows(statement, params![T::KIND, parent, after, most as i64])?)
    }

    /// Those of a kind with this [owner](Item::owner), which is not empty, oldest first.
    pub fn owned<T: Item>(&self, owner: &str) -> Result<Vec<Arc<T>>, StoreError> {
        let statement = "SELECT seq, version FROM item WHERE kind = ?1 AND owner = ?2 AND owner <> '' ORDER BY seq";
        self.decoded(&self.rows(statement, params![T::KIND, owner])?)
    }

    /// What `make` makes of all records of these kinds and of nothing else: made again only after one has changed.
    /// `name`: one for each use.
    pub fn derived<V: Send + Sync + 'static, E: From<StoreError>>(
        &self,
        name: &'static str,
        kinds: &[&'static str],
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<Arc<V>, E> {
        if kinds.iter().any(|kind| self.has_written(kind)) {
            return Ok(Arc::new(make()?));
        }
        let versions = self.versions(kinds)?;
        if let Some(made) = self.cache.made(name, &versions) {
            return Ok(made);
        }
        let made = Arc::new(make()?);
        self.cache.keep_made(name, versions, &made);
        Ok(made)
    }

    /// Looks at what is counted over all records of a kind. It costs what was written since the last look.
    pub fn tally<A: Tally, R>(&self, look: impl FnOnce(&A) -> R) -> Result<R, StoreError> {
        match self.is_writer {
            true => self.tallies.in_write(self, &self.changes.borrow(), look),
            false => self.tallies.in_read(self, look),
        }
    }

    /// A number for each of the kinds that rises with every commit that wrote one of it.
    pub fn versions(&self, kinds: &[&'static str]) -> Result<Vec<i64>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT version FROM kind WHERE name = ?1")?;
        let mut of = |kind: &&str| Ok(statement.query_row(params![kind], |row| row.get(0)).optional()?.unwrap_or(0));
        kinds.iter().map(&mut of).collect()
    }

    /// Row and version of each.
    fn rows(&self, statement: &str, parameters: &[&dyn ToSql]) -> Result<Vec<(i64, i64)>, StoreError> {
        let mut statement = self.connection.prepare_cached(statement)?;
        let rows = statement.query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.map(|row| Ok(row?)).collect()
    }

    fn body(&self, row: i64) -> Result<String, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT body FROM item WHERE seq = ?1")?;
        Ok(statement.query_row(params![row], |row| row.get(0))?)
    }

    fn decoded<T: Item>(&self, rows: &[(i64, i64)]) -> Result<Vec<Arc<T>>, StoreError> {
        let known = self.cache.find::<T>(rows);
        let mut items = Vec::with_capacity(rows.len());
        for (known, (row, version)) in known.into_iter().zip(rows) {
            items.push(match known {
                Some(known) => known,
                None => {
                    let body = self.body(*row)?;
                    let item = Arc::new(decode::<T>(&body)?);
                    self.cache.keep(*row, *version, body.len(), &item);
                    item
                }
            });
        }
        Ok(items)
    }

    /// Stores the item, replacing the one with the same key. An unchanged item costs no write.
    pub fn put<T: Item>(&self, item: &T) -> Result<(), StoreError> {
        let body = serde_json::to_string(item).map_err(|source| StoreError::Damaged { kind: T::KIND, source })?;
        let change = Change { kind: T::KIND, key: item.key(), parent: item.parent(), owner: item.owner() };
        if let Some((row, version)) = self.put_row(&change, &body)? {
            self.cache.keep(row, version, body.len(), &Arc::new(item.clone()));
            self.wrote(version, change)?;
        }
        Ok(())
    }

    /// The row and its version; `None` where it was there already.
    fn put_row(&self, change: &Change, body: &str) -> Result<Option<(i64, i64)>, StoreError> {
        let Change { kind, key, parent, owner } = change;
        // Asked first: an INSERT takes a number of the sequence, and so is a write, even where it turns out to conflict.
        let same: Option<(i64, bool)> = self
            .connection
            .prepare_cached("SELECT seq, body = ?3 AND parent = ?4 FROM item WHERE kind = ?1 AND key = ?2")?
            .query_row(params![kind, key, body, parent], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let version = self.cache.number();
        let row = match same {
            Some((_, true)) => return Ok(None),
            Some((row, false)) => {
                self.connection
                    .prepare_cached("UPDATE item SET body = ?2, parent = ?3, owner = ?4, version = ?5 WHERE seq = ?1")?
                    .execute(params![row, body, parent, owner, version])?;
                row
            }
            None => self
                .connection
                .prepare_cached(
                    "INSERT INTO item (kind, key, body, parent, owner, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .insert(params![kind, key, body, parent, owner, version])?,
        };
        Ok(Some((row, version)))
    }

    /// Returns whether there was one.
    pub fn delete<T: Item>(&self, key: &str) -> Result<bool, StoreError> {
        self.delete_row(T::KIND, key)
    }

    fn delete_row(&self, kind: &'static str, key: &str) -> Result<bool, StoreError> {
        let gone: Option<(i64, String, String)> = self
            .connection
            .prepare_cached("DELETE FROM item WHERE kind = ?1 AND key = ?2 RETURNING seq, parent, owner")?
            .query_row(params![kind, key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((row, parent, owner)) = gone else { return Ok(false) };
        self.cache.forget(row);
        self.wrote(self.cache.number(), Change { kind, key: key.to_owned(), parent, owner })?;
        Ok(true)
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
    connection.pragma_update(None, "cache_size", -8192)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn connect_reader(path: &Path) -> Result<Connection, StoreError> {
    let reader = connect(path)?;
    // A write in what only reads would be undone without a word; this makes it an error.
    reader.pragma_update(None, "query_only", "ON")?;
    Ok(reader)
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic inside a transaction rolled it back; the connection itself is sound.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
