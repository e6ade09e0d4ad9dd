//! The thinking of Quarry, without any doing: identifiers, statuses and their
//! transitions, rule matching, planners, and the contracts through which the
//! doing crates (`control`, `proxy`, `dns`, `registry`, `runtime`) meet.
//!
//! Nothing here performs I/O, reads a clock or draws randomness by itself; both
//! come in through [`door`].

pub mod address;
pub mod arn;
pub mod block;
pub mod container;
pub mod cut;
pub mod door;
pub mod expiry;
pub mod failpoint;
pub mod health;
pub mod image;
pub mod isolation;
pub mod link;
pub mod log_pattern;
pub mod metric;
pub mod outside;
pub mod placement;
pub mod policy;
pub mod rule;
pub mod scaling;
pub mod sealed;
pub mod security_group;
pub mod service;
pub mod snapshot;
pub mod task;
pub mod trace;

/// Digests as text, for the crates that see only this one.
pub use quarry_wire::hash;
