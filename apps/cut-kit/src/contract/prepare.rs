//! `POST /prepare`.

use serde::{Deserialize, Serialize};

use super::{Engine, Table};

/// Which side of a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It owns the scope.
    Source,
    /// It is to receive the scope.
    Destination,
}

/// `POST /prepare`: makes feed and guard, and says what stands in the way. May be repeated. Prepare the destination
/// first, and give its feed to the source as [`PrepareRequest::follow`]: both directions are then in
/// place before anything moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareRequest {
    /// The scope.
    pub scope: String,
    /// The side. A source that does not own the scope, and a destination that does, are refused
    /// ([`super::Code::WrongOwner`]); but a destination that owns it and never had a row is fenced.
    pub role: Role,
    /// The epoch from which the cut starts: at least that of both sides. The fence row is raised to it.
    pub epoch: u64,
    /// Source: where the way back begins. Everything up to this position of the other's feed counts
    /// as being here.
    #[serde(default)]
    pub follow: Option<Follow>,
    /// Only look; change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// A place in a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// The feed.
    pub src: String,
    /// The position.
    pub position: u64,
}

/// The answer to `prepare`. With a blocking finding nothing was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// The database, as in [`super::State`].
    pub database: String,
    /// Its engine.
    pub engine: Engine,
    /// The feed and its position; `None` where nothing was made.
    pub feed: Option<Follow>,
    /// The tables.
    pub tables: Vec<Table>,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// Something that a person should know before a cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Whether the cut can go on.
    pub severity: Severity,
    /// A short name: `no-key`, `no-autoincrement`, `foreign-key`, `trigger`, `rows`, `wal-level`, `privilege`, …
    pub code: String,
    /// The table, where it is about one.
    pub table: Option<String>,
    /// One sentence.
    pub message: String,
}

/// How much a [`Finding`] weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The cut is refused.
    Blocking,
    /// Worth knowing.
    Note,
}
