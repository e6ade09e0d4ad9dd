//! The SQL of posts.

use crate::db::Migration;

/// The schema's steps.
pub const MIGRATIONS: &[Migration] = &[Migration { feature: "posts", number: 1, sql: include_str!("0001_posts.sql") }];

pub const LIST: &str = "SELECT id, thread_id, body, user_id FROM posts WHERE id > $1 ORDER BY id LIMIT $2";
pub const IN_THREAD: &str = "SELECT id, thread_id, body, user_id FROM posts \
    WHERE thread_id = $3 AND id > $1 ORDER BY id LIMIT $2";
pub const BY_USER: &str = "SELECT id, thread_id, body, user_id FROM posts \
    WHERE user_id = $3 AND id > $1 ORDER BY id LIMIT $2";
pub const GET: &str = "SELECT id, thread_id, body, user_id FROM posts WHERE id = $1";
pub const LOCK: &str = "SELECT id, thread_id, body, user_id FROM posts WHERE id = $1 {{for_update}}";
pub const INSERT: &str = "INSERT INTO posts (thread_id, body, user_id) VALUES ($1, $2, $3) RETURNING id";
pub const INSERT_WITH_ID: &str = "INSERT INTO posts (id, thread_id, body, user_id) VALUES ($1, $2, $3, $4)";
pub const UPDATE: &str = "UPDATE posts SET thread_id = $2, body = $3, user_id = $4 WHERE id = $1";
pub const DELETE: &str = "DELETE FROM posts WHERE id = $1";
