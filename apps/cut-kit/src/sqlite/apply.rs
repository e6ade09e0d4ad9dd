//! `POST /apply`.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, params};

use super::schema::Shape;
use super::store::{self, Fence, Follows};
use super::{Result, Sqlite, failed, rows, signed};
use crate::contract::{Applied, ApplyRequest, Chunk, Code, Event, Key, Op, Problem, Row};
use crate::digest::Sum;
use crate::scope::{Scope, quoted};

/// One request being applied.
struct Work<'a> {
    connection: &'a Connection,
    scope: &'a Scope,
    shapes: Vec<Shape>,
    /// By table: the last key that has been copied, and whether the table is whole.
    copied: Vec<(Option<Key>, bool)>,
    sum: Sum,
}

impl Sqlite {
    /// `POST /apply`: rows and position in one transaction, on disk when this returns.
    pub fn apply(&self, request: &ApplyRequest) -> Result<Applied> {
        let scope = self.scope(&request.scope)?;
        self.write(|tx| {
            let fence = store::fence(tx, &scope.name)?;
            // Only positions of the other feed pass an owner by.
            if fence.owner && !(request.events.is_empty() && request.chunk.is_none()) {
                let message = format!("{} is owned here: nothing is applied to an owner", scope.name);
                return Err(Problem::new(Code::WrongOwner, message).epoch(fence.epoch));
            }
            let (own, shapes) = self.prepared(tx, scope, &fence)?;
            if own == request.src {
                return Err(Problem::new(Code::BadRequest, "a database does not follow itself"));
            }
            let copied = shapes.iter().map(|s| store::copied(tx, &scope.name, &s.name));
            let copied = copied.collect::<Result<Vec<_>>>()?;
            let sum = fence.digest.unwrap_or_default();
            let mut work = Work { connection: tx, scope, shapes, copied, sum };
            work.request(&fence, request)
        })
    }
}

impl Work<'_> {
    fn request(&mut self, fence: &Fence, request: &ApplyRequest) -> Result<Applied> {
        let name = &self.scope.name;
        let stored = store::following(self.connection, name, &request.src)?;
        let mut follows = match stored {
            Some(follows) => follows,
            None => self.begin(request)?,
        };
        if let Some(chunk) = &request.chunk
            && self.has(chunk)?
        {
            return self.applied(&follows);
        }
        if request.to < request.from {
            return Err(Problem::new(Code::BadRequest, "to is before from"));
        }
        if request.from > follows.position {
            let message = format!("{name} stands at position {}, and {} comes next", follows.position, request.from);
            return Err(Problem::new(Code::Gap, message).at(follows.position));
        }
        if request.chunk.is_none() && request.to <= follows.position {
            return self.applied(&follows);
        }
        let mut changed = fence.changed_since;
        let begun = follows.position;
        let mut last = begun;
        for event in request.events.iter().filter(|event| event.position > begun) {
            let expected = if request.counted { event.position == last + 1 } else { event.position >= last };
            if !expected || event.position > request.to {
                let message = format!("an event at position {} does not follow {last}", event.position);
                return Err(Problem::new(Code::Gap, message).at(follows.position));
            }
            last = event.position;
            match event.op {
                Op::Mark => self.mark(&mut follows, event)?,
                _ => self.event(event)?,
            }
            changed = true;
        }
        if request.counted && last != request.to.max(begun) {
            let message = format!("the events end at position {last}, before {}", request.to);
            return Err(Problem::new(Code::Gap, message).at(follows.position));
        }
        follows.position = follows.position.max(request.to);
        if let Some(chunk) = &request.chunk {
            if follows.position != request.to {
                let message = format!("the rows were read at position {}, which is past", request.to);
                return Err(Problem::new(Code::Gap, message).at(follows.position));
            }
            self.chunk(chunk)?;
            changed = true;
        }
        self.connection
            .prepare_cached(
                "INSERT INTO cut_following (scope, src, position, mark_epoch, mark_position, mark) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (scope, src) DO UPDATE SET position = excluded.position, \
                 mark_epoch = excluded.mark_epoch, mark_position = excluded.mark_position, mark = excluded.mark",
            )
            .and_then(|mut statement| {
                let optional = |n: Option<u64>| n.and_then(|n| i64::try_from(n).ok());
                statement.execute(params![
                    name,
                    request.src,
                    i64::try_from(follows.position).unwrap_or(i64::MAX),
                    optional(follows.mark_epoch),
                    optional(follows.mark_position),
                    follows.mark
                ])
            })
            .map_err(failed)?;
        signed(follows.position)?;
        if !fence.owner {
            store::keep(self.connection, name, &self.sum, fence.digest_position)?;
        }
        if changed != fence.changed_since {
            let sql = "UPDATE cut_fence SET changed_since = 1 WHERE scope = ?1";
            self.connection.execute(sql, [name]).map_err(failed)?;
        }
        self.applied(&follows)
    }

    /// The first chunk of all: nothing was copied, and nothing is there.
    fn begin(&self, request: &ApplyRequest) -> Result<Follows> {
        let first = self.shapes.first().map(|shape| shape.name.as_str());
        let begins = request.chunk.as_ref().is_some_and(|c| c.after.is_none() && Some(c.table.as_str()) == first);
        if !begins || request.from != request.to || !request.events.is_empty() {
            let message = format!("{} does not follow {} yet: the first chunk begins it", self.scope.name, request.src);
            return Err(Problem::new(Code::Gap, message));
        }
        for shape in &self.shapes {
            if super::verify::rows(self.connection, shape)? > 0 {
                let message =
                    format!("{} has rows that did not come from {}; clear them first", shape.name, request.src);
                return Err(Problem::new(Code::Diverged, message));
            }
        }
        Ok(Follows { position: request.to, mark_epoch: None, mark_position: None, mark: None })
    }

    fn applied(&self, follows: &Follows) -> Result<Applied> {
        Ok(Applied {
            position: follows.position,
            digest: self.sum.digest(),
            mark_epoch: follows.mark_epoch,
            copied: self.copied.iter().all(|(_, whole)| *whole),
        })
    }

    fn table(&self, name: &str) -> Result<usize> {
        let at = self.shapes.iter().position(|shape| shape.name == name);
        at.ok_or_else(|| Problem::new(Code::BadRequest, format!("{name} is no table of {}", self.scope.name)))
    }

    /// Whether a chunk came before.
    fn has(&self, chunk: &Chunk) -> Result<bool> {
        let (key, whole) = &self.copied[self.table(&chunk.table)?];
        Ok(*whole
            || match (key, &chunk.to) {
                (Some(key), Some(to)) => rows::compare(to, key).is_le(),
                _ => false,
            })
    }

    fn chunk(&mut self, chunk: &Chunk) -> Result<()> {
        let at = self.table(&chunk.table)?;
        if self.copied[at].0 != chunk.after {
            let message = format!("the copy of {} does not stand where these rows begin", chunk.table);
            return Err(Problem::new(Code::Gap, message));
        }
        for row in &chunk.rows {
            self.insert(at, row)?;
        }
        let key = chunk.to.clone().or_else(|| chunk.after.clone());
        let text = key.as_ref().map(serde_json::to_string).transpose();
        let text = text.map_err(|e| Problem::new(Code::BadRequest, e.to_string()))?;
        self.connection
            .execute(
                "INSERT INTO cut_copied (scope, tbl, key, whole) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (scope, tbl) DO UPDATE SET key = excluded.key, whole = excluded.whole",
                params![self.scope.name, chunk.table, text, chunk.last],
            )
            .map_err(failed)?;
        self.copied[at] = (key, chunk.last);
        Ok(())
    }

    fn mark(&self, follows: &mut Follows, event: &Event) -> Result<()> {
        let after = event.after.as_ref();
        let epoch = after.and_then(|row| row.get("epoch"));
        let Some(crate::contract::Value::Integer(epoch)) = epoch else {
            return Err(Problem::new(Code::BadRequest, "a mark has no epoch"));
        };
        follows.mark_epoch = Some(super::unsigned(*epoch));
        follows.mark_position = Some(event.position);
        follows.mark = serde_json::to_string(&after).ok();
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        let at = self.table(&event.table)?;
        let key = |row: &Option<Row>| row.as_ref().and_then(|row| self.shapes[at].key_of(row));
        let (before_key, after_key) = (key(&event.before), key(&event.after));
        let whole = match event.op {
            Op::Insert => event.before.is_none() && after_key.is_some(),
            Op::Update => before_key.is_some() && after_key.is_some(),
            Op::Delete => before_key.is_some() && event.after.is_none(),
            Op::Mark => false,
        };
        if !whole {
            let message = format!("the event at position {} lacks an image", event.position);
            return Err(Problem::new(Code::BadRequest, message));
        }
        // What lies beyond the copy comes with its later chunks.
        let before = event.before.as_ref().zip(before_key).filter(|(_, key)| self.reached(at, key));
        let after = event.after.as_ref().zip(after_key).filter(|(_, key)| self.reached(at, key));
        match (before, after) {
            (Some((before, key)), Some((after, _))) => self.update(at, &key, before, after),
            (Some((before, key)), None) => self.delete(at, &key, before),
            (None, Some((after, _))) => self.insert(at, after),
            (None, None) => Ok(()),
        }
    }

    fn reached(&self, at: usize, key: &Key) -> bool {
        let (copied, whole) = &self.copied[at];
        *whole || copied.as_ref().is_some_and(|copied| rows::compare(key, copied).is_le())
    }

    fn insert(&mut self, at: usize, row: &Row) -> Result<()> {
        let shape = &self.shapes[at];
        let slots: Vec<String> = (1..=shape.columns.len()).map(|i| format!("?{i}")).collect();
        let sql = format!(
            "INSERT INTO {} ({columns}) VALUES ({}) RETURNING {columns}",
            quoted(&shape.name),
            slots.join(", "),
            columns = shape.list()
        );
        let now = self.run(at, &sql, rows::values(shape, row)?, "there is a row in its place")?;
        self.stored(at, None, now.first(), row)
    }

    fn update(&mut self, at: usize, key: &Key, before: &Row, after: &Row) -> Result<()> {
        let there = self.there(at, key, before)?;
        let shape = &self.shapes[at];
        let sets: Vec<String> =
            shape.columns.iter().enumerate().map(|(i, c)| format!("{} = ?{}", quoted(&c.name), i + 1)).collect();
        let sql = format!(
            "UPDATE {} SET {} WHERE {} RETURNING {}",
            quoted(&shape.name),
            sets.join(", "),
            rows::key_equals(shape, shape.columns.len() + 1),
            shape.list()
        );
        let mut parameters = rows::values(shape, after)?;
        parameters.extend(rows::key_values(key)?);
        let now = self.run(at, &sql, parameters, "there is a row in its place")?;
        self.stored(at, Some(&there), now.first(), after)
    }

    fn delete(&mut self, at: usize, key: &Key, before: &Row) -> Result<()> {
        let there = self.there(at, key, before)?;
        let shape = &self.shapes[at];
        let sql = format!("DELETE FROM {} WHERE {}", quoted(&shape.name), rows::key_equals(shape, 1));
        self.run(at, &sql, rows::key_values(key)?, "it cannot be deleted")?;
        self.sum.take(&self.shapes[at].name, &there);
        Ok(())
    }

    /// The row with a key, which must be as the event says.
    fn there(&self, at: usize, key: &Key, before: &Row) -> Result<Row> {
        let shape = &self.shapes[at];
        let sql = format!(
            "SELECT {} FROM {} WHERE {} AND {}",
            shape.list(),
            quoted(&shape.name),
            rows::key_equals(shape, 1),
            shape.belongs("")
        );
        match self.run(at, &sql, rows::key_values(key)?, "")?.pop() {
            Some(row) if row == *before => Ok(row),
            Some(_) => Err(self.diverged(at, before, "it is another one here")),
            None => Err(self.diverged(at, before, "it is not here")),
        }
    }

    fn run(&self, at: usize, sql: &str, parameters: Vec<Sql>, conflict: &str) -> Result<Vec<Row>> {
        let shape = &self.shapes[at];
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let refused = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => {
                Problem::new(Code::Diverged, format!("a row of {} cannot be written: {conflict} ({error})", shape.name))
            }
            _ => failed(error),
        };
        let mut found = statement.query(rusqlite::params_from_iter(parameters)).map_err(refused)?;
        let mut out = Vec::new();
        while let Some(row) = found.next().map_err(refused)? {
            out.push(rows::read(shape, row)?);
        }
        Ok(out)
    }

    /// Counts what is in the table now, which must be what was sent.
    fn stored(&mut self, at: usize, before: Option<&Row>, now: Option<&Row>, sent: &Row) -> Result<()> {
        if now != Some(sent) {
            return Err(self.diverged(at, sent, "the table stores it otherwise"));
        }
        self.sum.change(&self.shapes[at].name, before, now);
        Ok(())
    }

    fn diverged(&self, at: usize, row: &Row, why: &str) -> Problem {
        let shape = &self.shapes[at];
        let key = shape.key_of(row).and_then(|key| serde_json::to_string(&key).ok()).unwrap_or_default();
        Problem::new(Code::Diverged, format!("the row {key} of {}: {why}", shape.name))
    }
}
