//! Rows: from the triggers' images, from a query, and into statements.

use std::cmp::Ordering;

use rusqlite::types::{Value as Sql, ValueRef};
use rusqlite::{Connection, params_from_iter};

use super::schema::Shape;
use super::{Result, failed};
use crate::contract::{Code, Key, Problem, Row, Value};
use crate::scope::quoted;

/// Reads an image that a trigger wrote.
pub fn parse_image(image: &str) -> Result<Row> {
    let damaged = || Problem::new(Code::Failed, format!("the feed holds an image that cannot be read: {image:.80}"));
    let tagged: std::collections::BTreeMap<String, Option<String>> =
        serde_json::from_str(image).map_err(|_| damaged())?;
    let value = |text: Option<String>| -> Result<Value> {
        let Some(text) = text else { return Ok(Value::Null) };
        let (tag, rest) = text.split_at_checked(1).ok_or_else(damaged)?;
        Ok(match tag {
            "i" => Value::Integer(rest.parse().map_err(|_| damaged())?),
            "t" => Value::Text(rest.to_owned()),
            "r" => real(rest.parse().map_err(|_| damaged())?),
            "q" => {
                let mut parts = rest.split(':').map(|part| part.parse::<i64>());
                let (Some(Ok(n)), Some(Ok(whole)), Some(Ok(fraction))) = (parts.next(), parts.next(), parts.next())
                else {
                    return Err(damaged());
                };
                let scaled = whole as f64 + fraction as f64 / (1_i64 << 53) as f64;
                real(scaled / 2_f64.powi(i32::try_from(n).map_err(|_| damaged())?))
            }
            "b" => Value::Blob { blob: rest.to_ascii_lowercase() },
            _ => return Err(damaged()),
        })
    };
    tagged.into_iter().map(|(name, text)| Ok((name, value(text)?))).collect()
}

/// The one way a real number is written.
fn real(number: f64) -> Value {
    Value::Real { real: format!("{number:?}") }
}

fn from_sql(value: ValueRef<'_>) -> Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Integer(n),
        ValueRef::Real(n) => real(n),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => return Err(Problem::new(Code::Failed, "a text is not UTF-8 and cannot be moved")),
        },
        ValueRef::Blob(bytes) => Value::Blob { blob: bytes.iter().map(|b| format!("{b:02x}")).collect() },
    })
}

/// A value for a statement.
pub fn to_sql(value: &Value) -> Result<Sql> {
    let bad = |what: &str| Problem::new(Code::BadRequest, format!("{what} is no value of a column"));
    Ok(match value {
        Value::Null => Sql::Null,
        Value::Integer(n) => Sql::Integer(*n),
        Value::Text(text) => Sql::Text(text.clone()),
        Value::Real { real } => Sql::Real(real.parse().map_err(|_| bad(real))?),
        Value::Blob { blob } => {
            let digit = |i: usize| blob.get(i..i + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
            let bytes: Option<Vec<u8>> = (0..blob.len()).step_by(2).map(digit).collect();
            Sql::Blob(bytes.ok_or_else(|| bad(blob))?)
        }
    })
}

/// A row of a statement that selects or returns all columns of `shape` in their order.
pub fn read(shape: &Shape, row: &rusqlite::Row<'_>) -> Result<Row> {
    let columns = shape.columns.iter().enumerate();
    columns.map(|(i, c)| Ok((c.name.clone(), from_sql(row.get_ref(i).map_err(failed)?)?))).collect()
}

/// The rows of a statement that selects or returns all columns.
pub fn query(connection: &Connection, shape: &Shape, sql: &str, parameters: Vec<Sql>) -> Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query(params_from_iter(parameters)).map_err(failed)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        out.push(read(shape, row)?);
    }
    Ok(out)
}

/// `("k0", "k1") = (?n, …)`: parameters from `first` on.
pub fn key_equals(shape: &Shape, first: usize) -> String {
    let parts = shape.key.iter().enumerate().map(|(i, k)| format!("{} = ?{}", quoted(k), first + i));
    parts.collect::<Vec<_>>().join(" AND ")
}

/// The parameters of a key.
pub fn key_values(key: &Key) -> Result<Vec<Sql>> {
    key.iter().map(to_sql).collect()
}

/// All columns' values in the order of `shape`; a row of other columns is refused.
pub fn values(shape: &Shape, row: &Row) -> Result<Vec<Sql>> {
    if row.len() != shape.columns.len() {
        return Err(other_columns(shape));
    }
    shape.columns.iter().map(|c| to_sql(row.get(&c.name).ok_or_else(|| other_columns(shape))?)).collect()
}

fn other_columns(shape: &Shape) -> Problem {
    Problem::new(Code::SchemaChanged, format!("{} has other columns here than at the other side", shape.name))
}

/// SQLite's order with the collation BINARY.
pub fn compare(a: &Key, b: &Key) -> Ordering {
    a.iter().zip(b).map(|(a, b)| compare_values(a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

fn compare_values(a: &Value, b: &Value) -> Ordering {
    let class = |v: &Value| match v {
        Value::Null => 0,
        Value::Integer(_) | Value::Real { .. } => 1,
        Value::Text(_) => 2,
        Value::Blob { .. } => 3,
    };
    let number = |v: &Value| match v {
        Value::Integer(n) => *n as f64,
        Value::Real { real } => real.parse().unwrap_or(0.0),
        _ => 0.0,
    };
    class(a).cmp(&class(b)).then_with(|| match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        // Lower-case hexadecimal digits are in the order of their bytes.
        (Value::Blob { blob: a }, Value::Blob { blob: b }) => a.cmp(b),
        _ => number(a).total_cmp(&number(b)),
    })
}
