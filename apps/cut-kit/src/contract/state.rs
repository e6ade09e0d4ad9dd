//! `GET /state` and `POST /verify`.

use serde::{Deserialize, Serialize};

use super::{Digest, Key};

/// `GET /state`: what a database says of itself and of its scopes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The contract's version, [`super::VERSION`].
    pub contract: u32,
    /// Names the database (not the process): every task that shares it says the same.
    pub database: String,
    /// Both sides of a cut need the same.
    pub engine: Engine,
    /// The scopes that this application offers to cut.
    pub scopes: Vec<ScopeState>,
}

/// Which database is behind the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgresql,
}

/// One scope in one database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScopeState {
    /// Its name.
    pub scope: String,
    /// Whether this database may be written: the fence row.
    pub owner: bool,
    /// The epoch of the fence row; fence commands are compared with it.
    pub epoch: u64,
    /// The feed's name, once `prepare` has made it.
    pub feed: Option<String>,
    /// The position of the feed's newest event. Where positions are those of a log (PostgreSQL),
    /// it is one at or after the newest event.
    pub head: u64,
    /// Milliseconds since the oldest transaction began that may still write; `None` where there is none.
    pub oldest_write_ms: Option<u64>,
    /// The mark of the last release here.
    pub released: Option<Mark>,
    /// The feeds that this database follows or followed.
    pub following: Vec<Following>,
    /// The scope's tables as they are now.
    pub tables: Vec<Table>,
    /// Tables were renamed or dropped by `finish`: this database does not have the scope any more.
    pub retired: bool,
}

/// What `release` writes in the transaction in which it gives the scope up, as the feed's last
/// event: who has applied it has applied everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The epoch of the release.
    pub epoch: u64,
    /// Its position in the feed of the database that was released.
    pub position: u64,
    /// The rows of the scope at that moment, by the side that was released.
    pub digest: Digest,
}

/// How far this database has come with another's feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Following {
    /// The other's feed.
    pub src: String,
    /// Everything up to here is in this database.
    pub position: u64,
    /// The rows of the scope here, kept row by row as they are written.
    pub digest: Digest,
    /// The epoch of the newest mark that came by.
    pub mark_epoch: Option<u64>,
    /// Whether every table has been copied whole.
    pub copied: bool,
}

/// A table of a scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The columns that name a row, in order. Chunks come by rising key.
    pub key: Vec<String>,
    /// All columns that hold data, by name.
    pub columns: Vec<Column>,
    /// Only rows with this value in this column belong to the scope.
    pub only: Option<(String, String)>,
    /// At a destination: the last key that has been copied.
    pub copied_to: Option<Key>,
    /// At a destination: whether the copy of this table is whole.
    pub copied: bool,
}

/// A column. Both sides need the same names and types.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as declared, and for text in a key of PostgreSQL its collation.
    pub r#type: String,
    /// Whether NULL is refused.
    pub not_null: bool,
}

/// `POST /verify`: reads every row of the scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRequest {
    /// The scope.
    pub scope: String,
    /// At a destination: the feed it follows. At the owner: none.
    #[serde(default)]
    pub src: Option<String>,
    /// Without this, a scope without a single row fails with [`super::Code::NothingCompared`]: a comparison of
    /// nothing shows nothing.
    #[serde(default)]
    pub allow_empty: bool,
}

/// The answer. Rows read whole and rows kept by the feed agree, otherwise `verify` fails with
/// [`super::Code::Diverged`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The position at which every row was read: of the own feed, or of `src`.
    pub position: u64,
    /// What was read.
    pub digest: Digest,
    /// Whether there was a kept digest to compare with. The first `verify` of an owner makes it.
    pub compared: bool,
}
