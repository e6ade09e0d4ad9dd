//! The contract over a SQLite file.
//!
//! Feed and guard are plain SQL triggers, so that every writer of the file meets them, also a `sqlite3` that a
//! cron job starts. SQLite has one writer at a time: the order of positions is the order of commits. The
//! engine writes the scope's rows over a connection of its own on which triggers do not fire.

mod apply;
mod feed;
mod fence;
mod finish;
mod prepare;
mod rows;
mod schema;
mod store;
mod triggers;
mod turns;
mod verify;

use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::contract::{Code, Problem, State};
use crate::digest::Sum;
use crate::scope::{Scope, check_names};

pub use turns::Turns;

/// How long a command waits for the file's write lock.
const BUSY_LIMIT: Duration = Duration::from_secs(2);
/// Between two tries for the lock: first, and after a while. Writers at the load balancer may be waiting for it.
const OFTEN: Duration = Duration::from_micros(200);
const SELDOM: Duration = Duration::from_millis(2);
const A_WHILE: Duration = Duration::from_millis(100);

/// A SQLite file that offers the contract. Every call blocks; those that write take turns.
pub struct Sqlite {
    path: PathBuf,
    database: String,
    scopes: Vec<Scope>,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    kept: Mutex<HashMap<String, Kept>>,
    looked: Mutex<HashMap<String, Looked>>,
    turns: Turns,
}

/// The owner's digest at a position, folded from the feed by this process.
#[derive(Clone, Debug)]
struct Kept {
    feed: String,
    position: u64,
    sum: Sum,
}

/// The tables of a scope, as they were found.
struct Looked {
    /// SQLite's count of schema changes.
    count: i64,
    /// The tables at `prepare`.
    stored: String,
    shapes: Vec<schema::Shape>,
}

type Result<T> = std::result::Result<T, Problem>;

impl Sqlite {
    /// Opens the file, which must have the scopes' tables, and makes the kit's own tables. A scope that the file does
    /// not know yet is owned here, unless it is one of `destinations`: then it is fenced at once.
    pub fn open(path: &Path, scopes: Vec<Scope>, destinations: &[String]) -> Result<Sqlite> {
        check_names(&scopes, false).map_err(|e| Problem::new(Code::BadRequest, e))?;
        if let Some(unknown) = destinations.iter().find(|name| !scopes.iter().any(|s| s.name == **name)) {
            return Err(Problem::new(Code::BadRequest, format!("{unknown} is none of this application's scopes")));
        }
        let mut writer = connect(path)?;
        let database = store::install(&mut writer, &scopes, destinations)?;
        let reader = connect(path)?;
        reader.pragma_update(None, "query_only", true).map_err(failed)?;
        Ok(Sqlite {
            path: path.to_owned(),
            database,
            scopes,
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            kept: Mutex::new(HashMap::new()),
            looked: Mutex::new(HashMap::new()),
            turns: Turns::of(path),
        })
    }

    /// `GET /state`.
    pub fn state(&self) -> Result<State> {
        self.read(|tx| {
            let scopes = self.scopes.iter().map(|scope| store::state(tx, scope)).collect::<Result<_>>()?;
            Ok(State {
                contract: crate::contract::VERSION,
                database: self.database.clone(),
                engine: crate::contract::Engine::Sqlite,
                scopes,
            })
        })
    }

    fn scope(&self, name: &str) -> Result<&Scope> {
        let scope = self.scopes.iter().find(|scope| scope.name == name);
        scope.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no scope {name} here")))
    }

    /// Work on one state of the file.
    fn read<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut reader = lock(&self.reader);
        let tx = reader.transaction().map_err(failed)?;
        work(&tx)
    }

    /// A number that is another one after every commit to the file.
    pub fn version(&self) -> Result<i64> {
        lock(&self.reader).query_row("PRAGMA data_version", [], |row| row.get(0)).map_err(failed)
    }

    /// Work that changes the file whole or not at all; no trigger fires.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let _turn = self.turns.take();
        let mut writer = lock(&self.writer);
        let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let result = work(&tx)?;
        tx.commit().map_err(failed)?;
        Ok(result)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_handler(Some(wait_for_lock)).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(128);
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        // Readers must not stop writers, nor the other way round.
        let message = format!("{} is in journal mode {mode}; the cut needs WAL", path.display());
        return Err(Problem::new(Code::BadRequest, message));
    }
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; \
             PRAGMA temp_store = MEMORY; PRAGMA cache_size = -4096;",
        )
        .map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).map_err(failed)?;
    Ok(connection)
}

/// Called by SQLite with the number of earlier calls for the same lock. Its own waiting grows to 100 ms, in which
/// programs that try more often would always be first.
fn wait_for_lock(calls: i32) -> bool {
    thread_local!(static SINCE: Cell<Option<Instant>> = const { Cell::new(None) });
    if calls == 0 {
        SINCE.set(Some(Instant::now()));
    }
    let waited = SINCE.get().map_or(BUSY_LIMIT, |since| since.elapsed());
    if waited >= BUSY_LIMIT {
        return false;
    }
    std::thread::sleep(if waited < A_WHILE { OFTEN } else { SELDOM });
    true
}

/// A database's error as the contract's.
fn failed(error: rusqlite::Error) -> Problem {
    let code = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Code::Busy,
        Some(ErrorCode::DiskFull) => Code::Full,
        _ => Code::Failed,
    };
    Problem::new(code, format!("the database: {error}"))
}

/// Positions and epochs are stored as integers with a sign.
fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Problem::new(Code::BadRequest, format!("{number} is too large")))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests;
