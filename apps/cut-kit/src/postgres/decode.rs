//! The messages of the output plugin `pgoutput`, protocol version 1.

use std::collections::HashMap;

use super::Result;
use crate::contract::{Code, Op, Problem, Row, Value};

/// A committed transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transaction {
    /// The low half of its id.
    pub xid: u32,
    /// Where its commit ends in the log: the position of all its events.
    pub end: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The kit applied it: it is no change of this side.
    pub applied: bool,
    /// Rows of published tables.
    pub changes: Vec<Change>,
}

impl Transaction {
    /// Whether it changed something at this side.
    pub fn says(&self) -> bool {
        !self.applied && !self.changes.is_empty()
    }
}

/// A change of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub schema: String,
    pub table: String,
    pub op: Op,
    pub before: Option<Row>,
    pub after: Option<Row>,
}

/// The prefix of the message with which the kit marks what it applies.
pub const APPLIED: &str = "cut-apply";

/// Reads messages in the order in which the server gives them.
#[derive(Default)]
pub struct Decoder {
    relations: HashMap<u32, Relation>,
    open: Option<Transaction>,
    /// What has been read whole.
    pub done: Vec<Transaction>,
}

/// A table as the log tells it.
struct Relation {
    schema: String,
    table: String,
    columns: Vec<String>,
}

struct Reader<'a>(&'a [u8]);

impl Decoder {
    /// Reads one message.
    pub fn message(&mut self, bytes: &[u8]) -> Result<()> {
        let mut r = Reader(bytes);
        match r.byte()? {
            b'B' => {
                r.u64()?;
                // Microseconds since 2000.
                let at_ms = r.u64()? / 1_000 + 946_684_800_000;
                self.open = Some(Transaction { xid: r.u32()?, at_ms, ..Transaction::default() });
            }
            b'C' => {
                r.byte()?;
                r.u64()?;
                let end = r.u64()?;
                if let Some(open) = self.open.take() {
                    self.done.push(Transaction { end, ..open });
                }
            }
            b'R' => {
                let id = r.u32()?;
                let (schema, table) = (r.text()?, r.text()?);
                r.byte()?;
                let mut columns = Vec::new();
                for _ in 0..r.u16()? {
                    r.byte()?;
                    columns.push(r.text()?);
                    r.u32()?;
                    r.u32()?;
                }
                self.relations.insert(id, Relation { schema, table, columns });
            }
            b'I' => self.change(&mut r, Op::Insert)?,
            b'U' => self.change(&mut r, Op::Update)?,
            b'D' => self.change(&mut r, Op::Delete)?,
            b'M' => {
                r.byte()?;
                r.u64()?;
                let ours = r.text()? == APPLIED;
                if let Some(open) = self.open.as_mut() {
                    open.applied |= ours;
                }
            }
            b'T' => return Err(Problem::new(Code::Diverged, "a table of the scope was truncated")),
            // Origins and types say nothing that is needed here.
            _ => {}
        }
        Ok(())
    }

    fn change(&mut self, r: &mut Reader<'_>, op: Op) -> Result<()> {
        let Relation { schema, table, columns } = self.relations.get(&r.u32()?).ok_or_else(damaged)?;
        let mut kind = r.byte()?;
        let mut before = None;
        if kind == b'O' || kind == b'K' {
            if kind == b'K' {
                let message = format!("{table} has lost its REPLICA IDENTITY FULL");
                return Err(Problem::new(Code::SchemaChanged, message));
            }
            before = Some(r.tuple(columns, None)?);
            kind = if op == Op::Update { r.byte()? } else { b'N' };
        }
        let after = match op {
            Op::Delete => None,
            _ if kind == b'N' => Some(r.tuple(columns, before.as_ref())?),
            _ => return Err(damaged()),
        };
        let change = Change { schema: schema.clone(), table: table.clone(), op, before, after };
        self.open.as_mut().ok_or_else(damaged)?.changes.push(change);
        Ok(())
    }
}

impl Reader<'_> {
    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(damaged)?;
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self, n: usize) -> Result<u64> {
        Ok(self.take(n)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(self.number(2)? as u16)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(self.number(4)? as u32)
    }

    fn u64(&mut self) -> Result<u64> {
        self.number(8)
    }

    fn text(&mut self) -> Result<String> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(damaged)?;
        let text = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.byte()?;
        Ok(text)
    }

    /// Values that did not change and are stored apart are not sent again: they are those of `before`.
    fn tuple(&mut self, columns: &[String], before: Option<&Row>) -> Result<Row> {
        let count = self.u16()? as usize;
        if count != columns.len() {
            return Err(damaged());
        }
        let mut row = Row::new();
        for column in columns {
            let value = match self.byte()? {
                b'n' => Value::Null,
                b'u' => before.and_then(|row| row.get(column)).cloned().ok_or_else(damaged)?,
                b't' => {
                    let length = self.u32()? as usize;
                    let text = std::str::from_utf8(self.take(length)?);
                    Value::Text(text.map_err(|_| Problem::new(Code::Failed, "a text is not UTF-8"))?.to_owned())
                }
                _ => return Err(damaged()),
            };
            row.insert(column.clone(), value);
        }
        Ok(row)
    }
}

fn damaged() -> Problem {
    Problem::new(Code::Failed, "the log cannot be read")
}
