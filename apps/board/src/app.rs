//! The features put together: which of them are in this process, and their router.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use axum::Router;
use http::{Method, StatusCode, Uri};

use crate::config::{Config, Role};
use crate::db::{Db, DbError, Migration};
use crate::http::{Guarded, Peer, Problem, ServiceInfo, health_routes, idempotency};
use crate::links::{Feature, Link, Links};
use crate::{cut, import, posts, threads, users, web};

/// What the features' handlers share.
pub struct App {
    /// The storage of this process's features.
    pub db: Db,
    /// Where the features are.
    pub links: Links,
    /// Whether the database has fence rows, which each write asks.
    pub fenced: bool,
    /// When old idempotency keys were last removed, in seconds since 1970.
    pub keys_purged: AtomicI64,
}

/// Why a binary cannot start: one sentence for the person who starts it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The storage.
    #[error("{0}")]
    Storage(#[from] DbError),
    /// The file to import.
    #[error("{0}")]
    Import(#[from] import::ImportError),
    /// What a platform needs to cut features out.
    #[error("cannot offer features to be cut: {0}")]
    Cut(String),
    /// The port.
    #[error("cannot listen on port {0}: {1}")]
    Bind(u16, std::io::Error),
    /// The operating system.
    #[error("cannot start: {0}")]
    System(std::io::Error),
}

/// Opens the storage, imports what is asked for, and returns the router of `config.role`.
pub async fn open(config: &Config) -> Result<Router, StartError> {
    let features = config.role.features();
    let Some(storage) = config.storage.as_ref().filter(|_| !features.is_empty()) else {
        return Ok(router(config.role, None));
    };
    let db = Db::open(storage, &migrations(features)).await?;
    let fenced = cut::offer(config, storage, &db).await?;
    if let Some(file) = &config.import {
        import::import(&db, features, file, fenced).await?;
    }
    let link = |feature, peer: &Option<Peer>| match peer.clone().map(Guarded::from) {
        peer if features.contains(&feature) => Link::Here(peer),
        Some(peer) => Link::At(peer),
        None => Link::Unknown,
    };
    let links = Links {
        users: link(Feature::Users, &config.users),
        threads: link(Feature::Threads, &config.threads),
        posts: link(Feature::Posts, &config.posts),
    };
    let app = App { db, links, fenced, keys_purged: AtomicI64::new(0) };
    Ok(router(config.role, Some(Arc::new(app))))
}

/// The schema of some features, in the order of application.
pub fn migrations(features: &[Feature]) -> Vec<Migration> {
    let mut all = vec![idempotency::MIGRATION, import::MIGRATION];
    for feature in features {
        all.extend_from_slice(match feature {
            Feature::Users => users::MIGRATIONS,
            Feature::Threads => threads::MIGRATIONS,
            Feature::Posts => posts::MIGRATIONS,
        });
    }
    all
}

fn router(role: Role, app: Option<Arc<App>>) -> Router {
    let info = ServiceInfo { name: role.name(), db: app.as_ref().map(|app| app.db.clone()) };
    let mut router = health_routes(info).merge(web::routes(role.has_page()));
    if let Some(app) = app {
        for feature in role.features() {
            let routes = match feature {
                Feature::Users => users::routes(),
                Feature::Threads => threads::routes(),
                Feature::Posts => posts::routes(),
            };
            router = router.merge(routes.with_state(app.clone()));
        }
    }
    router.fallback(no_such_path).method_not_allowed_fallback(no_such_method)
}

async fn no_such_path(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::not_found(format!("{path} is not a path of this service."))
}

async fn no_such_method(method: Method) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not possible here; see Allow."))
}
