//! `GET /snapshot` and `GET /changes`.

use serde::{Deserialize, Serialize};

use super::{Digest, Key, Row};

/// `GET /snapshot?scope=&table=&after=&limit=&position=`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotQuery {
    /// The scope.
    pub scope: String,
    /// The table.
    pub table: String,
    /// Rows with a greater key; a JSON array in the query. From the beginning without it.
    #[serde(default)]
    pub after: Option<String>,
    /// Rows at most; 1,000 without it.
    #[serde(default)]
    pub limit: Option<u32>,
    /// How far the destination has applied this side's feed. Not with the first chunk of all.
    #[serde(default)]
    pub position: Option<u64>,
}

/// A chunk of a table, exactly as it was at one position of the feed. To use it: apply changes until the
/// destination stands at `at` (with [`ChangesQuery::until`]), then send the chunk with `apply`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The feed.
    pub src: String,
    /// The watermark: the chunk holds every change up to here and none after it. At or after
    /// [`SnapshotQuery::position`].
    pub at: u64,
    /// The rows.
    pub chunk: Chunk,
}

/// Rows of one table by rising key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// The table.
    pub table: String,
    /// The key after which it begins; `None` is the table's beginning.
    pub after: Option<Key>,
    /// The rows.
    pub rows: Vec<Row>,
    /// The key up to which it reaches: that of the last row. `None`: there was no row.
    pub to: Option<Key>,
    /// Nothing follows: the table has been read to its end.
    pub last: bool,
}

/// `GET /changes?scope=&after=&limit=&wait_ms=&until=`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesQuery {
    /// The scope.
    pub scope: String,
    /// Events after this position. This also says that everything up to it is safe at the other side and
    /// may be forgotten here.
    pub after: u64,
    /// Events at most; 1,000 without it. A transaction of PostgreSQL is never cut in two, so there may be more.
    #[serde(default)]
    pub limit: Option<u32>,
    /// Wait this long for the first event; not at all without it. [`super::MAX_WAIT_MS`] at most.
    #[serde(default)]
    pub wait_ms: Option<u32>,
    /// Nothing after this position.
    #[serde(default)]
    pub until: Option<u64>,
}

/// Events in the order of commit, without a gap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// The feed.
    pub src: String,
    /// As asked: the events follow this position.
    pub from: u64,
    /// The events reach up to this position, also where the last event is before it.
    pub to: u64,
    /// The position of the newest event that there is.
    pub head: u64,
    /// Whether positions are counted one by one: then each event's is one more than the last.
    pub counted: bool,
    /// The events.
    pub events: Vec<Event>,
    /// The rows of the scope at `to`, kept from the images of the events; `None` before the first `verify`. The
    /// other side's [`super::Applied::digest`] at the same position must be the same.
    pub digest: Option<Digest>,
}

/// One change of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its position.
    pub position: u64,
    /// What happened.
    pub op: Op,
    /// The table; empty for a mark.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub table: String,
    /// The row before: for updates and deletes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Row>,
    /// The row after: for inserts and updates. For a mark: its `epoch`, its `digest` where it is known, and by
    /// `sequence:<table>` the last id that each table has given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Row>,
    /// When it was written, in milliseconds since 1970 by that database's clock. For showing lag, nothing else.
    #[serde(default)]
    pub at_ms: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// A new row.
    Insert,
    /// A changed row; its key may have changed too.
    Update,
    /// A row gone.
    Delete,
    /// The scope was released here.
    Mark,
}
