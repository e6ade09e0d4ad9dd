//! Guard and feed as SQL triggers of a table.
//!
//! A value is written as its storage class and its text (`i1`, `tabc`, `r0.5`, `b00FF`, or null), a row as a
//! JSON object of such strings: [`super::rows`] reads them. Everything here is plain SQL that every SQLite since
//! 3.38 carries out.

use rusqlite::Connection;

use super::schema::Shape;
use super::{Result, failed};
use crate::fence::MESSAGE;
use crate::scope::{Tables, literal, quoted};

/// Makes the triggers that refuse writes while the scope is not owned here.
pub fn guard(connection: &Connection, scope: &str, shape: &Shape) -> Result<()> {
    let refuse = literal(&format!("{MESSAGE}{scope}"));
    let table = quoted(&shape.name);
    let (new, old) = (shape.belongs("NEW."), shape.belongs("OLD."));
    for (event, belongs) in [("INSERT", new.clone()), ("UPDATE", format!("({new} OR {old})")), ("DELETE", old)] {
        let name = trigger_name(scope, &shape.name, &format!("guard_{}", event.to_lowercase()));
        batch(
            connection,
            &format!(
                "DROP TRIGGER IF EXISTS {name}; CREATE TRIGGER {name} BEFORE {event} ON {table} \
                 WHEN {belongs} AND (SELECT owner FROM cut_fence WHERE scope = {scope}) = 0 \
                 BEGIN SELECT RAISE(ABORT, {refuse}); END;",
                scope = literal(scope)
            ),
        )?;
    }
    Ok(())
}

/// Makes the triggers that write the feed.
///
/// `REPLACE` deletes rows without a delete trigger: a BEFORE trigger notes the rows that are in the way, and the AFTER
/// trigger writes a deletion for those that are gone.
pub fn feed(connection: &Connection, scope: &str, shape: &Shape) -> Result<()> {
    let table = quoted(&shape.name);
    let (new, old) = (shape.belongs("NEW."), shape.belongs("OLD."));
    let (after, before) = (image(shape, "NEW."), image(shape, "OLD."));
    let event = |op: &str, before: &str, after: &str| {
        format!(
            "UPDATE cut_fence SET head = head + 1 WHERE scope = {s}; \
             INSERT INTO cut_changes (scope, position, tbl, op, before, after, at_ms) \
             SELECT {s}, head, {t}, '{op}', {before}, {after}, {NOW_MS} FROM cut_fence WHERE scope = {s};",
            s = literal(scope),
            t = literal(&shape.name)
        )
    };
    let replaced = replaced(scope, shape);
    let insert = format!("{replaced} {}", event("insert", "NULL", &after));
    let update = format!("{replaced} {}", event("update", &before, &after));
    let in_way = |but: &str| in_the_way(scope, shape, but);
    let key_is_old = key_is(shape, "", "OLD.");
    let mut all = vec![
        ("note_insert", "BEFORE INSERT", new.clone(), in_way("0")),
        ("note_update", "BEFORE UPDATE", new.clone(), in_way(&key_is_old)),
        ("insert", "AFTER INSERT", new.clone(), insert),
        ("update", "AFTER UPDATE", format!("({old}) AND ({new})"), update),
        (
            "delete",
            "AFTER DELETE",
            old.clone(),
            format!("{} {}", forget(scope, shape), event("delete", &before, "NULL")),
        ),
    ];
    if shape.only.is_some() {
        let enters = format!("{replaced} {}", event("insert", "NULL", &after));
        all.push(("enter", "AFTER UPDATE", format!("NOT ({old}) AND ({new})"), enters));
        all.push(("leave", "AFTER UPDATE", format!("({old}) AND NOT ({new})"), event("delete", &before, "NULL")));
    }
    for (kind, moment, when, body) in all {
        let name = trigger_name(scope, &shape.name, kind);
        batch(
            connection,
            &format!(
                "DROP TRIGGER IF EXISTS {name}; \
                 CREATE TRIGGER {name} {moment} ON {table} WHEN {when} BEGIN {body} END;"
            ),
        )?;
    }
    Ok(())
}

/// Removes a scope's triggers; those of the guard stay where `guard` is true.
pub fn remove(connection: &Connection, scope: &str, guard: bool) -> Result<()> {
    for name in names(connection, scope)? {
        if !(guard && name.contains(".guard_")) {
            batch(connection, &format!("DROP TRIGGER {}", quoted(&name)))?;
        }
    }
    Ok(())
}

/// Removes every trigger of one table.
pub fn remove_of(connection: &Connection, scope: &str, table: &str) -> Result<()> {
    let prefix = format!("cut_{scope}.{table}.");
    for name in names(connection, scope)?.iter().filter(|name| name.starts_with(&prefix)) {
        batch(connection, &format!("DROP TRIGGER {}", quoted(name)))?;
    }
    Ok(())
}

/// How many triggers a prepared table has.
pub fn expected(table: &Tables) -> usize {
    if table.only.is_some() { 10 } else { 8 }
}

/// How many triggers a scope has.
pub fn count(connection: &Connection, scope: &str) -> Result<usize> {
    Ok(names(connection, scope)?.len())
}

fn names(connection: &Connection, scope: &str) -> Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, length(?1)) = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let rows = statement.query_map([format!("cut_{scope}.")], |row| row.get(0)).map_err(failed)?;
    rows.collect::<rusqlite::Result<_>>().map_err(failed)
}

fn trigger_name(scope: &str, table: &str, kind: &str) -> String {
    quoted(&format!("cut_{scope}.{table}.{kind}"))
}

const NOW_MS: &str = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";

/// A row as a JSON object.
fn image(shape: &Shape, prefix: &str) -> String {
    let columns = shape.columns.iter().map(|column| {
        let value = format!("{prefix}{}", quoted(&column.name));
        format!(
            "{}, CASE typeof({value}) WHEN 'integer' THEN 'i' || {value} WHEN 'text' THEN 't' || {value} \
             WHEN 'real' THEN {} WHEN 'blob' THEN 'b' || hex({value}) END",
            literal(&column.name),
            real(&value)
        )
    });
    format!("json_object({})", columns.collect::<Vec<_>>().join(", "))
}

/// A real number as text. SQLite's own digits are not always those of the same number, so that the whole part and 53 bits of
/// the fraction are written as integers (`q<n>:<whole>:<fraction>`, of the number times 2^n), which is exact. Only numbers
/// of more than 18 digits before or after the point are left to `printf`.
fn real(x: &str) -> String {
    let exact = |n: u32, x: String| {
        format!(
            "'q{n}:' || CAST({x} AS INTEGER) || ':' || CAST(({x} - CAST({x} AS INTEGER)) * 9007199254740992.0 AS INTEGER)"
        )
    };
    format!(
        "CASE WHEN abs({x}) >= 1.0 AND abs({x}) < 1e18 THEN {} WHEN abs({x}) >= 1e-18 AND abs({x}) < 1.0 THEN {} \
         ELSE 'r' || printf('%!.20g', {x}) END",
        exact(0, x.to_owned()),
        exact(60, format!("({x} * 1152921504606846976.0)"))
    )
}

/// Notes the rows that an insert or update of NEW would meet by key or by a unique index, but those where `but` holds.
fn in_the_way(scope: &str, shape: &Shape, but: &str) -> String {
    let keys: Vec<String> = shape.key.iter().map(|k| quoted(k)).collect();
    let slots: Vec<String> = (0..keys.len()).map(|i| format!("k{i}")).collect();
    let ways = std::iter::once(&shape.key).chain(&shape.unique);
    let selects = ways.map(|columns| {
        let same: Vec<String> = columns.iter().map(|c| format!("{c} = NEW.{c}", c = quoted(c))).collect();
        format!(
            "INSERT INTO cut_replaced (scope, tbl, image, {slots}) SELECT {s}, {t}, {image}, {keys} FROM {table} \
             WHERE {same} AND NOT ({but}) AND {belongs};",
            slots = slots.join(", "),
            s = literal(scope),
            t = literal(&shape.name),
            image = image(shape, ""),
            keys = keys.join(", "),
            table = quoted(&shape.name),
            same = same.join(" AND "),
            belongs = shape.belongs(""),
        )
    });
    let selects: String = selects.collect::<Vec<_>>().join(" ");
    format!("{} {selects}", clear(scope, shape))
}

/// Writes deletions for noted rows that are gone. A row whose key NEW has is gone, too, for an insert; for an update it
/// was not noted.
fn replaced(scope: &str, shape: &Shape) -> String {
    let (s, t) = (literal(scope), literal(&shape.name));
    let table = quoted(&shape.name);
    let still: Vec<String> =
        shape.key.iter().enumerate().map(|(i, k)| format!("r.{} = cut_replaced.k{i}", quoted(k))).collect();
    let new: Vec<String> =
        shape.key.iter().enumerate().map(|(i, k)| format!("cut_replaced.k{i} IS NEW.{}", quoted(k))).collect();
    format!(
        "DELETE FROM cut_replaced WHERE {ours} AND NOT ({new}) AND EXISTS (SELECT 1 FROM {table} r WHERE {still}); \
         DELETE FROM cut_replaced WHERE {ours} AND rowid NOT IN \
         (SELECT min(rowid) FROM cut_replaced WHERE {ours} GROUP BY image); \
         INSERT INTO cut_changes (scope, position, tbl, op, before, after, at_ms) \
         SELECT {s}, head + row_number() OVER (), {t}, 'delete', image, NULL, {NOW_MS} \
         FROM cut_replaced, cut_fence WHERE cut_replaced.scope = {s} AND tbl = {t} AND cut_fence.scope = {s}; \
         UPDATE cut_fence SET head = head + (SELECT count(*) FROM cut_replaced WHERE {ours}) WHERE scope = {s}; \
         {clear}",
        ours = format_args!("scope = {s} AND tbl = {t}"),
        clear = clear(scope, shape),
        new = new.join(" AND "),
        still = still.join(" AND "),
    )
}

/// A delete trigger fired for a noted row (`PRAGMA recursive_triggers`): it is written already.
fn forget(scope: &str, shape: &Shape) -> String {
    let same: Vec<String> = shape.key.iter().enumerate().map(|(i, k)| format!("k{i} = OLD.{}", quoted(k))).collect();
    let (s, t) = (literal(scope), literal(&shape.name));
    format!("DELETE FROM cut_replaced WHERE scope = {s} AND tbl = {t} AND {};", same.join(" AND "))
}

fn clear(scope: &str, shape: &Shape) -> String {
    format!("DELETE FROM cut_replaced WHERE scope = {} AND tbl = {};", literal(scope), literal(&shape.name))
}

fn key_is(shape: &Shape, left: &str, right: &str) -> String {
    let same: Vec<String> = shape.key.iter().map(|k| format!("{left}{k} IS {right}{k}", k = quoted(k))).collect();
    same.join(" AND ")
}

fn batch(connection: &Connection, sql: &str) -> Result<()> {
    connection.execute_batch(sql).map_err(failed)
}
