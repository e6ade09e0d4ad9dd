//! What no AWS API tells: where the load balancers really listen on this machine, and how often rules were taken.

use crate::elbv2;
use crate::platform::Platform;
use crate::store::StoreError;
use bytes::Bytes;
use http::Response;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Path of the answer on the endpoint. It needs no signature: whoever asks is on this machine.
pub const PATH: &str = "/_quarry/v1/listeners";

/// One listener as it is bound.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListenerView {
    pub listener_arn: String,
    pub load_balancer_name: String,
    pub dns_name: String,
    /// As the API knows it.
    pub port: u16,
    /// Where it really listens: the load balancer's own address first, then the shared 127.0.0.1.
    pub bound: Vec<SocketAddr>,
    pub error: Option<String>,
}

/// Path of what rules took.
pub const RULES_PATH: &str = "/_quarry/v1/rules";

/// Requests that a rule took. Counts of a rule only rise, whichever process restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    pub requests: u64,
    /// Of the last 50 to 60 seconds.
    pub last_minute: u64,
}

/// Every rule that took a request, by ARN, as JSON. Like [`answer`] it needs no signature.
pub fn rules(platform: &Platform) -> Response<Bytes> {
    let now = platform.now_ms();
    let views = platform.store.read(|tx| -> Result<_, StoreError> {
        let rules = tx.shared::<elbv2::records::Rule>()?;
        let listeners = elbv2::all_listeners(tx)?;
        let mut live = platform.live();
        let of_rules = rules.iter().map(|rule| (rule.arn.clone(), rule.arn.clone()));
        let of_defaults = listeners.into_iter().map(|(_, listener)| (listener.default_rule_arn, listener.arn));
        let mut views = BTreeMap::new();
        for (arn, counted) in of_rules.chain(of_defaults) {
            let (requests, last_minute) = live.hits.of(&counted, now);
            if requests > 0 {
                views.insert(arn, RuleView { requests, last_minute });
            }
        }
        Ok(views)
    });
    respond(views)
}

/// All listeners as JSON; those that no proxy has reported yet have no addresses.
pub fn answer(platform: &Platform) -> Response<Bytes> {
    let views = platform.store.read(|tx| -> Result<_, StoreError> {
        let live = platform.live();
        let mut views = Vec::new();
        for (balancer, listener) in elbv2::all_listeners(tx)? {
            let status = live.listeners.get(&listener.arn);
            views.push(ListenerView {
                load_balancer_name: balancer.name,
                dns_name: balancer.dns_name,
                port: listener.port,
                bound: status.map(|s| s.bound.clone()).unwrap_or_default(),
                error: status.and_then(|s| s.error.clone()),
                listener_arn: listener.arn,
            });
        }
        Ok(views)
    });
    respond(views)
}

fn respond(views: Result<impl Serialize, StoreError>) -> Response<Bytes> {
    match views.map_err(|e| e.to_string()).and_then(|v| serde_json::to_vec(&v).map_err(|e| e.to_string())) {
        Ok(body) => Response::builder()
            .header("content-type", "application/json")
            .body(Bytes::from(body))
            .unwrap_or_else(|_| Response::new(Bytes::new())),
        Err(error) => {
            let mut response = Response::new(Bytes::from(error));
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}
