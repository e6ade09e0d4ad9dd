//! A load generator: a steady stream of reads over kept-alive HTTP/1.1 connections, with an honest account of it;
//! and a [`Ledger`] of writes.
//!
//! Honest means:
//! - the pace is kept from outside (an open loop): a request that had to wait for a free connection has waited, and
//!   its latency counts from the moment it was due;
//! - nothing is retried. Only when a connection is found closed before a byte of a request was written on it does the
//!   request go out on a new one, as with any client;
//! - a request that the generator itself cuts off when it is stopped is neither a success nor a failure: it is
//!   reported apart;
//! - each failure is kept with its kind and its time.
//!
//! ```no_run
//! # async fn run() -> Result<(), quarry_load::ConfigError> {
//! use quarry_load::{Load, LoadConfig, Pace, PathSpec};
//! let address = ([127, 0, 0, 1], 80).into();
//! let mut config = LoadConfig::new(address, "demo-1.eu-west-1.elb.localhost", Pace::Rate(200.0));
//! config.paths = vec![PathSpec::new("users", "/api/users"), PathSpec::new("posts", "/api/posts").weight(2)];
//! let load = Load::start(config)?;
//! load.phase("cutover");
//! let report = load.stop().await;
//! assert_eq!(report.total.failed, 0);
//! # Ok(()) }
//! ```

mod connection;
mod histogram;
mod ledger;
mod record;
mod schedule;

pub use histogram::{Histogram, Latency};
pub use ledger::{Account, Body, Ledger, LedgerConfig, LedgerHandle, Outcome, Verdict};
pub use record::{Counts, Failure, FailureKind, Phase, Report};

use bytes::Bytes;
use connection::Connection;
use record::Record;
use schedule::Schedule;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Where the load goes and how it is made.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Where to connect.
    pub address: SocketAddr,
    /// The Host header.
    pub host: String,
    pub paths: Vec<PathSpec>,
    pub pace: Pace,
    /// Connections, each with one request at a time. With [`Pace::Rate`] they bound the requests in flight.
    pub connections: usize,
    /// Longest time for a request, from connecting (where needed) to the last byte of the answer.
    pub timeout: Duration,
    /// How long [`LoadHandle::stop`] waits for answers that are under way.
    pub grace: Duration,
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many requests each second in all, whether answers come or not.
    Rate(f64),
    /// On every connection the next request as soon as the answer is there; 10 ms later after a failure.
    Closed,
}

/// One path of the load.
#[derive(Clone)]
pub struct PathSpec {
    /// Under which it is counted; several paths may share one.
    pub label: String,
    /// Path and query.
    pub path: String,
    /// Its share among the others' weights.
    pub weight: u32,
    /// The status that counts as success.
    pub status: u16,
    /// Says what is wrong with the body of an answer with that status, if something is.
    pub check: Option<Check>,
}

/// A check of an answer's body.
pub type Check = Arc<dyn Fn(&Bytes) -> Result<(), String> + Send + Sync>;

/// Why a load cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("there is no path with a weight above 0")]
    NoPaths,
    #[error("the weights add up to more than {0}")]
    Weights(u32),
    #[error("{0:?} is not a path: it begins with / and holds no blanks")]
    Path(String),
    #[error("{0:?} is not a Host header")]
    Host(String),
    #[error("the rate must be above 0 and at most 1,000,000 requests each second")]
    Rate,
    #[error("there must be at least one connection")]
    NoConnections,
}

/// Starts loads.
pub struct Load;

/// A load that is running. Dropped, it stops at once and its account is lost.
pub struct LoadHandle {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    workers: JoinSet<()>,
}

/// After a failure in a closed loop: without it a refused connection would be tried many thousand times a second.
const PAUSE: Duration = Duration::from_millis(10);

struct Shared {
    config: LoadConfig,
    schedule: Schedule,
    start: Instant,
    /// Number of the next request.
    next: AtomicU64,
    in_flight: AtomicU64,
    record: Record,
}

impl LoadConfig {
    /// 16 connections, 10 s for a request, 2 s of grace; paths are to be added.
    pub fn new(address: SocketAddr, host: impl Into<String>, pace: Pace) -> Self {
        Self {
            address,
            host: host.into(),
            paths: Vec::new(),
            pace,
            connections: 16,
            timeout: Duration::from_secs(10),
            grace: Duration::from_secs(2),
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if let Pace::Rate(rate) = self.pace
            && !(rate > 0.0 && rate <= 1e6)
        {
            return Err(ConfigError::Rate);
        }
        if self.connections == 0 {
            return Err(ConfigError::NoConnections);
        }
        if http::HeaderValue::from_str(&self.host).is_err() || self.host.is_empty() {
            return Err(ConfigError::Host(self.host.clone()));
        }
        match self.paths.iter().find(|spec| !spec.path.starts_with('/') || spec.path.parse::<http::Uri>().is_err()) {
            Some(spec) => Err(ConfigError::Path(spec.path.clone())),
            None => Ok(()),
        }
    }
}

impl PathSpec {
    /// A path of weight 1 that is expected to answer 200.
    pub fn new(label: impl Into<String>, path: impl Into<String>) -> Self {
        Self { label: label.into(), path: path.into(), weight: 1, status: 200, check: None }
    }

    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// The status that counts as success, in place of 200.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// A check of each body.
    #[must_use]
    pub fn check(mut self, check: impl Fn(&Bytes) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.check = Some(Arc::new(check));
        self
    }

    /// The body must be exactly this.
    #[must_use]
    pub fn body(self, expected: impl Into<Bytes>) -> Self {
        let expected = expected.into();
        self.check(move |body| {
            if *body == expected {
                Ok(())
            } else {
                Err(format!("{} bytes came that are not the {} expected", body.len(), expected.len()))
            }
        })
    }
}

impl fmt::Debug for PathSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, path, weight, status, check } = self;
        write!(f, "{label} {path} ×{weight} → {status}{}", if check.is_some() { ", checked" } else { "" })
    }
}

impl Load {
    /// Starts a load; must be called in a tokio runtime. Its first phase is named `start`.
    ///
    /// # Errors
    /// The configuration makes no sense; nothing was started.
    pub fn start(config: LoadConfig) -> Result<LoadHandle, ConfigError> {
        config.validate()?;
        let schedule = Schedule::new(&config.paths)?;
        let start = Instant::now();
        let (connections, record) = (config.connections, Record::new(start));
        let (next, in_flight) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { config, schedule, start, next, in_flight, record });
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        for _ in 0..connections {
            workers.spawn(work(shared.clone(), stopped.clone()));
        }
        Ok(LoadHandle { shared, stop, workers })
    }
}

impl LoadHandle {
    /// Begins a phase: requests that go out from now on are counted in it.
    pub fn phase(&self, name: impl Into<String>) {
        self.shared.record.phase(name.into());
    }

    /// The account so far. Requests under way are not in it yet.
    pub fn snapshot(&self) -> Report {
        self.shared.record.report(0)
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// Sends nothing more, waits for answers under way as long as the grace says, and gives the account.
    pub async fn stop(mut self) -> Report {
        let _ = self.stop.send(true);
        let all = async { while self.workers.join_next().await.is_some() {} };
        if timeout(self.shared.config.grace, all).await.is_err() {
            self.workers.shutdown().await;
        }
        self.shared.record.report(self.shared.in_flight.load(Ordering::SeqCst))
    }
}

/// One connection's loop.
async fn work(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let config = &shared.config;
    let mut connection = Connection::new(config.address, &config.host);
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let due = match config.pace {
            Pace::Rate(rate) => shared.start + Duration::from_secs_f64(number as f64 / rate),
            Pace::Closed => Instant::now(),
        };
        // Behind its time the request has waited for a connection, and its latency says so. Otherwise this worker
        // waits for the time, and what its timer is late does not count.
        let late = due < Instant::now();
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = sleep_until(due) => {}
        }
        let spec = &config.paths[shared.schedule.path(number)];
        let (sent, phase) = shared.record.now();
        let began = if late { due } else { sent };
        shared.in_flight.fetch_add(1, Ordering::SeqCst);
        let result = match timeout(config.timeout, connection.get(spec)).await {
            Ok(result) => result,
            Err(_) => Err(FailureKind::Timeout),
        };
        let failed = result.is_err();
        if failed {
            connection.close();
        }
        shared.record.finished(phase, spec, began, sent, result);
        shared.in_flight.fetch_sub(1, Ordering::SeqCst);
        if failed && config.pace == Pace::Closed {
            sleep(PAUSE).await;
        }
    }
}
