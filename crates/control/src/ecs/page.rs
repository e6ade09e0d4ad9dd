//! Pages of ECS's listings: `maxResults` and `nextToken`, which is the key of the last element shown.

use crate::api::Result;
use crate::page::{self, Page};
use quarry_aws::ecs::error;
use quarry_wire::ServiceError;

/// The page after `token` and the next token. `most`: the largest and usual `maxResults`.
pub fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    max_results: Option<i32>,
    most: i32,
) -> Result<Page<T>> {
    let size = size(max_results, most)?;
    page::after(items, key, token.filter(|token| !token.is_empty()), size).ok_or_else(invalid_token)
}

/// How many a page has at most.
pub fn size(max_results: Option<i32>, most: i32) -> Result<usize> {
    match max_results.unwrap_or(most) {
        size if (1..=most).contains(&size) => Ok(size as usize),
        _ => Err(error::invalid_parameter_exception(format!("maxResults must be between 1 and {most}."))),
    }
}

pub fn invalid_token() -> ServiceError {
    error::invalid_parameter_exception("Invalid token in the request.")
}
