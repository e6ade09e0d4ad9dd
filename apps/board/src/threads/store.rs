//! The SQL of threads.

use crate::db::Migration;
use crate::links::{Dependent, Feature};

/// The schema's steps.
pub const MIGRATIONS: &[Migration] =
    &[Migration { feature: "threads", number: 1, sql: include_str!("0001_threads.sql") }];

pub const LIST: &str = "SELECT id, title, created_by FROM threads WHERE id > $1 ORDER BY id LIMIT $2";
pub const CREATED_BY: &str = "SELECT id, title, created_by FROM threads \
    WHERE created_by = $3 AND id > $1 ORDER BY id LIMIT $2";
pub const GET: &str = "SELECT id, title, created_by FROM threads WHERE id = $1";
pub const LOCK: &str = "SELECT id, title, created_by FROM threads WHERE id = $1 {{for_update}}";
pub const INSERT: &str = "INSERT INTO threads (title, created_by) VALUES ($1, $2) RETURNING id";
pub const INSERT_WITH_ID: &str = "INSERT INTO threads (id, title, created_by) VALUES ($1, $2, $3)";
pub const UPDATE: &str = "UPDATE threads SET title = $2, created_by = $3 WHERE id = $1";
pub const DELETE: &str = "DELETE FROM threads WHERE id = $1";

/// A thread with posts stays.
pub const DEPENDENTS: &[Dependent] = &[Dependent {
    feature: Feature::Posts,
    sql: "SELECT id FROM posts WHERE thread_id = $1 LIMIT 1",
    path: "/api/posts/in-thread/",
}];
