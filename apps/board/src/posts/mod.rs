//! Posts: what is written.

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
use crate::http::{Fields, Filter, Problem, Resource, id_in, list, plain_list, resource_routes};
use crate::links::{Dependent, Feature, Reference};

pub use store::MIGRATIONS;

/// Something a user wrote in a thread. The first of a thread opens it; the others are replies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Post {
    /// Given by the storage, never twice; rises in the order of writing.
    pub id: i64,
    /// The id of its thread.
    pub thread: i64,
    /// 1 to 10,000 characters.
    pub text: String,
    /// The id of the user who wrote it.
    pub user: i64,
}

/// `/api/posts` and below.
pub fn routes() -> Router<Arc<App>> {
    resource_routes::<Post>()
        .route("/api/posts", get(plain_list::<Post>))
        .route("/api/posts/in-thread/{thread}", get(in_thread))
        .route("/api/posts/by-user/{user}", get(by_user))
}

type Params = Query<BTreeMap<String, String>>;

/// A thread nobody knows has no posts: this service answers that without asking another.
async fn in_thread(State(app): State<Arc<App>>, uri: Uri, query: Params) -> Result<Response, Problem> {
    filtered(&app, &uri, query, store::IN_THREAD).await
}

async fn by_user(State(app): State<Arc<App>>, uri: Uri, query: Params) -> Result<Response, Problem> {
    filtered(&app, &uri, query, store::BY_USER).await
}

async fn filtered(app: &App, uri: &Uri, Query(query): Params, sql: &'static str) -> Result<Response, Problem> {
    let value = id_in::<Post>(uri)?;
    list::<Post>(app, uri, &query, Some(Filter { sql, value })).await
}

impl Resource for Post {
    const FEATURE: Feature = Feature::Posts;
    const LIST: &'static str = store::LIST;
    const GET: &'static str = store::GET;
    const LOCK: &'static str = store::LOCK;
    const INSERT: &'static str = store::INSERT;
    const INSERT_WITH_ID: &'static str = store::INSERT_WITH_ID;
    const UPDATE: &'static str = store::UPDATE;
    const DELETE: &'static str = store::DELETE;
    const DEPENDENTS: &'static [Dependent] = &[];
    const TAKEN: &'static str = "That id is taken.";

    fn from_row(row: &Row) -> Post {
        Post { id: row.int(0), thread: row.int(1), text: row.text(2), user: row.int(3) }
    }

    fn read(fields: &mut Fields) -> Post {
        Post { id: 0, thread: fields.id("thread"), text: fields.text("text", 1..=10_000), user: fields.id("user") }
    }

    fn set_id(&mut self, id: i64) {
        self.id = id;
    }

    fn id(&self) -> i64 {
        self.id
    }

    fn values(&self) -> Vec<Value> {
        vec![self.thread.into(), self.text.as_str().into(), self.user.into()]
    }

    fn references(&self) -> Vec<Reference> {
        vec![
            Reference { feature: Feature::Threads, id: self.thread, field: "thread" },
            Reference { feature: Feature::Users, id: self.user, field: "user" },
        ]
    }
}
