//! Pages of ECS's listings: `maxResults` and `nextToken`, which is the key of the last element shown.

use crate::api::Result;
use crate::page::{self, Page};
use quarry_aws::ecs::error;

/// The page after `token` and the next token. `most`: the largest and usual `maxResults`.
pub fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    max_results: Option<i32>,
    most: i32,
) -> Result<Page<T>> {
    let size = max_results.unwrap_or(most);
    if !(1..=most).contains(&size) {
        return Err(error::invalid_parameter_exception(format!("maxResults must be between 1 and {most}.")));
    }
    page::after(items, key, token.filter(|token| !token.is_empty()), size as usize)
        .ok_or_else(|| error::invalid_parameter_exception("Invalid token in the request."))
}
