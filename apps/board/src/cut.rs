//! What the board offers so that a feature can be cut out of the monolith while it runs.
//!
//! A feature is a scope of its own: its table, and its part of the idempotency keys. Which database a feature is written
//! in, its fence row says, and every write asks that row in its own transaction ([`may_write`]).

use std::sync::Arc;

use cut_kit::fence::{self, Refused};
use cut_kit::http::{Kit, listen};
use cut_kit::postgres::Postgres;
use cut_kit::sqlite::Sqlite;
use cut_kit::{Scope, Tables};
use http::HeaderMap;

use crate::app::{App, StartError};
use crate::config::Config;
use crate::db::{Db, DbError, Fence, Storage, Tx};
use crate::http::Problem;
use crate::links::Feature;

/// A feature as a scope.
pub fn scope(feature: Feature) -> Scope {
    let name = feature.name();
    Scope::new(name, [Tables::whole(name), Tables::part("idempotency_keys", "scope", name)])
}

/// Makes the fence rows and listens on the admin port, where the settings say so. Whether the database has fence
/// rows, also from an earlier start.
pub async fn offer(config: &Config, storage: &Storage, db: &Db) -> Result<bool, StartError> {
    if !config.cuttable {
        return Ok(db.fences().await.is_ok());
    }
    let scopes = config.role.features().iter().map(|feature| scope(*feature)).collect();
    let destinations: Vec<String> = config.destinations.iter().map(|feature| feature.name().to_owned()).collect();
    let failed = |problem: cut_kit::contract::Problem| StartError::Cut(problem.message);
    let kit = match storage {
        Storage::Sqlite(path) => Kit::Sqlite(Arc::new(Sqlite::open(path, scopes, &destinations).map_err(failed)?)),
        Storage::Postgres(url) => {
            Kit::Postgres(Arc::new(Postgres::open(url, scopes, &destinations).await.map_err(failed)?))
        }
    };
    if let Some(settings) = &config.cut {
        // The board's own port matters more: without namespaces, another task may have this one.
        match listen(kit, settings.clone()).await {
            Ok(address) => tracing::info!(port = address.port(), "offers its features to be cut"),
            Err(error) => tracing::error!(port = settings.port, %error, "cannot offer its features to be cut"),
        }
    }
    Ok(true)
}

/// The request's epoch, where the balancer gave it one.
pub fn epoch(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(cut_kit::contract::EPOCH_HEADER);
    fence::epoch(value.map(|value| value.to_str().unwrap_or_default()))
}

/// A first look, so that a write which belongs elsewhere is not answered from the rows here.
pub async fn looks_owned(app: &App, feature: Feature, epoch: Option<u64>) -> Result<(), Problem> {
    if app.fenced {
        decide(&app.db.fences().await?, feature, epoch)?;
    }
    Ok(())
}

/// A read that failed: the table of a feature that was cut out may be gone, and then the request belongs elsewhere.
pub async fn unreadable(app: &App, feature: Feature, error: DbError) -> Problem {
    let fences = match &error {
        DbError::Failed(_) if app.fenced => app.db.fences().await.unwrap_or_default(),
        _ => Vec::new(),
    };
    match decide(&fences, feature, None) {
        Err(refused) => refused.into(),
        Ok(()) => error.into(),
    }
}

/// Whether `feature` may be written in this transaction by a request of `epoch`; what it finds stays true until the
/// transaction ends. Returns all fence rows.
pub async fn may_write(app: &App, tx: &mut Tx, feature: Feature, epoch: Option<u64>) -> Result<Vec<Fence>, Problem> {
    if !app.fenced {
        return Ok(Vec::new());
    }
    let fences = tx.fences().await?;
    decide(&fences, feature, epoch)?;
    Ok(fences)
}

fn decide(fences: &[Fence], feature: Feature, epoch: Option<u64>) -> Result<(), Refused> {
    let row = fences.iter().find(|fence| fence.scope == feature.name());
    fence::decide(feature.name(), row.map(|fence| (fence.owner, fence.epoch)), epoch)
}
