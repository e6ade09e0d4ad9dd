//! `--import db.json`: a monolith's rows, into empty tables, once.
//!
//! Each service takes its own part of the same file. The whole file is checked before the first
//! row is written, and all rows are written in one transaction. A part that was imported before, or
//! whose table has rows, is left alone: starting again, or three tasks at once, changes nothing.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::db::{Db, DbError, Migration, Tx};
use crate::http::{Fields, Problem, Resource, unix_seconds};
use crate::links::{Feature, Reference};
use crate::posts::Post;
use crate::threads::Thread;
use crate::users::User;

/// The table that remembers what was imported.
pub const MIGRATION: Migration = Migration {
    feature: "import",
    number: 1,
    sql: "CREATE TABLE board_imports (feature TEXT PRIMARY KEY, imported_at BIGINT NOT NULL)",
};

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read {0} to import it: {1}")]
    Read(PathBuf, std::io::Error),
    /// The file is not what it should be.
    #[error("cannot import {0}: {1}")]
    Content(PathBuf, String),
    /// The rows come by a cut.
    #[error("cannot import {0}: this database does not own them; they come by a cut")]
    Fenced(&'static str),
    /// The storage failed.
    #[error("cannot import: {0}")]
    Storage(#[from] DbError),
}

/// A file's rows, with ids, checked.
#[derive(Debug)]
pub struct Board {
    /// `users`.
    pub users: Option<Vec<User>>,
    /// `threads`.
    pub threads: Option<Vec<Thread>>,
    /// `posts`.
    pub posts: Option<Vec<Post>>,
}

/// Imports the parts of `features` from `file`; with `fenced`, not those that this database does not own.
pub async fn import(db: &Db, features: &[Feature], file: &Path, fenced: bool) -> Result<(), ImportError> {
    let bytes = std::fs::read(file).map_err(|e| ImportError::Read(file.into(), e))?;
    let board = Board::parse(&bytes).map_err(|e| ImportError::Content(file.into(), e))?;
    let mut tx = db.begin().await?;
    let fences = if fenced { tx.fences().await? } else { Vec::new() };
    for feature in features {
        if fences.iter().any(|fence| fence.scope == feature.name() && fence.owner != 1) {
            let sql = "SELECT feature FROM board_imports WHERE feature = $1";
            if tx.query(sql, vec![feature.name().into()]).await?.is_empty() {
                return Err(ImportError::Fenced(feature.name()));
            }
            continue;
        }
        match feature {
            Feature::Users => fill(&mut tx, board.users.as_deref()).await?,
            Feature::Threads => fill(&mut tx, board.threads.as_deref()).await?,
            Feature::Posts => fill(&mut tx, board.posts.as_deref()).await?,
        }
    }
    Ok(tx.commit().await?)
}

impl Board {
    /// Reads and checks a file: fields, ids, unique usernames, and that what a row points to is in
    /// the file, where the file has that part at all. The error is a sentence.
    pub fn parse(bytes: &[u8]) -> Result<Board, String> {
        let json: Json = serde_json::from_slice(bytes).map_err(|e| format!("it is not JSON: {e}"))?;
        let Json::Object(mut parts) = json else {
            return Err("it must be an object with users, threads and posts".into());
        };
        let board = Board {
            users: part(parts.remove("users"))?,
            threads: part(parts.remove("threads"))?,
            posts: part(parts.remove("posts"))?,
        };
        if let Some(other) = parts.keys().next() {
            return Err(format!("{other:?} is none of users, threads and posts"));
        }
        let mut names = HashSet::new();
        for user in board.users.iter().flatten() {
            if !names.insert(&user.username) {
                return Err(format!("two users have the username {:?}", user.username));
            }
        }
        let users = ids(board.users.as_deref());
        let threads = ids(board.threads.as_deref());
        point_somewhere(board.threads.as_deref(), &users, &threads)?;
        point_somewhere(board.posts.as_deref(), &users, &threads)?;
        Ok(board)
    }
}

/// One part of the file. Rows without an id get the next free one, in order.
fn part<R: Resource>(part: Option<Json>) -> Result<Option<Vec<R>>, String> {
    let name = R::FEATURE.name();
    let rows = match part {
        None => return Ok(None),
        Some(Json::Array(rows)) => rows,
        Some(_) => return Err(format!("{name} must be an array")),
    };
    let mut records = Vec::with_capacity(rows.len());
    let mut taken = HashSet::new();
    for (i, row) in rows.into_iter().enumerate() {
        let record: Result<R, Problem> = (|| {
            let mut fields = Fields::within(&format!("/{name}/{i}"), row)?;
            let id = fields.own_id();
            let mut record = R::read(&mut fields);
            fields.finish()?;
            record.set_id(id.unwrap_or(0));
            Ok(record)
        })();
        let record = record.map_err(|problem| match problem.errors.first() {
            Some((pointer, detail)) => format!("{pointer} {detail}"),
            None => problem.detail,
        })?;
        if record.id() != 0 && !taken.insert(record.id()) {
            return Err(format!("/{name}/{i}/id {} is there twice", record.id()));
        }
        records.push(record);
    }
    let mut next = 1;
    for record in records.iter_mut().filter(|record| record.id() == 0) {
        while taken.contains(&next) {
            next += 1;
        }
        record.set_id(next);
        next += 1;
    }
    Ok(Some(records))
}

fn ids<R: Resource>(records: Option<&[R]>) -> Option<HashSet<i64>> {
    records.map(|records| records.iter().map(Resource::id).collect())
}

fn point_somewhere<R: Resource>(
    records: Option<&[R]>,
    users: &Option<HashSet<i64>>,
    threads: &Option<HashSet<i64>>,
) -> Result<(), String> {
    for (i, record) in records.unwrap_or_default().iter().enumerate() {
        for Reference { feature, id, field } in record.references() {
            let known = match feature {
                Feature::Users => users,
                Feature::Threads => threads,
                Feature::Posts => continue,
            };
            if known.as_ref().is_some_and(|known| !known.contains(&id)) {
                let (name, noun) = (R::FEATURE.name(), feature.noun());
                return Err(format!("/{name}/{i}/{field}: there is no {noun} {id}"));
            }
        }
    }
    Ok(())
}

async fn fill<R: Resource>(tx: &mut Tx, records: Option<&[R]>) -> Result<(), DbError> {
    let Some(records) = records else {
        return Ok(());
    };
    let name = R::FEATURE.name();
    // Who stores the mark imports; a second process waits here until the first has committed.
    let marked = tx
        .query(
            "INSERT INTO board_imports (feature, imported_at) VALUES ($1, $2) \
             ON CONFLICT DO NOTHING RETURNING feature",
            vec![name.into(), unix_seconds().into()],
        )
        .await?;
    let filled = tx.query(R::LIST, vec![0.into(), 1.into()]).await?;
    if marked.is_empty() || !filled.is_empty() {
        tracing::info!(feature = name, "import: has rows already, left alone");
        return Ok(());
    }
    for record in records {
        let mut params = vec![record.id().into()];
        params.extend(record.values());
        tx.query(R::INSERT_WITH_ID, params).await?;
    }
    tx.ids_were_given(name).await?;
    tracing::info!(feature = name, rows = records.len(), "imported");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_ids_get_them_in_order() {
        let board = Board::parse(
            br#"{"posts":[{"thread":1,"text":"a","user":1},{"id":2,"thread":1,"text":"b","user":1},
                {"thread":1,"text":"c","user":1}]}"#,
        )
        .unwrap();
        let posts = board.posts.unwrap();
        let ids: Vec<(i64, &str)> = posts.iter().map(|p| (p.id, p.text.as_str())).collect();
        assert_eq!(ids, [(1, "a"), (2, "b"), (3, "c")]);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let user = r#"{"id":1,"username":"a","name":"A","bio":""}"#;
        let cases = [
            ("[]".into(), "must be an object"),
            ("{".into(), "not JSON"),
            (r#"{"users":{}}"#.into(), "users must be an array"),
            (r#"{"user":[]}"#.into(), "none of users"),
            (r#"{"posts":[{"thread":1,"user":1}]}"#.into(), "/posts/0/text is required"),
            (format!(r#"{{"users":[{user},{user}]}}"#), "/users/1/id 1 is there twice"),
            (format!(r#"{{"users":[{user},{{"username":"a","name":"B"}}]}}"#), "two users have"),
            (
                format!(r#"{{"users":[{user}],"threads":[{{"title":"t","createdBy":9}}]}}"#),
                "/threads/0/createdBy: there is no user 9",
            ),
        ];
        for (text, expected) in cases {
            let error = Board::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
