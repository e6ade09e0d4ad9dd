//! The sum of rows' hashes, which does not depend on their order.

use sha2::{Digest as _, Sha256};

use crate::contract::{Digest, Row, Value};

/// A digest that rows are added to and taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    rows: u64,
    halves: [u128; 2],
}

impl Sum {
    /// Adds a row.
    pub fn add(&mut self, table: &str, row: &Row) {
        let hash = hash(table, row);
        self.rows = self.rows.wrapping_add(1);
        self.halves = [self.halves[0].wrapping_add(hash[0]), self.halves[1].wrapping_add(hash[1])];
    }

    /// Takes a row away.
    pub fn take(&mut self, table: &str, row: &Row) {
        let hash = hash(table, row);
        self.rows = self.rows.wrapping_sub(1);
        self.halves = [self.halves[0].wrapping_sub(hash[0]), self.halves[1].wrapping_sub(hash[1])];
    }

    /// What a change does.
    pub fn change(&mut self, table: &str, before: Option<&Row>, after: Option<&Row>) {
        if let Some(row) = before {
            self.take(table, row);
        }
        if let Some(row) = after {
            self.add(table, row);
        }
    }

    /// As it travels.
    pub fn digest(&self) -> Digest {
        Digest { rows: self.rows, sum: format!("{:032x}{:032x}", self.halves[0], self.halves[1]) }
    }

    /// Back from [`Sum::digest`]; `None` where it is not one.
    pub fn parse(digest: &Digest) -> Option<Sum> {
        let half = |range| u128::from_str_radix(digest.sum.get(range)?, 16).ok();
        (digest.sum.len() == 64).then_some(())?;
        Some(Sum { rows: digest.rows, halves: [half(0..32)?, half(32..64)?] })
    }
}

/// SHA-256 over the table, and each column's name, kind and bytes, all with their lengths.
fn hash(table: &str, row: &Row) -> [u128; 2] {
    let mut sha = Sha256::new();
    let mut put = |kind: u8, bytes: &[u8]| {
        sha.update([kind]);
        sha.update((bytes.len() as u64).to_be_bytes());
        sha.update(bytes);
    };
    put(b'T', table.as_bytes());
    for (name, value) in row {
        put(b'c', name.as_bytes());
        match value {
            Value::Null => put(b'n', &[]),
            Value::Integer(n) => put(b'i', &n.to_be_bytes()),
            Value::Text(text) => put(b't', text.as_bytes()),
            Value::Real { real } => put(b'r', real.as_bytes()),
            Value::Blob { blob } => put(b'b', blob.as_bytes()),
        }
    }
    let bytes: [u8; 32] = sha.finalize().into();
    let half = |i: usize| {
        let mut half = [0; 16];
        half.copy_from_slice(&bytes[i..i + 16]);
        u128::from_be_bytes(half)
    };
    [half(0), half(16)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, text: &str) -> Row {
        [("id".to_owned(), Value::Integer(id)), ("text".to_owned(), Value::Text(text.into()))].into()
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let sum = |rows: &[(&str, Row)]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|(table, row)| sum.add(table, row));
            sum
        };
        let one = sum(&[("a", row(1, "x")), ("a", row(2, "y"))]);
        assert_eq!(one, sum(&[("a", row(2, "y")), ("a", row(1, "x"))]));
        assert_ne!(one, sum(&[("b", row(1, "x")), ("a", row(2, "y"))]));
        assert_ne!(one, sum(&[("a", row(1, "y")), ("a", row(2, "x"))]));
        assert_ne!(one, sum(&[("a", row(1, "x"))]));
        let text: Row = [("id".to_owned(), Value::Text("1".into()))].into();
        let integer: Row = [("id".to_owned(), Value::Integer(1))].into();
        assert_ne!(sum(&[("a", text)]), sum(&[("a", integer)]));
        let mut back = one;
        back.change("a", Some(&row(2, "y")), Some(&row(3, "z")));
        back.change("a", Some(&row(3, "z")), None);
        assert_eq!(back, sum(&[("a", row(1, "x"))]));
        assert_eq!(Sum::parse(&back.digest()), Some(back));
        assert_eq!(Sum::parse(&Digest { rows: 0, sum: "é".repeat(32) }), None);
    }
}
