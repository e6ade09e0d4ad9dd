//! What a table is: its columns and key, and what keeps it from being cut.

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::{Result, failed};
use crate::contract::{Column, Finding, Severity};
use crate::scope::{Scope, Tables, literal, quoted};

/// A table as the database describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub name: String,
    pub only: Option<(String, String)>,
    /// By name, which is also the order of a row's columns.
    pub columns: Vec<Column>,
    pub key: Vec<String>,
    pub autoincrement: bool,
    /// Sets of columns that are unique, other than the key.
    pub unique: Vec<Vec<String>>,
}

/// More columns than this do not fit one call of `json_object`.
const MAX_COLUMNS: usize = 60;
/// The kit keeps the keys of replaced rows in as many columns.
pub const MAX_KEY: usize = 4;

/// The shapes of a scope's tables; `None` for one that is not there.
pub fn shapes(connection: &Connection, scope: &Scope) -> Result<Vec<Option<Shape>>> {
    scope.tables.iter().map(|table| shape(connection, table)).collect()
}

fn shape(connection: &Connection, table: &Tables) -> Result<Option<Shape>> {
    let sql: Option<String> = connection
        .query_row("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?1", [&table.name], |row| row.get(0))
        .optional()
        .map_err(failed)?;
    let Some(sql) = sql else { return Ok(None) };
    let mut columns = Vec::new();
    let mut key = Vec::new();
    let mut statement =
        connection.prepare("SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?1)").map_err(failed)?;
    let mut rows = statement.query([&table.name]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let name: String = row.get(0).map_err(failed)?;
        let place: i64 = row.get(3).map_err(failed)?;
        // Generated columns follow from the others.
        if row.get::<_, i64>(4).map_err(failed)? != 0 {
            continue;
        }
        if place > 0 {
            key.push((place, name.clone()));
        }
        let kind: String = row.get(1).map_err(failed)?;
        columns.push(Column { name, r#type: kind, not_null: row.get(2).map_err(failed)? });
    }
    columns.sort();
    key.sort();
    // AUTOINCREMENT is a keyword: it can stand in the schema outside a string or comment only as itself.
    let autoincrement = sql.to_ascii_uppercase().contains("AUTOINCREMENT");
    Ok(Some(Shape {
        name: table.name.clone(),
        only: table.only.clone(),
        columns,
        key: key.into_iter().map(|(_, name)| name).collect(),
        autoincrement,
        unique: unique(connection, &table.name)?,
    }))
}

/// Columns of unique indexes. A partial index, or one over an expression, counts with the columns it names: more rows may
/// be looked at, none is missed, because what was replaced is checked afterwards.
fn unique(connection: &Connection, table: &str) -> Result<Vec<Vec<String>>> {
    let sql = "SELECT l.name, i.name FROM pragma_index_list(?1) l, pragma_index_info(l.name) i \
               WHERE l.\"unique\" = 1 AND l.origin <> 'pk' ORDER BY l.seq, i.seqno";
    let mut statement = connection.prepare(sql).map_err(failed)?;
    let mut rows = statement.query([table]).map_err(failed)?;
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let index: String = row.get(0).map_err(failed)?;
        let column: Option<String> = row.get(1).map_err(failed)?;
        if all.last().is_none_or(|(name, _)| *name != index) {
            all.push((index, Vec::new()));
        }
        if let (Some(column), Some((_, columns))) = (column, all.last_mut()) {
            columns.push(column);
        }
    }
    Ok(all.into_iter().map(|(_, columns)| columns).filter(|columns| !columns.is_empty()).collect())
}

impl Shape {
    /// `"a", "b"`: all columns.
    pub fn list(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|c| quoted(&c.name)).collect();
        names.join(", ")
    }

    /// `"only" IS 'value'`, or `1`; with a prefix such as `NEW.`.
    pub fn belongs(&self, prefix: &str) -> String {
        match &self.only {
            Some((column, value)) => format!("{prefix}{} IS {}", quoted(column), literal(value)),
            None => "1".to_owned(),
        }
    }

    /// The values of the key in a row.
    pub fn key_of(&self, row: &crate::contract::Row) -> Option<crate::contract::Key> {
        self.key.iter().map(|name| row.get(name).cloned()).collect()
    }
}

/// What a person should know of the tables before a cut.
pub fn findings(connection: &Connection, scope: &Scope, shapes: &[Option<Shape>]) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (table, shape) in scope.tables.iter().zip(shapes) {
        let mut block = |code: &str, message: String| {
            let table = Some(table.name.clone());
            found.push(Finding { severity: Severity::Blocking, code: code.into(), table, message });
        };
        let Some(shape) = shape else {
            block("no-table", format!("the table {} is not there", table.name));
            continue;
        };
        let name = &shape.name;
        if shape.key.is_empty() {
            block("no-key", format!("{name} has no primary key: its rows cannot be told apart"));
            continue;
        }
        if shape.key.len() > MAX_KEY {
            block("wide-key", format!("the key of {name} has more than {MAX_KEY} columns"));
        }
        if shape.columns.len() > MAX_COLUMNS {
            block("wide-table", format!("{name} has more than {MAX_COLUMNS} columns"));
        }
        let column = |name: &str| shape.columns.iter().find(|c| c.name == name);
        let integer = |c: &Column| c.r#type.eq_ignore_ascii_case("INTEGER");
        let row_id = shape.key.len() == 1 && column(&shape.key[0]).is_some_and(integer);
        if row_id && !shape.autoincrement && !table.own_key {
            block(
                "no-autoincrement",
                format!("the ids of {name} can be given again after a deletion: its key needs AUTOINCREMENT"),
            );
        }
        let open = shape.key.iter().find(|k| !row_id && column(k).is_some_and(|c| !c.not_null));
        if let Some(open) = open {
            block("null-key", format!("the key column {open} of {name} may be NULL: rows could have the same key"));
        }
        if let Some((only, _)) = &shape.only
            && column(only).is_none()
        {
            block("no-column", format!("{name} has no column {only}"));
        }
        note(connection, scope, shape, &mut found)?;
    }
    Ok(found)
}

/// Things that are carried out otherwise at the other side.
fn note(connection: &Connection, scope: &Scope, shape: &Shape, found: &mut Vec<Finding>) -> Result<()> {
    let name = &shape.name;
    let mut note = |code: &str, message: String| {
        found.push(Finding { severity: Severity::Note, code: code.into(), table: Some(name.clone()), message });
    };
    let sql = "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list(?1)";
    for other in strings(connection, sql, name)? {
        if !scope.tables.iter().any(|t| t.name == other) {
            note(
                "foreign-key",
                format!("{name} refers to {other}, which does not move: the other side cannot hold it"),
            );
        }
    }
    let sql = "SELECT m.name FROM sqlite_master m, pragma_foreign_key_list(m.name) f \
               WHERE m.type = 'table' AND f.\"table\" = ?1 COLLATE NOCASE";
    for other in strings(connection, sql, name)? {
        if !scope.tables.iter().any(|t| t.name == other) {
            note("foreign-key", format!("{other}, which does not move, refers to {name}"));
        }
    }
    let sql = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?1 AND name NOT LIKE 'cut\\_%' ESCAPE '\\'";
    for trigger in strings(connection, sql, name)? {
        note("trigger", format!("the trigger {trigger} of {name} works for writes at its own side only"));
    }
    Ok(())
}

fn strings(connection: &Connection, sql: &str, parameter: &str) -> Result<Vec<String>> {
    let mut statement = connection.prepare(sql).map_err(failed)?;
    let rows = statement.query_map([parameter], |row| row.get(0)).map_err(failed)?;
    rows.collect::<rusqlite::Result<_>>().map_err(failed)
}
