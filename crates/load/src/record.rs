//! The account: counts by phase and label, and each failure.

use crate::PathSpec;
use crate::histogram::{Histogram, Latency};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Failures kept one by one; beyond that they are only counted.
const MAX_FAILURES: usize = 10_000;

/// The account of a load. Times are in milliseconds since its start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub duration_ms: u64,
    pub total: Counts,
    pub labels: BTreeMap<String, Counts>,
    /// In order; a request belongs to the phase in which it went out.
    pub phases: Vec<Phase>,
    /// In the order in which they were noticed.
    pub failures: Vec<Failure>,
    /// Failures that are counted but not in `failures`, which is bounded.
    pub failures_left_out: u64,
    /// Requests under way that the generator cut off when it was stopped: in no other number here.
    pub cut_off: u64,
}

/// A named stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    pub name: String,
    pub from_ms: u64,
    /// Until the next phase, or the report.
    pub until_ms: u64,
    pub total: Counts,
    pub labels: BTreeMap<String, Counts>,
}

/// How requests ended. `requests` is the sum of `ok` and `failed`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    pub requests: u64,
    pub ok: u64,
    pub failed: u64,
    /// Failures by [`FailureKind::name`].
    pub kinds: BTreeMap<String, u64>,
    /// Of the successful ones, from the moment they were due to the last byte.
    pub latency: Latency,
}

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    pub label: String,
    pub path: String,
    pub phase: String,
    /// When it went out.
    pub sent_ms: u64,
    /// When it failed.
    pub at_ms: u64,
    pub kind: FailureKind,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "detail", rename_all = "snake_case")]
pub enum FailureKind {
    /// Another status than expected.
    Status(u16),
    /// No connection: refused, unreachable.
    Connect(String),
    /// The connection ended before the whole answer was there.
    Reset(String),
    /// No whole answer in time.
    Timeout,
    /// What came was not HTTP.
    Malformed(String),
    /// The expected status with a body that the check refused.
    Body(String),
}

impl FailureKind {
    /// A short name to count by: `status 503`, `connect`, `reset`, `timeout`, `malformed`, `body`.
    pub fn name(&self) -> String {
        match self {
            Self::Status(status) => format!("status {status}"),
            Self::Connect(_) => "connect".to_owned(),
            Self::Reset(_) => "reset".to_owned(),
            Self::Timeout => "timeout".to_owned(),
            Self::Malformed(_) => "malformed".to_owned(),
            Self::Body(_) => "body".to_owned(),
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        match self {
            Self::Status(_) | Self::Timeout => Ok(()),
            Self::Connect(detail) | Self::Reset(detail) | Self::Malformed(detail) | Self::Body(detail) => {
                write!(f, ": {detail}")
            }
        }
    }
}

impl Report {
    /// Number of failures under other labels than these.
    pub fn failed_outside(&self, labels: &[&str]) -> u64 {
        self.labels.iter().filter(|(label, _)| !labels.contains(&label.as_str())).map(|(_, counts)| counts.failed).sum()
    }
}

/// The account being kept.
pub(crate) struct Record {
    start: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    phases: Vec<Open>,
    failures: Vec<Failure>,
    left_out: u64,
}

struct Open {
    name: String,
    from_ms: u64,
    labels: BTreeMap<String, Tally>,
}

#[derive(Clone, Default)]
struct Tally {
    ok: u64,
    kinds: BTreeMap<String, u64>,
    latency: Histogram,
}

impl Record {
    pub(crate) fn new(start: Instant) -> Self {
        let first = Open { name: "start".to_owned(), from_ms: 0, labels: BTreeMap::new() };
        Self { start, inner: Mutex::new(Inner { phases: vec![first], failures: Vec::new(), left_out: 0 }) }
    }

    pub(crate) fn phase(&self, name: String) {
        let mut inner = self.lock();
        let from_ms = self.ms(Instant::now());
        inner.phases.push(Open { name, from_ms, labels: BTreeMap::new() });
    }

    /// The time, and the index of the phase in force at that time.
    pub(crate) fn now(&self) -> (Instant, usize) {
        let inner = self.lock();
        (Instant::now(), inner.phases.len() - 1)
    }

    /// Counts a request that ended. `began`: where its latency counts from.
    pub(crate) fn finished(
        &self,
        phase: usize,
        spec: &PathSpec,
        began: Instant,
        sent: Instant,
        result: Result<(), FailureKind>,
    ) {
        let now = Instant::now();
        let mut inner = self.lock();
        let tally = inner.phases[phase].labels.entry(spec.label.clone()).or_default();
        let Err(kind) = result else {
            tally.ok += 1;
            tally.latency.add(now - began);
            return;
        };
        *tally.kinds.entry(kind.name()).or_default() += 1;
        if inner.failures.len() >= MAX_FAILURES {
            inner.left_out += 1;
            return;
        }
        let failure = Failure {
            label: spec.label.clone(),
            path: spec.path.clone(),
            phase: inner.phases[phase].name.clone(),
            sent_ms: self.ms(sent),
            at_ms: self.ms(now),
            kind,
        };
        inner.failures.push(failure);
    }

    pub(crate) fn report(&self, cut_off: u64) -> Report {
        let inner = self.lock();
        let duration_ms = self.ms(Instant::now());
        let mut total = Tally::default();
        let mut labels: BTreeMap<String, Tally> = BTreeMap::new();
        let mut phases = Vec::with_capacity(inner.phases.len());
        for (index, open) in inner.phases.iter().enumerate() {
            let mut sum = Tally::default();
            for (label, tally) in &open.labels {
                sum.merge(tally);
                labels.entry(label.clone()).or_default().merge(tally);
            }
            total.merge(&sum);
            phases.push(Phase {
                name: open.name.clone(),
                from_ms: open.from_ms,
                until_ms: inner.phases.get(index + 1).map_or(duration_ms, |next| next.from_ms),
                total: sum.counts(),
                labels: counts(&open.labels),
            });
        }
        Report {
            duration_ms,
            total: total.counts(),
            labels: counts(&labels),
            phases,
            failures: inner.failures.clone(),
            failures_left_out: inner.left_out,
            cut_off,
        }
    }

    fn ms(&self, at: Instant) -> u64 {
        (at - self.start).as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.ok += other.ok;
        for (kind, count) in &other.kinds {
            *self.kinds.entry(kind.clone()).or_default() += count;
        }
        self.latency.merge(&other.latency);
    }

    fn counts(&self) -> Counts {
        let failed = self.kinds.values().sum();
        Counts {
            requests: self.ok + failed,
            ok: self.ok,
            failed,
            kinds: self.kinds.clone(),
            latency: self.latency.latency(),
        }
    }
}

fn counts(tallies: &BTreeMap<String, Tally>) -> BTreeMap<String, Counts> {
    tallies.iter().map(|(label, tally)| (label.clone(), tally.counts())).collect()
}
