//! The Application Load Balancer's data plane: HTTP/1.1 routing, health checks, draining, relays and
//! the tasks' name server, driven by snapshots from `serve` and running on without it.
//!
//! One thread controls ([`control`]): the link to `serve`, probes, names, listening sockets. N workers
//! carry the traffic, each with a runtime and connection pools of its own; they read an immutable
//! [`table::Table`] and never lock.

mod balance;
mod broker;
mod client;
mod connect;
mod control;
mod cut;
mod daemon;
mod exchange;
mod front;
#[doc(hidden)]
pub mod fuzz;
mod handover;
mod health_file;
mod hits;
mod http;
mod http2;
mod io;
mod limits;
mod link;
mod listen;
mod logs;
mod names;
mod pool;
mod probe;
mod registry;
mod relay;
mod screen;
mod secure;
mod slow_start;
mod sticky;
mod store;
mod stream;
mod table;
mod target;
mod tls;
mod traces;
mod watch;
mod worker;

use quarry_domain::snapshot::Snapshot;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Makes what answers by a snapshot's names; made once for each snapshot.
pub type NameService = Arc<dyn Fn(&Snapshot) -> Resolver + Send + Sync>;

/// Answers a name server packet from an asker; the last argument says whether it came over TCP.
/// `None`: no answer at all.
pub type Resolver = Arc<dyn Fn(&[u8], IpAddr, bool) -> Option<Vec<u8>> + Send + Sync>;

/// What a proxy is started with.
pub struct ProxyConfig {
    /// The proxy keeps its files in `<data_dir>/proxy` and finds `serve` at `<data_dir>/control.sock`.
    pub data_dir: PathBuf,
    /// Threads that carry traffic; at least 1.
    pub workers: usize,
    /// Take over from the proxy that runs, if one does, and let it finish: no connection is refused or cut.
    pub replace: bool,
    pub names: NameService,
}

/// Why a proxy could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("another proxy (process {holder}) holds {}: stop it first, or use another data directory", path.display())]
    Locked { path: PathBuf, holder: String },
    #[error("{} cannot be used: {source}", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("the running proxy could not be replaced and goes on: {0}")]
    Handover(std::io::Error),
    #[error("the proxy could not start its threads: {0}")]
    Threads(#[from] std::io::Error),
}

/// Runs a proxy on this thread and its workers until `serve` says stop or SIGTERM or SIGINT comes;
/// what is in flight finishes first.
pub fn run(config: ProxyConfig) -> Result<(), Error> {
    control::run(config)
}
