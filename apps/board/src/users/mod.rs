//! Users: who writes.

mod store;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use serde::Serialize;

use crate::app::App;
use crate::db::{Row, Value};
use crate::http::{Fields, Resource, plain_list, resource_routes};
use crate::links::{Dependent, Feature, Reference};

pub use store::MIGRATIONS;

/// A person who can write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// Given by the storage, never twice.
    pub id: i64,
    /// 1 to 64 characters; no two users have the same.
    pub username: String,
    /// 1 to 128 characters.
    pub name: String,
    /// Up to 1,000 characters.
    pub bio: String,
}

/// `/api/users` and below.
pub fn routes() -> Router<Arc<App>> {
    resource_routes::<User>().route("/api/users", get(plain_list::<User>))
}

impl Resource for User {
    const FEATURE: Feature = Feature::Users;
    const LIST: &'static str = store::LIST;
    const GET: &'static str = store::GET;
    const LOCK: &'static str = store::LOCK;
    const INSERT: &'static str = store::INSERT;
    const INSERT_WITH_ID: &'static str = store::INSERT_WITH_ID;
    const UPDATE: &'static str = store::UPDATE;
    const DELETE: &'static str = store::DELETE;
    const DEPENDENTS: &'static [Dependent] = store::DEPENDENTS;
    const TAKEN: &'static str = "That username is taken.";

    fn from_row(row: &Row) -> User {
        User { id: row.int(0), username: row.text(1), name: row.text(2), bio: row.text(3) }
    }

    fn read(fields: &mut Fields) -> User {
        User {
            id: 0,
            username: fields.line("username", 1..=64),
            name: fields.line("name", 1..=128),
            bio: fields.text("bio", 0..=1000),
        }
    }

    fn set_id(&mut self, id: i64) {
        self.id = id;
    }

    fn id(&self) -> i64 {
        self.id
    }

    fn values(&self) -> Vec<Value> {
        vec![self.username.as_str().into(), self.name.as_str().into(), self.bio.as_str().into()]
    }

    fn references(&self) -> Vec<Reference> {
        Vec::new()
    }
}
