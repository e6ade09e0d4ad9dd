//! The API of cuts, which Quarry serves beside AWS's: JSON, signed for the service `quarry`.
//!
//! Answers are handed on as they came ([`serde_json::Value`]) so that nothing a newer server says is lost;
//! [`Cut`] and its parts read what a program needs of them.

use crate::call::{CallError, Client};
use crate::http::TransportError;
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Requests are signed for this service.
pub(crate) const SERVICE: &str = "quarry";
const PATH: &str = "/_quarry/v1/cuts";

/// The cuts of one Quarry.
#[derive(Clone, Debug)]
pub struct Cuts {
    client: Client,
}

/// What is to be moved, from where to where. Absent members take the server's defaults.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CutRequest {
    /// The application's name of what is behind the paths.
    pub scope: String,
    /// The old service: name, `cluster/name` or ARN.
    pub from: String,
    /// The new service.
    pub to: String,
    /// Path patterns of one listener rule.
    pub paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// `contract`, `database` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// PostgreSQL of the old side, moved from outside: `postgres://user:password@host:port/database`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_database: Option<DatabaseUrl>,
    /// And of the new side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_database: Option<DatabaseUrl>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// A state, such as `SHADOW`: it stops there and waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow_percent: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_seconds: Option<u32>,
    /// JSON pointers and header names that are not compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    pub allow_empty: bool,
    /// `keep`, `rename` or `drop`: what becomes of the old side's tables at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retire: Option<String>,
    pub dry_run: bool,
}

/// A URL with a password in it, which is not printed.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DatabaseUrl(pub String);

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("postgres://…")
    }
}

impl From<&str> for DatabaseUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

/// How a stopped cut goes on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ResumeRequest {
    pub accept_differences: bool,
    pub allow_empty: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// What a person asks of a running cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Back to the old side, with what was written on the new one.
    Rollback,
    /// To its end on the new side.
    Finish,
    /// To its end on the old side.
    Abort,
}

/// What would happen, and what speaks against it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Plan {
    pub refused: bool,
    pub findings: Vec<Finding>,
    pub states: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// `note`, `missing` or `refusal`.
    pub severity: String,
    pub side: Option<String>,
    pub what: String,
    pub message: String,
}

/// A cut, as far as the commands show it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cut {
    pub id: String,
    pub scope: String,
    pub paths: Vec<String>,
    pub from: Part,
    pub to: Part,
    pub state: String,
    /// One sentence for a person.
    pub summary: String,
    /// `source` or `destination`.
    pub owner: String,
    /// `cut`, `rollback`, `finish` or `abort`: what was last asked for.
    pub goal: String,
    pub stopped: Option<Stop>,
    pub reason: Option<Stop>,
    pub created_ms: i64,
    pub ended_ms: Option<i64>,
    pub watching: Option<Watching>,
    pub traffic: Traffic,
    pub moves: Vec<Move>,
    pub current: Move,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Part {
    pub service: String,
    pub cluster: String,
    /// Where the platform drives the database itself: its URL without the password.
    pub database: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Stop {
    pub code: String,
    pub message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Watching {
    pub trouble: Option<String>,
    pub rows_copied: u64,
    pub lag_ms: u64,
    pub behind: u64,
}

/// Counted by the load balancer since it first saw the cut.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Traffic {
    pub reads: u64,
    pub writes: u64,
    pub canary_reads: u64,
    pub parked: u64,
    pub parked_most: u64,
    pub in_flight_writes: u64,
    pub fenced_again: u64,
    pub unknown_outcomes: u64,
    pub shadow: Shadowed,
}

/// Copies of reads, and how the two sides' answers compared.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shadowed {
    pub copied: u64,
    pub compared: u64,
    pub equal: u64,
    pub different: u64,
    pub noisy: u64,
    pub failed: u64,
    pub examples: Vec<ShadowExample>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ShadowExample {
    pub method: String,
    pub path: String,
    pub source: ShadowAnswer,
    pub destination: ShadowAnswer,
    pub difference: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ShadowAnswer {
    pub status: u16,
    pub body: String,
}

/// One move, there or back.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Move {
    /// The side that owned the scope before.
    pub from: String,
    pub rows_copied: u64,
    pub rows_compared: u64,
    pub hold_micros: Option<u64>,
    pub total_ms: Option<u64>,
    pub aborted_holds: u64,
    pub digest_from: Option<String>,
    pub digest_to: Option<String>,
    pub traffic: Traffic,
}

/// A line of the journal.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Entry {
    pub number: u64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    pub state: String,
    pub owner: String,
    pub message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Events {
    pub entries: Vec<Entry>,
    /// Ask for those after this one next.
    pub last: u64,
    pub ended: bool,
}

/// Everything that is known of a cut.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Report {
    pub cut: Cut,
    pub journal: Vec<Entry>,
    pub digests_agree: bool,
    pub hold_micros_max: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// The plan speaks against it.
    #[error("{message}")]
    Planned { message: String, plan: Box<Plan> },
    /// It was refused: code, message.
    #[error("{message} ({code})")]
    Refused { code: String, message: String },
    #[error("{0} is not an answer of this API")]
    Malformed(String),
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl Cuts {
    pub fn new(client: Client) -> Self {
        Self { client: client.with_timeout(Duration::from_secs(60)) }
    }

    /// Begins a cut, or with `dry_run` answers its [`Plan`].
    pub async fn create(&self, request: &CutRequest) -> Result<Value, CutError> {
        self.post("", serde_json::to_value(request).unwrap_or_default()).await
    }

    /// All cuts, oldest first: `{"cuts": […]}`.
    pub async fn list(&self) -> Result<Value, CutError> {
        self.send(Method::GET, PATH, "", None).await
    }

    pub async fn show(&self, id: &str) -> Result<Value, CutError> {
        self.send(Method::GET, &format!("{PATH}/{id}"), "", None).await
    }

    /// Journal entries after a number ([`Events`]); waits at most `wait` for one.
    pub async fn events(&self, id: &str, after: u64, wait: Duration) -> Result<Value, CutError> {
        let query = format!("after={after}&wait_ms={}", wait.as_millis());
        self.send(Method::GET, &format!("{PATH}/{id}/events"), &query, None).await
    }

    /// The [`Report`].
    pub async fn report(&self, id: &str) -> Result<Value, CutError> {
        self.send(Method::GET, &format!("{PATH}/{id}/report"), "", None).await
    }

    pub async fn resume(&self, id: &str, request: &ResumeRequest) -> Result<Value, CutError> {
        self.post(&format!("/{id}/resume"), serde_json::to_value(request).unwrap_or_default()).await
    }

    pub async fn ask(&self, id: &str, ask: Ask) -> Result<Value, CutError> {
        let word = match ask {
            Ask::Rollback => "rollback",
            Ask::Finish => "finish",
            Ask::Abort => "abort",
        };
        self.post(&format!("/{id}/{word}"), Value::Object(serde_json::Map::new())).await
    }

    /// Has what nobody needs any more of images removed at once: `layers` and `bytes` of the registry, `unpacked`
    /// layers of the runtime.
    pub async fn collect(&self) -> Result<Value, CutError> {
        self.send(Method::POST, "/_quarry/v1/collect", "", None).await
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, CutError> {
        self.send(Method::POST, &format!("{PATH}{path}"), "", Some(&body)).await
    }

    async fn send(&self, method: Method, path: &str, query: &str, body: Option<&Value>) -> Result<Value, CutError> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let answer = self.client.signed(method, path, query, SERVICE, body).await.map_err(|error| match error {
            CallError::Transport(error) => CutError::Transport(error),
            CallError::Service(error) => {
                CutError::Refused { code: error.code.to_string(), message: error.message.clone() }
            }
        })?;
        let malformed = || {
            let text = String::from_utf8_lossy(&answer.body);
            CutError::Malformed(text.chars().take(200).collect())
        };
        let value: Value = serde_json::from_slice(&answer.body).map_err(|_| malformed())?;
        if answer.status.is_success() {
            return Ok(value);
        }
        #[derive(Deserialize)]
        struct Problem {
            code: String,
            message: String,
            plan: Option<Box<Plan>>,
        }
        let problem: Problem = serde_json::from_value(value).map_err(|_| malformed())?;
        Err(match problem.plan {
            Some(plan) => CutError::Planned { message: problem.message, plan },
            None => CutError::Refused { code: problem.code, message: problem.message },
        })
    }
}
