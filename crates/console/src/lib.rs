//! One read-only page over the public API: what runs, where it listens, how it is.
//!
//! Gathering (`gather`) asks the API as any client would; drawing (`render`) is pure. The page
//! needs no script: it loads itself again every two seconds, unless paused.

mod elb;
mod gather;
mod render;
mod view;

use quarry_client::Client;
use std::sync::LazyLock;

/// Where the page is served, by GET.
pub const PATH: &str = "/console";
/// The query of [`PATH`] that asks for the page that stays as it is: [`page_paused`].
pub const PAUSED: &str = "paused";

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// Where load balancers listen is not known: the endpoint is no Quarry, or does not answer.
    #[error(transparent)]
    Status(#[from] quarry_client::status::StatusError),
}

/// The page as HTML. A part of it that the API refuses says so in its place.
pub async fn page(client: &Client, endpoint: &str) -> Result<String, ConsoleError> {
    Ok(render::page(&gather::gather(client, endpoint).await?, true))
}

/// The same page, which does not load itself again.
pub async fn page_paused(client: &Client, endpoint: &str) -> Result<String, ConsoleError> {
    Ok(render::page(&gather::gather(client, endpoint).await?, false))
}

/// The `Content-Security-Policy` to send with the page: its own style, and nothing else.
pub fn content_security_policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| format!("{}; frame-ancestors 'none'", render::policy()));
    &POLICY
}
