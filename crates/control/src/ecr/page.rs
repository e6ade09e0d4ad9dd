//! Pages of a listing: `maxResults` (1–1000, default 100) and `nextToken`, the last element's key.

use super::errors;
use crate::api::Result;

pub fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    max_results: Option<i32>,
) -> Result<(Vec<T>, Option<String>)> {
    let size = max_results.unwrap_or(100);
    if !(1..=1000).contains(&size) {
        return Err(errors::invalid("Invalid parameter at 'maxResults': it must be from 1 to 1000"));
    }
    let start = match token {
        Some(token) => {
            let at = items.iter().position(|item| key(item) == token);
            at.ok_or_else(|| errors::invalid("Invalid parameter at 'nextToken': it is not known"))? + 1
        }
        None => 0,
    };
    let size = size as usize;
    let more = items.len() > start + size;
    let page: Vec<T> = items.into_iter().skip(start).take(size).collect();
    let next = page.last().filter(|_| more).map(key);
    Ok((page, next))
}
