//! PostgreSQL: a small pool of connections with their prepared statements.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cut_kit::postgres::Target;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::{DbError, Dialect, Row, Value};

/// Connections one process holds at most.
const POOL: usize = 8;
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const STATEMENT_LIMIT: Duration = Duration::from_secs(10);

/// The pool.
#[derive(Clone)]
pub struct Postgres(Arc<Pool>);

/// A transaction on a connection of its own; dropping it uncommitted closes the connection, and the
/// server rolls back.
pub struct PostgresTx {
    connection: Connection,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

struct Pool {
    target: Target,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

struct Connection {
    client: Client,
    prepared: HashMap<String, Statement>,
}

impl Postgres {
    /// Connects once, so that a wrong URL shows at the start.
    pub async fn open(url: &str) -> Result<Postgres, DbError> {
        let target = Target::parse(url, "board").map_err(|e| DbError::Failed(format!("DATABASE_URL: {e}")))?;
        let pool = Arc::new(Pool { target, idle: Mutex::new(Vec::new()), permits: Arc::new(Semaphore::new(POOL)) });
        let first = pool.connect().await?;
        pool.put_back(first);
        Ok(Postgres(pool))
    }

    pub async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        let _permit = self.0.permit().await?;
        let mut connection = self.0.take().await?;
        let rows = connection.query(sql, params).await?;
        self.0.put_back(connection);
        Ok(rows)
    }

    pub async fn begin(&self) -> Result<PostgresTx, DbError> {
        let permit = self.0.permit().await?;
        let connection = self.0.take().await?;
        connection.batch("BEGIN").await?;
        Ok(PostgresTx { connection, pool: self.0.clone(), _permit: permit })
    }
}

impl PostgresTx {
    pub async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        self.connection.query(sql, params).await
    }

    pub async fn commit(self) -> Result<(), DbError> {
        self.connection.batch("COMMIT").await?;
        self.pool.put_back(self.connection);
        Ok(())
    }
}

impl Pool {
    async fn permit(&self) -> Result<OwnedSemaphorePermit, DbError> {
        let permit = self.permits.clone().acquire_owned();
        match tokio::time::timeout(STATEMENT_LIMIT, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(DbError::Unavailable("all connections are busy".into())),
        }
    }

    async fn take(&self) -> Result<Connection, DbError> {
        loop {
            let idle = self.lock().pop();
            match idle {
                Some(connection) if connection.client.is_closed() => {}
                Some(connection) => return Ok(connection),
                None => return self.connect().await,
            }
        }
    }

    fn put_back(&self, connection: Connection) {
        self.lock().push(connection);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Connection, DbError> {
        let client = tokio::time::timeout(CONNECT_LIMIT, self.target.connect())
            .await
            .map_err(|_| DbError::Unavailable("PostgreSQL does not answer".into()))?
            .map_err(|e| DbError::Unavailable(format!("cannot connect to PostgreSQL: {}", full(&e))))?;
        Ok(Connection { client, prepared: HashMap::new() })
    }
}

impl Connection {
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        let statement = match self.prepared.get(sql) {
            Some(statement) => statement.clone(),
            None => {
                let rendered = Dialect::Postgres.render(sql);
                let statement = in_time(self.client.prepare(&rendered)).await?;
                self.prepared.insert(sql.to_owned(), statement.clone());
                statement
            }
        };
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|p| p as &(dyn ToSql + Sync)).collect();
        let rows = in_time(self.client.query(&statement, &params)).await?;
        rows.iter()
            .map(|row| {
                (0..row.len()).map(|i| row.try_get(i).map_err(failed)).collect::<Result<Vec<Value>, _>>().map(Row)
            })
            .collect()
    }

    async fn batch(&self, sql: &str) -> Result<(), DbError> {
        in_time(self.client.batch_execute(sql)).await
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, DbError> {
    match tokio::time::timeout(STATEMENT_LIMIT, work).await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(DbError::Unavailable("PostgreSQL does not answer".into())),
    }
}

fn failed(error: tokio_postgres::Error) -> DbError {
    match error.code() {
        Some(code) if *code == SqlState::UNIQUE_VIOLATION => DbError::Unique,
        Some(code)
            if *code == SqlState::T_R_DEADLOCK_DETECTED
                || *code == SqlState::T_R_SERIALIZATION_FAILURE
                || *code == SqlState::ADMIN_SHUTDOWN
                || *code == SqlState::CANNOT_CONNECT_NOW
                || *code == SqlState::TOO_MANY_CONNECTIONS =>
        {
            DbError::Unavailable(full(&error))
        }
        Some(code) if code.code() == cut_kit::fence::SQLSTATE => {
            let refused = cut_kit::fence::refused_by_trigger(&full(&error));
            DbError::Fenced(refused.map(|r| r.scope().to_owned()).unwrap_or_default())
        }
        Some(code) if *code == SqlState::DISK_FULL => DbError::Full(full(&error)),
        Some(_) => DbError::Failed(full(&error)),
        // Without a server's code the connection itself broke.
        None => DbError::Unavailable(full(&error)),
    }
}

/// The error with its causes: tokio-postgres keeps the server's sentence in the source.
fn full(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
