//! The contract over a PostgreSQL database, from version 14 on.
//!
//! The feed is logical replication: a publication of the scope's tables and a slot, read by SQL. Its positions are those of
//! the log; a transaction is never cut in two. Rows that [`Postgres::apply`] writes carry a message by which the feed of
//! this side leaves them out, so that nothing goes round in a circle. The guard is a trigger that holds the fence row
//! (`FOR SHARE`) until the writer's transaction ends. `release` waits for these, and writes the mark in its own
//! transaction: who has the mark has everything.
//!
//! A platform may use [`Postgres`] by itself, for an application that knows nothing of the contract: everything it needs
//! is installed by SQL. Such an application gets SQLSTATE `CU421` for a refused write.

mod apply;
mod decode;
mod feed;
mod fence;
mod findings;
mod setup;
mod shape;
mod store;
mod survey;
mod target;
mod verify;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use crate::contract::{Changes, ChangesQuery, Code, Engine, MAX_WAIT_MS, Problem, State};
use crate::scope::{Scope, check_names};
use store::Fence;

pub use survey::{Survey, survey};
pub use target::Target;

/// Between two looks for a change while a call waits.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const IDLE: usize = 4;
/// What the kit calls itself at the server.
const APPLICATION: &str = "cut-kit";

/// A database that offers the contract.
pub struct Postgres {
    target: Target,
    /// The schema with the kit's tables, quoted.
    schema: String,
    database: String,
    scopes: Vec<Scope>,
    /// Whether rows can be applied without the table's own triggers and foreign keys.
    replica: bool,
    idle: Mutex<Vec<Client>>,
    /// One at a time may read a slot, on a connection for nothing else: to decode the log makes the server forget all that
    /// its session knew of tables and plans, and the next question on it takes milliseconds.
    reading: tokio::sync::Mutex<Option<Client>>,
    /// When log was last forgotten, by scope.
    forgot: Mutex<HashMap<String, Instant>>,
}

type Result<T> = std::result::Result<T, Problem>;
/// A parameter with its type: a statement with such ones needs no question to the server before.
type Typed<'a> = (&'a (dyn ToSql + Sync), Type);

/// A connection that goes back by itself.
struct Lent<'a> {
    kit: &'a Postgres,
    client: Option<Client>,
}

impl std::ops::Deref for Lent<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("it is there until it goes back")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            self.kit.put_back(client);
        }
    }
}

impl Postgres {
    /// Connects, and makes the kit's own tables. A scope that the database does not know yet is owned here, unless it is
    /// one of `destinations`: then it is fenced at once.
    pub async fn open(url: &str, scopes: Vec<Scope>, destinations: &[String]) -> Result<Postgres> {
        let bad = |message: String| Problem::new(Code::BadRequest, message);
        check_names(&scopes, true).map_err(bad)?;
        if let Some(unknown) = destinations.iter().find(|name| !scopes.iter().any(|s| s.name == **name)) {
            return Err(bad(format!("{unknown} is none of this application's scopes")));
        }
        let target = target(url)?;
        let mut client = connect(&target).await?;
        let (schema, database, replica) = store::install(&mut client, &scopes, destinations).await?;
        let idle = Mutex::new(vec![client]);
        let reading = tokio::sync::Mutex::default();
        let forgot = Mutex::default();
        Ok(Postgres { target, schema, database, scopes, replica, idle, reading, forgot })
    }

    /// `GET /state`.
    pub async fn state(&self) -> Result<State> {
        let client = self.client().await?;
        let mut scopes = Vec::with_capacity(self.scopes.len());
        for scope in &self.scopes {
            scopes.push(store::state(&client, scope).await?);
        }
        self.put_back(client);
        Ok(State {
            contract: crate::contract::VERSION,
            database: self.database.clone(),
            engine: Engine::Postgresql,
            scopes,
        })
    }

    /// `GET /changes`: waits for an event as long as the query says.
    pub async fn changes(&self, query: &ChangesQuery) -> Result<Changes> {
        let wait = Duration::from_millis(query.wait_ms.unwrap_or(0).min(MAX_WAIT_MS).into());
        let deadline = Instant::now() + wait;
        loop {
            let began = Instant::now();
            let changes = self.changes_now(query).await?;
            // At most half of the time goes into reading the log.
            let pause = LOOK_EVERY.max(began.elapsed());
            if !changes.events.is_empty() || query.until.is_some_and(|until| changes.to >= until) {
                return Ok(changes);
            }
            // The log is read again only when it has grown: reading it costs more than asking where it ends.
            loop {
                let now = Instant::now();
                if now >= deadline {
                    return Ok(changes);
                }
                tokio::time::sleep(pause.min(deadline - now)).await;
                let client = self.lend().await?;
                let row =
                    client.query_typed_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.map_err(failed)?;
                if parse_lsn(row.get(0)) > changes.to {
                    break;
                }
            }
        }
    }

    fn scope(&self, name: &str) -> Result<&Scope> {
        let scope = self.scopes.iter().find(|scope| scope.name == name);
        scope.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no scope {name} here")))
    }

    /// A connection; one that is not given back is closed, and the server rolls back what it had begun.
    async fn client(&self) -> Result<Client> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(client) if client.is_closed() => {}
                Some(client) => return Ok(client),
                None => return connect(&self.target).await,
            }
        }
    }

    /// A connection for what only reads, without a transaction and without locks: who gives the call up breaks nothing, so
    /// that it is kept.
    async fn lend(&self) -> Result<Lent<'_>> {
        Ok(Lent { kit: self, client: Some(self.client().await?) })
    }

    /// Begins what every command on a scope begins with, in one exchange with `more`: a transaction that is on disk when it
    /// has been committed and waits so long for locks, and the lock of the fence row.
    ///
    /// A transaction ends with [`commit`], or with its connection: what fails is not put back.
    async fn begin<T>(
        &self,
        client: &Client,
        scope: &Scope,
        lock_timeout: &str,
        more: impl Future<Output = Result<T>>,
    ) -> Result<(Fence, T)> {
        let sql = format!("BEGIN; SET LOCAL lock_timeout = '{lock_timeout}'; SET LOCAL synchronous_commit = on");
        let begin = async { client.batch_execute(&sql).await.map_err(failed) };
        let sql = "SELECT 1 FROM cut_fence WHERE scope = $1 FOR UPDATE";
        let parameters: [Typed<'_>; 1] = [(&scope.name, Type::TEXT)];
        let lock = async { client.query_typed(sql, &parameters).await.map_err(failed) };
        let ((), _, fence, more) = tokio::try_join!(biased; begin, lock, store::fence(client, &scope.name), more)?;
        Ok((fence, more))
    }

    fn put_back(&self, client: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(client);
        }
    }
}

/// How the kit connects.
fn target(url: &str) -> Result<Target> {
    let mut target = Target::parse(url, APPLICATION)?;
    // Values travel as these settings write them.
    target.options(
        "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c bytea_output=hex -c extra_float_digits=1",
    );
    Ok(target)
}

/// A connection that has planned what is asked at every call.
async fn connect(target: &Target) -> Result<Client> {
    let client = target.connect().await.map_err(failed)?;
    client.batch_execute(&format!("{}; {}", shape::PREPARE, feed::PREPARE)).await.map_err(failed)?;
    Ok(client)
}

/// What a URL leads to, without the password and whatever else it says: `postgres://user@host:port/database`. Refused where
/// it cannot be used, without a word of it.
pub fn describe(url: &str) -> Result<String> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        let message = "the URL of a database is postgres://user:password@host:port/database";
        return Err(Problem::new(Code::BadRequest, message));
    }
    let target = target(url)?;
    let config = target.config();
    let host = match config.get_hosts() {
        [Host::Tcp(name), ..] => name.clone(),
        [Host::Unix(path), ..] => path.display().to_string(),
        [] => return Err(Problem::new(Code::BadRequest, "the URL of the database names no host")),
    };
    let port = config.get_ports().first().map_or(String::new(), |port| format!(":{port}"));
    let user = config.get_user().map_or(String::new(), |user| format!("{user}@"));
    Ok(format!("postgres://{user}{host}{port}/{}", config.get_dbname().unwrap_or_default()))
}

/// Ends a transaction with its last statements, in one exchange. Where one of them fails, nothing is committed.
async fn commit<T>(client: &Client, last: impl Future<Output = Result<T>>) -> Result<T> {
    let commit = async { client.batch_execute("COMMIT").await.map_err(failed) };
    let (last, ()) = tokio::try_join!(biased; last, commit)?;
    Ok(last)
}

/// A database's error as the contract's.
fn failed(error: tokio_postgres::Error) -> Problem {
    let message = match std::error::Error::source(&error) {
        Some(source) => format!("the database: {source}"),
        None => format!("the database: {error}"),
    };
    let code = match error.code() {
        Some(code)
            if *code == SqlState::LOCK_NOT_AVAILABLE
                || *code == SqlState::OBJECT_IN_USE
                || *code == SqlState::QUERY_CANCELED
                || *code == SqlState::T_R_DEADLOCK_DETECTED
                || *code == SqlState::T_R_SERIALIZATION_FAILURE
                || *code == SqlState::TOO_MANY_CONNECTIONS
                || *code == SqlState::CANNOT_CONNECT_NOW
                || *code == SqlState::ADMIN_SHUTDOWN =>
        {
            Code::Busy
        }
        Some(code) if *code == SqlState::DISK_FULL => Code::Full,
        Some(_) => Code::Failed,
        None => Code::Busy,
    };
    Problem::new(code, message)
}

fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Problem::new(Code::BadRequest, format!("{number} is too large")))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A position as PostgreSQL writes it, and back.
fn lsn(position: u64) -> String {
    format!("{:X}/{:X}", position >> 32, position & 0xffff_ffff)
}

fn parse_lsn(text: &str) -> u64 {
    let half = |text: Option<&str>| text.and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
    let mut halves = text.split('/');
    half(halves.next()) << 32 | half(halves.next())
}

#[cfg(test)]
mod tests;
