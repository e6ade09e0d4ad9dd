//! What the operations have in common: what they name, errors, pages.

use crate::api::Result;
use crate::page::{self, Page};
use quarry_aws::application_autoscaling::error;
use quarry_wire::ServiceError;

pub const NAMESPACE: &str = "ecs";
pub const DIMENSION: &str = "ecs:service:DesiredCount";

pub fn validation(message: impl Into<String>) -> ServiceError {
    error::validation_exception(message)
}

/// The resource id, if all three name an ECS service's desired count.
pub fn resource(namespace: Option<&str>, resource_id: Option<&str>, dimension: Option<&str>) -> Result<String> {
    let id = resource_id.unwrap_or_default();
    let unsupported = || validation("Unsupported service namespace, resource type or scalable dimension");
    if namespace != Some(NAMESPACE) || dimension != Some(DIMENSION) {
        return Err(unsupported());
    }
    split(id).ok_or_else(unsupported)?;
    Ok(id.to_owned())
}

/// Cluster and service of a resource id.
pub fn split(resource_id: &str) -> Option<(&str, &str)> {
    let (cluster, service) = resource_id.strip_prefix("service/")?.split_once('/')?;
    (!cluster.is_empty() && !service.is_empty() && !service.contains('/')).then_some((cluster, service))
}

/// How errors name a target.
pub fn named(resource_id: &str) -> String {
    format!("service namespace: {NAMESPACE}, resource ID: {resource_id}, scalable dimension: {DIMENSION}")
}

/// Whether a listing of this namespace and dimension can hold anything.
pub fn listed(namespace: Option<&str>, dimension: Option<&str>) -> bool {
    namespace == Some(NAMESPACE) && dimension.is_none_or(|dimension| dimension == DIMENSION)
}

/// One page: `MaxResults` (1–50) from where `NextToken` says, and the next token.
pub fn page<T>(items: Vec<T>, max_results: Option<i32>, token: Option<String>) -> Result<Page<T>> {
    let size = max_results.unwrap_or(50);
    if !(1..=50).contains(&size) {
        return Err(validation(format!(
            "1 validation error detected: Value '{size}' at 'maxResults' failed to satisfy constraint: Member must be between 1 and 50"
        )));
    }
    page::from(items, token.as_deref(), size as usize)
        .ok_or_else(|| error::invalid_next_token_exception("The NextToken is not valid."))
}
