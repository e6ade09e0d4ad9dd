//! `POST /fence`.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient, Transaction};

use super::feed;
use super::shape::Shape;
use super::store::{self, Fence};
use super::{Postgres, Result, Typed, failed, parse_lsn, signed};
use crate::contract::{Code, FenceAction, FenceRequest, Fenced, Mark, Op, Problem, Row, Value};
use crate::scope::Scope;

/// The mark's digest is computed again so often.
const TRIES: usize = 5;

impl Postgres {
    /// `POST /fence`, on disk when this returns.
    pub async fn fence(&self, request: &FenceRequest) -> Result<Fenced> {
        let scope = self.scope(&request.scope)?;
        let mut client = self.client().await?;
        let tx = client.transaction().await.map_err(failed)?;
        // Writers hold the fence row until they have committed; new ones wait behind this.
        tx.batch_execute("SET LOCAL lock_timeout = '1s'; SET LOCAL synchronous_commit = on").await.map_err(failed)?;
        let sql = "SELECT 1 FROM cut_fence WHERE scope = $1 FOR UPDATE";
        tx.query_typed(sql, &[(&scope.name, Type::TEXT)]).await.map_err(failed)?;
        let fence = store::fence(&tx, &scope.name).await?;
        let done = match request.action {
            FenceAction::Release => !fence.owner && has_mark(&tx, &scope.name, fence.epoch).await?,
            FenceAction::Acquire => fence.owner,
        };
        let again = fence.epoch == request.epoch && done;
        let mut shapes = None;
        if !again {
            if request.epoch <= fence.epoch {
                let message =
                    format!("{} is in epoch {}, which is not below {}", scope.name, fence.epoch, request.epoch);
                return Err(Problem::new(Code::Epoch, message).epoch(fence.epoch));
            }
            match request.action {
                FenceAction::Release => shapes = Some(release(&tx, scope, &fence, request.epoch).await?),
                FenceAction::Acquire => acquire(&tx, scope, &fence, request).await?,
            }
        }
        tx.commit().await.map_err(failed)?;
        let mark = match request.action {
            FenceAction::Release => Some(self.mark(&client, scope, request.epoch, shapes).await?),
            FenceAction::Acquire => None,
        };
        self.put_back(client);
        Ok(Fenced { owner: request.action == FenceAction::Acquire, epoch: request.epoch, mark })
    }

    /// The mark of a release, with the digest that the log comes to there.
    async fn mark(&self, client: &Client, scope: &Scope, epoch: u64, shapes: Option<Vec<Shape>>) -> Result<Mark> {
        // A call for changes may store a later digest, and forget what was before it, between two of these questions.
        for _ in 0..TRIES {
            if let Some(mark) = self.mark_now(client, scope, epoch, shapes.as_deref()).await? {
                return Ok(mark);
            }
        }
        Err(Problem::new(Code::Failed, "the log does not reach back to the digest"))
    }

    async fn mark_now(
        &self,
        client: &Client,
        scope: &Scope,
        epoch: u64,
        shapes: Option<&[Shape]>,
    ) -> Result<Option<Mark>> {
        let fence = store::fence(client, &scope.name).await?;
        if let Some(mark) = fence.released.clone().filter(|mark| mark.epoch == epoch) {
            return Ok(Some(mark));
        }
        let asked;
        let shapes = match shapes {
            Some(shapes) => shapes,
            None => {
                asked = feed::prepared(client, scope, &fence).await?.1;
                &asked
            }
        };
        let log = self.log(client, &scope.name, &fence, None).await?;
        let position = log.transactions.iter().find_map(|t| {
            let events = feed::events(&scope.name, shapes, t);
            let ours = |row: &Row| row.get("epoch") == Some(&Value::Integer(epoch as i64));
            events.iter().any(|e| e.op == Op::Mark && e.after.as_ref().is_some_and(ours)).then_some(t.end)
        });
        let position = position.ok_or_else(|| Problem::new(Code::Failed, "the log does not have the mark"))?;
        let owned = Fence { owner: true, ..fence };
        let Some(sum) = feed::sum_at(scope, &owned, shapes, &log, position) else { return Ok(None) };
        let digest = sum.digest();
        let sql = "UPDATE cut_scope SET digest_rows = $3, digest_sum = $4, digest_position = $5, released_epoch = $2, \
                   released_position = $5, released_rows = $3, released_sum = $4, changed_since = false \
                   WHERE scope = $1 AND released_epoch IS DISTINCT FROM $2";
        let (number, rows, at) = (signed(epoch)?, signed(digest.rows)?, signed(position)?);
        let parameters: [Typed<'_>; 5] = [
            (&scope.name, Type::TEXT),
            (&number, Type::INT8),
            (&rows, Type::INT8),
            (&digest.sum, Type::TEXT),
            (&at, Type::INT8),
        ];
        client.query_typed(sql, &parameters).await.map_err(failed)?;
        Ok(Some(Mark { epoch, position, digest }))
    }
}

/// Whether the scope was given up here in this epoch.
pub async fn has_mark(client: &impl GenericClient, scope: &str, epoch: u64) -> Result<bool> {
    let sql = "SELECT 1 FROM cut_marks WHERE scope = $1 AND epoch = $2";
    let parameters: [Typed<'_>; 2] = [(&scope, Type::TEXT), (&signed(epoch)?, Type::INT8)];
    Ok(!client.query_typed(sql, &parameters).await.map_err(failed)?.is_empty())
}

/// The fence and the mark in one transaction: no write is between them. The tables as they are.
async fn release(tx: &Transaction<'_>, scope: &Scope, fence: &Fence, epoch: u64) -> Result<Vec<Shape>> {
    if !fence.owner {
        let message = format!("{} is not owned here: it cannot be released", scope.name);
        return Err(Problem::new(Code::WrongOwner, message).epoch(fence.epoch));
    }
    let (_, shapes) = feed::prepared(tx, scope, fence).await?;
    // Without a digest the other side could not compare.
    if fence.digest.is_none() {
        let message = format!("{} was never verified here: it has no digest", scope.name);
        return Err(Problem::new(Code::NotPrepared, message));
    }
    let mut sequences = Row::new();
    for shape in &shapes {
        let Some(sequence) = &shape.sequence else { continue };
        let sql = format!("SELECT last_value, is_called FROM {sequence}");
        let row = tx.query_typed_one(&sql, &[]).await.map_err(failed)?;
        if row.get::<_, bool>(1) {
            sequences.insert(format!("sequence:{}", shape.name), Value::Integer(row.get(0)));
        }
    }
    let sequences = serde_json::to_string(&sequences).map_err(|e| Problem::new(Code::Failed, e.to_string()))?;
    let epoch = signed(epoch)?;
    // Nothing was applied here since; also where the mark's digest is computed only after a crash.
    let sql = "WITH mark AS (INSERT INTO cut_marks (scope, epoch, sequences) VALUES ($1, $2, $3)), \
               since AS (UPDATE cut_scope SET changed_since = false WHERE scope = $1) \
               UPDATE cut_fence SET owner = 0, epoch = $2 WHERE scope = $1";
    let parameters: [Typed<'_>; 3] = [(&scope.name, Type::TEXT), (&epoch, Type::INT8), (&sequences, Type::TEXT)];
    tx.query_typed(sql, &parameters).await.map_err(failed)?;
    Ok(shapes)
}

async fn acquire(tx: &Transaction<'_>, scope: &Scope, fence: &Fence, request: &FenceRequest) -> Result<()> {
    if !fence.owner {
        may_acquire(tx, scope, fence, request).await?;
        // The digest of the rows here is that of the own feed from now on: nothing was written here since.
        let row = tx.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.map_err(failed)?;
        let position = signed(parse_lsn(row.get(0)))?;
        let sql = "UPDATE cut_scope SET digest_position = $2 WHERE scope = $1";
        tx.execute(sql, &[&scope.name, &position]).await.map_err(failed)?;
    }
    let sql = "UPDATE cut_fence SET owner = 1, epoch = $2 WHERE scope = $1";
    tx.execute(sql, &[&scope.name, &signed(request.epoch)?]).await.map_err(failed)?;
    Ok(())
}

async fn may_acquire(tx: &Transaction<'_>, scope: &Scope, fence: &Fence, request: &FenceRequest) -> Result<()> {
    if fence.retired {
        return Err(Problem::new(Code::WrongOwner, format!("{} was retired here", scope.name)).epoch(fence.epoch));
    }
    let Some(src) = &request.src else {
        // A release whose digest was not computed yet is one all the same.
        if !has_mark(tx, &scope.name, fence.epoch).await? || fence.changed_since {
            let message = format!("{} was not released here last: acquire needs src", scope.name);
            return Err(Problem::new(Code::WrongOwner, message).epoch(fence.epoch));
        }
        return Ok(());
    };
    let (Some(position), Some(digest)) = (request.expect_pos, &request.expect_digest) else {
        return Err(Problem::new(Code::BadRequest, "acquire needs expect_pos and expect_digest"));
    };
    let follows = store::following(tx, &scope.name, src).await?;
    let follows =
        follows.ok_or_else(|| Problem::new(Code::NotPrepared, format!("{} does not follow {src}", scope.name)))?;
    if follows.mark_position != Some(position) || follows.position < position {
        let message = format!("{} stands at position {}, not at the mark {position}", scope.name, follows.position);
        return Err(Problem::new(Code::Gap, message).at(follows.position));
    }
    let shapes = super::shape::shapes(tx, scope).await?;
    for shape in shapes.iter().flatten() {
        if !store::copied(tx, &scope.name, &shape.name).await?.1 {
            return Err(Problem::new(Code::NotPrepared, format!("{} is not copied whole", scope.name)));
        }
    }
    if fence.digest.unwrap_or_default().digest() != *digest {
        let message = format!("the rows of {} here are not those of the other side", scope.name);
        return Err(Problem::new(Code::Diverged, message).at(follows.position));
    }
    let mark: Row = follows.mark.and_then(|m| serde_json::from_str(&m).ok()).unwrap_or_default();
    for shape in shapes.iter().flatten() {
        let given = mark.get(&format!("sequence:{}", shape.name));
        let (Some(sequence), Some(Value::Integer(id))) = (&shape.sequence, given) else { continue };
        let sql = format!("SELECT setval($1::text::regclass, greatest($2::bigint, last_value)) FROM {sequence}");
        tx.query_one(&sql, &[sequence, id]).await.map_err(failed)?;
    }
    Ok(())
}
