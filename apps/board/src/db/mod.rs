//! One small door to two databases.
//!
//! Repositories write one SQL text with `$1`-style parameters and read rows of [`Value`]s; whether
//! SQLite or PostgreSQL answers is decided by the configuration alone. What the two dialects do not
//! share (identity columns, row locks) stands in the text as a `{{placeholder}}`; see [`Dialect`].

mod migrate;
mod postgres;
mod sqlite;
mod value;

use std::path::PathBuf;

use crate::telemetry;

pub use migrate::Migration;
pub use value::{Row, Value};

/// Where the rows are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// One SQLite file, which several processes of this machine may share.
    Sqlite(PathBuf),
    /// A PostgreSQL server, for services on several hosts.
    Postgres(String),
}

/// An open database. Clones share the same connections.
#[derive(Clone)]
pub enum Db {
    /// A SQLite file.
    Sqlite(sqlite::Sqlite),
    /// A pool of PostgreSQL connections.
    Postgres(postgres::Postgres),
}

/// A write transaction. Dropped without [`Tx::commit`], it leaves nothing behind.
pub enum Tx {
    /// On the SQLite file's one writer.
    Sqlite(sqlite::SqliteTx),
    /// On a PostgreSQL connection of its own.
    Postgres(Box<postgres::PostgresTx>),
}

/// What the two databases spell differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// Why a statement did not happen.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A UNIQUE constraint refused the row.
    #[error("a row with that value exists already")]
    Unique,
    /// The database cannot be reached or is locked for too long; trying again may help.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// There is no room for the write.
    #[error("the database's disk is full: {0}")]
    Full(String),
    /// This database does not own the feature (its name) any more, or not yet: nothing was written.
    #[error("{0} is written elsewhere")]
    Fenced(String),
    /// Anything else: a damaged file, a disk that fails, a mistake of ours.
    #[error("the database failed: {0}")]
    Failed(String),
}

/// Whether a feature may be written in this database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The feature's name.
    pub scope: String,
    /// 1 where it may be written.
    pub owner: i64,
    /// Requests of another epoch may not write.
    pub epoch: i64,
}

impl Fence {
    fn read(rows: Vec<Row>) -> Vec<Fence> {
        let fence = |row: Row| Fence { scope: row.text(0), owner: row.int(1), epoch: row.int(2) };
        rows.into_iter().map(fence).collect()
    }
}

impl Db {
    /// Opens the database and applies `migrations` that it does not have yet. Processes that start
    /// at the same time agree: the migrations run under the database's own lock.
    pub async fn open(storage: &Storage, migrations: &[Migration]) -> Result<Db, DbError> {
        let db = match storage {
            Storage::Sqlite(path) => Db::Sqlite(sqlite::Sqlite::open(path)?),
            Storage::Postgres(url) => Db::Postgres(postgres::Postgres::open(url).await?),
        };
        migrate::run(&db, migrations).await?;
        Ok(db)
    }

    /// The dialect this database speaks.
    pub fn dialect(&self) -> Dialect {
        match self {
            Db::Sqlite(_) => Dialect::Sqlite,
            Db::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The fence rows, outside any transaction.
    pub async fn fences(&self) -> Result<Vec<Fence>, DbError> {
        self.query("SELECT scope, owner, epoch FROM cut_fence", vec![]).await.map(Fence::read)
    }

    /// One read outside any transaction.
    pub async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        match self {
            Db::Sqlite(db) => telemetry::statement("sqlite", sql, db.query(sql, params)).await,
            Db::Postgres(db) => telemetry::statement("postgresql", sql, db.query(sql, params)).await,
        }
    }

    /// Opens a write transaction.
    pub async fn begin(&self) -> Result<Tx, DbError> {
        Ok(match self {
            Db::Sqlite(db) => Tx::Sqlite(db.begin().await?),
            Db::Postgres(db) => Tx::Postgres(Box::new(db.begin().await?)),
        })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), DbError> {
        self.query("SELECT count(*) FROM board_migrations", vec![]).await.map(|_| ())
    }
}

impl Tx {
    /// One statement inside the transaction.
    pub async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        match self {
            Tx::Sqlite(tx) => telemetry::statement("sqlite", sql, tx.query(sql, params)).await,
            Tx::Postgres(tx) => telemetry::statement("postgresql", sql, tx.query(sql, params)).await,
        }
    }

    /// The fence rows, which stay as they are until the transaction ends.
    pub async fn fences(&mut self) -> Result<Vec<Fence>, DbError> {
        self.query("SELECT scope, owner, epoch FROM cut_fence {{for_share}}", vec![]).await.map(Fence::read)
    }

    /// Makes the transaction durable; after `Ok` it survives a crash of the process or machine.
    pub async fn commit(self) -> Result<(), DbError> {
        match self {
            Tx::Sqlite(tx) => telemetry::statement("sqlite", "COMMIT", tx.commit()).await,
            Tx::Postgres(tx) => telemetry::statement("postgresql", "COMMIT", tx.commit()).await,
        }
    }

    /// After rows were inserted with their own ids: the next generated id is above them.
    /// SQLite's AUTOINCREMENT sees to that itself. `table` is one of ours, never a client's text.
    pub async fn ids_were_given(&mut self, table: &str) -> Result<(), DbError> {
        if matches!(self, Tx::Postgres(_)) {
            let sql = format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) \
                 FROM {table} HAVING max(id) IS NOT NULL"
            );
            self.query(&sql, vec![]).await?;
        }
        Ok(())
    }
}

impl Dialect {
    /// Replaces the placeholders of a statement:
    /// `{{id}}` an integer key that is never given twice, `{{for_share}}` and `{{for_update}}` row
    /// locks (SQLite needs none: it has one writer).
    pub fn render(self, sql: &str) -> String {
        let (id, share, update) = match self {
            Dialect::Sqlite => ("INTEGER PRIMARY KEY AUTOINCREMENT", "", ""),
            Dialect::Postgres => ("BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", "FOR SHARE", "FOR UPDATE"),
        };
        let sql = sql.replace("{{id}}", id).replace("{{for_share}}", share).replace("{{for_update}}", update);
        match self {
            Dialect::Sqlite => numbered_parameters(&sql),
            Dialect::Postgres => sql,
        }
    }
}

/// `$1` → `?1`: SQLite takes `$1` for a name and would number by first appearance.
fn numbered_parameters(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        let digit_follows = chars.peek().is_some_and(char::is_ascii_digit);
        out.push(if c == '$' && digit_follows { '?' } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_serves_both_dialects() {
        let sql = "SELECT id FROM posts WHERE id > $2 AND thread_id = $1 {{for_share}}";
        assert_eq!(Dialect::Sqlite.render(sql), "SELECT id FROM posts WHERE id > ?2 AND thread_id = ?1 ");
        assert_eq!(Dialect::Postgres.render(sql), "SELECT id FROM posts WHERE id > $2 AND thread_id = $1 FOR SHARE");
    }
}
