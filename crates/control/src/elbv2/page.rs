//! Pages of a listing: `PageSize` (1–400) and `Marker`, which is the key of the last element shown.

use super::errors;
use crate::api::Result;
use crate::page::{self, Page};

const PAGE: usize = 400;

/// The page after `marker` and the marker of the next one.
pub fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> &str,
    marker: Option<&str>,
    page_size: Option<i32>,
) -> Result<Page<T>> {
    let size = match page_size {
        Some(size) => errors::in_range(size, "pageSize", 1, 400)? as usize,
        None => PAGE,
    };
    let marker = marker.filter(|marker| !marker.is_empty());
    page::after(items, |item| key(item).to_owned(), marker, size)
        .ok_or_else(|| errors::validation(format!("The marker '{}' is not valid", marker.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused() {
        let items = vec!["k".to_owned()];
        assert_eq!(page(items.clone(), |k| k, Some(""), None).unwrap().0, items, "an empty marker is none");
        assert_eq!(page(items.clone(), |k| k, Some("gone"), None).unwrap_err().code, "ValidationError");
        assert_eq!(page(items, |k| k, None, Some(401)).unwrap_err().code, "ValidationError");
    }
}
