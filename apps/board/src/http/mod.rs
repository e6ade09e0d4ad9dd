//! What every feature speaks over HTTP: problems, pages, checked fields, idempotency keys, health,
//! and the server that drains on SIGTERM.

mod body;
mod breaker;
mod fields;
mod health;
pub mod idempotency;
mod page;
mod peer;
mod problem;
mod resource;
mod server;

pub use body::{Body, json};
pub use breaker::{Guarded, Unanswered};
pub use fields::{Fields, MAX_ID};
pub use health::{ServiceInfo, routes as health_routes};
pub use page::{Page, link_next};
pub use peer::{Peer, PeerError, TRACE_HEADER};
pub use problem::Problem;
pub use resource::{Filter, Resource, id_in, list, plain_list, routes as resource_routes};
pub use server::{Bound, Shutdown, access_log, serve};

/// Seconds since 1970; the one place where the board asks for the wall clock.
pub fn unix_seconds() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
