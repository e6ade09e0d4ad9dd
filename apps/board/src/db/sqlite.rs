//! SQLite behind threads: one writer, two readers, each with a connection of its own.
//!
//! A statement is a message to the thread, so an fsync never stops the server's event loop. The
//! file is in WAL mode with `synchronous=FULL`: a commit that was answered survives a power cut, and
//! the tasks of one service share the file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cut_kit::sqlite::Turns;
use rusqlite::{Connection, ErrorCode, OpenFlags, params_from_iter};
use tokio::sync::oneshot;

use super::{DbError, Dialect, Row, Value};

/// How long a statement waits for another process's lock.
const BUSY_LIMIT: Duration = Duration::from_secs(10);
const READERS: usize = 2;

/// Handles to the threads that own the connections.
#[derive(Clone)]
pub struct Sqlite(Arc<Threads>);

/// A transaction on the writer. The writer rolls back when this is dropped uncommitted.
pub struct SqliteTx(mpsc::Sender<Step>);

struct Threads {
    writer: mpsc::Sender<Transaction>,
    readers: Vec<mpsc::Sender<Statement>>,
    next: AtomicUsize,
}

type Reply<T> = oneshot::Sender<Result<T, DbError>>;

struct Statement {
    sql: String,
    params: Vec<Value>,
    reply: Reply<Vec<Row>>,
}

struct Transaction {
    begun: Reply<()>,
    steps: mpsc::Receiver<Step>,
}

enum Step {
    Statement(Statement),
    Commit(Reply<()>),
}

impl Sqlite {
    /// Opens or makes the file, and its directory.
    pub fn open(path: &Path) -> Result<Sqlite, DbError> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir).map_err(|e| {
                DbError::Failed(format!("cannot make the directory {} for the database: {e}", dir.display()))
            })?;
        }
        let (writer, transactions) = mpsc::channel();
        let connection = connect(path)?;
        let turns = Turns::of(path);
        spawn("board-writer", move || write_loop(&connection, &transactions, &turns))?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let (reader, statements) = mpsc::channel();
            let connection = connect(path)?;
            connection.pragma_update(None, "query_only", true).map_err(failed)?;
            spawn("board-reader", move || read_loop(&connection, &statements))?;
            readers.push(reader);
        }
        let next = AtomicUsize::new(0);
        Ok(Sqlite(Arc::new(Threads { writer, readers, next })))
    }

    pub async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        let i = self.0.next.fetch_add(1, Ordering::Relaxed) % self.0.readers.len();
        ask(|reply| {
            let sql = sql.to_owned();
            self.0.readers[i].send(Statement { sql, params, reply })
        })
        .await
    }

    pub async fn begin(&self) -> Result<SqliteTx, DbError> {
        let (tx, steps) = mpsc::channel();
        ask(|begun| self.0.writer.send(Transaction { begun, steps })).await?;
        Ok(SqliteTx(tx))
    }
}

impl SqliteTx {
    pub async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        ask(|reply| {
            let sql = sql.to_owned();
            self.0.send(Step::Statement(Statement { sql, params, reply }))
        })
        .await
    }

    pub async fn commit(self) -> Result<(), DbError> {
        ask(|reply| self.0.send(Step::Commit(reply))).await
    }
}

/// Sends a message that carries its reply's address, and waits for the reply.
async fn ask<T, E>(send: impl FnOnce(Reply<T>) -> Result<(), E>) -> Result<T, DbError> {
    let gone = || DbError::Failed("the database thread has ended".into());
    let (reply, answer) = oneshot::channel();
    send(reply).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), DbError> {
    std::thread::Builder::new()
        .name(name.into())
        .stack_size(512 * 1024)
        .spawn(body)
        .map(|_| ())
        .map_err(|e| DbError::Failed(format!("cannot start a database thread: {e}")))
}

fn connect(path: &Path) -> Result<Connection, DbError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let cannot = |e: rusqlite::Error| DbError::Failed(format!("cannot open the database {}: {e}", path.display()));
    let connection = Connection::open_with_flags(path, flags).map_err(cannot)?;
    connection.busy_handler(Some(wait_for_lock)).map_err(cannot)?;
    connection.set_prepared_statement_cache_capacity(64);
    // The change to WAL asks for an exclusive lock without calling the busy handler, so processes
    // that open a new file together try again here.
    let started = Instant::now();
    loop {
        let wal = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        match wal {
            Ok(mode) if mode == "wal" => break,
            Ok(mode) => {
                return Err(DbError::Failed(format!(
                    "{} is on a file system without shared memory: its journal mode stays {mode}, \
                     and WAL is needed",
                    path.display()
                )));
            }
            Err(e) if is_busy(&e) && started.elapsed() < BUSY_LIMIT => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(e) => return Err(cannot(e)),
        }
    }
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; \
             PRAGMA cache_size = -512; PRAGMA journal_size_limit = 4194304;",
        )
        .map_err(cannot)?;
    Ok(connection)
}

/// Called by SQLite with the number of earlier calls for the same lock: short waits, so that the
/// tasks of a service take turns fairly.
fn wait_for_lock(calls: i32) -> bool {
    let wait = Duration::from_millis(if calls < 20 { 1 } else { 5 });
    let waited = Duration::from_millis(if calls < 20 { calls } else { 20 + (calls - 20) * 5 } as u64);
    if waited > BUSY_LIMIT {
        return false;
    }
    std::thread::sleep(wait);
    true
}

fn read_loop(connection: &Connection, statements: &mpsc::Receiver<Statement>) {
    while let Ok(statement) = statements.recv() {
        run(connection, statement);
    }
}

fn write_loop(connection: &Connection, transactions: &mpsc::Receiver<Transaction>, turns: &Turns) {
    while let Ok(transaction) = transactions.recv() {
        // A client that has gone away meanwhile needs no transaction.
        if transaction.begun.is_closed() {
            continue;
        }
        // A cut that has to give this database a command holds the clients' writes back meanwhile.
        turns.give_way();
        let begun = connection.execute_batch("BEGIN IMMEDIATE").map_err(failed);
        let open = begun.is_ok();
        let _ = transaction.begun.send(begun);
        if open {
            run_transaction(connection, &transaction.steps);
        }
    }
}

fn run_transaction(connection: &Connection, steps: &mpsc::Receiver<Step>) {
    loop {
        match steps.recv() {
            Ok(Step::Statement(statement)) => run(connection, statement),
            Ok(Step::Commit(reply)) => {
                let result = connection.execute_batch("COMMIT").map_err(failed);
                if result.is_err() {
                    roll_back(connection);
                }
                let _ = reply.send(result);
                return;
            }
            Err(mpsc::RecvError) => return roll_back(connection),
        }
    }
}

fn roll_back(connection: &Connection) {
    // A full disk may have rolled back already.
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "rollback failed");
    }
}

fn run(connection: &Connection, statement: Statement) {
    let rows = rows(connection, &statement.sql, &statement.params).map_err(failed);
    let _ = statement.reply.send(rows);
}

fn rows(connection: &Connection, sql: &str, params: &[Value]) -> rusqlite::Result<Vec<Row>> {
    let sql = Dialect::Sqlite.render(sql);
    let mut prepared = connection.prepare_cached(&sql)?;
    let columns = prepared.column_count();
    let mut rows = prepared.query(params_from_iter(params))?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let mut values = Vec::with_capacity(columns);
        for i in 0..columns {
            values.push(Value::from_sqlite(row.get_ref(i)?));
        }
        out.push(Row(values));
    }
    Ok(out)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn failed(error: rusqlite::Error) -> DbError {
    let extended = error.sqlite_error().map(|e| e.extended_code);
    if let Some(refused) = cut_kit::fence::refused_by_trigger(&error.to_string()) {
        return DbError::Fenced(refused.scope().to_owned());
    }
    match extended {
        Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => DbError::Unique,
        Some(rusqlite::ffi::SQLITE_FULL) => DbError::Full(error.to_string()),
        _ if is_busy(&error) => DbError::Unavailable(error.to_string()),
        _ => DbError::Failed(error.to_string()),
    }
}
