//! `POST /fence`.

use futures_util::future::try_join_all;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient};

use super::feed::{self, Now, Part};
use super::shape::Shape;
use super::store::{self, Fence, Follows};
use super::{Postgres, Result, Typed, commit, failed, parse_lsn, signed};
use crate::contract::{Code, FenceAction, FenceRequest, Fenced, Mark, Op, Problem, Row, Value};
use crate::scope::Scope;

/// The mark's digest is computed again so often.
const TRIES: usize = 5;

impl Postgres {
    /// `POST /fence`, on disk when this returns.
    pub async fn fence(&self, request: &FenceRequest) -> Result<Fenced> {
        let scope = self.scope(&request.scope)?;
        let client = self.client().await?;
        // Writers hold the fence row until they have committed; new ones wait behind this.
        let more = async {
            tokio::try_join!(biased; has_mark(&client, &scope.name, request.epoch), About::now(&client, scope, request))
        };
        let (fence, (has_mark, about)) = self.begin(&client, scope, "1s", more).await?;
        let done = match request.action {
            FenceAction::Release => !fence.owner && has_mark,
            FenceAction::Acquire => fence.owner,
        };
        let mut shapes = None;
        if fence.epoch == request.epoch && done {
            commit(&client, async { Ok(()) }).await?;
        } else if request.epoch <= fence.epoch {
            let message = format!("{} is in epoch {}, which is not below {}", scope.name, fence.epoch, request.epoch);
            return Err(Problem::new(Code::Epoch, message).epoch(fence.epoch));
        } else {
            match request.action {
                FenceAction::Release => {
                    shapes = Some(release(&client, scope, &fence, request.epoch, about.tables).await?);
                }
                FenceAction::Acquire => acquire(&client, scope, &fence, request, about).await?,
            }
        }
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
        // The release waited for the disk.
        let log = self.log(client, &scope.name, &fence, Part::Written).await?;
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

/// What a fence command has to know of its database beside the fence row.
struct About {
    tables: Now,
    /// `acquire` with `src`: how far it has been followed.
    follows: Option<Follows>,
    /// Whether every table has been copied whole.
    copied: bool,
    /// Whether the scope was given up here in the fence row's epoch.
    released_here: bool,
    /// Where the log ends.
    position: u64,
}

impl About {
    async fn now(client: &Client, scope: &Scope, request: &FenceRequest) -> Result<About> {
        let follows = async {
            match &request.src {
                Some(src) => store::following(client, &scope.name, src).await,
                None => Ok(None),
            }
        };
        let copied = try_join_all(scope.tables.iter().map(|table| store::copied(client, &scope.name, &table.name)));
        let sql = "SELECT pg_current_wal_insert_lsn()::text, EXISTS (SELECT 1 FROM cut_marks m \
                   JOIN cut_fence f USING (scope, epoch) WHERE scope = $1)";
        let parameters: [Typed<'_>; 1] = [(&scope.name, Type::TEXT)];
        let row = async { client.query_typed_one(sql, &parameters).await.map_err(failed) };
        let (tables, follows, copied, row) = tokio::try_join!(biased; feed::now(client, scope), follows, copied, row)?;
        Ok(About {
            tables,
            follows,
            copied: copied.iter().all(|(_, whole)| *whole),
            released_here: row.get(1),
            position: parse_lsn(row.get(0)),
        })
    }
}

/// Whether the scope was given up here in this epoch.
pub async fn has_mark(client: &impl GenericClient, scope: &str, epoch: u64) -> Result<bool> {
    let sql = "SELECT 1 FROM cut_marks WHERE scope = $1 AND epoch = $2";
    let parameters: [Typed<'_>; 2] = [(&scope, Type::TEXT), (&signed(epoch)?, Type::INT8)];
    Ok(!client.query_typed(sql, &parameters).await.map_err(failed)?.is_empty())
}

/// The fence and the mark in one transaction: no write is between them. The tables as they are.
async fn release(client: &Client, scope: &Scope, fence: &Fence, epoch: u64, tables: Now) -> Result<Vec<Shape>> {
    if !fence.owner {
        let message = format!("{} is not owned here: it cannot be released", scope.name);
        return Err(Problem::new(Code::WrongOwner, message).epoch(fence.epoch));
    }
    let (_, shapes) = tables.prepared(scope, fence)?;
    // Without a digest the other side could not compare.
    if fence.digest.is_none() {
        let message = format!("{} was never verified here: it has no digest", scope.name);
        return Err(Problem::new(Code::NotPrepared, message));
    }
    let last = shapes.iter().filter_map(|shape| shape.sequence.as_ref().map(|sequence| (shape, sequence)));
    let last = try_join_all(last.map(|(shape, sequence)| async move {
        let sql = format!("SELECT last_value, is_called FROM {sequence}");
        let row = client.query_typed_one(&sql, &[]).await.map_err(failed)?;
        Ok::<_, Problem>(
            row.get::<_, bool>(1).then(|| (format!("sequence:{}", shape.name), Value::Integer(row.get(0)))),
        )
    }));
    let sequences: Row = last.await?.into_iter().flatten().collect();
    let sequences = serde_json::to_string(&sequences).map_err(|e| Problem::new(Code::Failed, e.to_string()))?;
    let epoch = signed(epoch)?;
    // Nothing was applied here since; also where the mark's digest is computed only after a crash.
    let sql = "WITH mark AS (INSERT INTO cut_marks (scope, epoch, sequences) VALUES ($1, $2, $3)), \
               since AS (UPDATE cut_scope SET changed_since = false WHERE scope = $1) \
               UPDATE cut_fence SET owner = 0, epoch = $2 WHERE scope = $1";
    let parameters: [Typed<'_>; 3] = [(&scope.name, Type::TEXT), (&epoch, Type::INT8), (&sequences, Type::TEXT)];
    commit(client, async { client.query_typed(sql, &parameters).await.map_err(failed) }).await?;
    Ok(shapes)
}

async fn acquire(client: &Client, scope: &Scope, fence: &Fence, request: &FenceRequest, about: About) -> Result<()> {
    let (name, epoch) = (&scope.name, signed(request.epoch)?);
    let fenced = async {
        let sql = "UPDATE cut_fence SET owner = 1, epoch = $2 WHERE scope = $1";
        let parameters: [Typed<'_>; 2] = [(name, Type::TEXT), (&epoch, Type::INT8)];
        client.query_typed(sql, &parameters).await.map_err(failed)
    };
    if fence.owner {
        return commit(client, fenced).await.map(drop);
    }
    // The digest of the rows here is that of the own feed from now on: nothing was written here since.
    let position = signed(about.position)?;
    let mark = may_acquire(scope, fence, request, &about)?;
    let shapes = about.tables.shapes();
    let given = shapes.filter_map(|shape| match (&shape.sequence, mark.get(&format!("sequence:{}", shape.name))) {
        (Some(sequence), Some(Value::Integer(id))) => Some((sequence, *id)),
        _ => None,
    });
    let sequences = try_join_all(given.map(|(sequence, id)| async move {
        let sql = format!("SELECT setval($1::text::regclass, greatest($2, last_value)) FROM {sequence}");
        let parameters: [Typed<'_>; 2] = [(sequence, Type::TEXT), (&id, Type::INT8)];
        client.query_typed(&sql, &parameters).await.map_err(failed)
    }));
    let digest = async {
        let sql = "UPDATE cut_scope SET digest_position = $2 WHERE scope = $1";
        let parameters: [Typed<'_>; 2] = [(name, Type::TEXT), (&position, Type::INT8)];
        client.query_typed(sql, &parameters).await.map_err(failed)
    };
    commit(client, async { tokio::try_join!(biased; sequences, digest, fenced) }).await.map(drop)
}

/// The mark that it takes over from; empty where it takes back what it released itself.
fn may_acquire(scope: &Scope, fence: &Fence, request: &FenceRequest, about: &About) -> Result<Row> {
    if fence.retired {
        return Err(Problem::new(Code::WrongOwner, format!("{} was retired here", scope.name)).epoch(fence.epoch));
    }
    let Some(src) = &request.src else {
        // A release whose digest was not computed yet is one all the same.
        if !about.released_here || fence.changed_since {
            let message = format!("{} was not released here last: acquire needs src", scope.name);
            return Err(Problem::new(Code::WrongOwner, message).epoch(fence.epoch));
        }
        return Ok(Row::new());
    };
    let (Some(position), Some(digest)) = (request.expect_pos, &request.expect_digest) else {
        return Err(Problem::new(Code::BadRequest, "acquire needs expect_pos and expect_digest"));
    };
    let unknown = || Problem::new(Code::NotPrepared, format!("{} does not follow {src}", scope.name));
    let follows = about.follows.as_ref().ok_or_else(unknown)?;
    if follows.mark_position != Some(position) || follows.position < position {
        let message = format!("{} stands at position {}, not at the mark {position}", scope.name, follows.position);
        return Err(Problem::new(Code::Gap, message).at(follows.position));
    }
    if !about.copied {
        return Err(Problem::new(Code::NotPrepared, format!("{} is not copied whole", scope.name)));
    }
    if fence.digest.unwrap_or_default().digest() != *digest {
        let message = format!("the rows of {} here are not those of the other side", scope.name);
        return Err(Problem::new(Code::Diverged, message).at(follows.position));
    }
    Ok(follows.mark.as_ref().and_then(|mark| serde_json::from_str(mark).ok()).unwrap_or_default())
}
