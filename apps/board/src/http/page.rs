//! Pages of a list, when a client asks for them with `?limit=` or `?cursor=`.
//!
//! A page is a plain array like the whole list; the address of the next one is in the `Link` header
//! (RFC 8288) with `rel="next"`. A cursor is opaque to clients: it names the last row of the page
//! before, so rows that come and go meanwhile neither repeat nor hide others.

use std::collections::BTreeMap;

use super::Problem;

/// Rows on a page at most, and when only a cursor is given.
const MAX_LIMIT: i64 = 200;
const DEFAULT_LIMIT: i64 = 50;

/// What part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows with ids above this one.
    pub after: i64,
    /// Rows at most; `None` for the whole list.
    pub limit: Option<i64>,
}

impl Page {
    /// From the query parameters; other parameters are left alone.
    pub fn parse(query: &BTreeMap<String, String>) -> Result<Page, Problem> {
        let limit = match query.get("limit").map(|text| text.parse::<i64>()) {
            None => None,
            Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => Some(limit),
            Some(_) => {
                return Err(Problem::bad_request(format!("limit must be a number from 1 to {MAX_LIMIT}.")));
            }
        };
        let after = match query.get("cursor") {
            None => None,
            Some(text) => Some(
                decode(text).ok_or_else(|| Problem::bad_request("cursor is not one that this service gave out."))?,
            ),
        };
        Ok(Page { after: after.unwrap_or(0), limit: limit.or(after.map(|_| DEFAULT_LIMIT)) })
    }
}

/// The `Link` header for the page after the row `last`.
pub fn link_next(path: &str, query: &BTreeMap<String, String>, limit: i64, last: i64) -> String {
    let mut link = format!("<{path}?limit={limit}&cursor={}", encode(last));
    // Filters are numbers; anything else was refused or means nothing here.
    for (name, value) in query {
        let number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic());
        if name != "limit" && name != "cursor" && number && word {
            link.push_str(&format!("&{name}={value}"));
        }
    }
    link + ">; rel=\"next\""
}

fn encode(id: i64) -> String {
    format!("a{id:x}")
}

fn decode(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('a')?;
    let lower = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let id = i64::from_str_radix(digits, 16).ok()?;
    (lower && (0..=super::MAX_ID).contains(&id)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs.map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn whole_list_unless_asked() {
        assert_eq!(Page::parse(&query(&[])).unwrap().limit, None);
        assert_eq!(Page::parse(&query(&[("limit", "7")])).unwrap().limit, Some(7));
        let page = Page::parse(&query(&[("cursor", &encode(255))])).unwrap();
        assert_eq!((page.after, page.limit), (255, Some(DEFAULT_LIMIT)));
    }

    #[test]
    fn bad_pages_are_refused() {
        for bad in [
            ("limit", "0"),
            ("limit", "201"),
            ("limit", "x"),
            ("cursor", ""),
            ("cursor", "12"),
            ("cursor", "a+1"),
            ("cursor", "a-1"),
        ] {
            assert_eq!(Page::parse(&query(&[bad])).unwrap_err().status, 400, "{bad:?}");
        }
    }

    #[test]
    fn the_next_page_keeps_filters_only() {
        let query = query(&[("createdBy", "3"), ("cursor", "a1"), ("x", "\">")]);
        assert_eq!(
            link_next("/api/threads", &query, 2, 16),
            "</api/threads?limit=2&cursor=a10&createdBy=3>; rel=\"next\""
        );
    }
}
