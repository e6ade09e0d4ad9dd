//! `POST /apply`.

use serde::{Deserialize, Serialize};

use super::{Chunk, Digest, Event};

/// `POST /apply`: rows and position in one transaction.
///
/// - `from` must be the stored position: a greater one is a gap ([`super::Code::Gap`], 409, with the stored
///   position). Events up to the stored position were applied before and are skipped, so sending again is
///   harmless.
/// - A chunk needs `from == to`, both the stored position, and `after` where the copy of the table stands. Without
///   a stored position, the first chunk of the first table sets it.
/// - Rows beyond what has been copied of a table are left to its later chunks.
/// - At the owner, only a request without events and rows is taken: the position of a feed in which nothing happens.
/// - An event whose row is not as the event says (`before` differs, an insert's key exists) is refused
///   ([`super::Code::Diverged`]) and nothing of the request is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplyRequest {
    /// The scope.
    pub scope: String,
    /// The feed that the events are of.
    pub src: String,
    /// The events follow this position.
    pub from: u64,
    /// And reach up to this one.
    pub to: u64,
    /// As in [`super::Changes::counted`]: every position after `from` up to `to` must be there.
    #[serde(default)]
    pub counted: bool,
    /// The events.
    #[serde(default)]
    pub events: Vec<Event>,
    /// Rows to copy at position `to`, after the events.
    #[serde(default)]
    pub chunk: Option<Chunk>,
}

/// The answer to `apply`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// The stored position now.
    pub position: u64,
    /// The rows of the scope here now. At an owner it says nothing: its rows are told by its own feed.
    pub digest: Digest,
    /// The epoch of the newest mark that came by.
    pub mark_epoch: Option<u64>,
    /// Whether every table has been copied whole. Only then do the digests of both sides mean the same.
    pub copied: bool,
}
