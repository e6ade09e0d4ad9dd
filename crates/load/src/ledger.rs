//! A ledger of writes: each has a number of its own, and how it ended is written down outside of the system that is
//! tried. At the end the ledger is held against what the system has: an acknowledged write is there exactly once, one
//! with an unknown outcome at most once, one that failed not at all.

use crate::connection::{Connection, Exchange};
use crate::histogram::{Histogram, Latency};
use crate::record::FailureKind;
use crate::{ConfigError, PAUSE};
use bytes::Bytes;
use http::{HeaderName, Method, Request, header};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Which writes are made, and how.
#[derive(Clone)]
pub struct LedgerConfig {
    /// Where to connect.
    pub address: SocketAddr,
    /// The Host header.
    pub host: String,
    /// Where creates are posted to.
    pub path: String,
    /// The JSON body of the write of this number; the number must be found again in what is stored.
    pub body: Body,
    /// Goes before the number in `Idempotency-Key`; `None` sends none.
    pub keys: Option<String>,
    /// Writes each second in all.
    pub rate: f64,
    /// Connections, each with one write at a time.
    pub connections: usize,
    /// Longest time for an answer.
    pub timeout: Duration,
    /// So often a write with a key and an unknown outcome is sent again with the same key.
    pub retries: u32,
    /// After each acknowledged write its `Location` is read on the same connection: it must be there.
    pub read_back: bool,
}

/// The body of a write.
pub type Body = Arc<dyn Fn(u64) -> String + Send + Sync>;

/// Starts ledgers.
pub struct Ledger;

/// Writes that are being made. Dropped, they end at once and the ledger is lost.
pub struct LedgerHandle {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    workers: JoinSet<()>,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Not sent, or its answer was not awaited: as [`Self::Unknown`].
    Open,
    /// 201 or 200.
    Acknowledged,
    /// It was certainly not executed: no connection, an answer below 500, or 503.
    Failed,
    /// The connection broke, the answer did not come in time, or was 500, 502 or 504.
    Unknown,
}

/// All writes and how each ended.
#[derive(Clone, Debug)]
pub struct Account {
    /// By number.
    pub outcomes: Vec<Outcome>,
    /// What was wrong, by kind; a status with the begin of its answer.
    pub kinds: BTreeMap<String, u64>,
    /// Acknowledged writes that could not be read afterwards on the same connection, with what came instead.
    pub unread: Vec<(u64, String)>,
    /// Of acknowledged writes.
    pub latency: Latency,
    /// Writes that were sent more than once.
    pub repeated: u64,
}

/// The ledger held against what is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    pub writes: u64,
    pub acknowledged: u64,
    pub failed: u64,
    pub unknown: u64,
    /// Acknowledged and not stored.
    pub missing: Vec<u64>,
    /// Stored more than once.
    pub doubled: Vec<u64>,
    /// Said to have failed, and stored.
    pub denied: Vec<u64>,
    /// Stored, and never written.
    pub foreign: Vec<u64>,
    /// Acknowledged and not readable right after it.
    pub unread: Vec<u64>,
}

struct Shared {
    config: LedgerConfig,
    start: Instant,
    next: AtomicU64,
    acknowledged: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    outcomes: Vec<Option<Outcome>>,
    kinds: BTreeMap<String, u64>,
    unread: Vec<(u64, String)>,
    latency: Histogram,
    repeated: u64,
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl LedgerConfig {
    /// With keys, 8 connections, 10 s for an answer, 3 retries, read back.
    pub fn new(address: SocketAddr, host: impl Into<String>, path: impl Into<String>, rate: f64) -> Self {
        Self {
            address,
            host: host.into(),
            path: path.into(),
            body: Arc::new(|number| format!("{{\"number\":{number}}}")),
            keys: Some("ledger-".to_owned()),
            rate,
            connections: 8,
            timeout: Duration::from_secs(10),
            retries: 3,
            read_back: true,
        }
    }

    #[must_use]
    pub fn body(mut self, body: impl Fn(u64) -> String + Send + Sync + 'static) -> Self {
        self.body = Arc::new(body);
        self
    }
}

impl fmt::Debug for LedgerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} writes/s to {}{} at {}", self.rate, self.host, self.path, self.address)
    }
}

impl Ledger {
    /// Starts writing; must be called in a tokio runtime.
    ///
    /// # Errors
    /// The configuration makes no sense; nothing was started.
    pub fn start(config: LedgerConfig) -> Result<LedgerHandle, ConfigError> {
        if !(config.rate > 0.0 && config.rate <= 1e6) {
            return Err(ConfigError::Rate);
        }
        if config.connections == 0 {
            return Err(ConfigError::NoConnections);
        }
        if !config.path.starts_with('/') || config.path.parse::<http::Uri>().is_err() {
            return Err(ConfigError::Path(config.path));
        }
        if config.host.is_empty() || http::HeaderValue::from_str(&config.host).is_err() {
            return Err(ConfigError::Host(config.host));
        }
        let connections = config.connections;
        let shared = Arc::new(Shared {
            config,
            start: Instant::now(),
            next: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            inner: Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        for _ in 0..connections {
            workers.spawn(work(shared.clone(), stopped.clone()));
        }
        Ok(LedgerHandle { shared, stop, workers })
    }
}

impl LedgerHandle {
    /// Acknowledged writes so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Begins no further write, waits for those under way (each at most its timeouts), and gives the account.
    pub async fn stop(mut self) -> Account {
        let _ = self.stop.send(true);
        while self.workers.join_next().await.is_some() {}
        let inner = self.shared.lock();
        Account {
            outcomes: inner.outcomes.iter().map(|outcome| outcome.unwrap_or(Outcome::Open)).collect(),
            kinds: inner.kinds.clone(),
            unread: inner.unread.clone(),
            latency: inner.latency.latency(),
            repeated: inner.repeated,
        }
    }
}

impl Account {
    /// Holds the ledger against the numbers that are stored, each as often as it is stored.
    pub fn check(&self, stored: impl IntoIterator<Item = u64>) -> Verdict {
        let mut times = vec![0_u32; self.outcomes.len()];
        let mut verdict = Verdict { writes: self.outcomes.len() as u64, ..Verdict::default() };
        for number in stored {
            match usize::try_from(number).ok().and_then(|number| times.get_mut(number)) {
                Some(times) => *times += 1,
                None => verdict.foreign.push(number),
            }
        }
        for (number, (outcome, times)) in (0..).zip(self.outcomes.iter().zip(times)) {
            if times > 1 {
                verdict.doubled.push(number);
            }
            match outcome {
                Outcome::Acknowledged => {
                    verdict.acknowledged += 1;
                    if times == 0 {
                        verdict.missing.push(number);
                    }
                }
                Outcome::Failed => {
                    verdict.failed += 1;
                    if times > 0 {
                        verdict.denied.push(number);
                    }
                }
                Outcome::Unknown | Outcome::Open => verdict.unknown += 1,
            }
        }
        verdict.unread = self.unread.iter().map(|(number, _)| *number).collect();
        verdict
    }
}

impl Verdict {
    /// Nothing lost, nothing doubled, nothing done that was said to have failed, everything readable once it was
    /// acknowledged.
    pub fn is_exact(&self) -> bool {
        let Self { missing, doubled, denied, foreign, unread, .. } = self;
        [missing, doubled, denied, foreign, unread].into_iter().all(Vec::is_empty)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, number: u64, outcome: Outcome, began: Instant, sent: u32, wrong: Option<String>) {
        let mut inner = self.lock();
        let index = number as usize;
        if inner.outcomes.len() <= index {
            inner.outcomes.resize(index + 1, None);
        }
        inner.outcomes[index] = Some(outcome);
        inner.repeated += u64::from(sent > 1);
        if let Some(kind) = wrong {
            *inner.kinds.entry(kind).or_default() += 1;
        }
        if outcome == Outcome::Acknowledged {
            inner.latency.add(began.elapsed());
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// So many characters of a refusal are kept: they tell which part refused.
const MAX_SAID: usize = 200;

/// One connection's loop.
async fn work(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let config = &shared.config;
    let mut connection = Connection::new(config.address, &config.host);
    loop {
        if *stopped.borrow() {
            return;
        }
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let due = shared.start + Duration::from_secs_f64(number as f64 / config.rate);
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => {
                // Given a number, never sent.
                shared.write(number, Outcome::Failed, due, 0, None);
                return;
            }
            () = sleep_until(due) => {}
        }
        let began = Instant::now();
        let mut sent = 0;
        let (outcome, wrong, location) = loop {
            sent += 1;
            let result = exchange(&mut connection, config, post(config, number)).await;
            let (outcome, wrong, location) = judge(result);
            let again = outcome == Outcome::Unknown && config.keys.is_some() && sent <= config.retries;
            if !again {
                // A write that was sent before may have been done, whatever the last answer says.
                let outcome = if outcome == Outcome::Failed && sent > 1 { Outcome::Unknown } else { outcome };
                break (outcome, wrong, location);
            }
            sleep(PAUSE).await;
        };
        shared.write(number, outcome, began, sent, wrong);
        if let (true, Outcome::Acknowledged, Some(location)) = (config.read_back, outcome, location) {
            read_back(&shared, &mut connection, number, &location).await;
        }
    }
}

/// Reads what was just acknowledged. Where no answer comes, nothing is known and nothing is said.
async fn read_back(shared: &Shared, connection: &mut Connection<'_>, number: u64, location: &str) {
    let config = &shared.config;
    let request = move || Request::get(location.to_owned()).body(Bytes::new());
    if let Ok(answer) = exchange(connection, config, request).await
        && (answer.status == 404 || answer.status == 200 && answer.body.is_empty())
    {
        shared.lock().unread.push((number, format!("{} at {location}", answer.status)));
    }
}

fn post(config: &LedgerConfig, number: u64) -> impl Fn() -> http::Result<Request<Bytes>> {
    let body = Bytes::from((config.body)(number));
    let key = config.keys.as_ref().map(|prefix| format!("{prefix}{number}"));
    let path = config.path.clone();
    move || {
        let mut request =
            Request::builder().method(Method::POST).uri(&path).header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        request.body(body.clone())
    }
}

async fn exchange(
    connection: &mut Connection<'_>,
    config: &LedgerConfig,
    request: impl Fn() -> http::Result<Request<Bytes>>,
) -> Result<Exchange, FailureKind> {
    let result = timeout(config.timeout, connection.exchange(request)).await.unwrap_or(Err(FailureKind::Timeout));
    if result.is_err() {
        connection.close();
    }
    result
}

fn judge(result: Result<Exchange, FailureKind>) -> (Outcome, Option<String>, Option<String>) {
    match result {
        Ok(answer) => {
            let outcome = match answer.status {
                200 | 201 => Outcome::Acknowledged,
                503 => Outcome::Failed,
                500.. => Outcome::Unknown,
                _ => Outcome::Failed,
            };
            let wrong = (outcome != Outcome::Acknowledged).then(|| {
                let said: String = String::from_utf8_lossy(&answer.body).chars().take(MAX_SAID).collect();
                format!("status {} {said}", answer.status)
            });
            (outcome, wrong, answer.location)
        }
        Err(kind) => {
            let outcome = if matches!(kind, FailureKind::Connect(_)) { Outcome::Failed } else { Outcome::Unknown };
            (outcome, Some(kind.name()), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(outcomes: &[Outcome]) -> Account {
        Account {
            outcomes: outcomes.to_vec(),
            kinds: BTreeMap::new(),
            unread: Vec::new(),
            latency: Histogram::default().latency(),
            repeated: 0,
        }
    }

    #[test]
    fn acknowledged_is_once_unknown_at_most_once_failed_never() {
        use Outcome::{Acknowledged, Failed, Open, Unknown};
        let account = account(&[Acknowledged, Acknowledged, Failed, Unknown, Open]);
        for exact in [vec![0, 1], vec![1, 0, 3], vec![0, 1, 4]] {
            let verdict = account.check(exact);
            assert!(verdict.is_exact(), "{verdict:?}");
            assert_eq!((verdict.acknowledged, verdict.failed, verdict.unknown), (2, 1, 2));
        }
        assert_eq!(account.check([0]).missing, [1]);
        assert_eq!(account.check([0, 1, 1]).doubled, [1]);
        assert_eq!(account.check([0, 1, 3, 3]).doubled, [3]);
        assert_eq!(account.check([0, 1, 2]).denied, [2]);
        assert_eq!(account.check([0, 1, 9]).foreign, [9]);
    }
}
