//! `POST /fence`.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::store::{self, Fence};
use super::{Result, Sqlite, failed, signed};
use crate::contract::{Code, FenceAction, FenceRequest, Fenced, Mark, Problem, Row, Value};
use crate::scope::Scope;

impl Sqlite {
    /// `POST /fence`, on disk when this returns.
    pub fn fence(&self, request: &FenceRequest) -> Result<Fenced> {
        let scope = self.scope(&request.scope)?;
        self.write(|tx| {
            let fence = store::fence(tx, &scope.name)?;
            let again = fence.epoch == request.epoch;
            let done = match request.action {
                FenceAction::Release => !fence.owner && fence.released.as_ref().is_some_and(|m| m.epoch == fence.epoch),
                FenceAction::Acquire => fence.owner,
            };
            if again && done {
                let mark = fence.released.filter(|_| request.action == FenceAction::Release);
                return Ok(Fenced { owner: fence.owner, epoch: fence.epoch, mark });
            }
            if request.epoch <= fence.epoch {
                let message =
                    format!("{} is in epoch {}, which is not below {}", scope.name, fence.epoch, request.epoch);
                return Err(Problem::new(Code::Epoch, message).epoch(fence.epoch));
            }
            match request.action {
                FenceAction::Release => self.release(tx, scope, &fence, request.epoch),
                FenceAction::Acquire => acquire(tx, scope, &fence, request),
            }
        })
    }

    /// The fence and the mark in one transaction: no write is between them.
    fn release(&self, tx: &Connection, scope: &Scope, fence: &Fence, epoch: u64) -> Result<Fenced> {
        if !fence.owner {
            let message = format!("{} is not owned here: it cannot be released", scope.name);
            return Err(Problem::new(Code::WrongOwner, message).epoch(fence.epoch));
        }
        let (own, _) = self.prepared(tx, scope, fence)?;
        let sum = self.fold(tx, scope, fence, &own, fence.head)?;
        let sum = sum.ok_or_else(|| {
            Problem::new(Code::NotPrepared, format!("{} was never verified here: it has no digest", scope.name))
        })?;
        let digest = sum.digest();
        let position = fence.head + 1;
        let mut image = BTreeMap::from([
            ("epoch".to_owned(), format!("i{epoch}")),
            ("digest_rows".to_owned(), format!("i{}", digest.rows)),
            ("digest_sum".to_owned(), format!("t{}", digest.sum)),
        ]);
        for table in &scope.tables {
            if let Some(id) = sequence(tx, &table.name)? {
                image.insert(format!("sequence:{}", table.name), format!("i{id}"));
            }
        }
        let image = serde_json::to_string(&image).map_err(|e| Problem::new(Code::Failed, e.to_string()))?;
        tx.execute(
            "INSERT INTO cut_changes (scope, position, tbl, op, after, at_ms) VALUES (?1, ?2, '', 'mark', ?3, \
             CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))",
            params![scope.name, signed(position)?, image],
        )
        .map_err(failed)?;
        tx.execute(
            "UPDATE cut_fence SET owner = 0, epoch = ?2, head = ?3, digest_rows = ?4, digest_sum = ?5, \
             digest_position = ?3, released_epoch = ?2, released_position = ?3, released_rows = ?4, \
             released_sum = ?5, changed_since = 0 WHERE scope = ?1",
            params![scope.name, signed(epoch)?, signed(position)?, signed(digest.rows)?, digest.sum],
        )
        .map_err(failed)?;
        Ok(Fenced { owner: false, epoch, mark: Some(Mark { epoch, position, digest }) })
    }
}

fn acquire(tx: &Connection, scope: &Scope, fence: &Fence, request: &FenceRequest) -> Result<Fenced> {
    if fence.owner {
        // Nothing was released; the epoch shuts out commands and requests that are still on their way.
        raise(tx, scope, fence, request.epoch)?;
        return Ok(Fenced { owner: true, epoch: request.epoch, mark: None });
    }
    if fence.retired {
        return Err(Problem::new(Code::WrongOwner, format!("{} was retired here", scope.name)).epoch(fence.epoch));
    }
    match &request.src {
        Some(src) => {
            let (Some(position), Some(digest)) = (request.expect_pos, &request.expect_digest) else {
                return Err(Problem::new(Code::BadRequest, "acquire needs expect_pos and expect_digest"));
            };
            let follows = store::following(tx, &scope.name, src)?;
            let follows = follows
                .ok_or_else(|| Problem::new(Code::NotPrepared, format!("{} does not follow {src}", scope.name)))?;
            if follows.position != position || follows.mark_position != Some(position) {
                let message =
                    format!("{} stands at position {}, not at the mark {position}", scope.name, follows.position);
                return Err(Problem::new(Code::Gap, message).at(follows.position));
            }
            if !store::all_copied(tx, scope)? {
                return Err(Problem::new(Code::NotPrepared, format!("{} is not copied whole", scope.name)));
            }
            if fence.digest.unwrap_or_default().digest() != *digest {
                let message = format!("the rows of {} here are not those of the other side", scope.name);
                return Err(Problem::new(Code::Diverged, message).at(follows.position));
            }
            let mark: Row = follows.mark.and_then(|m| serde_json::from_str(&m).ok()).unwrap_or_default();
            for table in &scope.tables {
                if let Some(Value::Integer(id)) = mark.get(&format!("sequence:{}", table.name)) {
                    move_on(tx, &table.name, *id)?;
                }
            }
        }
        None => {
            if fence.released.is_none() || fence.changed_since {
                let message = format!("{} was not released here last: acquire needs src", scope.name);
                return Err(Problem::new(Code::WrongOwner, message).epoch(fence.epoch));
            }
        }
    }
    raise(tx, scope, fence, request.epoch)?;
    Ok(Fenced { owner: true, epoch: request.epoch, mark: None })
}

/// The digest of the rows here becomes that of the feed's newest position: nothing was written here since.
fn raise(tx: &Connection, scope: &Scope, fence: &Fence, epoch: u64) -> Result<()> {
    let sql = "UPDATE cut_fence SET owner = 1, epoch = ?2, \
               digest_position = CASE owner WHEN 0 THEN head ELSE digest_position END WHERE scope = ?1";
    tx.execute(sql, params![scope.name, signed(epoch)?]).map_err(failed)?;
    debug_assert!(fence.epoch < epoch);
    Ok(())
}

/// The last id that AUTOINCREMENT gave; `None` for other keys.
pub fn sequence(connection: &Connection, table: &str) -> Result<Option<i64>> {
    let sql = "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'";
    if connection.query_row(sql, [], |_| Ok(())).optional().map_err(failed)?.is_none() {
        return Ok(None);
    }
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
    connection.query_row(sql, [table], |row| row.get(0)).optional().map_err(failed)
}

fn move_on(connection: &Connection, table: &str, id: i64) -> Result<()> {
    let sql = "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1";
    if connection.execute(sql, params![table, id]).map_err(failed)? == 0 {
        let sql = "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)";
        connection.execute(sql, params![table, id]).map_err(failed)?;
    }
    Ok(())
}
