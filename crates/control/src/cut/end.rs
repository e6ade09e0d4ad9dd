//! The calls of the contract at one side: to the application inside its tasks, or to the database itself.

use super::admin::{Admin, Failure};
use super::database::Database;
use cut_kit::contract::{
    Applied, ApplyRequest, Changes, ChangesQuery, FenceRequest, Fenced, FinishRequest, Finished, PrepareRequest,
    Prepared, Snapshot, SnapshotQuery, State, Verified, VerifyRequest,
};
use std::time::Duration;

/// Who answers for a side.
pub enum End {
    Application(Admin),
    Database(Box<Database>),
}

/// The calls that are one path and one body.
macro_rules! call {
    ($name:ident ( $request:ident: $kind:ty ) -> $answer:ty, $path:literal) => {
        pub async fn $name(&self, $request: &$kind, limit: Duration) -> Result<$answer, Failure> {
            match self {
                Self::Application(admin) => admin.post($path, $request, limit).await,
                Self::Database(database) => database.call(limit, async |kit| kit.$name($request).await).await,
            }
        }
    };
}

impl End {
    pub async fn state(&self, limit: Duration) -> Result<State, Failure> {
        match self {
            Self::Application(admin) => admin.get("/state", limit).await,
            Self::Database(database) => database.call(limit, async |kit| kit.state().await).await,
        }
    }

    pub async fn snapshot(&self, query: &SnapshotQuery, limit: Duration) -> Result<Snapshot, Failure> {
        match self {
            Self::Application(admin) => {
                let mut path = format!("/snapshot?scope={}&table={}", query.scope, encoded(&query.table));
                let numbers = [("limit", query.limit.map(u64::from)), ("position", query.position)];
                path += &parameters(&numbers);
                if let Some(key) = &query.after {
                    path += &format!("&after={}", encoded(key));
                }
                admin.get(&path, limit).await
            }
            Self::Database(database) => database.call(limit, async |kit| kit.snapshot(query).await).await,
        }
    }

    pub async fn changes(&self, query: &ChangesQuery, limit: Duration) -> Result<Changes, Failure> {
        match self {
            Self::Application(admin) => {
                let path = format!("/changes?scope={}&after={}", query.scope, query.after);
                let numbers = [
                    ("limit", query.limit.map(u64::from)),
                    ("wait_ms", query.wait_ms.map(u64::from)),
                    ("until", query.until),
                ];
                admin.get(&(path + &parameters(&numbers)), limit).await
            }
            Self::Database(database) => database.call(limit, async |kit| kit.changes(query).await).await,
        }
    }

    call!(prepare(request: PrepareRequest) -> Prepared, "/prepare");
    call!(apply(request: ApplyRequest) -> Applied, "/apply");
    call!(fence(request: FenceRequest) -> Fenced, "/fence");
    call!(verify(request: VerifyRequest) -> Verified, "/verify");
    call!(finish(request: FinishRequest) -> Finished, "/finish");
}

fn parameters(numbers: &[(&str, Option<u64>)]) -> String {
    let given = numbers.iter().filter_map(|(name, value)| value.map(|value| format!("&{name}={value}")));
    given.collect()
}

/// For a query's value.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
