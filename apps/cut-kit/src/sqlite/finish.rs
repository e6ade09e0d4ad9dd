//! `POST /finish`.

use rusqlite::Connection;

use super::schema::{self, Shape};
use super::{Result, Sqlite, failed, lock, store, triggers};
use crate::contract::{Code, Fate, FinishRequest, Finished, Problem};
use crate::scope::quoted;

impl Sqlite {
    /// `POST /finish`. May be repeated.
    pub fn finish(&self, request: &FinishRequest) -> Result<Finished> {
        let scope = self.scope(&request.scope)?;
        let name = &scope.name;
        let finished = self.write(|tx| {
            let fence = store::fence(tx, name)?;
            if fence.owner != request.owner {
                let is = if fence.owner { "is" } else { "is not" };
                return Err(Problem::new(Code::WrongOwner, format!("{name} {is} owned here")).epoch(fence.epoch));
            }
            if fence.owner && request.tables != Fate::Keep {
                return Err(Problem::new(Code::WrongOwner, "an owner's tables stay as they are").epoch(fence.epoch));
            }
            let shapes: Vec<Shape> = schema::shapes(tx, scope)?.into_iter().flatten().collect();
            triggers::remove(tx, name, !fence.owner)?;
            let mut left = Vec::new();
            for shape in &shapes {
                left.extend(retire(tx, name, shape, request.tables, fence.epoch)?);
            }
            for table in ["cut_changes", "cut_following", "cut_copied", "cut_replaced"] {
                tx.execute(&format!("DELETE FROM {table} WHERE scope = ?1"), [name]).map_err(failed)?;
            }
            let gone = matches!(request.tables, Fate::Rename | Fate::Drop);
            tx.execute(
                "UPDATE cut_fence SET feed = NULL, shapes = NULL, digest_rows = NULL, digest_sum = NULL, \
                 released_epoch = NULL, changed_since = 0, retired = max(retired, ?2) WHERE scope = ?1",
                rusqlite::params![name, gone],
            )
            .map_err(failed)?;
            Ok(Finished { owner: fence.owner, epoch: fence.epoch, tables: left })
        })?;
        lock(&self.kept).remove(name);
        Ok(finished)
    }
}

/// Carries out what becomes of a table; its name afterwards.
fn retire(tx: &Connection, scope: &str, shape: &Shape, fate: Fate, epoch: u64) -> Result<Option<String>> {
    let table = quoted(&shape.name);
    let execute = |sql: &str| tx.execute_batch(sql).map_err(failed);
    let shared = shape.only.is_some();
    match fate {
        Fate::Keep => {}
        Fate::Clear => execute(&format!("DELETE FROM {table} WHERE {}", shape.belongs("")))?,
        Fate::Rename | Fate::Drop if shared => execute(&format!("DELETE FROM {table} WHERE {}", shape.belongs("")))?,
        Fate::Rename => {
            let new = format!("{}_retired_{epoch}", shape.name);
            triggers::remove_of(tx, scope, &shape.name)?;
            execute(&format!("ALTER TABLE {table} RENAME TO {}", quoted(&new)))?;
            return Ok(Some(new));
        }
        Fate::Drop => {
            execute(&format!("DROP TABLE {table}"))?;
            return Ok(None);
        }
    }
    Ok(Some(shape.name.clone()))
}
