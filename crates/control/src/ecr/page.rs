//! Pages of a listing: `maxResults` (1–1000, default 100) and `nextToken`, the last element's key.

use super::errors;
use crate::api::Result;
use crate::page::{self, Page};

pub fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    max_results: Option<i32>,
) -> Result<Page<T>> {
    let size = max_results.unwrap_or(100);
    if !(1..=1000).contains(&size) {
        return Err(errors::invalid("Invalid parameter at 'maxResults': it must be from 1 to 1000"));
    }
    page::after(items, key, token, size as usize)
        .ok_or_else(|| errors::invalid("Invalid parameter at 'nextToken': it is not known"))
}
