//! Pages of ECS's listings: `maxResults` and `nextToken`, which is the key of the last element shown.

use crate::api::Result;
use quarry_aws::ecs::error;

/// The page after `token` and the next token. `most`: the largest and usual `maxResults`.
pub fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    max_results: Option<i32>,
    most: i32,
) -> Result<(Vec<T>, Option<String>)> {
    let size = max_results.unwrap_or(most);
    if !(1..=most).contains(&size) {
        return Err(error::invalid_parameter_exception(format!("maxResults must be between 1 and {most}.")));
    }
    let start = match token.filter(|token| !token.is_empty()) {
        Some(token) => {
            let at = items.iter().position(|item| key(item) == token);
            at.ok_or_else(|| error::invalid_parameter_exception("Invalid token in the request."))? + 1
        }
        None => 0,
    };
    let size = size.unsigned_abs() as usize;
    let more = items.len() > start + size;
    let page: Vec<T> = items.into_iter().skip(start).take(size).collect();
    let next = page.last().filter(|_| more).map(key);
    Ok((page, next))
}
