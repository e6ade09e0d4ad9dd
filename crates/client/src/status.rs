//! What no AWS API tells and Quarry's endpoint does: where load balancers really listen, how calls were answered,
//! and what was called that is not served.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

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

/// Requests that a rule of a load balancer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Since it was made; it never falls.
    pub requests: u64,
    /// Of the last 50 to 60 seconds.
    pub last_minute: u64,
}

/// Answers of one operation since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    pub answered: u64,
    /// Status 4xx.
    pub refused: u64,
    /// Status 5xx.
    pub failed: u64,
}

/// Why the listeners are not known.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("{0} is not a Quarry endpoint: it does not tell what only Quarry knows")]
    NotQuarry(String),
}

/// All listeners of the Quarry at this endpoint.
pub async fn listeners(endpoint: &str) -> Result<Vec<ListenerView>, StatusError> {
    get(endpoint, "/_quarry/v1/listeners").await
}

/// The same of one behind TLS that is believed by the certificates of a file; without one by the system's.
pub async fn listeners_trusting(endpoint: &str, bundle: Option<&Path>) -> Result<Vec<ListenerView>, StatusError> {
    ask(endpoint, Endpoint::trusting(endpoint, bundle)?, "/_quarry/v1/listeners").await
}

/// What each rule took that took anything, by ARN.
pub async fn rules(endpoint: &str) -> Result<BTreeMap<String, RuleView>, StatusError> {
    get(endpoint, "/_quarry/v1/rules").await
}

/// How often each operation was called that is not served, since the start: by service and operation.
pub async fn unserved(endpoint: &str) -> Result<BTreeMap<String, BTreeMap<String, u64>>, StatusError> {
    get(endpoint, "/_quarry/v1/unserved").await
}

/// How each served operation was answered that was called, by service and operation.
pub async fn calls(endpoint: &str) -> Result<BTreeMap<String, BTreeMap<String, Answers>>, StatusError> {
    get(endpoint, "/_quarry/v1/calls").await
}

async fn get<T: DeserializeOwned>(endpoint: &str, path: &str) -> Result<T, StatusError> {
    ask(endpoint, Endpoint::new(endpoint)?, path).await
}

async fn ask<T: DeserializeOwned>(endpoint: &str, connection: Endpoint, path: &str) -> Result<T, StatusError> {
    let answer = connection.send(Method::GET, path, HeaderMap::new(), Bytes::new()).await?;
    serde_json::from_slice(&answer.body).map_err(|_| StatusError::NotQuarry(endpoint.to_owned()))
}
