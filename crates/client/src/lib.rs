//! A signed AWS client over the generated shapes, and an OCI client.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use quarry_aws::ecs;
//! use quarry_client::{Client, Credentials};
//! let client = Client::new("http://127.0.0.1:4566", "us-east-1", Credentials::from_env()?)?;
//! let clusters = client.call::<ecs::op::ListClusters>(Default::default()).await?;
//! # Ok(()) }
//! ```

pub mod access_logs;
pub mod aws;
mod call;
mod credentials;
pub mod cuts;
mod http;
pub mod oci;
mod regions;
pub mod session;
pub mod status;

pub use call::{CallError, Client};
pub use credentials::{Credentials, NoCredentials};
pub use http::{InvalidEndpoint, TransportError};
pub use quarry_wire::ServiceError;
