//! The store of traces: a SQLite file of its own beside the control store, so that traces neither wait for its writer
//! nor wake its reconcilers.
//!
//! Bounded by time, as X-Ray's is ([`KEPT_MS`]), by the size of a trace ([`MAX_TRACE`]) and by the size of all
//! ([`MAX_BYTES`]): what came first goes first. `synchronous=NORMAL`: what was written survives the end of the process; of
//! a power failure the last moments may be lost.

use super::targets::Statistics;
use crate::store::StoreError;
use quarry_domain::trace::{Segment, Trace};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The traces that are kept.
pub struct TraceStore {
    inner: Mutex<Inner>,
    /// What those who sample have reported.
    pub statistics: Mutex<Statistics>,
}

struct Inner {
    connection: Connection,
    /// Of all documents.
    bytes: i64,
}

/// The documents of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub id: String,
    pub documents: Vec<String>,
    /// Some were not taken, as it would have been more than [`MAX_TRACE`].
    pub limit_exceeded: bool,
    /// How often documents of it came.
    pub revision: i32,
    /// When its first segment began.
    pub start_ms: i64,
}

/// Which traces of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum During {
    /// Those that began in it.
    Begun,
    /// Those of which some segment lies in it.
    Active,
}

/// A page of traces begins after the one that began then.
pub type Position = (i64, String);

/// How long traces are kept, in ms: 30 days.
pub const KEPT_MS: i64 = 30 * 86_400_000;
/// Bytes of documents that are kept of one trace, as X-Ray has it.
pub const MAX_TRACE: i64 = 500 * 1024;
/// Bytes of documents that are kept in all.
const MAX_BYTES: i64 = 256 << 20;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS trace (
        id TEXT PRIMARY KEY, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL,
        bytes INTEGER NOT NULL, exceeded INTEGER NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS trace_by_start ON trace (start_ms, id);
    CREATE INDEX IF NOT EXISTS trace_by_seen ON trace (seen_ms);
    CREATE TABLE IF NOT EXISTS segment (
        seq INTEGER PRIMARY KEY, trace TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, UNIQUE (trace, id));
";

impl TraceStore {
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(SCHEMA)?;
        connection.set_prepared_statement_cache_capacity(16);
        let bytes = connection.query_row("SELECT coalesce(sum(bytes), 0) FROM trace", [], |row| row.get(0))?;
        Ok(Self { inner: Mutex::new(Inner { connection, bytes }), statistics: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic within a transaction rolled it back.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps documents, each with what was read of it; one with the id of another takes its place.
    pub fn put(&self, now_ms: i64, documents: &[(Segment, String)]) -> Result<(), StoreError> {
        self.put_within(now_ms, documents, MAX_BYTES)
    }

    fn put_within(&self, now_ms: i64, documents: &[(Segment, String)], most: i64) -> Result<(), StoreError> {
        if documents.is_empty() {
            return Ok(());
        }
        let mut inner = self.lock();
        let before = inner.bytes;
        let transaction = inner.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut bytes = before;
        for (segment, document) in documents {
            bytes += add(&transaction, now_ms, segment, document)?;
        }
        bytes -= expire(&transaction, now_ms - KEPT_MS)?;
        while bytes > most {
            match forget_oldest(&transaction)? {
                0 => break,
                freed => bytes -= freed,
            }
        }
        transaction.commit()?;
        inner.bytes = bytes;
        Ok(())
    }

    /// The traces with these ids that are there.
    pub fn get(&self, now_ms: i64, ids: &[String]) -> Result<Vec<Stored>, StoreError> {
        let inner = self.lock();
        let mut found = Vec::new();
        for id in ids {
            let sql = "SELECT id, exceeded, revision, start_ms FROM trace WHERE id = ?1 AND seen_ms >= ?2";
            let mut statement = inner.connection.prepare_cached(sql)?;
            found.extend(statement.query_row(params![id, now_ms - KEPT_MS], stored).optional()?);
        }
        documents(&inner.connection, &mut found)?;
        Ok(found)
    }

    /// At most `limit` traces of a time (its end not in it), those that began last first.
    pub fn during(
        &self,
        now_ms: i64,
        (start_ms, end_ms): (i64, i64),
        during: During,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let inner = self.lock();
        let time = match during {
            During::Begun => "start_ms >= ?1",
            During::Active => "end_ms >= ?1",
        };
        let sql = format!(
            "SELECT id, exceeded, revision, start_ms FROM trace
             WHERE {time} AND start_ms < ?2 AND seen_ms >= ?3 AND (start_ms, id) < (?4, ?5)
             ORDER BY start_ms DESC, id DESC LIMIT ?6"
        );
        let (at, id) = after.map_or((i64::MAX, ""), |(at, id)| (*at, id.as_str()));
        let mut statement = inner.connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![start_ms, end_ms, now_ms - KEPT_MS, at, id, limit as i64], stored)?;
        let mut found = rows.collect::<Result<Vec<_>, _>>()?;
        documents(&inner.connection, &mut found)?;
        Ok(found)
    }
}

impl Stored {
    /// What its documents say together.
    pub fn read(&self) -> Trace {
        Trace::new(&self.id, self.documents.iter().filter_map(|document| Segment::parse(document).ok()))
    }
}

fn stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        id: row.get(0)?,
        documents: Vec::new(),
        limit_exceeded: row.get(1)?,
        revision: row.get(2)?,
        start_ms: row.get(3)?,
    })
}

fn documents(connection: &Connection, traces: &mut [Stored]) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("SELECT document FROM segment WHERE trace = ?1 ORDER BY seq")?;
    for trace in traces {
        let rows = statement.query_map(params![trace.id], |row| row.get(0))?;
        trace.documents = rows.collect::<Result<_, _>>()?;
    }
    Ok(())
}

/// By how many bytes it made the store larger.
fn add(tx: &Transaction<'_>, now_ms: i64, segment: &Segment, document: &str) -> Result<i64, StoreError> {
    let length = document.len() as i64;
    let start = millis(segment.start);
    let end = millis(segment.end.unwrap_or(segment.start));
    let held: Option<i64> = tx
        .prepare_cached("SELECT bytes FROM trace WHERE id = ?1")?
        .query_row(params![segment.trace_id], |row| row.get(0))
        .optional()?;
    let before: Option<i64> = tx
        .prepare_cached("SELECT length(CAST(document AS BLOB)) FROM segment WHERE trace = ?1 AND id = ?2")?
        .query_row(params![segment.trace_id, segment.id], |row| row.get(0))
        .optional()?;
    let grown = length - before.unwrap_or_default();
    let exceeded = held.unwrap_or_default() + grown > MAX_TRACE;
    let grown = if exceeded { 0 } else { grown };
    tx.prepare_cached(
        "INSERT INTO trace (id, start_ms, end_ms, seen_ms, bytes, exceeded, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1)
         ON CONFLICT (id) DO UPDATE SET start_ms = min(start_ms, ?2), end_ms = max(end_ms, ?3), seen_ms = ?4,
             bytes = bytes + ?5, exceeded = max(exceeded, ?6), revision = revision + 1",
    )?
    .execute(params![segment.trace_id, start, end, now_ms, grown, exceeded])?;
    if !exceeded {
        tx.prepare_cached(
            "INSERT INTO segment (trace, id, document) VALUES (?1, ?2, ?3)
             ON CONFLICT (trace, id) DO UPDATE SET document = ?3",
        )?
        .execute(params![segment.trace_id, segment.id, document])?;
    }
    Ok(grown)
}

/// Forgets what nothing came of since then; its bytes.
fn expire(tx: &Transaction<'_>, before_ms: i64) -> Result<i64, StoreError> {
    let bytes: i64 = tx
        .prepare_cached("SELECT coalesce(sum(bytes), 0) FROM trace WHERE seen_ms < ?1")?
        .query_row(params![before_ms], |row| row.get(0))?;
    tx.prepare_cached("DELETE FROM segment WHERE trace IN (SELECT id FROM trace WHERE seen_ms < ?1)")?
        .execute(params![before_ms])?;
    tx.prepare_cached("DELETE FROM trace WHERE seen_ms < ?1")?.execute(params![before_ms])?;
    Ok(bytes)
}

/// Forgets some traces, those that came first; their bytes.
fn forget_oldest(tx: &Transaction<'_>) -> Result<i64, StoreError> {
    let sql = "SELECT id, bytes FROM trace ORDER BY seen_ms LIMIT 100";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let oldest: Vec<(String, i64)> = rows.collect::<Result<_, _>>()?;
    for (id, _) in &oldest {
        tx.prepare_cached("DELETE FROM segment WHERE trace = ?1")?.execute(params![id])?;
        tx.prepare_cached("DELETE FROM trace WHERE id = ?1")?.execute(params![id])?;
    }
    Ok(oldest.iter().map(|(_, bytes)| bytes).sum())
}

/// Of seconds since 1970; far times become the nearest that can be said.
fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(trace: u32, id: u32, start: f64, more: &str) -> (Segment, String) {
        let text = format!(
            r#"{{"trace_id": "1-{trace:08x}-bd862e3fe1be46a994272793", "id": "{id:016x}", "name": "n", "start_time": {start},
            "end_time": {}, "metadata": {{"d": "{more}"}}}}"#,
            start + 1.0
        );
        (Segment::parse(&text).unwrap(), text)
    }

    fn id(trace: u32) -> String {
        format!("1-{trace:08x}-bd862e3fe1be46a994272793")
    }

    #[test]
    fn traces_are_found_by_id_and_by_time_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let open = || TraceStore::open(&dir.path().join("traces.db")).unwrap();
        let store = open();
        store.put(10_000, &[document(1, 1, 5.0, ""), document(1, 2, 5.5, ""), document(2, 3, 7.0, "")]).unwrap();
        store.put(10_000, &[document(1, 2, 5.6, "again")]).unwrap();
        drop(store);
        let store = open();
        let found = store.get(10_000, &[id(1), id(9)]).unwrap();
        assert_eq!((found.len(), found[0].documents.len(), found[0].revision), (1, 2, 3));
        assert!(found[0].documents[1].contains("again"));
        let ids = |during, range, after: Option<Position>| -> Vec<String> {
            let found = store.during(10_000, range, during, after.as_ref(), 10).unwrap();
            found.into_iter().map(|trace| trace.id).collect()
        };
        assert_eq!(ids(During::Begun, (0, 9_000), None), [id(2), id(1)]);
        assert_eq!(ids(During::Begun, (5_500, 9_000), None), [id(2)]);
        assert_eq!(ids(During::Active, (5_500, 6_500), None), [id(1)]);
        assert_eq!(ids(During::Begun, (0, 9_000), Some((7_000, id(2)))), [id(1)]);
        assert!(store.get(10_000 + KEPT_MS + 1, &[id(1)]).unwrap().is_empty(), "too old");
        store.put(10_001 + KEPT_MS, &[document(3, 1, 1.0, "")]).unwrap();
        assert_eq!(store.lock().bytes, document(3, 1, 1.0, "").1.len() as i64, "and forgotten");
    }

    #[test]
    fn neither_a_trace_nor_all_of_them_grow_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let store = TraceStore::open(&dir.path().join("traces.db")).unwrap();
        let large = "x".repeat(60 * 1024);
        for n in 0..10 {
            store.put(1, &[document(1, n + 1, 1.0, &large)]).unwrap();
        }
        let found = store.get(1, &[id(1)]).unwrap();
        assert!(found[0].limit_exceeded && found[0].documents.len() == 8);
        for trace in 2..20 {
            store.put_within(i64::from(trace), &[document(trace, 1, 1.0, &large)], 1 << 20).unwrap();
            assert!(store.lock().bytes <= 1 << 20);
        }
        assert!(!store.get(20, &[id(19)]).unwrap().is_empty());
        assert!(store.get(20, &[id(1)]).unwrap().is_empty());
        let real: i64 = store
            .lock()
            .connection
            .query_row("SELECT coalesce(sum(length(document)), 0) FROM segment", [], |r| r.get(0))
            .unwrap();
        assert_eq!(real, store.lock().bytes);
    }
}
