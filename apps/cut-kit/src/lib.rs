//! What an application offers so that a path of it, and the tables behind that path, can move to
//! another service while both are running, and back again.
//!
//! [`contract`] is the whole of the agreement as types: what the platform asks an application on
//! its admin port. The features `sqlite` and `postgres` carry it out over a database, `http`
//! listens, and [`fence`] is what a write asks before it writes. See the crate's README for how an
//! application offers the contract, and `openapi.yaml` for the same in any other language.

pub mod contract;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod digest;
pub mod fence;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod scope;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(all(test, any(feature = "sqlite", feature = "postgres")))]
mod steps;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use scope::{Scope, Tables};
