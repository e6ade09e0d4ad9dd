//! Pages of lists.

use super::world::refused;
use crate::api::Result;

/// The page that a token stands for, and the token of the next. Tokens say how many items of the
/// list lie before the page.
pub fn page<T>(items: Vec<T>, token: Option<&str>, size: usize) -> Result<(Vec<T>, Option<String>)> {
    let start = match token {
        None => 0,
        Some(token) => token.parse().map_err(|_| refused("Invalid NextToken"))?,
    };
    let next = (items.len() > start + size).then(|| (start + size).to_string());
    Ok((items.into_iter().skip(start).take(size).collect(), next))
}
