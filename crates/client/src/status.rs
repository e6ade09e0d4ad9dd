//! What no AWS API tells and Quarry's endpoint does: where load balancers really listen.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

use crate::http::{Endpoint, InvalidEndpoint, TransportError};

/// One listener as it is bound on this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListenerView {
    pub listener_arn: String,
    pub load_balancer_name: String,
    pub dns_name: String,
    /// As the API knows it.
    pub port: u16,
    /// Where it really listens: the load balancer's own address first, then the shared 127.0.0.1.
    pub bound: Vec<SocketAddr>,
    /// Why it does not listen, and what to do.
    pub error: Option<String>,
}

/// Why the listeners are not known.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("{0} is not a Quarry endpoint: it does not tell where load balancers listen")]
    NotQuarry(String),
}

/// All listeners of the Quarry at this endpoint.
pub async fn listeners(endpoint: &str) -> Result<Vec<ListenerView>, StatusError> {
    let connection = Endpoint::new(endpoint)?;
    let answer = connection.send(Method::GET, "/_quarry/v1/listeners", HeaderMap::new(), Bytes::new()).await?;
    serde_json::from_slice(&answer.body).map_err(|_| StatusError::NotQuarry(endpoint.to_owned()))
}
