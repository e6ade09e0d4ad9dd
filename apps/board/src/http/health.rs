//! The addresses every binary answers, whatever feature it holds.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde_json::json as document;

use super::{Problem, json};
use crate::db::Db;

/// What `/healthz` tells.
#[derive(Clone)]
pub struct ServiceInfo {
    /// The service's name: api, users, threads, posts or web.
    pub name: &'static str,
    /// Its storage, where it has one.
    pub db: Option<Db>,
}

/// `/api`, `/api/` and `/healthz`; `/` belongs to [`crate::web`].
pub fn routes(info: ServiceInfo) -> Router {
    Router::new()
        .route("/api", get(api_ready))
        .route("/api/", get(api_ready))
        .route("/healthz", get(health))
        .with_state(info)
}

async fn api_ready() -> &'static str {
    "API ready to receive requests"
}

async fn health(State(info): State<ServiceInfo>) -> Result<Response, Problem> {
    let storage = match &info.db {
        None => "none",
        Some(db) => match db.ping().await {
            Ok(()) if matches!(db, Db::Sqlite(_)) => "sqlite",
            Ok(()) => "postgresql",
            Err(error) => {
                tracing::warn!(%error, "health check: storage does not answer");
                return Err(Problem::unavailable("The storage does not answer."));
            }
        },
    };
    json(
        StatusCode::OK,
        &document!({
            "status": "ok",
            "service": info.name,
            "version": env!("CARGO_PKG_VERSION"),
            "storage": storage,
        }),
    )
}
