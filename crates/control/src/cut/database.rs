//! A side whose PostgreSQL database the platform drives itself: the application knows nothing of the cut.

use super::admin::Failure;
use cut_kit::contract::Problem;
use cut_kit::postgres::{self, Postgres};
use cut_kit::{Scope, Tables};
use quarry_domain::sealed::Sealed;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use tokio::sync::OnceCell;

/// A database and the scope's tables in it. Connected at the first call; nothing is made before that.
pub struct Database {
    url: Url,
    scope: Scope,
    kit: OnceCell<Postgres>,
}

/// A URL such as `postgres://user:password@host:5432/database`. It is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Url(String);

/// Both URLs as the journal keeps them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Databases {
    pub source: Sealed,
    pub destination: Sealed,
}

impl Database {
    pub fn new(url: Url, scope: Scope) -> Self {
        Self { url, scope, kit: OnceCell::new() }
    }

    /// One call, within so long. One that is given up closes its connection, and the server rolls back.
    pub async fn call<T>(
        &self,
        limit: Duration,
        work: impl AsyncFnOnce(&Postgres) -> Result<T, Problem>,
    ) -> Result<T, Failure> {
        let called = async {
            let open = || Postgres::open(&self.url.0, vec![self.scope.clone()], &[]);
            work(self.kit.get_or_try_init(open).await?).await
        };
        match tokio::time::timeout(limit, called).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(problem)) => Err(Failure::Refused(problem.code.status(), problem)),
            Err(_) => Err(Failure::Unreachable(format!("no answer within {} ms", limit.as_millis()))),
        }
    }
}

impl Url {
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// Without its password, to be shown; or what is wrong with it, without a word of it.
    pub fn shown(&self) -> Result<String, String> {
        postgres::describe(&self.0).map_err(|problem| problem.message)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown().as_deref().unwrap_or("postgres://…"))
    }
}

/// The scope over whole tables, in the order in which they are copied.
pub fn scope(name: &str, tables: &[String]) -> Scope {
    Scope::new(name, tables.iter().map(Tables::whole))
}

/// What the URL of a side is sealed for.
pub fn context(cut: &str, side: quarry_domain::cut::Side) -> String {
    format!("cut {cut} database {}", side.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        let url = Url::new("postgres://app:s3c%40ret@db.internal:5433/shop?application_name=x&password=s3cret");
        assert_eq!(url.shown().unwrap(), "postgres://app@db.internal:5433/shop");
        assert_eq!(format!("{url:?}"), "postgres://app@db.internal:5433/shop");
        for bad in ["mysql://app:secret@db/shop", "host=db password=secret", "postgres://app:secret@db:x/shop", ""] {
            let url = Url::new(bad);
            let said = format!("{url:?} {}", url.shown().unwrap_err());
            assert!(!said.contains("secret"), "{said}");
        }
        let encrypted = Url::new("postgres://app:secret@db/shop?sslmode=require");
        assert_eq!(encrypted.shown().unwrap(), "postgres://app@db:5432/shop");
        let why = Url::new("postgres://db/shop?sslmode=verify-full").shown().unwrap_err();
        assert!(why.contains("sslrootcert"), "{why}");
    }
}
