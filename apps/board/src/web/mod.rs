//! `/`: the words of the health check, and for browsers the page around them.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

const READY: &str = "Ready to receive requests";
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const SHELL: &str = include_str!("page.html");

/// The page and the policy that lets nothing but its own style and script run.
struct Page {
    html: String,
    policy: HeaderValue,
}

/// `/`, with the page for browsers or without.
pub fn routes(with_page: bool) -> Router {
    let page = with_page.then(Page::new).flatten().map(Arc::new);
    Router::new().route("/", get(root)).with_state(page)
}

async fn root(State(page): State<Option<Arc<Page>>>, headers: HeaderMap) -> Response {
    match page {
        Some(page) if wants_html(&headers) => page.response(),
        Some(_) => ([(header::VARY, "Accept")], READY).into_response(),
        None => READY.into_response(),
    }
}

impl Page {
    fn new() -> Option<Page> {
        let hash = |text: &str| {
            let digest = Sha256::digest(text.as_bytes());
            base64::engine::general_purpose::STANDARD.encode(digest)
        };
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE)
        );
        let html = SHELL.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT);
        let policy = HeaderValue::from_str(&policy).ok()?;
        Some(Page { html, policy })
    }

    fn response(&self) -> Response {
        let mut response = self.html.clone().into_response();
        let headers = response.headers_mut();
        let text = HeaderValue::from_static;
        headers.insert(header::CONTENT_TYPE, text("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(header::VARY, text("Accept"));
        headers.insert(header::CACHE_CONTROL, text("no-cache"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, text("nosniff"));
        headers.insert(header::REFERRER_POLICY, text("same-origin"));
        response
    }
}

/// A browser names text/html; `*/*` of curl and health checks does not ask for a page.
fn wants_html(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(header::ACCEPT).iter();
    let mut ranges = ranges.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let refused = |q: &str| {
            let quality = q.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
            quality.is_some_and(|q| q <= 0.0)
        };
        html && !parts.any(refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_browsers_ask_for_the_page() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", true),
            ("application/json, text/html; q=0.5", true),
            ("text/html;q=0", false),
            ("*/*", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            assert_eq!(wants_html(&headers), expected, "{accept}");
        }
    }
}
