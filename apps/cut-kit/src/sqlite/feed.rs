//! `GET /snapshot` and `GET /changes`.

use rusqlite::{Connection, params};

use super::schema::{self, Shape};
use super::store::{self, Fence};
use super::{Kept, Looked, Result, Sqlite, failed, lock, rows, signed, triggers, unsigned};
use crate::contract::{
    Changes, ChangesQuery, Chunk, Code, Event, Key, MAX_LIMIT, Op, Problem, Snapshot, SnapshotQuery,
};
use crate::digest::Sum;
use crate::scope::{Scope, quoted};

const LIMIT: u32 = 1_000;
/// Events that are kept although they are safe at the other side, so that the file is not written for each.
const TRIM_EVERY: u64 = 5_000;
/// Bytes of images in one answer, beyond which it ends early: it has to fit the other side's body limit.
const MAX_BYTES: usize = 3 * 1024 * 1024;

impl Sqlite {
    /// `GET /snapshot`. One read transaction gives the rows and the position they stand at.
    pub fn snapshot(&self, query: &SnapshotQuery) -> Result<Snapshot> {
        let scope = self.scope(&query.scope)?;
        let after = match &query.after {
            Some(text) => {
                let key: Key = serde_json::from_str(text)
                    .map_err(|e| Problem::new(Code::BadRequest, format!("after is no key: {e}")))?;
                Some(key)
            }
            None => None,
        };
        let limit = query.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT) as usize;
        self.read(|tx| {
            let fence = store::fence(tx, &scope.name)?;
            let (feed, shapes) = self.prepared(tx, scope, &fence)?;
            let shape = shapes.iter().find(|shape| shape.name == query.table);
            let shape = shape.ok_or_else(|| {
                Problem::new(Code::NotFound, format!("{} is no table of {}", query.table, scope.name))
            })?;
            let chunk = chunk(tx, shape, after, limit)?;
            Ok(Snapshot { src: feed, at: fence.head, chunk })
        })
    }

    /// `GET /changes`, without waiting: the caller asks again.
    pub fn changes_now(&self, query: &ChangesQuery) -> Result<Changes> {
        let scope = self.scope(&query.scope)?;
        self.forget(scope, query.after)?;
        let limit = query.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
        self.read(|tx| {
            let fence = store::fence(tx, &scope.name)?;
            let (feed, _) = self.prepared(tx, scope, &fence)?;
            if query.after > fence.head {
                let message = format!("position {} was never given: the newest is {}", query.after, fence.head);
                return Err(Problem::new(Code::Gap, message).at(fence.head));
            }
            let until = query.until.unwrap_or(fence.head).min(fence.head);
            let events = events(tx, &scope.name, query.after, until, limit)?;
            let to = match events.last() {
                Some(last) => last.position,
                None => query.after,
            };
            let digest = self.fold(tx, scope, &fence, &feed, to)?.map(|sum| sum.digest());
            Ok(Changes { src: feed, from: query.after, to, head: fence.head, counted: true, events, digest })
        })
    }

    /// As [`prepared`], which looks at the schema; as long as SQLite's own count of schema changes is the same, so is
    /// what was found.
    pub(super) fn prepared(
        &self,
        connection: &Connection,
        scope: &Scope,
        fence: &Fence,
    ) -> Result<(String, Vec<Shape>)> {
        let count = connection.query_row("PRAGMA schema_version", [], |row| row.get(0)).map_err(failed)?;
        if let (Some(feed), Some(stored), Some(looked)) =
            (&fence.feed, &fence.shapes, lock(&self.looked).get(&scope.name))
            && (looked.count, &looked.stored) == (count, stored)
        {
            return Ok((feed.clone(), looked.shapes.clone()));
        }
        let (feed, shapes) = prepared(connection, scope, fence)?;
        let stored = fence.shapes.clone().unwrap_or_default();
        lock(&self.looked).insert(scope.name.clone(), Looked { count, stored, shapes: shapes.clone() });
        Ok((feed, shapes))
    }

    /// The owner's digest at `position`; `None` before the first `verify`, and where it is behind what was folded.
    pub(super) fn fold(
        &self,
        connection: &Connection,
        scope: &Scope,
        fence: &Fence,
        feed: &str,
        position: u64,
    ) -> Result<Option<Sum>> {
        let Some(stored) = fence.digest else { return Ok(None) };
        // At a side that is not the owner the digest is that of its rows now.
        if !fence.owner {
            let there = fence.released.as_ref().filter(|mark| mark.position == position);
            return Ok(there.and_then(|mark| Sum::parse(&mark.digest)));
        }
        let stored = Kept { feed: feed.to_owned(), position: fence.digest_position, sum: stored };
        let mut kept = lock(&self.kept);
        let best = kept
            .get(&scope.name)
            .filter(|kept| kept.feed == feed && kept.position >= stored.position && kept.position <= position);
        let mut best = best.cloned().unwrap_or(stored);
        if best.position > position {
            return Ok(None);
        }
        while best.position < position {
            let some = events(connection, &scope.name, best.position, position, MAX_LIMIT)?;
            for event in &some {
                best.sum.change(
                    &event.table,
                    event.before.as_ref(),
                    event.after.as_ref().filter(|_| event.op != Op::Mark),
                );
                best.position = event.position;
            }
        }
        let sum = best.sum;
        kept.insert(scope.name.clone(), best);
        Ok(Some(sum))
    }

    /// Removes events that are safe at the other side; the digest up to there is stored first.
    fn forget(&self, scope: &Scope, after: u64) -> Result<()> {
        let due = self.read(|tx| {
            let fence = store::fence(tx, &scope.name)?;
            let sql = "SELECT min(position) FROM cut_changes WHERE scope = ?1";
            let first: Option<i64> = tx.query_row(sql, [&scope.name], |row| row.get(0)).map_err(failed)?;
            let first = unsigned(first.unwrap_or(0));
            let due = after <= fence.head && first > 0 && after >= first + TRIM_EVERY;
            let Some(feed) = fence.feed.clone().filter(|_| due && fence.owner) else { return Ok(None) };
            Ok(self.fold(tx, scope, &fence, &feed, after)?.map(|sum| (feed, sum)))
        })?;
        let Some((feed, sum)) = due else { return Ok(()) };
        self.write(|tx| {
            let fence = store::fence(tx, &scope.name)?;
            if fence.feed.as_deref() != Some(&feed) || !fence.owner || fence.digest_position > after {
                return Ok(());
            }
            store::keep(tx, &scope.name, &sum, after)?;
            let sql = "DELETE FROM cut_changes WHERE scope = ?1 AND position <= ?2";
            tx.execute(sql, params![scope.name, signed(after)?]).map_err(failed)?;
            Ok(())
        })
    }
}

/// The feed and the tables as they were prepared; refused where they have changed since.
pub fn prepared(connection: &Connection, scope: &Scope, fence: &Fence) -> Result<(String, Vec<Shape>)> {
    let (Some(feed), Some(stored)) = (&fence.feed, &fence.shapes) else {
        return Err(Problem::new(Code::NotPrepared, format!("{} is not prepared here", scope.name)));
    };
    let now: Option<Vec<Shape>> = schema::shapes(connection, scope)?.into_iter().collect();
    let expected: usize = scope.tables.iter().map(triggers::expected).sum();
    let changed = |what: &str| {
        Problem::new(Code::SchemaChanged, format!("{what} of {} changed since the cut was prepared", scope.name))
    };
    let now = now.ok_or_else(|| changed("the tables"))?;
    if serde_json::to_string(&now).ok().as_ref() != Some(stored) {
        return Err(changed("the tables"));
    }
    if triggers::count(connection, &scope.name)? != expected {
        return Err(changed("the triggers"));
    }
    Ok((feed.clone(), now))
}

fn chunk(connection: &Connection, shape: &Shape, after: Option<Key>, limit: usize) -> Result<Chunk> {
    let order: Vec<String> = shape.key.iter().map(|k| format!("{} COLLATE BINARY", quoted(k))).collect();
    let mut parameters = Vec::new();
    let mut wanted = shape.belongs("");
    if let Some(key) = &after {
        if key.len() != shape.key.len() {
            return Err(Problem::new(Code::BadRequest, format!("the key of {} has other columns", shape.name)));
        }
        parameters = rows::key_values(key)?;
        let slots: Vec<String> = (1..=key.len()).map(|i| format!("?{i}")).collect();
        wanted = format!("{wanted} AND ({}) > ({})", order.join(", "), slots.join(", "));
    }
    // One row more tells whether something follows.
    let sql = format!(
        "SELECT {} FROM {} WHERE {wanted} ORDER BY {} LIMIT {}",
        shape.list(),
        quoted(&shape.name),
        order.join(", "),
        limit + 1
    );
    let mut rows = rows::query(connection, shape, &sql, parameters)?;
    let mut last = rows.len() <= limit;
    rows.truncate(limit);
    let mut bytes = 0;
    let fits = rows.iter().take_while(|row| {
        bytes += row.iter().map(|(name, value)| name.len() + size(value)).sum::<usize>();
        bytes <= MAX_BYTES
    });
    let fits = fits.count().max(1);
    if fits < rows.len() {
        rows.truncate(fits);
        last = false;
    }
    let to = rows.last().and_then(|row| shape.key_of(row));
    Ok(Chunk { table: shape.name.clone(), after, rows, to, last })
}

fn size(value: &crate::contract::Value) -> usize {
    use crate::contract::Value;
    match value {
        Value::Null | Value::Integer(_) => 8,
        Value::Text(text) | Value::Real { real: text } | Value::Blob { blob: text } => text.len() + 8,
    }
}

/// The events in (after, until], at most `limit` of them and not many more bytes than an answer may have.
pub fn events(connection: &Connection, scope: &str, after: u64, until: u64, limit: u32) -> Result<Vec<Event>> {
    let sql = "SELECT position, tbl, op, before, after, at_ms FROM cut_changes \
               WHERE scope = ?1 AND position > ?2 AND position <= ?3 ORDER BY position LIMIT ?4";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let mut found = statement.query(params![scope, signed(after)?, signed(until)?, limit]).map_err(failed)?;
    let mut events = Vec::new();
    let mut bytes = 0;
    while let Some(row) = found.next().map_err(failed)? {
        let image = |at: usize| -> Result<(Option<crate::contract::Row>, usize)> {
            let text: Option<String> = row.get(at).map_err(failed)?;
            let length = text.as_ref().map_or(0, String::len);
            Ok((text.map(|text| rows::parse_image(&text)).transpose()?, length))
        };
        let position = unsigned(row.get(0).map_err(failed)?);
        if position != after + 1 + events.len() as u64 {
            let message = format!("the feed of {scope} does not reach back to position {after}");
            return Err(Problem::new(Code::Gap, message).at(position));
        }
        let op: String = row.get(2).map_err(failed)?;
        let ((before, b), (after, a)) = (image(3)?, image(4)?);
        bytes += a + b;
        if bytes > MAX_BYTES && !events.is_empty() {
            break;
        }
        events.push(Event {
            position,
            op: match op.as_str() {
                "insert" => Op::Insert,
                "update" => Op::Update,
                "delete" => Op::Delete,
                "mark" => Op::Mark,
                other => return Err(Problem::new(Code::Failed, format!("the feed holds {other:?}"))),
            },
            table: row.get(1).map_err(failed)?,
            before,
            after,
            at_ms: unsigned(row.get(5).map_err(failed)?),
        });
    }
    if events.is_empty() && after < until {
        let message = format!("the feed of {scope} does not reach back to position {after}");
        return Err(Problem::new(Code::Gap, message));
    }
    Ok(events)
}
