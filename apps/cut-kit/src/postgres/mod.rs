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
mod setup;
mod shape;
mod store;
mod verify;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use crate::contract::{Code, Engine, Problem, State};
use crate::scope::{Scope, check_names};

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const IDLE: usize = 4;

/// A database that offers the contract.
pub struct Postgres {
    config: Config,
    /// The schema with the kit's tables, quoted.
    schema: String,
    database: String,
    scopes: Vec<Scope>,
    /// Whether rows can be applied without the table's own triggers and foreign keys.
    replica: bool,
    idle: Mutex<Vec<Client>>,
    /// One at a time may read a slot.
    reading: tokio::sync::Mutex<()>,
}

type Result<T> = std::result::Result<T, Problem>;

impl Postgres {
    /// Connects, and makes the kit's own tables. A scope that the database does not know yet is owned here, unless it is
    /// one of `destinations`: then it is fenced at once.
    pub async fn open(url: &str, scopes: Vec<Scope>, destinations: &[String]) -> Result<Postgres> {
        let bad = |message: String| Problem::new(Code::BadRequest, message);
        check_names(&scopes).map_err(bad)?;
        if let Some(unknown) = destinations.iter().find(|name| !scopes.iter().any(|s| s.name == **name)) {
            return Err(bad(format!("{unknown} is none of this application's scopes")));
        }
        let mut config: Config = url.parse().map_err(|e| bad(format!("the URL of the database: {e}")))?;
        config.connect_timeout(CONNECT_LIMIT);
        config.application_name("cut-kit");
        // Values travel as these settings write them.
        config.options(
            "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c bytea_output=hex -c extra_float_digits=1",
        );
        let mut client = connect(&config).await?;
        let (schema, database, replica) = store::install(&mut client, &scopes, destinations).await?;
        let idle = Mutex::new(vec![client]);
        let reading = tokio::sync::Mutex::new(());
        Ok(Postgres { config, schema, database, scopes, replica, idle, reading })
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
                None => return connect(&self.config).await,
            }
        }
    }

    fn put_back(&self, client: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(client);
        }
    }
}

async fn connect(config: &Config) -> Result<Client> {
    let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
    tokio::spawn(async move {
        // Whoever uses the client meets the error.
        let _ = connection.await;
    });
    Ok(client)
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
