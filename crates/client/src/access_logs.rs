//! The newest lines of a load balancer's access log: Quarry's own, as no API of S3 is served.

use crate::call::{CallError, Client};
use crate::cuts::SERVICE;
use bytes::Bytes;
use http::Method;
use quarry_wire::ServiceError;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// Lines are written now.
    pub enabled: bool,
    /// In AWS's format, the newest first.
    pub lines: Vec<String>,
}

/// At most `lines` of the load balancer of this name.
pub async fn newest(client: &Client, balancer: &str, lines: usize) -> Result<Lines, CallError> {
    let refused =
        |code: String, message: String, status: u16| CallError::Service(ServiceError::new(code, message, status));
    if !balancer.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(refused("LoadBalancerNotFound".into(), format!("there is no load balancer {balancer}"), 404));
    }
    let path = format!("/_quarry/v1/access-logs/{balancer}");
    let answer = client.signed(Method::GET, &path, &format!("lines={lines}"), SERVICE, Bytes::new()).await?;
    #[derive(Deserialize)]
    struct Problem {
        code: String,
        message: String,
    }
    let status = answer.status.as_u16();
    if answer.status.is_success()
        && let Ok(told) = serde_json::from_slice(&answer.body)
    {
        return Ok(told);
    }
    Err(match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(problem) => refused(problem.code, problem.message, status),
        Err(_) => refused("Malformed".into(), "this is not a Quarry endpoint".into(), status),
    })
}
