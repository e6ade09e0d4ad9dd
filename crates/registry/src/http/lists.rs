//! The lists of tags and of repositories, in pages.

use super::error::ApiError;
use super::{ResponseBody, body, query};
use crate::Registry;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quarry_domain::image::ImageCatalog;

impl Registry {
    pub(super) fn list_tags(&self, head: &Parts, repository: &str) -> Result<Response<ResponseBody>, ApiError> {
        let tags: Vec<String> = self
            .store
            .hold()
            .get(repository)
            .ok_or_else(|| ApiError::no_repository(repository, &self.config.account))?
            .tags
            .keys()
            .cloned()
            .collect();
        let (page, more) = page(head, tags)?;
        answer(head, serde_json::json!({ "name": repository, "tags": page }), page.last(), more)
    }

    pub(super) fn list_repositories(&self, head: &Parts) -> Result<Response<ResponseBody>, ApiError> {
        let names = self.repositories().map_err(|error| ApiError::catalog(error, &self.config.account))?;
        let (page, more) = page(head, names)?;
        answer(head, serde_json::json!({ "repositories": page }), page.last(), more)
    }
}

/// The page of sorted names that `n` and `last` ask for, and whether more follow it.
fn page(head: &Parts, names: Vec<String>) -> Result<(Vec<String>, bool), ApiError> {
    let n = match query(head, "n") {
        None => usize::MAX,
        Some(n) => n.parse().map_err(|_| {
            let message = format!("n={n} is not a number of results");
            ApiError::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", message)
        })?,
    };
    let last = query(head, "last").unwrap_or_default();
    let mut rest = names.into_iter().filter(|name| *name > last);
    let page: Vec<String> = rest.by_ref().take(n).collect();
    Ok((page, n > 0 && rest.next().is_some()))
}

fn answer(
    head: &Parts,
    value: serde_json::Value,
    last: Option<&String>,
    more: bool,
) -> Result<Response<ResponseBody>, ApiError> {
    let mut response = body::json(StatusCode::OK, &value);
    if let (true, Some(last)) = (more, last) {
        let n = query(head, "n").unwrap_or_default();
        let last = utf8_percent_encode(last, NON_ALPHANUMERIC);
        let link = format!("<{}?n={n}&last={last}>; rel=\"next\"", head.uri.path());
        let link = HeaderValue::from_str(&link).map_err(std::io::Error::other)?;
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}
