//! `POST /fence` and `POST /finish`.

use serde::{Deserialize, Serialize};

use super::{Digest, Mark};

/// `POST /fence`: gives the scope up, or takes it. Compare-and-set by epoch: a command with an epoch that is not above
/// that of the fence row is refused ([`super::Code::Epoch`]), except the very one that made it, which
/// gets its first answer again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FenceRequest {
    /// The scope.
    pub scope: String,
    /// What to do.
    pub action: FenceAction,
    /// The new epoch.
    pub epoch: u64,
    /// `acquire`: the feed that this database followed. Without it, the database takes back what it released itself,
    /// which is refused when it has applied anything since.
    #[serde(default)]
    pub src: Option<String>,
    /// `acquire` with `src`: the position of the mark, at which this database must stand.
    #[serde(default)]
    pub expect_pos: Option<u64>,
    /// `acquire` with `src`: the digest of the other side at the mark, which this database must have.
    #[serde(default)]
    pub expect_digest: Option<Digest>,
}

/// What to do with a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FenceAction {
    /// Refuse writes from now on, and write the mark, in one transaction.
    Release,
    /// Accept writes from now on; ids go on above every id that was ever given on either side.
    Acquire,
}

/// The answer to `fence`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fenced {
    /// Whether this database owns the scope now.
    pub owner: bool,
    /// The epoch of the fence row now.
    pub epoch: u64,
    /// The mark, for `release`.
    pub mark: Option<Mark>,
}

/// `POST /finish`: the cut is over here. Feed, positions and triggers go; the fence row stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishRequest {
    /// The scope.
    pub scope: String,
    /// Whether this database owns the scope, as the caller believes; otherwise [`super::Code::WrongOwner`].
    pub owner: bool,
    /// What becomes of the rows of a database that is not the owner. An owner's are kept.
    #[serde(default)]
    pub tables: Fate,
}

/// What becomes of tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// They stay as they are, and stay fenced.
    #[default]
    Keep,
    /// Their rows of the scope are deleted: a destination is as new, and may be prepared again.
    Clear,
    /// They are renamed to `<name>_retired_<epoch>`. Rows of a shared table are deleted.
    Rename,
    /// They are dropped. Rows of a shared table are deleted.
    Drop,
}

/// The answer to `finish`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Whether this database owns the scope.
    pub owner: bool,
    /// The epoch of the fence row.
    pub epoch: u64,
    /// What the tables are called now; empty when they were dropped.
    pub tables: Vec<String>,
}
