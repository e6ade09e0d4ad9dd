//! What a table is, and what keeps it from being cut.

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio_postgres::GenericClient;

use super::{Result, failed};
use crate::contract::{Column, Key, Row, Value};
use crate::scope::{Scope, Tables, literal, local, quoted, relation};

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
    /// The schema that the table was found in.
    #[serde(skip)]
    pub schema: String,
}

/// The shapes of a scope's tables, asked for in one exchange; `None` for one that is not there.
pub async fn shapes(client: &impl GenericClient, scope: &Scope) -> Result<Vec<Option<Shape>>> {
    try_join_all(scope.tables.iter().map(|table| shape(client, table))).await
}

/// Planned once by connection (see [`super::connect`]): this is asked at every call, and planning takes longer than the answer.
pub const PREPARE: &str = "PREPARE cut_shape (text) AS \
    WITH key AS (SELECT a.attname::text AS name, k.place FROM pg_index i, \
    unnest(i.indkey::int2[]) WITH ORDINALITY AS k (num, place), pg_attribute a \
    WHERE i.indrelid = to_regclass($1) AND i.indisprimary AND a.attrelid = i.indrelid AND a.attnum = k.num) \
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), \
    quote_ident(n.nspname) || '.' || quote_ident(t.typname), a.attnotnull, \
    CASE WHEN a.attcollation <> 0 THEN c.collname::text || ' ' || d.datcollate::text END, \
    ARRAY(SELECT name FROM key ORDER BY place), \
    (SELECT pg_get_serial_sequence($1, name) FROM key WHERE place = 1), \
    (SELECT nspname::text FROM pg_namespace WHERE oid = r.relnamespace) \
    FROM pg_class r JOIN pg_attribute a ON a.attrelid = r.oid \
    JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace \
    LEFT JOIN pg_collation c ON c.oid = a.attcollation \
    JOIN pg_database d ON d.datname = current_database() \
    WHERE r.oid = to_regclass($1) AND r.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped \
    AND a.attgenerated = '' ORDER BY a.attname::text COLLATE \"C\"";

async fn shape(client: &impl GenericClient, table: &Tables) -> Result<Option<Shape>> {
    let sql = format!("EXECUTE cut_shape ({})", literal(&relation(&table.name)));
    let rows = client.query_typed(&sql, &[]).await.map_err(failed)?;
    let Some(first) = rows.first() else { return Ok(None) };
    let (key, sequence, schema) = (first.get(5), first.get(6), first.get(7));
    let (mut columns, mut casts) = (Vec::new(), Vec::new());
    for row in rows {
        let name: String = row.get(0);
        let mut kind: String = row.get(1);
        if let Some(collation) = row.get::<_, Option<String>>(4) {
            kind = format!("{kind} ({collation})");
        }
        casts.push(row.get(2));
        columns.push(Column { name, r#type: kind, not_null: row.get(3) });
    }
    Ok(Some(Shape { name: table.name.clone(), only: table.only.clone(), columns, casts, key, sequence, schema }))
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

    /// Whether this is the table's name in the log.
    pub fn is(&self, schema: &str, table: &str) -> bool {
        self.schema == schema && local(&self.name) == table
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
