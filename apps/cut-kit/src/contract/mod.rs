//! The contract: every request and answer of the admin port, as types.
//!
//! All calls are JSON over HTTP/1.1 under [`BASE`], with `Authorization: Bearer <secret>`. The platform is
//! the replicator: it reads changes where the scope is owned and applies them at the other side.
//! Nothing here depends on a database.
//!
//! A **position** is a number that only grows, of one feed. An event's position is above that of
//! every event before it. A **feed** is the sequence of changes of one scope in one database since its
//! triggers or its slot were made; its name changes when it is made anew, so that a position of an old feed
//! is never taken for one of a new feed.

mod apply;
mod error;
mod feed;
mod fence;
mod prepare;
mod state;
mod value;

pub use apply::{Applied, ApplyRequest};
pub use error::{Code, Problem};
pub use feed::{Changes, ChangesQuery, Chunk, Event, Op, Snapshot, SnapshotQuery};
pub use fence::{Fate, FenceAction, FenceRequest, Fenced, FinishRequest, Finished};
pub use prepare::{Finding, Follow, PrepareRequest, Prepared, Role, Severity};
pub use state::{Column, Engine, Following, Mark, ScopeState, State, Table, Verified, VerifyRequest};
pub use value::{Digest, Key, Row, Value};

/// The version of the contract that these types are.
pub const VERSION: u32 = 1;
/// Where the calls are.
pub const BASE: &str = "/_cut/v1";
/// The environment variable with the port of the admin listener on 127.0.0.1.
pub const PORT_VARIABLE: &str = "CUT_ADMIN_PORT";
/// The environment variable with the secret of the admin listener.
pub const SECRET_VARIABLE: &str = "CUT_ADMIN_SECRET";
/// The environment variable that names the scopes (with commas) which this database is to receive by a cut: at
/// its first start they are fenced, and nothing is imported into them.
pub const DESTINATION_VARIABLE: &str = "CUT_DESTINATION";
/// Set by the load balancer on requests of a scope that is being cut: the epoch in which the
/// request may write.
pub const EPOCH_HEADER: &str = "x-cut-epoch";
/// Set on a 421: the request was not executed, because this database does not own the scope.
pub const FENCED_HEADER: &str = "x-cut-fenced";
/// Bytes of a request body at most.
pub const MAX_BODY: usize = 8 * 1024 * 1024;
/// Events or rows in one answer at most.
pub const MAX_LIMIT: u32 = 5_000;
/// Milliseconds that [`ChangesQuery::wait_ms`] may be at most.
pub const MAX_WAIT_MS: u32 = 20_000;

/// The calls: method and path below [`BASE`].
pub const ROUTES: [(&str, &str); 8] = [
    ("GET", "/state"),
    ("POST", "/prepare"),
    ("GET", "/snapshot"),
    ("GET", "/changes"),
    ("POST", "/apply"),
    ("POST", "/fence"),
    ("POST", "/verify"),
    ("POST", "/finish"),
];

#[cfg(test)]
mod tests;
