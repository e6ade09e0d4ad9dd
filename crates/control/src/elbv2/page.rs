//! Pages of a listing: `PageSize` (1–400) and `Marker`, which is the key of the last element shown.

use super::errors;
use crate::api::Result;

const PAGE: usize = 400;

/// The page after `marker` and the marker of the next one.
pub fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> &str,
    marker: Option<&str>,
    page_size: Option<i32>,
) -> Result<(Vec<T>, Option<String>)> {
    let size = match page_size {
        Some(size) => errors::in_range(size, "pageSize", 1, 400)? as usize,
        None => PAGE,
    };
    let start = match marker.filter(|marker| !marker.is_empty()) {
        Some(marker) => {
            let at = items.iter().position(|item| key(item) == marker);
            at.ok_or_else(|| errors::validation(format!("The marker '{marker}' is not valid")))? + 1
        }
        None => 0,
    };
    let more = items.len() > start + size;
    let page: Vec<T> = items.into_iter().skip(start).take(size).collect();
    let next = page.last().filter(|_| more).map(|item| key(item).to_owned());
    Ok((page, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_end() {
        let items: Vec<String> = (0..5).map(|n| format!("k{n}")).collect();
        let (mut seen, mut marker) = (Vec::new(), None);
        loop {
            let (page, next) = page(items.clone(), |k| k, marker.as_deref(), Some(2)).unwrap();
            seen.extend(page);
            marker = next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(seen, items);
        assert_eq!(page(items.clone(), |k| k, Some("gone"), None).unwrap_err().code, "ValidationError");
        assert_eq!(page(items, |k| k, None, Some(401)).unwrap_err().code, "ValidationError");
    }
}
