//! `Idempotency-Key` on creates: the key, what was asked and what was answered are stored in the
//! transaction of the write itself, so a retry gets the first answer and never a second row.
//!
//! A key belongs to a feature (its scope), and moves with the feature's rows. Keys are kept for a
//! day. Only successful answers are stored: a create that failed changed nothing and may be tried
//! again with the same key.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

use super::{Problem, body::json_bytes, unix_seconds};
use crate::db::{Db, DbError, Migration, Row, Tx};

/// The table of keys.
pub const MIGRATION: Migration =
    Migration { feature: "idempotency", number: 1, sql: include_str!("0001_idempotency.sql") };

const KEEP_SECONDS: i64 = 24 * 60 * 60;
const PURGE_EVERY_SECONDS: i64 = 10 * 60;

/// A key that a client sent with a create.
#[derive(Clone, Debug)]
pub struct Key {
    scope: &'static str,
    key: String,
    fingerprint: String,
}

/// Who may go on with a create.
pub enum Claim {
    /// This request: the key is new.
    Ours,
    /// Nobody: the write happened before, and this is its answer.
    Done(Response),
}

impl Key {
    /// From the request's headers; `None` without the header.
    pub fn from_headers(headers: &HeaderMap, scope: &'static str, body: &[u8]) -> Result<Option<Key>, Problem> {
        let mut values = headers.get_all("idempotency-key").iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let key = value.to_str().unwrap_or_default();
        let printable = key.bytes().all(|b| b.is_ascii_graphic());
        if values.next().is_some() || !printable || !(1..=255).contains(&key.len()) {
            return Err(Problem::bad_request(
                "Idempotency-Key must be one value of 1 to 255 visible ASCII characters.",
            ));
        }
        let mut fingerprint = String::with_capacity(64);
        for byte in Sha256::digest(body) {
            let _ = write!(fingerprint, "{byte:02x}");
        }
        Ok(Some(Key { scope, key: key.to_owned(), fingerprint }))
    }

    /// The stored answer, before any work is begun.
    pub async fn replay(&self, db: &Db) -> Result<Option<Response>, Problem> {
        let rows = db.query(FIND, self.name()).await?;
        rows.first().map(|row| self.answer(row)).transpose()
    }

    /// Claims the key inside the write's transaction. A request with the same key that runs at the
    /// same moment waits here until the first one has committed or given up.
    pub async fn claim(&self, tx: &mut Tx) -> Result<Claim, Problem> {
        let mut params = self.name();
        params.push(self.fingerprint.as_str().into());
        params.push(unix_seconds().into());
        let claimed = tx.query(CLAIM, params).await?;
        if !claimed.is_empty() {
            return Ok(Claim::Ours);
        }
        match tx.query(FIND, self.name()).await?.first() {
            Some(row) => self.answer(row).map(Claim::Done),
            None => Err(Problem::unavailable("Another request with this Idempotency-Key has just ended; try again.")),
        }
    }

    /// Stores the answer, still inside the write's transaction.
    pub async fn store(&self, tx: &mut Tx, status: StatusCode, location: &str, body: &str) -> Result<(), DbError> {
        let mut params = self.name();
        params.push(i64::from(status.as_u16()).into());
        params.push(location.into());
        params.push(body.into());
        tx.query(STORE, params).await.map(|_| ())
    }

    fn name(&self) -> Vec<crate::db::Value> {
        vec![self.scope.into(), self.key.as_str().into()]
    }

    fn answer(&self, row: &Row) -> Result<Response, Problem> {
        if row.text(0) != self.fingerprint {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "This Idempotency-Key was used with another body.",
            ));
        }
        let status = u16::try_from(row.int(1)).ok();
        let status = status.and_then(|s| StatusCode::from_u16(s).ok());
        let mut response = created(status.unwrap_or(StatusCode::CREATED), &row.text(2), row.text(3));
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
        Ok(response)
    }
}

/// The answer to a create, fresh or stored.
pub fn created(status: StatusCode, location: &str, body: String) -> Response {
    let mut response = json_bytes(status, body.into_bytes());
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Forgets a feature's keys older than a day; each process looks every ten minutes, when a create comes by. Those of
/// another feature may be fenced.
pub async fn purge(tx: &mut Tx, scope: &str, last: &AtomicI64) -> Result<(), DbError> {
    let now = unix_seconds();
    let before = last.load(Ordering::Relaxed);
    if now - before < PURGE_EVERY_SECONDS {
        return Ok(());
    }
    last.store(now, Ordering::Relaxed);
    tx.query(PURGE, vec![(now - KEEP_SECONDS).into(), scope.into()]).await.map(|_| ())
}

const FIND: &str = "SELECT fingerprint, status, location, body FROM idempotency_keys \
    WHERE scope = $1 AND key = $2";
const CLAIM: &str = "INSERT INTO idempotency_keys \
    (scope, key, fingerprint, created_at, status, location, body) \
    VALUES ($1, $2, $3, $4, 0, '', '') ON CONFLICT DO NOTHING RETURNING key";
const STORE: &str = "UPDATE idempotency_keys SET status = $3, location = $4, body = $5 \
    WHERE scope = $1 AND key = $2";
const PURGE: &str = "DELETE FROM idempotency_keys WHERE created_at < $1 AND scope = $2";
