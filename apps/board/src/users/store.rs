//! The SQL of users.

use crate::db::Migration;
use crate::links::{Dependent, Feature};

/// The schema's steps.
pub const MIGRATIONS: &[Migration] = &[Migration { feature: "users", number: 1, sql: include_str!("0001_users.sql") }];

pub const LIST: &str = "SELECT id, username, name, bio FROM users WHERE id > $1 ORDER BY id LIMIT $2";
pub const GET: &str = "SELECT id, username, name, bio FROM users WHERE id = $1";
pub const LOCK: &str = "SELECT id, username, name, bio FROM users WHERE id = $1 {{for_update}}";
pub const INSERT: &str = "INSERT INTO users (username, name, bio) VALUES ($1, $2, $3) RETURNING id";
pub const INSERT_WITH_ID: &str = "INSERT INTO users (id, username, name, bio) VALUES ($1, $2, $3, $4)";
pub const UPDATE: &str = "UPDATE users SET username = $2, name = $3, bio = $4 WHERE id = $1";
pub const DELETE: &str = "DELETE FROM users WHERE id = $1";

/// A user who opened a thread or wrote a post stays.
pub const DEPENDENTS: &[Dependent] = &[
    Dependent {
        feature: Feature::Threads,
        sql: "SELECT id FROM threads WHERE created_by = $1 LIMIT 1",
        path: "/api/threads?createdBy=",
    },
    Dependent {
        feature: Feature::Posts,
        sql: "SELECT id FROM posts WHERE user_id = $1 LIMIT 1",
        path: "/api/posts/by-user/",
    },
];
