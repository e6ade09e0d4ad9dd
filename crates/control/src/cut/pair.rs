//! The two sides of a cut with data, as the driver uses them: whatever the databases are and however they are reached.
//! Every call may be repeated with the same outcome.

use quarry_domain::cut::{Mark, Side, SideSeen, Verified};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What a call answers, later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + 'a>>;

/// Why a call did not do what it was for. Nothing was changed, or it is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Trouble {
    pub message: String,
    /// It was understood and refused; asking again as it was changes nothing.
    pub refused: bool,
}

/// One side's state in full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    pub seen: SideSeen,
    /// It has the scope at all.
    pub known: bool,
    /// All rows of the other side are copied here.
    pub copied: bool,
    /// Rows here, as far as they are counted.
    pub rows: u64,
    /// Milliseconds since the oldest transaction began that may still write.
    pub oldest_write_ms: Option<u64>,
    /// Names and columns of the tables, to be compared between the sides.
    pub tables: Vec<String>,
}

/// What following came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The last change of the owner that the other side has.
    pub applied: u64,
    pub digest: String,
    /// Changes that were applied now.
    pub changes: u64,
    /// There were more when it was asked.
    pub behind: u64,
    /// How long it took from the moment the changes were known.
    pub took: Duration,
}

/// What copying came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub done: bool,
    /// Rows at the new side.
    pub rows: u64,
}

/// What a fence command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    pub owner: bool,
    pub epoch: u64,
    pub released: Option<Mark>,
}

/// Both sides.
pub trait Pair {
    fn look(&self, side: Side) -> Later<'_, Looked>;
    /// What stands in the way, in words, without changing anything.
    fn check(&self) -> Later<'_, Vec<(Side, String)>>;
    /// Feed, fence and keys on both sides. What stands in the way, in words.
    fn prepare(&self, owner: Side) -> Later<'_, Vec<(Side, String)>>;
    /// Copies some rows.
    fn copy(&self, from: Side) -> Later<'_, Copied>;
    /// Applies what there is; waits for so long for the first change.
    fn follow(&self, from: Side, wait: Duration) -> Later<'_, Followed>;
    /// Waits while changes are being applied: then a [`Pair::follow`] that waits for some can be given up without harm.
    fn settle(&self) -> Later<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn verify(&self, owner: Side) -> Later<'_, Verified>;
    fn give_up(&self, side: Side, epoch: u64) -> Later<'_, Fenced>;
    fn take(&self, side: Side, epoch: u64, expect: Option<(u64, String)>) -> Later<'_, Fenced>;
    /// Feeds go; `fate`: what becomes of the rows that the owner does not need.
    fn retire(&self, owner: Side, fate: Fate) -> Later<'_, ()>;
}

/// What becomes of the loser's tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// They stay, fenced.
    Keep,
    /// They get other names.
    #[default]
    Rename,
    Drop,
    /// Their rows go: the side is as new.
    Clear,
}

impl Trouble {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), refused: false }
    }
}
