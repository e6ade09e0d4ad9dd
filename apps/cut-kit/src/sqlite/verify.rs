//! `POST /verify`, and looks at whole tables.

use rusqlite::{Connection, TransactionBehavior, params};

use super::schema::Shape;
use super::{Result, Sqlite, connect, failed, rows, signed, store};
use crate::contract::{Code, Problem, Verified, VerifyRequest};
use crate::digest::Sum;
use crate::scope::quoted;

impl Sqlite {
    /// `POST /verify`. Reads one state of the file over a connection of its own; writers go on.
    pub fn verify(&self, request: &VerifyRequest) -> Result<Verified> {
        let scope = self.scope(&request.scope)?;
        let mut connection = connect(&self.path)?;
        let tx = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(failed)?;
        let fence = store::fence(&tx, &scope.name)?;
        let (feed, shapes) = self.prepared(&tx, scope, &fence)?;
        let (position, kept) = match &request.src {
            None if fence.owner => (fence.head, self.fold(&tx, scope, &fence, &feed, fence.head)?),
            Some(src) if !fence.owner => {
                let follows = store::following(&tx, &scope.name, src)?;
                let follows = follows
                    .ok_or_else(|| Problem::new(Code::NotPrepared, format!("{} does not follow {src}", scope.name)))?;
                (follows.position, fence.digest)
            }
            _ => {
                let message = "src is given at a side that follows, and not at the owner";
                return Err(Problem::new(Code::WrongOwner, message).epoch(fence.epoch));
            }
        };
        let mut sum = Sum::default();
        for shape in &shapes {
            let sql = format!("SELECT {} FROM {} WHERE {}", shape.list(), quoted(&shape.name), shape.belongs(""));
            let mut statement = tx.prepare(&sql).map_err(failed)?;
            let mut found = statement.query([]).map_err(failed)?;
            while let Some(row) = found.next().map_err(failed)? {
                sum.add(&shape.name, &rows::read(shape, row)?);
            }
        }
        drop(tx);
        let digest = sum.digest();
        if digest.rows == 0 && !request.allow_empty {
            let message = format!("{} has no row: there was nothing to compare", scope.name);
            return Err(Problem::new(Code::NothingCompared, message));
        }
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
            Some(_) => {}
            None if fence.owner => self.write(|tx| {
                let digest = sum.digest();
                tx.execute(
                    "UPDATE cut_fence SET digest_rows = ?3, digest_sum = ?4, digest_position = ?5 \
                     WHERE scope = ?1 AND feed = ?2 AND owner = 1 AND digest_sum IS NULL",
                    params![scope.name, feed, signed(digest.rows)?, digest.sum, signed(position)?],
                )
                .map_err(failed)?;
                Ok(())
            })?,
            None => {}
        }
        Ok(Verified { position, digest, compared: kept.is_some() })
    }
}

/// How many rows of a table belong to the scope.
pub fn rows(connection: &Connection, shape: &Shape) -> Result<i64> {
    let sql = format!("SELECT count(*) FROM {} WHERE {}", quoted(&shape.name), shape.belongs(""));
    connection.query_row(&sql, [], |row| row.get(0)).map_err(failed)
}
