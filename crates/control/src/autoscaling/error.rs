//! What the operations of Auto Scaling have in common: errors and pages.

use crate::api::Result;
use crate::page::{self, Page};
use quarry_aws::autoscaling::error::invalid_next_token;
use quarry_wire::ServiceError;

pub fn validation(message: impl Into<String>) -> ServiceError {
    ServiceError::new("ValidationError", message, 400)
}

/// A member that must be there and not be empty.
pub fn required(value: Option<String>, member: &str) -> Result<String> {
    value.filter(|v| !v.is_empty()).ok_or_else(|| {
        validation(format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

/// One page: `MaxRecords` (1–100, 50 if not given) from where `NextToken` says, and the next token.
pub fn page<T>(items: Vec<T>, max_records: Option<i32>, token: Option<String>) -> Result<Page<T>> {
    let size = max_records.unwrap_or(50);
    if !(1..=100).contains(&size) {
        return Err(validation("MaxRecords must be between 1 and 100."));
    }
    page::from(items, token.as_deref(), size as usize).ok_or_else(|| invalid_next_token("The token is not valid."))
}
