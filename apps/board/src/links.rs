//! What the features ask of each other, and where each is found.
//!
//! A post's user and thread, and a thread's user, must exist when it is written. A user or thread
//! that others point to is not deleted. In the monolith these rules hold inside the write's
//! transaction. Between services they are asked over HTTP just before it: a service that does not
//! answer makes the write a 503 that changed nothing; reads never ask.
//!
//! A monolith out of which a feature was cut asks its fence row where the feature is: while the database owns it, it is
//! here; afterwards it is at its URL. Nobody starts the monolith anew for that.

use http::{HeaderValue, StatusCode};

use crate::db::{Db, DbError, Fence, Tx};
use crate::http::{Guarded, Problem};

/// One of the board's three features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Who writes.
    Users,
    /// What is written about.
    Threads,
    /// What is written.
    Posts,
}

/// A field that points to another record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Whose record.
    pub feature: Feature,
    /// Its id.
    pub id: i64,
    /// The JSON name of the field.
    pub field: &'static str,
}

/// Records that point to one that is to be deleted.
#[derive(Clone, Copy, Debug)]
pub struct Dependent {
    /// Whose records.
    pub feature: Feature,
    /// Where they are in the same database: one row or none, for the id `$1`.
    pub sql: &'static str,
    /// Their list over HTTP; the id follows.
    pub path: &'static str,
}

/// Where a feature is.
#[derive(Clone, Debug)]
pub enum Link {
    /// In this process, over the same database; and at the URL, once it has been cut out.
    Here(Option<Guarded>),
    /// At a URL.
    At(Guarded),
    /// Nobody said: what depends on it cannot be written.
    Unknown,
}

/// Where each feature is.
#[derive(Clone, Debug)]
pub struct Links {
    /// Users.
    pub users: Link,
    /// Threads.
    pub threads: Link,
    /// Posts.
    pub posts: Link,
}

/// Which features this database does not own, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere(Vec<String>);

impl Elsewhere {
    /// From the fence rows.
    pub fn from_fences(fences: &[Fence]) -> Elsewhere {
        let mut names: Vec<String> = fences.iter().filter(|f| f.owner != 1).map(|f| f.scope.clone()).collect();
        names.sort();
        Elsewhere(names)
    }

    /// From the fence rows of a database that has them.
    pub async fn look(db: &Db, fenced: bool) -> Result<Elsewhere, DbError> {
        if !fenced {
            return Ok(Elsewhere::default());
        }
        Ok(Elsewhere::from_fences(&db.fences().await?))
    }

    fn has(&self, feature: Feature) -> bool {
        self.0.iter().any(|name| name == feature.name())
    }
}

impl Feature {
    /// The name in paths and tables.
    pub fn name(self) -> &'static str {
        match self {
            Feature::Users => "users",
            Feature::Threads => "threads",
            Feature::Posts => "posts",
        }
    }

    /// The name of one record.
    pub fn noun(self) -> &'static str {
        match self {
            Feature::Users => "user",
            Feature::Threads => "thread",
            Feature::Posts => "post",
        }
    }

    /// The setting that says where the feature is.
    pub fn url_setting(self) -> &'static str {
        match self {
            Feature::Users => "USERS_URL",
            Feature::Threads => "THREADS_URL",
            Feature::Posts => "POSTS_URL",
        }
    }

    fn exists_sql(self) -> &'static str {
        match self {
            Feature::Users => "SELECT id FROM users WHERE id = $1 {{for_share}}",
            Feature::Threads => "SELECT id FROM threads WHERE id = $1 {{for_share}}",
            Feature::Posts => "SELECT id FROM posts WHERE id = $1 {{for_share}}",
        }
    }
}

impl Links {
    /// Asks other services whether what a record points to exists.
    pub async fn ask_elsewhere(
        &self,
        elsewhere: &Elsewhere,
        references: &[Reference],
        trace: Option<&HeaderValue>,
    ) -> Result<(), Problem> {
        let mut missing = Vec::new();
        for reference in references {
            let path = format!("/api/{}/{}", reference.feature.name(), reference.id);
            match self.get(elsewhere, reference.feature, &path, trace).await? {
                None | Some((StatusCode::OK, _)) => {}
                Some((StatusCode::NOT_FOUND, body)) if is_problem_of_ours(&body) => {
                    missing.push(gone(reference));
                }
                Some((status, _)) => return Err(no_sense(reference.feature, status)),
            }
        }
        all_there(missing)
    }

    /// Looks in the write's own transaction for what a record points to.
    pub async fn look_here(&self, elsewhere: &Elsewhere, tx: &mut Tx, references: &[Reference]) -> Result<(), Problem> {
        let mut missing = Vec::new();
        for reference in references {
            if self.is_here(elsewhere, reference.feature) {
                let sql = reference.feature.exists_sql();
                if tx.query(sql, vec![reference.id.into()]).await?.is_empty() {
                    missing.push(gone(reference));
                }
            }
        }
        all_there(missing)
    }

    /// Asks other services whether records there point to the one that is to be deleted.
    pub async fn ask_dependents(
        &self,
        elsewhere: &Elsewhere,
        feature: Feature,
        dependents: &[Dependent],
        id: i64,
        trace: Option<&HeaderValue>,
    ) -> Result<(), Problem> {
        for dependent in dependents {
            let joint = if dependent.path.contains('?') { '&' } else { '?' };
            let path = format!("{}{id}{joint}limit=1", dependent.path);
            match self.get(elsewhere, dependent.feature, &path, trace).await? {
                None => {}
                Some((StatusCode::OK, body)) => {
                    let rows: Vec<serde_json::Value> =
                        serde_json::from_slice(&body).map_err(|_| no_sense(dependent.feature, StatusCode::OK))?;
                    if !rows.is_empty() {
                        return Err(still_used(feature, id, dependent.feature));
                    }
                }
                Some((status, _)) => return Err(no_sense(dependent.feature, status)),
            }
        }
        Ok(())
    }

    /// Looks in the deletion's own transaction for records that point to the deleted one.
    pub async fn look_for_dependents(
        &self,
        elsewhere: &Elsewhere,
        tx: &mut Tx,
        feature: Feature,
        dependents: &[Dependent],
        id: i64,
    ) -> Result<(), Problem> {
        for dependent in dependents {
            if self.is_here(elsewhere, dependent.feature) && !tx.query(dependent.sql, vec![id.into()]).await?.is_empty()
            {
                return Err(still_used(feature, id, dependent.feature));
            }
        }
        Ok(())
    }

    fn to(&self, feature: Feature) -> &Link {
        match feature {
            Feature::Users => &self.users,
            Feature::Threads => &self.threads,
            Feature::Posts => &self.posts,
        }
    }

    fn is_here(&self, elsewhere: &Elsewhere, feature: Feature) -> bool {
        matches!(self.to(feature), Link::Here(_)) && !elsewhere.has(feature)
    }

    /// `None` where the feature is in this process.
    async fn get(
        &self,
        elsewhere: &Elsewhere,
        feature: Feature,
        path: &str,
        trace: Option<&HeaderValue>,
    ) -> Result<Option<(StatusCode, bytes::Bytes)>, Problem> {
        match self.to(feature) {
            Link::Here(_) if !elsewhere.has(feature) => Ok(None),
            Link::Unknown | Link::Here(None) => Err(Problem::unavailable(format!(
                "This needs an answer from {}, and {} is not set here.",
                feature.name(),
                feature.url_setting()
            ))),
            Link::At(peer) | Link::Here(Some(peer)) => match peer.get(path, trace).await {
                Ok(answer) => Ok(Some(answer)),
                Err(error) => {
                    tracing::warn!(feature = feature.name(), %error, "peer unavailable");
                    Err(Problem::unavailable(format!(
                        "This needs an answer from {}, which does not answer at the moment.",
                        feature.name()
                    )))
                }
            },
        }
    }
}

fn gone(reference: &Reference) -> (String, String) {
    let noun = reference.feature.noun();
    (format!("/{}", reference.field), format!("there is no {noun} {}", reference.id))
}

fn all_there(missing: Vec<(String, String)>) -> Result<(), Problem> {
    if missing.is_empty() { Ok(()) } else { Err(Problem::invalid(missing)) }
}

/// A 404 from a load balancer without that path says nothing about the record.
fn is_problem_of_ours(body: &[u8]) -> bool {
    let body: Result<serde_json::Value, _> = serde_json::from_slice(body);
    body.is_ok_and(|body| {
        body["status"] == 404 && body["detail"].as_str().is_some_and(|detail| detail.starts_with("There is no "))
    })
}

fn still_used(feature: Feature, id: i64, by: Feature) -> Problem {
    Problem::conflict(format!("There are {} that belong to {} {id}; delete those first.", by.name(), feature.noun()))
}

fn no_sense(feature: Feature, status: StatusCode) -> Problem {
    tracing::warn!(feature = feature.name(), %status, "peer answered unexpectedly");
    Problem::unavailable(format!(
        "This needs an answer from {}, which answered {} instead.",
        feature.name(),
        status.as_u16()
    ))
}
