//! `POST /apply`.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::future::try_join_all;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::decode::APPLIED;
use super::feed::{self, texts};
use super::setup::APPLYING;
use super::shape::Shape;
use super::store::{self, Fence, Follows};
use super::{Postgres, Result, Typed, commit, failed, signed};
use crate::contract::{Applied, ApplyRequest, Chunk, Code, Event, Key, Op, Problem, Row, Value};
use crate::digest::Sum;
use crate::scope::{Scope, quoted, relation};

/// One request being applied.
struct Work<'a> {
    /// In its transaction.
    tx: &'a Client,
    scope: &'a Scope,
    shapes: Vec<Shape>,
    copied: Vec<(Option<Key>, bool)>,
    sum: Sum,
    /// What is still to be sent.
    statements: Vec<Statement>,
}

/// A statement, and what it has to answer.
struct Statement {
    /// The table's place.
    at: usize,
    sql: String,
    parameters: Vec<Option<String>>,
    expected: Expected,
}

/// Known before the statement is sent: so many of them travel together.
enum Expected {
    /// The rows are in the table as they were sent.
    Inserted(Vec<Row>),
    /// The row with the key is this one.
    There(Row),
    Updated(Row, Row),
    Deleted(Row),
}

/// So many statements are sent at once.
const TOGETHER: usize = 200;

impl Postgres {
    /// `POST /apply`: rows and position in one transaction, on disk when this returns.
    pub async fn apply(&self, request: &ApplyRequest) -> Result<Applied> {
        let scope = self.scope(&request.scope)?;
        let client = self.client().await?;
        let name = &scope.name;
        // The guard lets this transaction through, and this side's feed leaves it out.
        let sql = format!(
            "SELECT set_config('{APPLYING}', $1, true), pg_logical_emit_message(true, '{APPLIED}', $1)::text, \
             CASE WHEN $2 THEN set_config('session_replication_role', 'replica', true) END"
        );
        let parameters: [Typed<'_>; 2] = [(name, Type::TEXT), (&self.replica, Type::BOOL)];
        let more = async {
            let settings = async { client.query_typed_one(&sql, &parameters).await.map_err(failed) };
            let copied = try_join_all(scope.tables.iter().map(|table| store::copied(&client, name, &table.name)));
            let follows = store::following(&client, name, &request.src);
            tokio::try_join!(biased; settings, feed::now(&client, scope), copied, follows)
        };
        // Taken by every apply and fence command first.
        let (fence, (_, tables, copied, follows)) = self.begin(&client, scope, "2s", more).await?;
        if fence.owner && !(request.events.is_empty() && request.chunk.is_none()) {
            let message = format!("{} is owned here: nothing is applied to an owner", scope.name);
            return Err(Problem::new(Code::WrongOwner, message).epoch(fence.epoch));
        }
        let (own, shapes) = tables.prepared(scope, &fence)?;
        if own == request.src {
            return Err(Problem::new(Code::BadRequest, "a database does not follow itself"));
        }
        let sum = fence.digest.unwrap_or_default();
        let mut work = Work { tx: &client, scope, shapes, copied, sum, statements: Vec::new() };
        let applied = work.request(&fence, follows, request).await?;
        self.put_back(client);
        Ok(applied)
    }
}

impl Work<'_> {
    /// What the request asks for, and the end of the transaction.
    async fn request(&mut self, fence: &Fence, stored: Option<Follows>, request: &ApplyRequest) -> Result<Applied> {
        let name = &self.scope.name;
        let mut follows = match stored {
            Some(follows) => follows,
            None => self.begin(request).await?,
        };
        if let Some(chunk) = &request.chunk
            && self.has(chunk).await?
        {
            commit(self.tx, async { Ok(()) }).await?;
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
            commit(self.tx, async { Ok(()) }).await?;
            return self.applied(&follows);
        }
        let begun = follows.position;
        let (mut last, mut changed) = (begun, fence.changed_since);
        // New rows of one table that come together are written together.
        let mut new: (usize, Vec<Row>) = (0, Vec::new());
        for event in request.events.iter().filter(|event| event.position > begun) {
            if event.position < last || event.position > request.to {
                let message = format!("an event at position {} does not follow {last}", event.position);
                return Err(Problem::new(Code::Gap, message).at(begun));
            }
            last = event.position;
            if let Some((at, row)) = self.new_row(event).await? {
                if new.0 != at || new.1.len() >= 500 {
                    self.insert(new.0, std::mem::take(&mut new.1))?;
                }
                new.0 = at;
                new.1.push(row);
            } else {
                self.insert(new.0, std::mem::take(&mut new.1))?;
                match event.op {
                    Op::Mark => mark(&mut follows, event)?,
                    _ => self.event(event).await?,
                }
            }
            changed = true;
            if self.statements.len() >= TOGETHER {
                self.send().await?;
            }
        }
        self.insert(new.0, new.1)?;
        self.send().await?;
        follows.position = follows.position.max(request.to);
        if let Some(chunk) = &request.chunk {
            if follows.position != request.to {
                let message = format!("the rows were read at position {}, which is past", request.to);
                return Err(Problem::new(Code::Gap, message).at(follows.position));
            }
            self.chunk(chunk).await?;
            changed = true;
        }
        commit(self.tx, self.stand(fence, &follows, &request.src, changed)).await?;
        self.applied(&follows)
    }

    /// Stores where it stands.
    async fn stand(&self, fence: &Fence, follows: &Follows, src: &str, changed: bool) -> Result<()> {
        let name = &self.scope.name;
        let optional = |n: Option<u64>| n.and_then(|n| i64::try_from(n).ok());
        let sql = "INSERT INTO cut_following (scope, src, position, mark_epoch, mark_position, mark) \
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (scope, src) DO UPDATE SET position = excluded.position, \
                   mark_epoch = excluded.mark_epoch, mark_position = excluded.mark_position, mark = excluded.mark";
        let (position, epoch) = (signed(follows.position)?, optional(follows.mark_epoch));
        let mark_position = optional(follows.mark_position);
        let parameters: [Typed<'_>; 6] = [
            (name, Type::TEXT),
            (&src, Type::TEXT),
            (&position, Type::INT8),
            (&epoch, Type::INT8),
            (&mark_position, Type::INT8),
            (&follows.mark, Type::TEXT),
        ];
        let position = async { self.tx.query_typed(sql, &parameters).await.map_err(failed) };
        let digest = async {
            match fence.owner {
                true => Ok(true),
                false => store::keep(self.tx, name, &self.sum, fence.digest_position).await,
            }
        };
        let changed = async {
            if changed != fence.changed_since {
                let sql = "UPDATE cut_scope SET changed_since = true WHERE scope = $1";
                self.tx.query_typed(sql, &[(name, Type::TEXT)]).await.map_err(failed)?;
            }
            Ok(())
        };
        tokio::try_join!(biased; position, digest, changed).map(drop)
    }

    /// The first chunk of all: nothing was copied, and nothing is there.
    async fn begin(&self, request: &ApplyRequest) -> Result<Follows> {
        let first = self.shapes.first().map(|shape| shape.name.as_str());
        let begins = request.chunk.as_ref().is_some_and(|c| c.after.is_none() && Some(c.table.as_str()) == first);
        if !begins || request.from != request.to || !request.events.is_empty() {
            let message = format!("{} does not follow {} yet: the first chunk begins it", self.scope.name, request.src);
            return Err(Problem::new(Code::Gap, message));
        }
        for shape in &self.shapes {
            if store::has_rows(self.tx, shape).await? {
                let message =
                    format!("{} has rows that did not come from {}; clear them first", shape.name, request.src);
                return Err(Problem::new(Code::Diverged, message));
            }
        }
        Ok(Follows { position: request.to, ..Follows::default() })
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
    async fn has(&self, chunk: &Chunk) -> Result<bool> {
        let at = self.table(&chunk.table)?;
        match (&self.copied[at], &chunk.to) {
            ((_, true), _) => Ok(true),
            ((Some(_), _), Some(to)) => self.reached(at, to).await,
            _ => Ok(false),
        }
    }

    async fn chunk(&mut self, chunk: &Chunk) -> Result<()> {
        let at = self.table(&chunk.table)?;
        if self.copied[at].0 != chunk.after {
            let message = format!("the copy of {} does not stand where these rows begin", chunk.table);
            return Err(Problem::new(Code::Gap, message));
        }
        for rows in chunk.rows.chunks(500) {
            self.insert(at, rows.to_vec())?;
        }
        self.send().await?;
        let key = chunk.to.clone().or_else(|| chunk.after.clone());
        let text = key.as_ref().map(serde_json::to_string).transpose();
        let text = text.map_err(|e| Problem::new(Code::BadRequest, e.to_string()))?;
        self.tx
            .execute(
                "INSERT INTO cut_copied (scope, tbl, key, whole) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (scope, tbl) DO UPDATE SET key = excluded.key, whole = excluded.whole",
                &[&self.scope.name, &chunk.table, &text, &chunk.last],
            )
            .await
            .map_err(failed)?;
        self.copied[at] = (key, chunk.last);
        Ok(())
    }

    /// The row that an event adds within what is copied, and its table's place.
    async fn new_row(&self, event: &Event) -> Result<Option<(usize, Row)>> {
        let (Op::Insert, None, Some(row)) = (event.op, &event.before, &event.after) else { return Ok(None) };
        let at = self.table(&event.table)?;
        let Some(key) = self.shapes[at].key_of(row) else { return Ok(None) };
        Ok(self.reached(at, &key).await?.then(|| (at, row.clone())))
    }

    async fn event(&mut self, event: &Event) -> Result<()> {
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
        let (mut before, mut after) = (None, None);
        if let Some((row, key)) = event.before.as_ref().zip(before_key)
            && self.reached(at, &key).await?
        {
            before = Some((row, key));
        }
        if let Some((row, key)) = event.after.as_ref().zip(after_key)
            && self.reached(at, &key).await?
        {
            after = Some(row);
        }
        match (before, after) {
            (Some((before, key)), Some(after)) => self.update(at, &key, before, after),
            (Some((before, key)), None) => self.delete(at, &key, before),
            (None, Some(after)) => self.insert(at, vec![after.clone()]),
            (None, None) => Ok(()),
        }
    }

    /// Whether the copy of a table has reached a key, in the order of the database.
    async fn reached(&self, at: usize, key: &Key) -> Result<bool> {
        let (copied, whole) = &self.copied[at];
        let Some(copied) = copied.as_ref().filter(|_| !whole) else { return Ok(*whole) };
        let shape = &self.shapes[at];
        if shape.integer_key() {
            let number = |key: &Key| match key.first() {
                Some(Value::Text(text)) => text.parse::<i64>().ok(),
                _ => None,
            };
            return Ok(number(key).zip(number(copied)).is_some_and(|(key, copied)| key <= copied));
        }
        let sql = format!("SELECT {} <= {}", shape.key_row(1), shape.key_row(1 + shape.key.len()));
        let mut parameters = texts(key)?;
        parameters.extend(texts(copied)?);
        let row = self.tx.query_typed_one(&sql, &references(&parameters)).await.map_err(failed)?;
        Ok(row.get::<_, Option<bool>>(0).unwrap_or(false))
    }

    fn insert(&mut self, at: usize, mut rows: Vec<Row>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let shape = &self.shapes[at];
        // As many parameters as the protocol has room for.
        if rows.len() * shape.columns.len() > 60_000 && rows.len() > 1 {
            let right = rows.split_off(rows.len() / 2);
            self.insert(at, rows)?;
            return self.insert(at, right);
        }
        let mut parameters = Vec::new();
        let mut tuples = Vec::new();
        for row in &rows {
            let slots = shape.columns.iter().enumerate();
            let slots = slots.map(|(i, c)| shape.parameter(&c.name, parameters.len() + i + 1)).collect::<Vec<_>>();
            tuples.push(format!("({})", slots.join(", ")));
            parameters.extend(values(shape, row)?);
        }
        let names: Vec<String> = shape.columns.iter().map(|c| quoted(&c.name)).collect();
        let sql = format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES {} RETURNING {}",
            relation(&shape.name),
            names.join(", "),
            tuples.join(", "),
            shape.outputs()
        );
        self.statements.push(Statement { at, sql, parameters, expected: Expected::Inserted(rows) });
        Ok(())
    }

    fn update(&mut self, at: usize, key: &Key, before: &Row, after: &Row) -> Result<()> {
        self.there(at, key, before)?;
        let shape = &self.shapes[at];
        values(shape, after)?;
        if shape.key_of(after).as_ref() != Some(key) {
            // An identity column takes no given value by an update.
            self.remove(at, key, before)?;
            return self.insert(at, vec![after.clone()]);
        }
        let mut parameters = texts(key)?;
        let mut sets = Vec::new();
        for column in shape.columns.iter().filter(|c| before.get(&c.name) != after.get(&c.name)) {
            parameters.extend(texts(&[after[&column.name].clone()])?);
            sets.push(format!("{} = {}", quoted(&column.name), shape.parameter(&column.name, parameters.len())));
        }
        if sets.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "UPDATE {} SET {} WHERE {} RETURNING {}",
            relation(&shape.name),
            sets.join(", "),
            shape.key_equals(1),
            shape.outputs()
        );
        let expected = Expected::Updated(before.clone(), after.clone());
        self.statements.push(Statement { at, sql, parameters, expected });
        Ok(())
    }

    fn delete(&mut self, at: usize, key: &Key, before: &Row) -> Result<()> {
        self.there(at, key, before)?;
        self.remove(at, key, before)
    }

    fn remove(&mut self, at: usize, key: &Key, before: &Row) -> Result<()> {
        let shape = &self.shapes[at];
        let sql = format!("DELETE FROM {} WHERE {}", relation(&shape.name), shape.key_equals(1));
        let expected = Expected::Deleted(before.clone());
        self.statements.push(Statement { at, sql, parameters: texts(key)?, expected });
        Ok(())
    }

    /// The row with a key must be as the event says.
    fn there(&mut self, at: usize, key: &Key, before: &Row) -> Result<()> {
        let shape = &self.shapes[at];
        let sql = format!(
            "SELECT {} FROM {} WHERE {} AND {} FOR UPDATE",
            shape.outputs(),
            relation(&shape.name),
            shape.key_equals(1),
            shape.belongs("")
        );
        let expected = Expected::There(before.clone());
        self.statements.push(Statement { at, sql, parameters: texts(key)?, expected });
        Ok(())
    }

    /// Sends what is to be sent in one exchange, and checks every answer.
    async fn send(&mut self) -> Result<()> {
        let statements = std::mem::take(&mut self.statements);
        let answers = pipelined(statements.iter().map(|statement| self.run(statement)).collect()).await?;
        for (statement, rows) in statements.into_iter().zip(answers) {
            self.check(statement, rows)?;
        }
        Ok(())
    }

    async fn run(&self, statement: &Statement) -> Result<Vec<Row>> {
        let shape = &self.shapes[statement.at];
        let rows = self.tx.query_typed(&statement.sql, &references(&statement.parameters)).await.map_err(|error| {
            // Class 23: integrity constraints; class 22: values that do not fit.
            let code = error.code().map(SqlState::code).unwrap_or_default();
            if code.starts_with("23") || code.starts_with("22") {
                let why = failed(error).message;
                return Problem::new(Code::Diverged, format!("a row of {} cannot be written: {why}", shape.name));
            }
            failed(error)
        })?;
        // A statement without columns is a deletion.
        Ok(rows.iter().map(|row| if row.is_empty() { Row::new() } else { shape.read(row) }).collect())
    }

    /// Counts what is in the table now, which must be what was sent.
    fn check(&mut self, statement: Statement, mut rows: Vec<Row>) -> Result<()> {
        let at = statement.at;
        let table = &self.shapes[at].name;
        match statement.expected {
            Expected::Inserted(sent) => {
                if rows.len() != sent.len() {
                    return Err(self.diverged(at, &sent[0], "the table does not take it"));
                }
                for (now, row) in rows.iter().zip(&sent) {
                    if now != row {
                        return Err(self.diverged(at, row, "the table stores it otherwise"));
                    }
                    self.sum.add(table, now);
                }
            }
            Expected::There(before) => match rows.pop() {
                Some(row) if row == before => {}
                Some(_) => return Err(self.diverged(at, &before, "it is another one here")),
                None => return Err(self.diverged(at, &before, "it is not here")),
            },
            Expected::Updated(before, after) => {
                if rows.first() != Some(&after) {
                    return Err(self.diverged(at, &after, "the table stores it otherwise"));
                }
                self.sum.change(table, Some(&before), Some(&after));
            }
            Expected::Deleted(before) => self.sum.take(table, &before),
        }
        Ok(())
    }

    fn diverged(&self, at: usize, row: &Row, why: &str) -> Problem {
        let shape = &self.shapes[at];
        let key = shape.key_of(row).and_then(|key| serde_json::to_string(&key).ok()).unwrap_or_default();
        Problem::new(Code::Diverged, format!("the row {key} of {}: {why}", shape.name))
    }
}

/// Sends all before it waits for the first answer; answers in their order.
async fn pipelined<T>(mut calls: Vec<impl Future<Output = Result<T>>>) -> Result<Vec<T>> {
    let mut calls: Vec<_> = calls.drain(..).map(Box::pin).collect();
    let mut early = Vec::with_capacity(calls.len());
    for call in &mut calls {
        early.push(poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await);
    }
    let mut answers = Vec::with_capacity(calls.len());
    for (call, early) in calls.into_iter().zip(early) {
        answers.push(match early {
            Poll::Ready(answer) => answer?,
            Poll::Pending => call.await?,
        });
    }
    Ok(answers)
}

fn mark(follows: &mut Follows, event: &Event) -> Result<()> {
    let after = event.after.as_ref();
    let Some(Value::Integer(epoch)) = after.and_then(|row| row.get("epoch")) else {
        return Err(Problem::new(Code::BadRequest, "a mark has no epoch"));
    };
    follows.mark_epoch = Some(super::unsigned(*epoch));
    follows.mark_position = Some(event.position);
    follows.mark = serde_json::to_string(&after).ok();
    Ok(())
}

/// All columns' values in the order of `shape`; a row of other columns is refused.
fn values(shape: &Shape, row: &Row) -> Result<Vec<Option<String>>> {
    let other =
        || Problem::new(Code::SchemaChanged, format!("{} has other columns here than at the other side", shape.name));
    if row.len() != shape.columns.len() {
        return Err(other());
    }
    let values: Option<Vec<Value>> = shape.columns.iter().map(|c| row.get(&c.name).cloned()).collect();
    texts(&values.ok_or_else(other)?)
}

fn references(parameters: &[Option<String>]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    parameters.iter().map(|p| (p as _, Type::TEXT)).collect()
}
