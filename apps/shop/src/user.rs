//! The user service: who buys.

use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::answer::Problem;

/// A customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// Unique, from 1.
    pub id: u32,
    /// Shown to people.
    pub name: &'static str,
    /// Where parcels go.
    pub city: &'static str,
}

/// All there are.
pub const USERS: &[User] = &[
    User { id: 1, name: "Ada Marsh", city: "Bergen" },
    User { id: 2, name: "Ben Okoro", city: "Lagos" },
    User { id: 3, name: "Chitra Rao", city: "Pune" },
    User { id: 4, name: "Daniel Weiss", city: "Graz" },
];

/// `/users` and `/users/{id}`.
pub fn router() -> Result<Router, String> {
    Ok(Router::new().route("/users", get(|| async { Json(USERS) })).route("/users/{id}", get(one)))
}

async fn one(Path(id): Path<u32>) -> Result<Json<User>, Problem> {
    let found = USERS.iter().find(|user| user.id == id);
    found.copied().map(Json).ok_or_else(|| Problem::not_found(format!("There is no user {id}.")))
}
