//! `POST /prepare`.

use rusqlite::{Connection, params};

use super::schema::{self, Shape};
use super::store::{self, Fence};
use super::{Result, Sqlite, failed, feed, fence, signed, triggers, verify};
use crate::contract::{Code, Engine, Finding, Follow, PrepareRequest, Prepared, Problem, Role, Severity, Table};
use crate::scope::Scope;

impl Sqlite {
    /// `POST /prepare`.
    pub fn prepare(&self, request: &PrepareRequest) -> Result<Prepared> {
        let scope = self.scope(&request.scope)?;
        if request.dry_run {
            return self.read(|tx| {
                let (_, _, prepared) = self.look(tx, scope, request)?;
                Ok(prepared)
            });
        }
        self.write(|tx| {
            let (fence, shapes, mut prepared) = self.look(tx, scope, request)?;
            if prepared.findings.iter().any(|f| f.severity == Severity::Blocking) {
                return Ok(prepared);
            }
            prepared.feed = Some(self.make(tx, scope, request, &fence, &shapes)?);
            Ok(prepared)
        })
    }

    /// What is there, and what stands in the way.
    fn look(&self, tx: &Connection, scope: &Scope, request: &PrepareRequest) -> Result<(Fence, Vec<Shape>, Prepared)> {
        let fence = store::fence(tx, &scope.name)?;
        if request.epoch < fence.epoch {
            let message = format!("{} is in epoch {} already", scope.name, fence.epoch);
            return Err(Problem::new(Code::Epoch, message).epoch(fence.epoch));
        }
        let shapes = schema::shapes(tx, scope)?;
        let mut findings = schema::findings(tx, scope, &shapes)?;
        let shapes: Vec<Shape> = shapes.into_iter().flatten().collect();
        let mut block = |code: &str, message: String| {
            findings.push(Finding { severity: Severity::Blocking, code: code.into(), table: None, message });
        };
        let wrong = |message: String| Problem::new(Code::WrongOwner, message).epoch(fence.epoch);
        match request.role {
            Role::Source if !fence.owner => {
                return Err(wrong(format!("{} is not owned here", scope.name)));
            }
            Role::Source => {}
            Role::Destination if fence.owner && !unused(tx, &fence, &shapes)? => {
                let message =
                    format!("{} is owned here and has or had rows: a cut moves into an empty one", scope.name);
                return Err(wrong(message));
            }
            Role::Destination => {
                let follows = follows_any(tx, &scope.name)?;
                for shape in &shapes {
                    if !follows && verify::rows(tx, shape)? > 0 {
                        block("rows", format!("{} has rows that did not come by a cut", shape.name));
                    }
                }
            }
        }
        let mut tables = Vec::new();
        for shape in &shapes {
            let (copied_to, copied) = store::copied(tx, &scope.name, &shape.name)?;
            tables.push(Table {
                name: shape.name.clone(),
                key: shape.key.clone(),
                columns: shape.columns.clone(),
                only: shape.only.clone(),
                copied_to,
                copied,
            });
        }
        let prepared =
            Prepared { database: self.database.clone(), engine: Engine::Sqlite, feed: None, tables, findings };
        Ok((fence, shapes, prepared))
    }

    fn make(
        &self,
        tx: &Connection,
        scope: &Scope,
        request: &PrepareRequest,
        fence: &Fence,
        shapes: &[Shape],
    ) -> Result<Follow> {
        let name = &scope.name;
        let owner = request.role == Role::Source;
        tx.execute(
            "UPDATE cut_fence SET owner = ?2, epoch = ?3 WHERE scope = ?1",
            params![name, owner, signed(request.epoch)?],
        )
        .map_err(failed)?;
        let feed = match &fence.feed {
            // Triggers and tables are as they were: the feed has missed nothing.
            Some(feed) if feed::prepared(tx, scope, fence).is_ok() => feed.clone(),
            _ => self.new_feed(tx, scope, fence, shapes)?,
        };
        if let Some(follow) = request.follow.as_ref().filter(|_| owner) {
            tx.execute(
                "INSERT INTO cut_following (scope, src, position) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                params![name, follow.src, signed(follow.position)?],
            )
            .map_err(failed)?;
            for table in &scope.tables {
                tx.execute(
                    "INSERT INTO cut_copied (scope, tbl, whole) VALUES (?1, ?2, 1) \
                     ON CONFLICT (scope, tbl) DO UPDATE SET whole = 1",
                    params![name, table.name],
                )
                .map_err(failed)?;
            }
        }
        Ok(Follow { src: feed, position: fence.head })
    }

    fn new_feed(&self, tx: &Connection, scope: &Scope, fence: &Fence, shapes: &[Shape]) -> Result<String> {
        let name = &scope.name;
        triggers::remove(tx, name, false)?;
        for shape in shapes {
            triggers::guard(tx, name, shape)?;
            triggers::feed(tx, name, shape)?;
        }
        let feed = format!("{}.{name}.{}", self.database, fence.feeds + 1);
        let stored = serde_json::to_string(shapes).map_err(|e| Problem::new(Code::Failed, e.to_string()))?;
        tx.execute(
            "UPDATE cut_fence SET feed = ?2, feeds = feeds + 1, shapes = ?3 WHERE scope = ?1",
            params![name, feed, stored],
        )
        .map_err(failed)?;
        // An owner wrote without a feed: the digest is not that of its rows any more.
        if fence.owner {
            tx.execute("UPDATE cut_fence SET digest_rows = NULL, digest_sum = NULL WHERE scope = ?1", [name])
                .map_err(failed)?;
        }
        tx.execute("DELETE FROM cut_changes WHERE scope = ?1", [name]).map_err(failed)?;
        Ok(feed)
    }
}

fn follows_any(connection: &Connection, scope: &str) -> Result<bool> {
    let sql = "SELECT count(*) FROM cut_following WHERE scope = ?1";
    let count: i64 = connection.query_row(sql, [scope], |row| row.get(0)).map_err(failed)?;
    Ok(count > 0)
}

/// Whether an owner never had a row: no write can have been acknowledged.
fn unused(connection: &Connection, fence: &Fence, shapes: &[Shape]) -> Result<bool> {
    for shape in shapes {
        let given = fence::sequence(connection, &shape.name)?.unwrap_or(0) > 0;
        if verify::rows(connection, shape)? > 0 || (given && shape.only.is_none()) {
            return Ok(false);
        }
    }
    Ok(fence.feed.is_none())
}
