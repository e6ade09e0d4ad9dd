//! What a table is, and what keeps it from being cut.

use serde::{Deserialize, Serialize};
use tokio_postgres::GenericClient;

use super::{Result, failed};
use crate::contract::{Column, Finding, Key, Row, Severity, Value};
use crate::scope::{Scope, Tables, literal, quoted};

/// A table as the database describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub name: String,
    pub only: Option<(String, String)>,
    /// By name.
    pub columns: Vec<Column>,
    /// The type of each column by its own name: `char` would mean `char(1)`.
    pub casts: Vec<String>,
    pub key: Vec<String>,
    /// The sequence behind the key's first column.
    pub sequence: Option<String>,
}

/// The shapes of a scope's tables; `None` for one that is not there.
pub async fn shapes(client: &impl GenericClient, scope: &Scope) -> Result<Vec<Option<Shape>>> {
    let mut all = Vec::with_capacity(scope.tables.len());
    for table in &scope.tables {
        all.push(shape(client, table).await?);
    }
    Ok(all)
}

async fn shape(client: &impl GenericClient, table: &Tables) -> Result<Option<Shape>> {
    let sql = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), \
               quote_ident(n.nspname) || '.' || quote_ident(t.typname), a.attnotnull, \
               CASE WHEN a.attcollation <> 0 THEN c.collname::text || ' ' || d.datcollate::text END \
               FROM pg_class r JOIN pg_attribute a ON a.attrelid = r.oid \
               JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace \
               LEFT JOIN pg_collation c ON c.oid = a.attcollation \
               JOIN pg_database d ON d.datname = current_database() \
               WHERE r.oid = to_regclass($1) AND r.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped \
               AND a.attgenerated = '' ORDER BY a.attname::text COLLATE \"C\"";
    let rows = client.query(sql, &[&quoted(&table.name)]).await.map_err(failed)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let (mut columns, mut casts, mut key) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let name: String = row.get(0);
        let mut kind: String = row.get(1);
        if let Some(collation) = row.get::<_, Option<String>>(4) {
            kind = format!("{kind} ({collation})");
        }
        casts.push(row.get(2));
        columns.push(Column { name, r#type: kind, not_null: row.get(3) });
    }
    let sql = "SELECT a.attname::text FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k (num, place), \
               pg_attribute a WHERE i.indrelid = to_regclass($1) AND i.indisprimary AND a.attrelid = i.indrelid \
               AND a.attnum = k.num ORDER BY k.place";
    for row in client.query(sql, &[&quoted(&table.name)]).await.map_err(failed)? {
        key.push(row.get::<_, String>(0));
    }
    let mut sequence = None;
    if let Some(first) = key.first() {
        let sql = "SELECT pg_get_serial_sequence($1, $2)";
        let row = client.query_one(sql, &[&quoted(&table.name), first]).await.map_err(failed)?;
        sequence = row.get(0);
    }
    Ok(Some(Shape { name: table.name.clone(), only: table.only.clone(), columns, casts, key, sequence }))
}

impl Shape {
    /// All columns as the output functions of their types write them.
    pub fn outputs(&self) -> String {
        let one = |c: &Column| {
            let name = quoted(&c.name);
            format!("CASE WHEN {name} IS NOT NULL THEN format('%s', {name}) END")
        };
        self.columns.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// `"only" = 'value'`, or `true`; with a prefix such as `NEW.`.
    pub fn belongs(&self, prefix: &str) -> String {
        match &self.only {
            Some((column, value)) => format!("{prefix}{} = {}", quoted(column), literal(value)),
            None => "true".to_owned(),
        }
    }

    /// Whether a row is the scope's.
    pub fn has(&self, row: &Row) -> bool {
        self.only.as_ref().is_none_or(|(column, value)| row.get(column) == Some(&Value::Text(value.clone())))
    }

    /// The values of the key in a row.
    pub fn key_of(&self, row: &Row) -> Option<Key> {
        self.key.iter().map(|name| row.get(name).cloned()).collect()
    }

    /// `$n::text::type` of a column.
    pub fn parameter(&self, column: &str, n: usize) -> String {
        let at = self.columns.iter().position(|c| c.name == column).unwrap_or(0);
        format!("${n}::text::{}", self.casts[at])
    }

    /// `"a" = $n… AND …` over the key, with parameters from `first` on.
    pub fn key_equals(&self, first: usize) -> String {
        let parts = self.key.iter().enumerate();
        parts
            .map(|(i, k)| format!("{} = {}", quoted(k), self.parameter(k, first + i)))
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    /// `ROW($n…)` over the key.
    pub fn key_row(&self, first: usize) -> String {
        let parts = self.key.iter().enumerate().map(|(i, k)| self.parameter(k, first + i));
        format!("ROW({})", parts.collect::<Vec<_>>().join(", "))
    }

    /// Whether the key is one integer, whose order needs no database.
    pub fn integer_key(&self) -> bool {
        let integer = |key: &String| {
            let at = self.columns.iter().position(|c| c.name == *key);
            at.is_some_and(|at| self.casts[at].starts_with("pg_catalog.int") && self.casts[at].len() == 15)
        };
        self.key.len() == 1 && self.key.iter().all(integer)
    }

    /// The key's columns.
    pub fn key_list(&self) -> String {
        self.key.iter().map(|k| quoted(k)).collect::<Vec<_>>().join(", ")
    }

    /// A row of [`Shape::outputs`].
    pub fn read(&self, row: &tokio_postgres::Row) -> Row {
        let columns = self.columns.iter().enumerate();
        columns
            .map(|(i, c)| (c.name.clone(), row.get::<_, Option<String>>(i).map_or(Value::Null, Value::Text)))
            .collect()
    }
}

/// What a person should know of the tables and the server before a cut.
pub async fn findings(
    client: &impl GenericClient,
    scope: &Scope,
    shapes: &[Option<Shape>],
    replica: bool,
) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut add = |severity, code: &str, table: Option<&str>, message: String| {
        found.push(Finding { severity, code: code.into(), table: table.map(Into::into), message });
    };
    let row = client
        .query_one(
            "SELECT current_setting('wal_level'), current_setting('server_version_num')::int, \
             (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user), \
             current_setting('max_replication_slots')::bigint - (SELECT count(*) FROM pg_replication_slots)",
            &[],
        )
        .await
        .map_err(failed)?;
    let blocking = Severity::Blocking;
    if row.get::<_, String>(0) != "logical" {
        add(blocking, "wal-level", None, format!("wal_level is {}, and must be logical", row.get::<_, String>(0)));
    }
    if row.get::<_, i32>(1) < 140_000 {
        add(blocking, "version", None, "PostgreSQL 14 or newer is needed".into());
    }
    if !row.get::<_, bool>(2) {
        add(blocking, "privilege", None, "the role needs the attribute REPLICATION".into());
    }
    if row.get::<_, i64>(3) < 1 {
        add(Severity::Note, "slots", None, "no replication slot is free (max_replication_slots)".into());
    }
    for (table, shape) in scope.tables.iter().zip(shapes) {
        let name = table.name.as_str();
        let Some(shape) = shape else {
            add(blocking, "no-table", Some(name), format!("{name} is no ordinary table here"));
            continue;
        };
        if shape.key.is_empty() {
            add(blocking, "no-key", Some(name), format!("{name} has no primary key: its rows cannot be told apart"));
        }
        if let Some((column, _)) = &shape.only
            && !shape.columns.iter().any(|c| c.name == *column)
        {
            add(blocking, "no-column", Some(name), format!("{name} has no column {column}"));
        }
        let severity = if replica { Severity::Note } else { blocking };
        let sql = "SELECT conname::text FROM pg_constraint WHERE contype = 'f' \
                   AND (conrelid = to_regclass($1) OR confrelid = to_regclass($1))";
        for row in client.query(sql, &[&quoted(name)]).await.map_err(failed)? {
            let constraint: String = row.get(0);
            add(
                severity,
                "foreign-key",
                Some(name),
                format!("the foreign key {constraint} is not checked for rows that are moved"),
            );
        }
        let sql = "SELECT tgname::text FROM pg_trigger WHERE tgrelid = to_regclass($1) AND NOT tgisinternal \
                   AND tgname NOT LIKE 'cut\\_%'";
        for row in client.query(sql, &[&quoted(name)]).await.map_err(failed)? {
            let trigger: String = row.get(0);
            add(
                severity,
                "trigger",
                Some(name),
                format!("the trigger {trigger} works for writes at its own side only"),
            );
        }
    }
    Ok(found)
}
