//! Rows as they travel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A value of a column.
///
/// SQLite: by its storage class. PostgreSQL: `null`, or the text its output function writes with
/// `TimeZone=UTC`, `DateStyle=ISO`, `IntervalStyle=postgres`, `bytea_output=hex`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// JSON `null`.
    Null,
    /// A JSON integer of 64 bits with a sign.
    Integer(i64),
    /// A JSON string.
    Text(String),
    /// `{"real": "0.5"}`: digits that read back as the same number of 64 bits.
    Real {
        /// The digits.
        real: String,
    },
    /// `{"blob": "00ff"}`: bytes in hexadecimal.
    Blob {
        /// The digits.
        blob: String,
    },
}

/// A whole row: its columns by name.
pub type Row = BTreeMap<String, Value>;

/// The values of a table's key, in the order of [`super::Table::key`].
pub type Key = Vec<Value>;

/// What a set of rows comes to: their number, and the sum of their hashes, which does not depend on
/// their order. Two sides with the same digest have the same rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// How many rows.
    pub rows: u64,
    /// 64 hexadecimal digits: the sum, modulo 2^128 in each half, of the rows' SHA-256. Made by the
    /// two sides alone; the platform only compares it.
    pub sum: String,
}
