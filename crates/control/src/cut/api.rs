//! The HTTP API of cuts, under [`PATH`] on the AWS endpoint: signed like everything there, for the service `quarry`.
//! `openapi.yaml` beside this file is its document.

use super::create::{self, NoCut, Plan, Request};
use super::records::Cut;
use super::view;
use crate::api::{Operations, internally};
use crate::platform::Platform;
use crate::store::StoreError;
use crate::wake::Woken;
use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use quarry_domain::cut::{State, Wish, wish};
use quarry_wire::ServiceError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where the API is.
pub const PATH: &str = "/_quarry/v1/cuts";
/// Requests are signed for this service.
pub const SERVICE: &str = "quarry";
/// The document.
pub const DOCUMENT: &str = include_str!("openapi.yaml");
/// Method and path of everything that is served, below [`PATH`].
pub const ROUTES: [(&str, &str); 10] = [
    ("GET", ""),
    ("POST", ""),
    ("GET", "/openapi.yaml"),
    ("GET", "/{id}"),
    ("GET", "/{id}/events"),
    ("GET", "/{id}/report"),
    ("POST", "/{id}/resume"),
    ("POST", "/{id}/rollback"),
    ("POST", "/{id}/finish"),
    ("POST", "/{id}/abort"),
];

/// Longest `wait_ms`.
const MAX_WAIT: u64 = 20_000;
/// Requests that may wait at a time, each on a thread of the endpoint's: further ones are answered at once.
const WAITERS: u32 = 4;

static WAITING: AtomicU32 = AtomicU32::new(0);

/// An error as the API says it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    pub code: String,
    pub message: String,
    /// Of a cut that was refused: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<Plan>>,
}

/// `POST /cuts/{id}/resume`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// Differences that shadowing found are accepted.
    #[serde(default)]
    pub accept_differences: bool,
    /// The scope may have no rows.
    #[serde(default)]
    pub allow_empty: bool,
    #[serde(default)]
    pub until: Option<State>,
}

#[derive(Serialize)]
struct Listed {
    cuts: Vec<view::View>,
}

enum Refused {
    Status(StatusCode, Problem),
    Service(ServiceError),
}

type Answer = Result<(StatusCode, Vec<u8>), Refused>;

/// Whether the path is of this API.
pub fn is_mine(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a request calls, as the audit log names it.
pub struct Called<'a> {
    pub name: &'static str,
    /// Id of the cut that it is about.
    pub cut: Option<&'a str>,
}

/// What a method and path of this API call.
pub fn called<'a>(method: &Method, path: &'a str) -> Called<'a> {
    let rest = path.strip_prefix(PATH).unwrap_or_default().trim_matches('/');
    let (id, verb) = rest.split_once('/').unwrap_or((rest, ""));
    let name = match (verb, id.is_empty(), method == Method::POST) {
        ("", true, true) => "CreateCut",
        ("resume", _, true) => "ResumeCut",
        ("rollback", _, true) => "RollBackCut",
        ("finish", _, true) => "FinishCut",
        ("abort", _, true) => "AbortCut",
        (_, _, true) => "ChangeCut",
        ("", true, false) => "ListCuts",
        (_, _, false) => "GetCut",
    };
    // What is no id of a cut says nothing.
    let id = Some(id).filter(|id| !id.is_empty() && id.len() <= 64);
    Called { name, cut: id }
}

/// Answers a request that is authentic. Blocks.
pub fn answer(
    platform: &Arc<Platform>,
    operations: &Arc<Operations>,
    method: &Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> Response<Bytes> {
    let rest = path.strip_prefix(PATH).unwrap_or_default().trim_matches('/');
    let segments: Vec<&str> = if rest.is_empty() { Vec::new() } else { rest.split('/').collect() };
    let served = Api { platform, operations, query, body };
    let get = method == Method::GET;
    let answer = match (segments.as_slice(), get, method == Method::POST) {
        ([], true, _) => served.list(),
        ([], _, true) => served.create(),
        (["openapi.yaml"], true, _) => {
            return with("application/yaml", StatusCode::OK, DOCUMENT.as_bytes().to_vec());
        }
        ([id], true, _) => served.show(id),
        ([id, "events"], true, _) => served.events(id),
        ([id, "report"], true, _) => served.report(id),
        ([id, "resume"], _, true) => served.resume(id),
        ([id, "rollback"], _, true) => served.ask(id, Wish::Rollback),
        ([id, "finish"], _, true) => served.ask(id, Wish::Finish),
        ([id, "abort"], _, true) => served.ask(id, Wish::Abort),
        ([] | [_] | [_, "events" | "report" | "resume" | "rollback" | "finish" | "abort"], ..) => {
            Err(refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", format!("{method} is not offered here")))
        }
        _ => Err(refused(StatusCode::NOT_FOUND, "NotFound", format!("there is nothing at {path}"))),
    };
    match answer {
        Ok((status, body)) => with("application/json", status, body),
        Err(Refused::Status(status, problem)) => problem_response(status, &problem),
        Err(Refused::Service(error)) => failure(&error),
    }
}

/// An error of the endpoint, such as a wrong signature, in this API's form.
pub fn failure(error: &ServiceError) -> Response<Bytes> {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let problem = Problem { code: error.code.to_string(), message: error.message.clone(), plan: None };
    problem_response(status, &problem)
}

fn problem_response(status: StatusCode, problem: &Problem) -> Response<Bytes> {
    with("application/json", status, serde_json::to_vec(problem).unwrap_or_default())
}

fn with(kind: &'static str, status: StatusCode, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

fn refused(status: StatusCode, code: &str, message: impl Into<String>) -> Refused {
    Refused::Status(status, Problem { code: code.to_owned(), message: message.into(), plan: None })
}

fn invalid(message: impl Into<String>) -> Refused {
    refused(StatusCode::BAD_REQUEST, "ValidationError", message)
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value)
        .map_err(|error| Refused::Service(ServiceError::new("InternalFailure", error.to_string(), 500)))?;
    Ok((status, body))
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Service(error.into())
    }
}

impl From<ServiceError> for Refused {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

struct Api<'a> {
    platform: &'a Arc<Platform>,
    operations: &'a Arc<Operations>,
    query: &'a str,
    body: &'a [u8],
}

impl Api<'_> {
    fn list(&self) -> Answer {
        let cuts = self.platform.store.read(|tx| tx.all::<Cut>())?;
        let cuts = cuts.iter().map(|cut| view::view(self.platform, cut)).collect();
        json(StatusCode::OK, &Listed { cuts })
    }

    fn create(&self) -> Answer {
        let request: Request = self.input()?;
        if request.dry_run {
            return json(StatusCode::OK, &create::plan(self.platform, &request).map_err(no_cut)?);
        }
        let cut = create::create(self.platform, self.operations, &request).map_err(no_cut)?;
        json(StatusCode::CREATED, &view::view(self.platform, &cut))
    }

    fn cut(&self, id: &str) -> Result<Cut, Refused> {
        let found = self.platform.store.read(|tx| tx.get::<Cut>(id))?;
        found.ok_or_else(|| refused(StatusCode::NOT_FOUND, "NotFound", format!("there is no cut {id}")))
    }

    fn show(&self, id: &str) -> Answer {
        json(StatusCode::OK, &view::view(self.platform, &self.cut(id)?))
    }

    fn report(&self, id: &str) -> Answer {
        let cut = self.cut(id)?;
        let report = self.platform.store.read(|tx| view::report(self.platform, tx, &cut))?;
        json(StatusCode::OK, &report)
    }

    fn events(&self, id: &str) -> Answer {
        let number = |name: &str| match self.parameters()?.get(name) {
            None => Ok(0),
            Some(text) => text.parse::<u64>().map_err(|_| invalid(format!("{name}: a number, not {text:?}"))),
        };
        let (after, wait) = (number("after")?, number("wait_ms")?.min(MAX_WAIT));
        let deadline = Instant::now() + Duration::from_millis(wait);
        let waiter = Waiter::enter();
        let changed = &self.platform.store.routes;
        let mut level = changed.level();
        loop {
            let cut = self.cut(id)?;
            let entries = self.platform.store.read(|tx| view::entries(tx, id, after))?;
            let left = deadline.saturating_duration_since(Instant::now());
            let done = !entries.is_empty() || cut.has_ended() || left.is_zero() || waiter.is_none();
            if done || changed.wait(&mut level, left) == Woken::Stop {
                let last = entries.last().map_or(after, |entry| entry.number);
                return json(StatusCode::OK, &view::Events { entries, last, ended: cut.has_ended() });
            }
        }
    }

    fn resume(&self, id: &str) -> Answer {
        let resume: Resume = if self.body.is_empty() { Resume::default() } else { self.input()? };
        let wish = Wish::Resume { accept: resume.accept_differences, until: resume.until };
        self.change(id, wish, |cut| cut.spec.allow_empty |= resume.allow_empty)
    }

    fn ask(&self, id: &str, wanted: Wish) -> Answer {
        self.change(id, wanted, |_| {})
    }

    /// The wish is journaled in one transaction; the driver sees it at once.
    fn change(&self, id: &str, wanted: Wish, more: impl FnOnce(&mut Cut)) -> Answer {
        let cut = internally(self.platform, self.operations, |ctx| {
            let found = ctx.tx.get::<Cut>(id)?;
            let Some(mut cut) = found else {
                return Err(ServiceError::new("NotFound", format!("there is no cut {id}"), 404));
            };
            let next = wish(&cut.progress, wanted).map_err(|no| ServiceError::new("Conflict", no.0, 409))?;
            let now = ctx.platform.now_ms();
            let asked = match wanted {
                Wish::Resume { .. } => "a person resumes it",
                Wish::Rollback => "a person wants it rolled back",
                Wish::Finish => "a person wants it finished",
                Wish::Abort => "a person wants it aborted",
            };
            if next != cut.progress {
                if cut.progress.stopped.is_some() && next.stopped.is_none() {
                    cut.entered_ms = now;
                    cut.current.began_ms = now;
                }
                cut.progress = next;
                more(&mut cut);
                let entry = cut.entry(now, cut.progress.state.name(), Some(asked.to_owned()));
                ctx.tx.put(&entry)?;
                ctx.tx.put(&cut)?;
            }
            Ok(cut)
        })?;
        json(StatusCode::OK, &view::view(self.platform, &cut))
    }

    fn input<T: serde::de::DeserializeOwned>(&self) -> Result<T, Refused> {
        serde_json::from_slice(self.body).map_err(|error| invalid(format!("the body cannot be understood: {error}")))
    }

    fn parameters(&self) -> Result<BTreeMap<&str, &str>, Refused> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let parameters: BTreeMap<&str, &str> = pairs.collect();
        // Presigned requests carry their signature here.
        let unknown = |name: &&&str| !["after", "wait_ms"].contains(*name) && !name.starts_with("X-Amz-");
        match parameters.keys().find(unknown) {
            Some(name) => Err(invalid(format!("there is no parameter {name}"))),
            None => Ok(parameters),
        }
    }
}

fn no_cut(error: NoCut) -> Refused {
    match error {
        NoCut::Invalid(message) => invalid(message),
        NoCut::Failed(error) => Refused::Service(error),
        NoCut::Refused(plan) => {
            let message = plan.findings.first().map_or(String::new(), |finding| finding.message.clone());
            let problem = Problem { code: "Refused".into(), message, plan: Some(plan) };
            Refused::Status(StatusCode::CONFLICT, problem)
        }
    }
}

/// One of the few places for those who wait.
struct Waiter;

impl Waiter {
    fn enter() -> Option<Self> {
        let taken = WAITING.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < WAITERS).then_some(n + 1));
        taken.is_ok().then_some(Self)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::AcqRel);
    }
}
