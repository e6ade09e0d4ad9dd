//! The admin listener: the contract's calls on 127.0.0.1, for whoever has the secret.
//!
//! It listens only where both [`PORT_VARIABLE`] and [`SECRET_VARIABLE`] are set ([`Settings::from_variables`]).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Query, Request, State as Shared};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use crate::contract::{
    Applied, ApplyRequest, BASE, Changes, ChangesQuery, Code, FenceRequest, Fenced, FinishRequest, Finished, MAX_BODY,
    MAX_WAIT_MS, PORT_VARIABLE, PrepareRequest, Prepared, Problem, SECRET_VARIABLE, Snapshot, SnapshotQuery, State,
    Verified, VerifyRequest,
};

/// Between two looks for a change while a call waits.
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// A database that offers the contract.
#[derive(Clone)]
pub enum Kit {
    /// A SQLite file.
    #[cfg(feature = "sqlite")]
    Sqlite(Arc<crate::sqlite::Sqlite>),
    /// A PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres(Arc<crate::postgres::Postgres>),
}

/// Where to listen, and the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// On 127.0.0.1; 0 lets the system choose.
    pub port: u16,
    secret: Arc<str>,
}

impl Settings {
    /// A port and a secret of at least 16 bytes.
    pub fn new(port: u16, secret: &str) -> Result<Settings, String> {
        if secret.len() < 16 || !secret.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!("{SECRET_VARIABLE} must have at least 16 visible ASCII characters"));
        }
        Ok(Settings { port, secret: secret.into() })
    }

    /// From the values of the two variables; `None` unless both are there. An empty one is as none.
    pub fn from_variables(port: Option<&str>, secret: Option<&str>) -> Result<Option<Settings>, String> {
        let filled = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let (Some(port), Some(secret)) = (filled(port), filled(secret)) else { return Ok(None) };
        let port = port.parse().map_err(|_| format!("{PORT_VARIABLE} must be a port, not {port:?}"))?;
        Settings::new(port, &secret).map(Some)
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("port", &self.port).finish_non_exhaustive()
    }
}

/// Listens on 127.0.0.1 and serves in the background, until the runtime ends. Returns the address.
pub async fn listen(kit: Kit, settings: Settings) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, settings.port)).await?;
    let address = listener.local_addr()?;
    let router = router(kit, settings);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// The calls, for an application that serves them itself.
pub fn router(kit: Kit, settings: Settings) -> Router {
    let calls = Router::new()
        .route("/state", get(state))
        .route("/prepare", post(prepare))
        .route("/snapshot", get(snapshot))
        .route("/changes", get(changes))
        .route("/apply", post(apply))
        .route("/fence", post(fence))
        .route("/verify", post(verify))
        .route("/finish", post(finish))
        .with_state(kit);
    let no_call = || async { Answer::<()>(Err(Problem::new(Code::NotFound, "there is no such call"))) };
    Router::new()
        .nest(BASE, calls)
        .fallback(no_call)
        .method_not_allowed_fallback(no_call)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(settings, authorize))
}

/// An answer, or a problem with its status.
struct Answer<T>(Result<T, Problem>);

/// A JSON body of at most [`MAX_BODY`] bytes.
struct Body<T>(T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match self.0 {
            Ok(answer) => Json(answer).into_response(),
            Err(problem) => {
                let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, Json(problem)).into_response()
            }
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Answer<()>;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Answer<()>> {
        let refuse = |code, message: String| Answer(Err(Problem::new(code, message)));
        let bytes = Bytes::from_request(request, state).await.map_err(|e| {
            let large = e.status() == StatusCode::PAYLOAD_TOO_LARGE;
            refuse(if large { Code::TooLarge } else { Code::BadRequest }, e.body_text())
        })?;
        let value = serde_json::from_slice(&bytes).map_err(|e| refuse(Code::BadRequest, format!("the body: {e}")))?;
        Ok(Body(value))
    }
}

async fn authorize(Shared(settings): Shared<Settings>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    if !same(given, settings.secret.as_bytes()) {
        return Answer::<()>(Err(Problem::new(Code::Unauthorized, "this needs the secret"))).into_response();
    }
    next.run(request).await
}

/// Takes the same time wherever the two differ.
fn same(given: &[u8], secret: &[u8]) -> bool {
    let mut different = u8::from(given.len() != secret.len());
    for (i, byte) in secret.iter().enumerate() {
        different |= byte ^ given.get(i).copied().unwrap_or(!byte);
    }
    std::hint::black_box(different) == 0
}

async fn state(Shared(kit): Shared<Kit>) -> Answer<State> {
    Answer(kit.state().await)
}

async fn prepare(Shared(kit): Shared<Kit>, Body(request): Body<PrepareRequest>) -> Answer<Prepared> {
    Answer(kit.prepare(request).await)
}

async fn snapshot(
    Shared(kit): Shared<Kit>,
    query: Result<Query<SnapshotQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer<Snapshot> {
    match query {
        Ok(Query(query)) => Answer(kit.snapshot(query).await),
        Err(error) => Answer(Err(Problem::new(Code::BadRequest, error.body_text()))),
    }
}

async fn changes(
    Shared(kit): Shared<Kit>,
    query: Result<Query<ChangesQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer<Changes> {
    match query {
        Ok(Query(query)) => Answer(kit.changes(query).await),
        Err(error) => Answer(Err(Problem::new(Code::BadRequest, error.body_text()))),
    }
}

async fn apply(Shared(kit): Shared<Kit>, Body(request): Body<ApplyRequest>) -> Answer<Applied> {
    Answer(kit.apply(request).await)
}

async fn fence(Shared(kit): Shared<Kit>, Body(request): Body<FenceRequest>) -> Answer<Fenced> {
    Answer(kit.fence(request).await)
}

async fn verify(Shared(kit): Shared<Kit>, Body(request): Body<VerifyRequest>) -> Answer<Verified> {
    Answer(kit.verify(request).await)
}

async fn finish(Shared(kit): Shared<Kit>, Body(request): Body<FinishRequest>) -> Answer<Finished> {
    Answer(kit.finish(request).await)
}

/// Each call of the contract, whatever the database. Blocking work is on the runtime's threads for it.
macro_rules! call {
    ($name:ident ( $($request:ident: $kind:ty)? ) -> $answer:ty) => {
        #[doc = concat!("The contract's call `", stringify!($name), "`.")]
        pub async fn $name(&self $(, $request: $kind)?) -> Result<$answer, Problem> {
            match self {
                #[cfg(feature = "sqlite")]
                Kit::Sqlite(kit) => {
                    let kit = kit.clone();
                    let work = tokio::task::spawn_blocking(move || kit.$name($(&$request)?));
                    work.await.map_err(|e| Problem::new(Code::Failed, e.to_string()))?
                }
                #[cfg(feature = "postgres")]
                Kit::Postgres(kit) => kit.$name($(&$request)?).await,
            }
        }
    };
}

impl Kit {
    call!(state() -> State);
    call!(prepare(request: PrepareRequest) -> Prepared);
    call!(snapshot(query: SnapshotQuery) -> Snapshot);
    call!(changes_now(query: ChangesQuery) -> Changes);
    call!(apply(request: ApplyRequest) -> Applied);
    call!(fence(request: FenceRequest) -> Fenced);
    call!(verify(request: VerifyRequest) -> Verified);
    call!(finish(request: FinishRequest) -> Finished);

    /// The contract's call `changes`: waits for an event as long as the query says.
    pub async fn changes(&self, query: ChangesQuery) -> Result<Changes, Problem> {
        #[cfg(feature = "postgres")]
        if let Kit::Postgres(kit) = self {
            return kit.changes(&query).await;
        }
        let wait = Duration::from_millis(query.wait_ms.unwrap_or(0).min(MAX_WAIT_MS).into());
        let deadline = Instant::now() + wait;
        loop {
            let before = self.version().await?;
            let changes = self.changes_now(query.clone()).await?;
            if !changes.events.is_empty() || query.until.is_some_and(|until| changes.to >= until) {
                return Ok(changes);
            }
            loop {
                let now = Instant::now();
                if now >= deadline {
                    return Ok(changes);
                }
                tokio::time::sleep(LOOK_EVERY.min(deadline - now)).await;
                if before.is_none() || self.version().await? != before {
                    break;
                }
            }
        }
    }

    /// As long as this is the same number there are no new changes; `None`: nobody knows without looking.
    async fn version(&self) -> Result<Option<i64>, Problem> {
        match self {
            #[cfg(feature = "sqlite")]
            Kit::Sqlite(kit) => {
                let kit = kit.clone();
                let work = tokio::task::spawn_blocking(move || kit.version());
                work.await.map_err(|e| Problem::new(Code::Failed, e.to_string()))?.map(Some)
            }
            #[cfg(feature = "postgres")]
            Kit::Postgres(_) => Ok(None),
        }
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests;
