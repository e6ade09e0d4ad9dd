//! Threads: what is written about.

mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use http::Uri;
use serde::Serialize;

use crate::app::App;
use crate::db::{Row, Value};
use crate::http::{Fields, Filter, Problem, Resource, list, resource_routes};
use crate::links::{Dependent, Feature, Reference};

pub use store::MIGRATIONS;

/// A subject that posts belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Thread {
    /// Given by the storage, never twice.
    pub id: i64,
    /// 1 to 200 characters.
    pub title: String,
    /// The id of the user who opened it.
    pub created_by: i64,
}

/// `/api/threads` and below; the list takes `?createdBy=` too.
pub fn routes() -> Router<Arc<App>> {
    resource_routes::<Thread>().route("/api/threads", get(threads))
}

async fn threads(
    State(app): State<Arc<App>>,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Response, Problem> {
    let filter = match query.get("createdBy").map(|id| id.parse()) {
        None => None,
        Some(Ok(value)) if value > 0 => Some(Filter { sql: store::CREATED_BY, value }),
        Some(_) => return Err(Problem::bad_request("createdBy must be the id of a user.")),
    };
    list::<Thread>(&app, &uri, &query, filter).await
}

impl Resource for Thread {
    const FEATURE: Feature = Feature::Threads;
    const LIST: &'static str = store::LIST;
    const GET: &'static str = store::GET;
    const LOCK: &'static str = store::LOCK;
    const INSERT: &'static str = store::INSERT;
    const INSERT_WITH_ID: &'static str = store::INSERT_WITH_ID;
    const UPDATE: &'static str = store::UPDATE;
    const DELETE: &'static str = store::DELETE;
    const DEPENDENTS: &'static [Dependent] = store::DEPENDENTS;
    const TAKEN: &'static str = "That id is taken.";

    fn from_row(row: &Row) -> Thread {
        Thread { id: row.int(0), title: row.text(1), created_by: row.int(2) }
    }

    fn read(fields: &mut Fields) -> Thread {
        Thread { id: 0, title: fields.line("title", 1..=200), created_by: fields.id("createdBy") }
    }

    fn set_id(&mut self, id: i64) {
        self.id = id;
    }

    fn id(&self) -> i64 {
        self.id
    }

    fn values(&self) -> Vec<Value> {
        vec![self.title.as_str().into(), self.created_by.into()]
    }

    fn references(&self) -> Vec<Reference> {
        vec![Reference { feature: Feature::Users, id: self.created_by, field: "createdBy" }]
    }
}
