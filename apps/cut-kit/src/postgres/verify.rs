//! `POST /verify`.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::IsolationLevel;

use super::feed::{self, Hold, Part, Visible};
use super::{Postgres, Result, failed, store};
use crate::contract::{Code, Problem, Verified, VerifyRequest};
use crate::digest::Sum;
use crate::scope::relation;

impl Postgres {
    /// `POST /verify`. Reads one snapshot; writers go on.
    pub async fn verify(&self, request: &VerifyRequest) -> Result<Verified> {
        let scope = self.scope(&request.scope)?;
        let mut client = self.client().await?;
        // The log from before the rows are read is needed afterwards. Given up with the connection where this fails.
        self.may_forget(&client, &scope.name, Hold::Shared).await?;
        let tx = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let tx = tx.start().await.map_err(failed)?;
        let visible = Visible::now(&tx).await?;
        let fence = store::fence(&tx, &scope.name).await?;
        let (feed, shapes) = feed::prepared(&tx, scope, &fence).await?;
        let mut sum = Sum::default();
        for shape in &shapes {
            let sql = format!("SELECT {} FROM {} WHERE {}", shape.outputs(), relation(&shape.name), shape.belongs(""));
            let rows = tx.query_raw(&sql, Vec::<String>::new()).await.map_err(failed)?;
            let mut rows = pin!(rows);
            while let Some(row) = rows.try_next().await.map_err(failed)? {
                sum.add(&shape.name, &shape.read(&row));
            }
        }
        let follows = match &request.src {
            Some(src) => store::following(&tx, &scope.name, src).await?,
            None => None,
        };
        tx.commit().await.map_err(failed)?;
        let digest = sum.digest();
        if digest.rows == 0 && !request.allow_empty {
            let message = format!("{} has no row: there was nothing to compare", scope.name);
            return Err(Problem::new(Code::NothingCompared, message));
        }
        let (position, kept) = match &request.src {
            None if fence.owner => {
                let log = self.log(&client, &scope.name, &fence, Part::Committed).await?;
                // The kept digest may be that of a later position than the last change's.
                let kept_at = if fence.digest.is_some() { fence.digest_position } else { 0 };
                let position = visible.position(&log, kept_at).ok_or_else(|| {
                    Problem::new(Code::Busy, "two commits became visible in another order than in the log; try again")
                })?;
                let kept = feed::sum_at(scope, &fence, &shapes, &log, position);
                if kept.is_none() && fence.digest.is_some() {
                    return Err(Problem::new(Code::Busy, "the kept digest moved on meanwhile; try again"));
                }
                (position, kept)
            }
            Some(src) if !fence.owner => {
                let follows = follows
                    .ok_or_else(|| Problem::new(Code::NotPrepared, format!("{} does not follow {src}", scope.name)))?;
                (follows.position, fence.digest)
            }
            _ => {
                let message = "src is given at a side that follows, and not at the owner";
                return Err(Problem::new(Code::WrongOwner, message).epoch(fence.epoch));
            }
        };
        match kept {
            Some(kept) if kept != sum => {
                let message = format!(
                    "{} has {} rows, and {} by its feed; or their contents differ",
                    scope.name,
                    digest.rows,
                    kept.digest().rows
                );
                return Err(Problem::new(Code::Diverged, message).at(position));
            }
            None if fence.owner => {
                let (rows, at) = (super::signed(digest.rows)?, super::signed(position)?);
                let sql = "UPDATE cut_scope SET digest_rows = $3, digest_sum = $4, digest_position = $5 \
                           WHERE scope = $1 AND feed = $2 AND digest_sum IS NULL";
                client.execute(sql, &[&scope.name, &feed, &rows, &digest.sum, &at]).await.map_err(failed)?;
            }
            _ => {}
        }
        self.may_forget(&client, &scope.name, Hold::SharedOver).await?;
        self.put_back(client);
        Ok(Verified { position, digest, compared: kept.is_some() })
    }
}
