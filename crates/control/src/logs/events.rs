//! The table of log events. Within a stream they are ordered by time, then by arrival.

use super::records::stream_key;
use crate::store::{StoreError, Tx};
use rusqlite::{OptionalExtension, Row, params, params_from_iter, types::Value};

/// Where an event stands: its time in milliseconds and its number.
pub type Position = (i64, i64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub seq: i64,
    /// `group:stream`.
    pub stream: String,
    pub at_ms: i64,
    pub ingested_ms: i64,
    pub message: String,
}

/// Which events of which streams.
pub struct Query<'a> {
    pub streams: &'a [String],
    /// Inclusive.
    pub start_ms: Option<i64>,
    /// Exclusive.
    pub end_ms: Option<i64>,
    pub after: Option<Position>,
    pub before: Option<Position>,
    pub newest_first: bool,
    pub limit: usize,
}

/// What DescribeLogStreams shows of a stream's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub first_ms: Option<i64>,
    pub last_ms: Option<i64>,
    pub ingested_ms: Option<i64>,
}

pub fn add(
    tx: &Tx<'_>,
    group: &str,
    stream: &str,
    ingested_ms: i64,
    events: impl IntoIterator<Item = (i64, String)>,
) -> Result<(), StoreError> {
    let key = stream_key(group, stream);
    let mut insert = tx
        .connection()
        .prepare_cached("INSERT INTO log_event (stream, at_ms, ingested_ms, message) VALUES (?1, ?2, ?3, ?4)")?;
    for (at_ms, message) in events {
        insert.execute(params![key, at_ms, ingested_ms, message])?;
        tx.touch();
    }
    Ok(())
}

pub fn find(tx: &Tx<'_>, query: &Query<'_>) -> Result<Vec<Event>, StoreError> {
    if query.streams.is_empty() {
        return Ok(Vec::new());
    }
    let marks = vec!["?"; query.streams.len()].join(",");
    let mut sql = format!("SELECT seq, stream, at_ms, ingested_ms, message FROM log_event WHERE stream IN ({marks})");
    let mut values: Vec<Value> = query.streams.iter().map(|stream| Value::Text(stream.clone())).collect();
    let mut and = |text: &str, numbers: &[i64]| {
        sql.push_str(text);
        values.extend(numbers.iter().map(|n| Value::Integer(*n)));
    };
    if let Some(start) = query.start_ms {
        and(" AND at_ms >= ?", &[start]);
    }
    if let Some(end) = query.end_ms {
        and(" AND at_ms < ?", &[end]);
    }
    if let Some((at, seq)) = query.after {
        and(" AND (at_ms, seq) > (?, ?)", &[at, seq]);
    }
    if let Some((at, seq)) = query.before {
        and(" AND (at_ms, seq) < (?, ?)", &[at, seq]);
    }
    let order = if query.newest_first { "DESC" } else { "ASC" };
    and(&format!(" ORDER BY at_ms {order}, seq {order} LIMIT ?"), &[query.limit as i64]);
    let mut statement = tx.connection().prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(values), event)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        seq: row.get(0)?,
        stream: row.get(1)?,
        at_ms: row.get(2)?,
        ingested_ms: row.get(3)?,
        message: row.get(4)?,
    })
}

/// The number of the event that came last, or 0.
pub fn newest(tx: &Tx<'_>) -> Result<i64, StoreError> {
    let sql = "SELECT coalesce(max(seq), 0) FROM log_event";
    Ok(tx.connection().prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// At most so many events of all streams that came after this one, as they came.
pub fn since(tx: &Tx<'_>, after: i64, limit: usize) -> Result<Vec<Event>, StoreError> {
    let sql = "SELECT seq, stream, at_ms, ingested_ms, message FROM log_event WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut statement = tx.connection().prepare_cached(sql)?;
    let rows = statement.query_map(params![after, limit as i64], event)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub fn extent(tx: &Tx<'_>, group: &str, stream: &str) -> Result<Extent, StoreError> {
    let key = stream_key(group, stream);
    let sql = "SELECT min(at_ms), max(at_ms), max(ingested_ms) FROM log_event WHERE stream = ?1";
    let found = tx.connection().prepare_cached(sql)?.query_row(params![key], |row| {
        Ok(Extent { first_ms: row.get(0)?, last_ms: row.get(1)?, ingested_ms: row.get(2)? })
    });
    Ok(found.optional()?.unwrap_or_default())
}

/// The bytes stored in a stream, or with `stream` absent in the whole group, counted as CloudWatch
/// Logs counts them: the message in UTF-8 plus 26 bytes an event.
pub fn stored_bytes(tx: &Tx<'_>, group: &str) -> Result<i64, StoreError> {
    let sql = "SELECT coalesce(sum(length(CAST(message AS BLOB)) + 26), 0) FROM log_event
               WHERE stream >= ?1 || ':' AND stream < ?1 || ';'";
    Ok(tx.connection().prepare_cached(sql)?.query_row(params![group], |row| row.get(0))?)
}

/// Deletes the events of a stream.
pub fn delete_stream(tx: &Tx<'_>, group: &str, stream: &str) -> Result<(), StoreError> {
    tx.connection().execute("DELETE FROM log_event WHERE stream = ?1", params![stream_key(group, stream)])?;
    tx.touch();
    Ok(())
}

/// How many events there are, and their bytes as [`stored_bytes`] counts them.
pub fn size(tx: &Tx<'_>) -> Result<(i64, i64), StoreError> {
    let sql = "SELECT count(*), coalesce(sum(length(CAST(message AS BLOB)) + 26), 0) FROM log_event";
    Ok(tx.connection().prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// Deletes so many events, those that came first.
pub fn delete_oldest(tx: &Tx<'_>, count: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM log_event WHERE seq IN (SELECT seq FROM log_event ORDER BY seq LIMIT ?1)";
    tx.connection().execute(sql, params![count])?;
    tx.touch();
    Ok(())
}

/// Deletes the events of a group that are older than `before_ms`. Returns how many there were.
pub fn expire(tx: &Tx<'_>, group: &str, before_ms: i64) -> Result<usize, StoreError> {
    let sql = "DELETE FROM log_event WHERE stream >= ?1 || ':' AND stream < ?1 || ';' AND at_ms < ?2";
    Ok(tx.connection().execute(sql, params![group, before_ms])?)
}
