//! Pages of lists.

use super::world::refused;
use crate::api::Result;
use crate::page::{self, Page};

/// The page that a token stands for, and the token of the next.
pub fn page<T>(items: Vec<T>, token: Option<&str>, size: usize) -> Result<Page<T>> {
    page::from(items, token, size).ok_or_else(|| refused("Invalid NextToken"))
}
