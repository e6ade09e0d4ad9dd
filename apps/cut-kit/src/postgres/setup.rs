//! `POST /prepare` and `POST /finish`: triggers, publication, slot.

use tokio_postgres::{Client, GenericClient};

use super::shape::{self, Shape};
use super::store::{self, Fence};
use super::{Postgres, Result, failed, feed, findings, signed};
use crate::contract::{
    Code, Engine, Fate, Finding, FinishRequest, Finished, Follow, PrepareRequest, Prepared, Problem, Role, Severity,
};
use crate::fence::{MESSAGE, SQLSTATE};
use crate::scope::{Scope, literal, local, quoted, relation};

/// The setting by which the guard knows the kit's own transactions.
pub const APPLYING: &str = "cut.applying";

/// Makes the guard's function.
pub async fn functions(client: &impl GenericClient, schema: &str) -> Result<()> {
    let sql = format!(
        "CREATE OR REPLACE FUNCTION {schema}.cut_guard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
DECLARE
    owned bigint;
BEGIN
    IF pg_catalog.current_setting('{APPLYING}', true) IS DISTINCT FROM TG_ARGV[0] THEN
        IF TG_OP = 'TRUNCATE' THEN
            RAISE EXCEPTION 'a table that is being cut is not truncated; delete its rows';
        END IF;
        SELECT owner INTO owned FROM {schema}.cut_fence WHERE scope = TG_ARGV[0] FOR SHARE;
        IF owned IS DISTINCT FROM 1 THEN
            RAISE EXCEPTION '{MESSAGE}%', TG_ARGV[0] USING ERRCODE = '{SQLSTATE}';
        END IF;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $guard$"
    );
    client.batch_execute(&sql).await.map_err(failed)
}

/// Makes the triggers that refuse writes while the scope is not owned here: once for each statement, or for each row of a
/// shared table that is the scope's.
pub async fn guard(client: &impl GenericClient, schema: &str, scope: &str, shape: &Shape) -> Result<()> {
    let table = relation(&shape.name);
    let (new, old) = (shape.belongs("NEW."), shape.belongs("OLD."));
    let mut all = vec![("truncate", "TRUNCATE", String::new(), "STATEMENT")];
    if shape.only.is_some() {
        all.push(("insert", "INSERT", format!("WHEN ({new})"), "ROW"));
        all.push(("update", "UPDATE", format!("WHEN ({new} OR {old})"), "ROW"));
        all.push(("delete", "DELETE", format!("WHEN ({old})"), "ROW"));
    } else {
        all.push(("write", "INSERT OR UPDATE OR DELETE", String::new(), "STATEMENT"));
    }
    for (kind, events, when, each) in all {
        let name = quoted(&format!("cut_{scope}.{kind}"));
        client
            .batch_execute(&format!(
                "DROP TRIGGER IF EXISTS {name} ON {table}; \
                 CREATE TRIGGER {name} BEFORE {events} ON {table} FOR EACH {each} {when} \
                 EXECUTE FUNCTION {schema}.cut_guard({}); \
                 ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}",
                literal(scope)
            ))
            .await
            .map_err(failed)?;
    }
    Ok(())
}

/// Locks the fence row and whole tables before anything is done to them. All in one exchange, and below the server's
/// usual `deadlock_timeout` of a second: of this and a writer that holds one of them and waits for another, the writer
/// is not to be the victim.
async fn lock(client: &impl GenericClient, scope: &str, shapes: &[Shape]) -> Result<()> {
    let mut sql = format!(
        "SET LOCAL lock_timeout = '800ms'; SET LOCAL statement_timeout = '600ms'; \
         SELECT 1 FROM cut_fence WHERE scope = {} FOR UPDATE",
        literal(scope)
    );
    let tables: Vec<String> = shapes.iter().map(|shape| relation(&shape.name)).collect();
    if !tables.is_empty() {
        sql += &format!("; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "));
    }
    client.batch_execute(&format!("{sql}; SET LOCAL statement_timeout = 0")).await.map_err(failed)
}

async fn remove_guard(client: &impl GenericClient, scope: &str, shape: &Shape) -> Result<()> {
    for kind in ["truncate", "insert", "update", "delete", "write"] {
        let name = quoted(&format!("cut_{scope}.{kind}"));
        let sql = format!("DROP TRIGGER IF EXISTS {name} ON {}", relation(&shape.name));
        client.batch_execute(&sql).await.map_err(failed)?;
    }
    Ok(())
}

impl Postgres {
    /// `POST /prepare`.
    pub async fn prepare(&self, request: &PrepareRequest) -> Result<Prepared> {
        let scope = self.scope(&request.scope)?;
        let mut client = self.client().await?;
        let (fence, shapes, mut prepared) = self.look(&client, scope, request).await?;
        let blocked = prepared.findings.iter().any(|f| f.severity == Severity::Blocking);
        if !request.dry_run && !blocked {
            prepared.feed = Some(self.make(&mut client, scope, request, &fence, &shapes).await?);
        }
        self.put_back(client);
        Ok(prepared)
    }

    async fn look(
        &self,
        client: &Client,
        scope: &Scope,
        request: &PrepareRequest,
    ) -> Result<(Fence, Vec<Shape>, Prepared)> {
        let fence = store::fence(client, &scope.name).await?;
        if request.epoch < fence.epoch {
            let message = format!("{} is in epoch {} already", scope.name, fence.epoch);
            return Err(Problem::new(Code::Epoch, message).epoch(fence.epoch));
        }
        let shapes = shape::shapes(client, scope).await?;
        let mut findings = findings::findings(client, scope, &shapes, self.replica).await?;
        let shapes: Vec<Shape> = shapes.into_iter().flatten().collect();
        let wrong = |message: String| Problem::new(Code::WrongOwner, message).epoch(fence.epoch);
        match request.role {
            Role::Source if !fence.owner => return Err(wrong(format!("{} is not owned here", scope.name))),
            Role::Source => {}
            Role::Destination if fence.owner && !unused(client, &fence, &shapes).await? => {
                let message =
                    format!("{} is owned here and has or had rows: a cut moves into an empty one", scope.name);
                return Err(wrong(message));
            }
            Role::Destination => {
                let sql = "SELECT EXISTS (SELECT 1 FROM cut_following WHERE scope = $1)";
                let follows: bool = client.query_one(sql, &[&scope.name]).await.map_err(failed)?.get(0);
                for shape in &shapes {
                    if !follows && store::has_rows(client, shape).await? {
                        findings.push(Finding {
                            severity: Severity::Blocking,
                            code: "rows".into(),
                            table: Some(shape.name.clone()),
                            message: format!("{} has rows that did not come by a cut", shape.name),
                        });
                    }
                }
            }
        }
        let tables = store::tables(client, scope, &shapes).await?;
        let database = self.database.clone();
        Ok((fence, shapes, Prepared { database, engine: Engine::Postgresql, feed: None, tables, findings }))
    }

    /// What a writer must meet comes first, then the slot: from its position on every image is whole.
    async fn make(
        &self,
        client: &mut Client,
        scope: &Scope,
        request: &PrepareRequest,
        fence: &Fence,
        shapes: &[Shape],
    ) -> Result<Follow> {
        let name = &scope.name;
        let owner = request.role == Role::Source;
        let good =
            feed::prepared(client, scope, fence).await.is_ok() && feed::confirmed(client, fence).await?.is_some();
        let tx = client.transaction().await.map_err(failed)?;
        lock(&tx, name, if good { &[] } else { shapes }).await?;
        tx.execute(
            "UPDATE cut_fence SET owner = $2, epoch = $3 WHERE scope = $1 AND (owner, epoch) <> ($2, $3)",
            &[name, &i64::from(owner), &signed(request.epoch)?],
        )
        .await
        .map_err(failed)?;
        if let Some(follow) = request.follow.as_ref().filter(|_| owner) {
            let sql = "INSERT INTO cut_following (scope, src, position) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            tx.execute(sql, &[name, &follow.src, &signed(follow.position)?]).await.map_err(failed)?;
            for table in &scope.tables {
                let sql = "INSERT INTO cut_copied (scope, tbl, whole) VALUES ($1, $2, true) \
                           ON CONFLICT (scope, tbl) DO UPDATE SET whole = true";
                tx.execute(sql, &[name, &table.name]).await.map_err(failed)?;
            }
        }
        if !good {
            let mut tables = vec![format!("{}.cut_marks", self.schema)];
            for shape in shapes {
                guard(&tx, &self.schema, name, shape).await?;
                let table = relation(&shape.name);
                tx.batch_execute(&format!("ALTER TABLE {table} REPLICA IDENTITY FULL")).await.map_err(failed)?;
                tables.push(table);
            }
            let publication = quoted(&feed::publication(name));
            tx.batch_execute(&format!(
                "DROP PUBLICATION IF EXISTS {publication}; CREATE PUBLICATION {publication} FOR TABLE {}",
                tables.join(", ")
            ))
            .await
            .map_err(failed)?;
            let sql = "UPDATE cut_scope SET feed = NULL WHERE scope = $1";
            tx.execute(sql, &[name]).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        if !good {
            self.new_feed(client, scope, fence, shapes).await?;
        }
        let fence = store::fence(client, name).await?;
        let position = feed::confirmed(client, &fence).await?.unwrap_or(0);
        Ok(Follow { src: fence.feed.unwrap_or_default(), position })
    }

    async fn new_feed(&self, client: &Client, scope: &Scope, fence: &Fence, shapes: &[Shape]) -> Result<()> {
        drop_slot(client, fence).await?;
        let number = fence.feeds + 1;
        let slot = format!("{}{}_{number}", slot_prefix(&scope.name), self.database);
        let sql = "UPDATE cut_scope SET slot = $2, feeds = $3 WHERE scope = $1";
        client.execute(sql, &[&scope.name, &slot, &number]).await.map_err(failed)?;
        // Waits until every transaction that runs now has ended.
        client.batch_execute("SET statement_timeout = '10s'").await.map_err(failed)?;
        let sql = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')::text";
        let made = client.query_one(sql, &[&slot]).await.map_err(failed);
        client.batch_execute("RESET statement_timeout").await.map_err(failed)?;
        made?;
        let feed = format!("{}.{}.{number}", self.database, scope.name);
        let shapes = serde_json::to_string(shapes).map_err(|e| Problem::new(Code::Failed, e.to_string()))?;
        // An owner wrote without a feed: the digest is not that of its rows any more.
        let sql = "UPDATE cut_scope s SET feed = $2, shapes = $3, \
                   digest_rows = CASE f.owner WHEN 1 THEN NULL ELSE digest_rows END, \
                   digest_sum = CASE f.owner WHEN 1 THEN NULL ELSE digest_sum END \
                   FROM cut_fence f WHERE s.scope = $1 AND f.scope = $1";
        client.execute(sql, &[&scope.name, &feed, &shapes]).await.map_err(failed)?;
        Ok(())
    }

    /// `POST /finish`. May be repeated.
    pub async fn finish(&self, request: &FinishRequest) -> Result<Finished> {
        let scope = self.scope(&request.scope)?;
        let name = &scope.name;
        let mut client = self.client().await?;
        let _reading = self.reading.lock().await;
        let tx = client.transaction().await.map_err(failed)?;
        let shapes: Vec<Shape> = shape::shapes(&tx, scope).await?.into_iter().flatten().collect();
        lock(&tx, name, &shapes).await?;
        let fence = store::fence(&tx, name).await?;
        if fence.owner != request.owner {
            let is = if fence.owner { "is" } else { "is not" };
            return Err(Problem::new(Code::WrongOwner, format!("{name} {is} owned here")).epoch(fence.epoch));
        }
        if fence.owner && request.tables != Fate::Keep {
            return Err(Problem::new(Code::WrongOwner, "an owner's tables stay as they are").epoch(fence.epoch));
        }
        let sql = format!("SELECT set_config('{APPLYING}', $1, true)");
        tx.query_one(&sql, &[name]).await.map_err(failed)?;
        if self.replica {
            tx.batch_execute("SET LOCAL session_replication_role = replica").await.map_err(failed)?;
        }
        let publication = quoted(&feed::publication(name));
        tx.batch_execute(&format!("DROP PUBLICATION IF EXISTS {publication}")).await.map_err(failed)?;
        let mut left = Vec::new();
        for shape in shapes {
            let table = relation(&shape.name);
            let all = |sql: String| {
                let tx = &tx;
                async move { tx.batch_execute(&sql).await.map_err(failed) }
            };
            all(format!("ALTER TABLE {table} REPLICA IDENTITY DEFAULT")).await?;
            if fence.owner {
                remove_guard(&tx, name, &shape).await?;
            }
            let delete = format!("DELETE FROM {table} WHERE {}", shape.belongs(""));
            match request.tables {
                Fate::Keep => {}
                Fate::Clear => all(delete).await?,
                Fate::Rename | Fate::Drop if shape.only.is_some() => all(delete).await?,
                Fate::Rename => {
                    remove_guard(&tx, name, &shape).await?;
                    let suffix = format!("_retired_{}", fence.epoch);
                    let new = quoted(&format!("{}{suffix}", local(&shape.name)));
                    all(format!("ALTER TABLE {table} RENAME TO {new}")).await?;
                    left.push(shape.name + &suffix);
                    continue;
                }
                Fate::Drop => {
                    all(format!("DROP TABLE {table}")).await?;
                    continue;
                }
            }
            left.push(shape.name);
        }
        for table in ["cut_following", "cut_copied", "cut_marks"] {
            tx.execute(&format!("DELETE FROM {table} WHERE scope = $1"), &[name]).await.map_err(failed)?;
        }
        let gone = matches!(request.tables, Fate::Rename | Fate::Drop);
        tx.execute(
            "UPDATE cut_scope SET feed = NULL, shapes = NULL, digest_rows = NULL, digest_sum = NULL, \
             released_epoch = NULL, changed_since = false, retired = retired OR $2 WHERE scope = $1",
            &[name, &gone],
        )
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        drop_slot(&client, &fence).await?;
        self.put_back(client);
        Ok(Finished { owner: fence.owner, epoch: fence.epoch, tables: left })
    }
}

/// What the names of a scope's slots begin with.
pub fn slot_prefix(scope: &str) -> String {
    let plain: String =
        scope.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    format!("cut_{plain:.30}_")
}

async fn drop_slot(client: &Client, fence: &Fence) -> Result<()> {
    let sql = "SELECT pg_drop_replication_slot(slot_name)::text FROM pg_replication_slots WHERE slot_name = $1";
    client.query(sql, &[&fence.slot]).await.map_err(failed).map(|_| ())
}

/// Whether an owner never had a row: no write can have been acknowledged.
async fn unused(client: &Client, fence: &Fence, shapes: &[Shape]) -> Result<bool> {
    for shape in shapes {
        if store::has_rows(client, shape).await? {
            return Ok(false);
        }
        if store::gave_ids(client, shape).await? {
            return Ok(false);
        }
    }
    Ok(fence.feed.is_none())
}
