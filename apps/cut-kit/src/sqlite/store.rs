//! The kit's own tables, and what they say.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{Result, failed, schema, signed, triggers, unsigned};
use crate::contract::{Code, Digest, Following, Mark, Problem, ScopeState, Table};
use crate::digest::Sum;
use crate::scope::{Scope, random_name};

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS cut_database (id TEXT PRIMARY KEY NOT NULL);
CREATE TABLE IF NOT EXISTS cut_fence (
    scope TEXT PRIMARY KEY NOT NULL,
    owner INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    feed TEXT,
    feeds INTEGER NOT NULL DEFAULT 0,
    head INTEGER NOT NULL DEFAULT 0,
    shapes TEXT,
    digest_rows INTEGER,
    digest_sum TEXT,
    digest_position INTEGER NOT NULL DEFAULT 0,
    released_epoch INTEGER,
    released_position INTEGER,
    released_rows INTEGER,
    released_sum TEXT,
    changed_since INTEGER NOT NULL DEFAULT 0,
    retired INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS cut_changes (
    scope TEXT NOT NULL,
    position INTEGER NOT NULL,
    tbl TEXT NOT NULL,
    op TEXT NOT NULL,
    before TEXT,
    after TEXT,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (scope, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cut_replaced (scope TEXT NOT NULL, tbl TEXT NOT NULL, image TEXT NOT NULL, k0, k1, k2, k3);
CREATE TABLE IF NOT EXISTS cut_following (
    scope TEXT NOT NULL,
    src TEXT NOT NULL,
    position INTEGER NOT NULL,
    mark_epoch INTEGER,
    mark_position INTEGER,
    mark TEXT,
    PRIMARY KEY (scope, src)
);
CREATE TABLE IF NOT EXISTS cut_copied (
    scope TEXT NOT NULL,
    tbl TEXT NOT NULL,
    key TEXT,
    whole INTEGER NOT NULL,
    PRIMARY KEY (scope, tbl)
);";

/// A row of `cut_fence`.
#[derive(Clone, Debug)]
pub struct Fence {
    pub owner: bool,
    pub epoch: u64,
    pub feed: Option<String>,
    pub feeds: i64,
    pub head: u64,
    /// The tables at `prepare`, as JSON.
    pub shapes: Option<String>,
    /// The rows of the scope at `digest_position`: of the own feed for an owner, else now.
    pub digest: Option<Sum>,
    pub digest_position: u64,
    pub released: Option<Mark>,
    pub changed_since: bool,
    pub retired: bool,
}

/// A row of `cut_following`.
#[derive(Clone, Debug)]
pub struct Follows {
    pub position: u64,
    pub mark_epoch: Option<u64>,
    pub mark_position: Option<u64>,
    pub mark: Option<String>,
}

/// Makes the tables and the fence rows that are missing; returns the database's name.
pub fn install(connection: &mut Connection, scopes: &[Scope], destinations: &[String]) -> Result<String> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    tx.execute_batch(TABLES).map_err(failed)?;
    let name = random_name().map_err(|e| Problem::new(Code::Failed, e))?;
    tx.execute("INSERT INTO cut_database (id) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM cut_database)", [name])
        .map_err(failed)?;
    let database: String = tx.query_row("SELECT id FROM cut_database", [], |row| row.get(0)).map_err(failed)?;
    for scope in scopes {
        let fenced = destinations.contains(&scope.name);
        let made = tx
            .execute(
                "INSERT INTO cut_fence (scope, owner, epoch) VALUES (?1, ?2, 1) ON CONFLICT DO NOTHING",
                params![scope.name, !fenced],
            )
            .map_err(failed)?;
        if made == 1 && fenced {
            for (table, shape) in scope.tables.iter().zip(schema::shapes(&tx, scope)?) {
                let missing = || Problem::new(Code::BadRequest, format!("there is no table {}", table.name));
                let shape = shape.ok_or_else(missing)?;
                if super::verify::rows(&tx, &shape)? > 0 {
                    let message = format!("{} is to be received by a cut, but {} has rows", scope.name, shape.name);
                    return Err(Problem::new(Code::BadRequest, message));
                }
                triggers::guard(&tx, &scope.name, &shape)?;
            }
        }
    }
    tx.commit().map_err(failed)?;
    Ok(database)
}

/// The fence row of a scope.
pub fn fence(connection: &Connection, scope: &str) -> Result<Fence> {
    let sql = "SELECT owner, epoch, feed, feeds, head, shapes, digest_rows, digest_sum, digest_position, \
               released_epoch, released_position, released_rows, released_sum, changed_since, retired \
               FROM cut_fence WHERE scope = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    statement
        .query_row([scope], |row| {
            let digest = |at: usize| -> rusqlite::Result<Option<Digest>> {
                let rows: Option<i64> = row.get(at)?;
                let sum: Option<String> = row.get(at + 1)?;
                Ok(rows.zip(sum).map(|(rows, sum)| Digest { rows: unsigned(rows), sum }))
            };
            let released = digest(11)?.zip(row.get::<_, Option<i64>>(9)?).zip(row.get::<_, Option<i64>>(10)?);
            Ok(Fence {
                owner: row.get(0)?,
                epoch: unsigned(row.get(1)?),
                feed: row.get(2)?,
                feeds: row.get(3)?,
                head: unsigned(row.get(4)?),
                shapes: row.get(5)?,
                digest: digest(6)?.and_then(|d| Sum::parse(&d)),
                digest_position: unsigned(row.get(8)?),
                released: released.map(|((digest, epoch), position)| Mark {
                    epoch: unsigned(epoch),
                    position: unsigned(position),
                    digest,
                }),
                changed_since: row.get(13)?,
                retired: row.get(14)?,
            })
        })
        .optional()
        .map_err(failed)?
        .ok_or_else(|| Problem::new(Code::Failed, format!("the fence row of {scope} is gone")))
}

/// Stores the kept digest.
pub fn keep(connection: &Connection, scope: &str, sum: &Sum, position: u64) -> Result<()> {
    let digest = sum.digest();
    let sql = "UPDATE cut_fence SET digest_rows = ?2, digest_sum = ?3, digest_position = ?4 WHERE scope = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    statement.execute(params![scope, signed(digest.rows)?, digest.sum, signed(position)?]).map_err(failed)?;
    Ok(())
}

/// How far a feed has been followed.
pub fn following(connection: &Connection, scope: &str, src: &str) -> Result<Option<Follows>> {
    let sql = "SELECT position, mark_epoch, mark_position, mark FROM cut_following WHERE scope = ?1 AND src = ?2";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    statement
        .query_row([scope, src], |row| {
            Ok(Follows {
                position: unsigned(row.get(0)?),
                mark_epoch: row.get::<_, Option<i64>>(1)?.map(unsigned),
                mark_position: row.get::<_, Option<i64>>(2)?.map(unsigned),
                mark: row.get(3)?,
            })
        })
        .optional()
        .map_err(failed)
}

/// How far a table has been copied: the last key, and whether it is whole.
pub fn copied(connection: &Connection, scope: &str, table: &str) -> Result<(Option<crate::contract::Key>, bool)> {
    let sql = "SELECT key, whole FROM cut_copied WHERE scope = ?1 AND tbl = ?2";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let row: Option<(Option<String>, bool)> =
        statement.query_row([scope, table], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(failed)?;
    let (key, whole) = row.unwrap_or_default();
    Ok((key.and_then(|key| serde_json::from_str(&key).ok()), whole))
}

/// Whether every table of the scope is whole.
pub fn all_copied(connection: &Connection, scope: &Scope) -> Result<bool> {
    for table in &scope.tables {
        if !copied(connection, &scope.name, &table.name)?.1 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A scope as `GET /state` tells it.
pub fn state(tx: &Transaction<'_>, scope: &Scope) -> Result<ScopeState> {
    let fence = fence(tx, &scope.name)?;
    let mut tables = Vec::new();
    for shape in schema::shapes(tx, scope)?.into_iter().flatten() {
        let (copied_to, copied) = copied(tx, &scope.name, &shape.name)?;
        tables.push(Table {
            name: shape.name,
            key: shape.key,
            columns: shape.columns,
            only: shape.only,
            copied_to,
            copied,
        });
    }
    let copied = all_copied(tx, scope)?;
    let digest = fence.digest.unwrap_or_default().digest();
    let mut statement = tx
        .prepare_cached("SELECT src, position, mark_epoch FROM cut_following WHERE scope = ?1 ORDER BY src")
        .map_err(failed)?;
    let following = statement
        .query_map([&scope.name], |row| {
            Ok(Following {
                src: row.get(0)?,
                position: unsigned(row.get(1)?),
                digest: digest.clone(),
                mark_epoch: row.get::<_, Option<i64>>(2)?.map(unsigned),
                copied,
            })
        })
        .map_err(failed)?;
    Ok(ScopeState {
        scope: scope.name.clone(),
        owner: fence.owner,
        epoch: fence.epoch,
        feed: fence.feed,
        head: fence.head,
        // One writer at a time: whoever writes holds the lock that `release` waits for.
        oldest_write_ms: None,
        released: fence.released,
        following: following.collect::<rusqlite::Result<_>>().map_err(failed)?,
        tables,
        retired: fence.retired,
    })
}
