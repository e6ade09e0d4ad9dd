//! What a person should know of the server, the role and the tables before a cut.

use tokio_postgres::GenericClient;

use super::shape::Shape;
use super::{Result, failed};
use crate::contract::{Finding, Severity};
use crate::scope::{Scope, local, quoted, relation};

/// What is found, in order.
struct Found(Vec<Finding>);

impl Found {
    fn add(&mut self, severity: Severity, code: &str, table: Option<&str>, message: String) {
        self.0.push(Finding { severity, code: code.into(), table: table.map(Into::into), message });
    }

    fn blocking(&mut self, code: &str, table: Option<&str>, message: String) {
        self.add(Severity::Blocking, code, table, message);
    }
}

/// Everything; nothing is changed. `replica`: rows can be written without the tables' own triggers and foreign keys.
pub async fn findings(
    client: &impl GenericClient,
    scope: &Scope,
    shapes: &[Option<Shape>],
    replica: bool,
) -> Result<Vec<Finding>> {
    let mut found = Found(Vec::new());
    server(client, scope, &mut found).await?;
    for (table, shape) in scope.tables.iter().zip(shapes) {
        let name = table.name.as_str();
        let Some(shape) = shape else {
            let why = no_table(client, name).await?;
            found.blocking("no-table", Some(name), why);
            continue;
        };
        if shape.key.is_empty() {
            let message =
                format!("{name} has no primary key: its rows cannot be told apart (ALTER TABLE … ADD PRIMARY KEY)");
            found.blocking("no-key", Some(name), message);
        }
        if let Some((column, _)) = &shape.only
            && !shape.columns.iter().any(|c| c.name == *column)
        {
            found.blocking("no-column", Some(name), format!("{name} has no column {column}"));
        }
        privileges(client, name, &mut found).await?;
        inheritance(client, name, &mut found).await?;
        sequences(client, shape, &mut found).await?;
        foreign_keys(client, scope, name, replica, &mut found).await?;
        triggers(client, scope, shape, replica, &mut found).await?;
    }
    Ok(found.0)
}

async fn server(client: &impl GenericClient, scope: &Scope, found: &mut Found) -> Result<()> {
    let row = client
        .query_one(
            "SELECT current_setting('wal_level'), current_setting('server_version_num')::int, \
             (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user), \
             current_setting('max_replication_slots')::bigint - (SELECT count(*) FROM pg_replication_slots), \
             EXISTS (SELECT 1 FROM pg_replication_slots WHERE database = current_database() AND starts_with(slot_name, $1)), \
             current_user::text, current_database()::text, \
             has_database_privilege(current_database(), 'CREATE'), \
             coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), \
             current_setting('max_slot_wal_keep_size'), pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')",
            &[&super::setup::slot_prefix(&scope.name)],
        )
        .await
        .map_err(failed)?;
    let (level, role, database): (String, String, String) = (row.get(0), row.get(5), row.get(6));
    if level != "logical" {
        let message = format!(
            "wal_level is {level}, and must be logical: ALTER SYSTEM SET wal_level = logical, then restart PostgreSQL"
        );
        found.blocking("wal-level", None, message);
    }
    if row.get::<_, i32>(1) < 140_000 {
        found.blocking("version", None, "PostgreSQL 14 or newer is needed".into());
    }
    let (role, database) = (quoted(&role), quoted(&database));
    if !row.get::<_, bool>(2) {
        let message = format!("the role needs the attribute REPLICATION: ALTER ROLE {role} REPLICATION");
        found.blocking("privilege", None, message);
    }
    if row.get::<_, i64>(3) < 1 && !row.get::<_, bool>(4) {
        let message = "no replication slot is free: raise max_replication_slots, or drop one that nobody reads";
        found.blocking("slots", None, message.into());
    }
    if !row.get::<_, bool>(7) {
        let message = format!("the role may make no publication: GRANT CREATE ON DATABASE {database} TO {role}");
        found.blocking("privilege", None, message);
    }
    if !row.get::<_, bool>(8) {
        let message = format!("the role has no schema to create tables in: GRANT CREATE ON SCHEMA public TO {role}");
        found.blocking("privilege", None, message);
    }
    if !row.get::<_, bool>(10) {
        let message = format!(
            "the role does not see transactions of others, which may be old when the hold begins: GRANT pg_read_all_stats TO {role}"
        );
        found.add(Severity::Note, "privilege", None, message);
    }
    let keep: String = row.get(9);
    if keep != "-1" {
        let message = format!("max_slot_wal_keep_size is {keep}: a side that is away for longer has to be copied anew");
        found.add(Severity::Note, "slots", None, message);
    }
    Ok(())
}

/// Why a name is no table that can be cut.
async fn no_table(client: &impl GenericClient, name: &str) -> Result<String> {
    let sql = "SELECT relkind::text FROM pg_class WHERE oid = to_regclass($1)";
    let kind = client.query_opt(sql, &[&relation(name)]).await.map_err(failed)?;
    let kind: Option<String> = kind.map(|row| row.get(0));
    Ok(match kind.as_deref() {
        None => format!("there is no table {name} (in the schemas of the role's search_path)"),
        Some("p") => format!("{name} is partitioned: partitioned tables are not cut"),
        Some("v" | "m") => format!("{name} is no ordinary table here: it is a view"),
        Some(_) => format!("{name} is no ordinary table here"),
    })
}

async fn privileges(client: &impl GenericClient, name: &str, found: &mut Found) -> Result<()> {
    let sql = "SELECT pg_has_role(current_user, relowner, 'USAGE'), pg_get_userbyid(relowner)::text, current_user::text, \
               relrowsecurity, (SELECT rolbypassrls OR rolsuper FROM pg_roles WHERE rolname = current_user) OR NOT relforcerowsecurity \
               FROM pg_class WHERE oid = to_regclass($1)";
    let row = client.query_one(sql, &[&relation(name)]).await.map_err(failed)?;
    let (owner, role): (String, String) = (row.get(1), row.get(2));
    if !row.get::<_, bool>(0) {
        let message = format!(
            "{name} belongs to {owner}, and only its owner may add triggers: GRANT {} TO {}",
            quoted(&owner),
            quoted(&role)
        );
        found.blocking("privilege", Some(name), message);
    }
    if row.get::<_, bool>(3) && !row.get::<_, bool>(4) {
        let message =
            format!("row security hides rows of {name} from the role: ALTER ROLE {} BYPASSRLS", quoted(&role));
        found.blocking("row-security", Some(name), message);
    }
    Ok(())
}

/// What is written by another table's name meets neither the guard nor the feed of this one.
async fn inheritance(client: &impl GenericClient, name: &str, found: &mut Found) -> Result<()> {
    let sql = "SELECT p.oid::regclass::text, p.relkind = 'p', c.oid::regclass::text \
               FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_class c ON c.oid = i.inhrelid \
               WHERE to_regclass($1) IN (i.inhparent, i.inhrelid) ORDER BY 3 LIMIT 1";
    let row = client.query_opt(sql, &[&relation(name)]).await.map_err(failed)?;
    if let Some(row) = row {
        let (parent, child): (String, String) = (row.get(0), row.get(2));
        let message = match row.get(1) {
            true => format!("{name} is a partition of {parent}: partitioned tables are not cut"),
            false => format!("{child} inherits from {parent}: tables that inherit are not cut"),
        };
        found.blocking("inheritance", Some(name), message);
    }
    Ok(())
}

/// Numbers that the database gives, from a sequence that cannot be moved on.
async fn sequences(client: &impl GenericClient, shape: &Shape, found: &mut Found) -> Result<()> {
    let name = shape.name.as_str();
    let sql = "SELECT a.attname::text FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum \
               WHERE d.adrelid = to_regclass($1) AND pg_get_expr(d.adbin, d.adrelid) LIKE '%nextval(%' ORDER BY 1";
    for row in client.query(sql, &[&relation(name)]).await.map_err(failed)? {
        let column: String = row.get(0);
        if shape.key.first() != Some(&column) {
            let message =
                format!("the sequence of {name}.{column} is not moved on: only that of the key's first column is");
            found.add(Severity::Note, "sequence", Some(name), message);
        } else if shape.sequence.is_none() {
            let message = format!(
                "the sequence that gives {name}.{column} is not the column's own: ALTER SEQUENCE … OWNED BY {name}.{column}"
            );
            found.blocking("sequence", Some(name), message);
        }
    }
    Ok(())
}

/// What a role needs to write rows past keys and triggers.
const REPLICA: &str = "and the role may not write past it: GRANT SET ON PARAMETER session_replication_role TO it \
                       (PostgreSQL 15), or use a superuser";

async fn foreign_keys(
    client: &impl GenericClient,
    scope: &Scope,
    name: &str,
    replica: bool,
    found: &mut Found,
) -> Result<()> {
    let names: Vec<String> = scope.tables.iter().map(|table| relation(&table.name)).collect();
    let sql = "SELECT c.conname::text, c.confdeltype::text || c.confupdtype::text, f.relname::text, r.relname::text, \
               c.conrelid = to_regclass($1), r.oid <> ALL (t.oids), f.oid <> ALL (t.oids) \
               FROM pg_constraint c JOIN pg_class f ON f.oid = c.conrelid JOIN pg_class r ON r.oid = c.confrelid, \
               (SELECT array_agg(to_regclass(name)::oid) FILTER (WHERE to_regclass(name) IS NOT NULL) AS oids \
               FROM unnest($2::text[]) AS name) t \
               WHERE c.contype = 'f' AND (c.conrelid = to_regclass($1) OR c.confrelid = to_regclass($1)) ORDER BY 1";
    for row in client.query(sql, &[&relation(name), &names]).await.map_err(failed)? {
        let (constraint, acts): (String, String) = (row.get(0), row.get(1));
        let (from, to): (String, String) = (row.get(2), row.get(3));
        let (own, to_outside, from_outside): (bool, bool, bool) = (row.get(4), row.get(5), row.get(6));
        if own && to_outside && acts.contains(['c', 'n', 'd']) {
            let message = format!(
                "a change of {to}, which stays, would change rows of {from} by the foreign key {constraint}: \
                 make it NO ACTION, or take {to} into the scope"
            );
            found.blocking("foreign-writer", Some(name), message);
        } else if from_outside {
            let message = format!(
                "{from}, which stays, refers to {to} by the foreign key {constraint}: \
                 drop it before the cut is finished, or take {from} into the scope"
            );
            found.add(Severity::Note, "foreign-key", Some(name), message);
        }
        if !own && !from_outside {
            // It is told with the other table.
            continue;
        }
        let message = format!("the foreign key {constraint} is not checked for rows that are moved");
        match replica {
            true => found.add(Severity::Note, "foreign-key", Some(name), message),
            false => found.blocking("foreign-key", Some(name), format!("{message}, {REPLICA}")),
        }
    }
    Ok(())
}

async fn triggers(
    client: &impl GenericClient,
    scope: &Scope,
    shape: &Shape,
    replica: bool,
    found: &mut Found,
) -> Result<()> {
    let name = shape.name.as_str();
    let sql = "SELECT tgname::text, starts_with(tgname, 'cut_') AND tgfoid = to_regproc('cut_guard'), starts_with(tgname, $2) \
               FROM pg_trigger WHERE tgrelid = to_regclass($1) AND NOT tgisinternal ORDER BY 1";
    for row in client.query(sql, &[&relation(name), &format!("cut_{}.", scope.name)]).await.map_err(failed)? {
        let (trigger, guard, own): (String, Option<bool>, bool) = (row.get(0), row.get(1), row.get(2));
        if guard == Some(true) {
            if !own && shape.only.is_none() {
                let message = format!("{name} is fenced as part of another scope ({trigger}): finish that cut first");
                found.blocking("other-scope", Some(name), message);
            }
            continue;
        }
        let message = format!("the trigger {trigger} works for writes at its own side only");
        match replica {
            true => found.add(Severity::Note, "trigger", Some(name), message),
            false => found.blocking("trigger", Some(name), format!("{message}, {REPLICA}")),
        }
    }
    let sql = "SELECT s.subname::text FROM pg_subscription_rel r JOIN pg_stat_subscription s ON s.subid = r.srsubid \
               WHERE r.srrelid = to_regclass($1)";
    // The catalogue of subscriptions is not everybody's to read.
    if let Ok(rows) = client.query(sql, &[&relation(name)]).await {
        for row in rows {
            let subscription: String = row.get(0);
            let message = format!("the subscription {subscription} writes into {name}: take the table out of it");
            found.blocking("foreign-writer", Some(name), message);
        }
    }
    Ok(())
}

/// Who else could write into the tables: functions behind triggers of other tables, and sessions of other programs.
pub async fn writers(client: &impl GenericClient, scope: &Scope) -> Result<Vec<Finding>> {
    let mut found = Found(Vec::new());
    for table in &scope.tables {
        let sql = "SELECT DISTINCT t.tgname::text, c.relname::text, p.proname::text \
                   FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid \
                   WHERE NOT t.tgisinternal AND c.oid <> to_regclass($1) \
                   AND NOT EXISTS (SELECT 1 FROM unnest($3::text[]) AS name WHERE to_regclass(name) = c.oid) \
                   AND p.prosrc ~* $2 ORDER BY 1";
        let names: Vec<String> = scope.tables.iter().map(|table| relation(&table.name)).collect();
        let pattern = format!(
            "(insert\\s+into|update|delete\\s+from|merge\\s+into)\\s+(only\\s+)?(\\w+\\.)?\"?{}\\M",
            local(&table.name)
        );
        for row in client.query(sql, &[&relation(&table.name), &pattern, &names]).await.map_err(failed)? {
            let (trigger, other, function): (String, String, String) = (row.get(0), row.get(1), row.get(2));
            let message = format!(
                "the trigger {trigger} of {other}, which stays, writes into {} ({function}): \
                 after the cut its writes are refused; take it away or {other} into the scope",
                table.name
            );
            found.blocking("foreign-writer", Some(&table.name), message);
        }
    }
    let sql = "SELECT coalesce(nullif(application_name, ''), 'a program without a name'), usename::text, \
               coalesce(host(client_addr), 'this machine'), count(*) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> $1 \
               AND backend_type = 'client backend' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    for row in client.query(sql, &[&super::APPLICATION]).await.map_err(failed)? {
        let (program, role, host): (String, Option<String>, String) = (row.get(0), row.get(1), row.get(2));
        let message = format!(
            "{} session(s) of {program} as {} from {host}: whoever writes there and not through the load balancer is refused after the cut",
            row.get::<_, i64>(3),
            role.unwrap_or_default()
        );
        found.add(Severity::Note, "session", None, message);
    }
    Ok(found.0)
}
