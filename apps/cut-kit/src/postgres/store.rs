//! The kit's own tables, and what they say.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient};

use super::shape::{self, Shape};
use super::{Result, Typed, failed, parse_lsn, setup, unsigned};
use crate::contract::{Code, Digest, Following, Key, Mark, Problem, ScopeState, Table};
use crate::digest::Sum;
use crate::scope::{Scope, quoted, random_name, relation};

/// The guard's writers hold rows of `cut_fence`: what changes often is in `cut_scope`.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS cut_database (id text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS cut_fence (scope text PRIMARY KEY, owner bigint NOT NULL, epoch bigint NOT NULL);
CREATE TABLE IF NOT EXISTS cut_scope (
    scope text PRIMARY KEY,
    feed text,
    feeds bigint NOT NULL DEFAULT 0,
    slot text,
    shapes text,
    digest_rows bigint,
    digest_sum text,
    digest_position bigint NOT NULL DEFAULT 0,
    released_epoch bigint,
    released_position bigint,
    released_rows bigint,
    released_sum text,
    changed_since boolean NOT NULL DEFAULT false,
    retired boolean NOT NULL DEFAULT false
);
CREATE TABLE IF NOT EXISTS cut_marks (
    scope text NOT NULL, epoch bigint NOT NULL, sequences text NOT NULL, PRIMARY KEY (scope, epoch)
);
CREATE TABLE IF NOT EXISTS cut_following (
    scope text NOT NULL, src text NOT NULL, position bigint NOT NULL,
    mark_epoch bigint, mark_position bigint, mark text, PRIMARY KEY (scope, src)
);
CREATE TABLE IF NOT EXISTS cut_copied (
    scope text NOT NULL, tbl text NOT NULL, key text, whole boolean NOT NULL, PRIMARY KEY (scope, tbl)
);";

/// Starting processes queue here.
const LOCK: i64 = 0x6375_745f_6b69_7400;

/// A scope's rows of `cut_fence` and `cut_scope`.
#[derive(Clone, Debug)]
pub struct Fence {
    pub owner: bool,
    pub epoch: u64,
    pub feed: Option<String>,
    pub feeds: i64,
    pub slot: Option<String>,
    pub shapes: Option<String>,
    pub digest: Option<Sum>,
    pub digest_position: u64,
    pub released: Option<Mark>,
    pub changed_since: bool,
    pub retired: bool,
}

/// A row of `cut_following`.
#[derive(Clone, Debug, Default)]
pub struct Follows {
    pub position: u64,
    pub mark_epoch: Option<u64>,
    pub mark_position: Option<u64>,
    pub mark: Option<String>,
}

/// Makes what is missing. Returns the schema (quoted), the database's name, and whether this role may write rows as a
/// replica.
pub async fn install(client: &mut Client, scopes: &[Scope], destinations: &[String]) -> Result<(String, String, bool)> {
    let tx = client.transaction().await.map_err(failed)?;
    tx.query_one("SELECT pg_advisory_xact_lock($1)::text", &[&LOCK]).await.map_err(failed)?;
    let row =
        tx.query_one("SELECT to_regclass('cut_copied') IS NULL, current_schema()::text", &[]).await.map_err(failed)?;
    if row.get(0) {
        tx.batch_execute(TABLES).await.map_err(failed)?;
    }
    let schema: Option<String> = row.get(1);
    let schema =
        quoted(&schema.ok_or_else(|| Problem::new(Code::BadRequest, "the role has no schema to create tables in"))?);
    let name = random_name().map_err(|e| Problem::new(Code::Failed, e))?;
    let sql = "INSERT INTO cut_database (id) SELECT $1::text WHERE NOT EXISTS (SELECT 1 FROM cut_database)";
    tx.execute(sql, &[&name]).await.map_err(failed)?;
    let database: String = tx.query_one("SELECT id FROM cut_database", &[]).await.map_err(failed)?.get(0);
    setup::functions(&tx, &schema).await?;
    for scope in scopes {
        let fenced = destinations.contains(&scope.name);
        let owner = i64::from(!fenced);
        let sql = "INSERT INTO cut_fence (scope, owner, epoch) VALUES ($1, $2, 1) ON CONFLICT DO NOTHING";
        let made = tx.execute(sql, &[&scope.name, &owner]).await.map_err(failed)?;
        let sql = "INSERT INTO cut_scope (scope) VALUES ($1) ON CONFLICT DO NOTHING";
        tx.execute(sql, &[&scope.name]).await.map_err(failed)?;
        if made == 1 && fenced {
            for (table, shape) in scope.tables.iter().zip(shape::shapes(&tx, scope).await?) {
                let bad = |message: String| Problem::new(Code::BadRequest, message);
                let shape = shape.ok_or_else(|| bad(format!("there is no table {}", table.name)))?;
                if has_rows(&tx, &shape).await? {
                    return Err(bad(format!("{} is to be received by a cut, but {} has rows", scope.name, shape.name)));
                }
                setup::guard(&tx, &schema, &scope.name, &shape).await?;
            }
        }
    }
    tx.commit().await.map_err(failed)?;
    let tx = client.transaction().await.map_err(failed)?;
    let replica = tx.batch_execute("SET LOCAL session_replication_role = replica").await.is_ok();
    tx.rollback().await.map_err(failed)?;
    Ok((schema, database, replica))
}

/// The rows of a scope.
pub async fn fence(client: &impl GenericClient, scope: &str) -> Result<Fence> {
    let sql = "SELECT f.owner, f.epoch, s.feed, s.feeds, s.slot, s.shapes, s.digest_rows, s.digest_sum, \
               s.digest_position, s.released_epoch, s.released_position, s.released_rows, s.released_sum, \
               s.changed_since, s.retired FROM cut_fence f JOIN cut_scope s USING (scope) WHERE scope = $1";
    let row = client.query_typed(sql, &[(&scope, Type::TEXT)]).await.map_err(failed)?.pop();
    let row = row.ok_or_else(|| Problem::new(Code::Failed, format!("the fence row of {scope} is gone")))?;
    let digest = |at: usize| -> Option<Digest> {
        let (rows, sum): (Option<i64>, Option<String>) = (row.get(at), row.get(at + 1));
        rows.zip(sum).map(|(rows, sum)| Digest { rows: unsigned(rows), sum })
    };
    let released = digest(11).zip(row.get::<_, Option<i64>>(9)).zip(row.get::<_, Option<i64>>(10));
    Ok(Fence {
        owner: row.get::<_, i64>(0) == 1,
        epoch: unsigned(row.get(1)),
        feed: row.get(2),
        feeds: row.get(3),
        slot: row.get(4),
        shapes: row.get(5),
        digest: digest(6).and_then(|d| Sum::parse(&d)),
        digest_position: unsigned(row.get(8)),
        released: released.map(|((digest, epoch), position)| Mark {
            epoch: unsigned(epoch),
            position: unsigned(position),
            digest,
        }),
        changed_since: row.get(13),
        retired: row.get(14),
    })
}

/// Stores the kept digest, unless that of a later position is there; says whether it did.
pub async fn keep(client: &impl GenericClient, scope: &str, sum: &Sum, position: u64) -> Result<bool> {
    let digest = sum.digest();
    let sql = "UPDATE cut_scope SET digest_rows = $2, digest_sum = $3, digest_position = $4 \
               WHERE scope = $1 AND digest_position <= $4";
    let (rows, position) = (super::signed(digest.rows)?, super::signed(position)?);
    let parameters: [Typed<'_>; 4] =
        [(&scope, Type::TEXT), (&rows, Type::INT8), (&digest.sum, Type::TEXT), (&position, Type::INT8)];
    Ok(client.execute_typed(sql, &parameters).await.map_err(failed)? == 1)
}

/// How far a feed has been followed.
pub async fn following(client: &impl GenericClient, scope: &str, src: &str) -> Result<Option<Follows>> {
    let sql = "SELECT position, mark_epoch, mark_position, mark FROM cut_following WHERE scope = $1 AND src = $2";
    let row = client.query_typed(sql, &[(&scope, Type::TEXT), (&src, Type::TEXT)]).await.map_err(failed)?.pop();
    Ok(row.map(|row| Follows {
        position: unsigned(row.get(0)),
        mark_epoch: row.get::<_, Option<i64>>(1).map(unsigned),
        mark_position: row.get::<_, Option<i64>>(2).map(unsigned),
        mark: row.get(3),
    }))
}

/// How far a table has been copied: the last key, and whether it is whole.
pub async fn copied(client: &impl GenericClient, scope: &str, table: &str) -> Result<(Option<Key>, bool)> {
    let sql = "SELECT key, whole FROM cut_copied WHERE scope = $1 AND tbl = $2";
    let row = client.query_typed(sql, &[(&scope, Type::TEXT), (&table, Type::TEXT)]).await.map_err(failed)?.pop();
    Ok(row.map_or((None, false), |row| {
        let key: Option<String> = row.get(0);
        (key.and_then(|key| serde_json::from_str(&key).ok()), row.get(1))
    }))
}

/// Whether a table has a row of the scope.
pub async fn has_rows(client: &impl GenericClient, shape: &Shape) -> Result<bool> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {})", relation(&shape.name), shape.belongs(""));
    Ok(client.query_one(&sql, &[]).await.map_err(failed)?.get(0))
}

/// Whether the key's sequence has given an id.
pub async fn gave_ids(client: &impl GenericClient, shape: &Shape) -> Result<bool> {
    let Some(sequence) = shape.sequence.as_ref().filter(|_| shape.only.is_none()) else { return Ok(false) };
    let sql = format!("SELECT is_called FROM {sequence}");
    Ok(client.query_one(&sql, &[]).await.map_err(failed)?.get(0))
}

/// The tables of a scope as the contract tells them.
pub async fn tables(client: &impl GenericClient, scope: &Scope, shapes: &[Shape]) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for shape in shapes {
        let (copied_to, copied) = copied(client, &scope.name, &shape.name).await?;
        tables.push(Table {
            name: shape.name.clone(),
            key: shape.key.clone(),
            columns: shape.columns.clone(),
            only: shape.only.clone(),
            copied_to,
            copied,
        });
    }
    Ok(tables)
}

/// A scope as `GET /state` tells it.
pub async fn state(client: &impl GenericClient, scope: &Scope) -> Result<ScopeState> {
    let fence = fence(client, &scope.name).await?;
    let shapes: Vec<Shape> = shape::shapes(client, scope).await?.into_iter().flatten().collect();
    let tables = tables(client, scope, &shapes).await?;
    let copied = tables.len() == scope.tables.len() && tables.iter().all(|table| table.copied);
    let digest = fence.digest.unwrap_or_default().digest();
    let sql = "SELECT src, position, mark_epoch FROM cut_following WHERE scope = $1 ORDER BY src";
    let rows = client.query(sql, &[&scope.name]).await.map_err(failed)?;
    let following = rows.into_iter().map(|row| Following {
        src: row.get(0),
        position: unsigned(row.get(1)),
        digest: digest.clone(),
        mark_epoch: row.get::<_, Option<i64>>(2).map(unsigned),
        copied,
    });
    let sql = "SELECT pg_current_wal_flush_lsn()::text, \
               (SELECT (extract(epoch FROM clock_timestamp() - min(xact_start)) * 1000)::bigint FROM pg_stat_activity \
               WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid())";
    let row = client.query_one(sql, &[]).await.map_err(failed)?;
    Ok(ScopeState {
        scope: scope.name.clone(),
        owner: fence.owner,
        epoch: fence.epoch,
        feed: fence.feed,
        head: parse_lsn(row.get(0)),
        oldest_write_ms: row.get::<_, Option<i64>>(1).map(unsigned),
        released: fence.released,
        following: following.collect(),
        tables,
        retired: fence.retired,
    })
}
