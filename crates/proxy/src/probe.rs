//! Health checks: carries out what [`quarry_domain::health`] plans, one small task per target.

use crate::broker::Brokers;
use crate::connect::{ConnectError, Speaks, connect_target};
use crate::http2::to_target;
use crate::stream::Stream;
use quarry_domain::door::Door;
use quarry_domain::health::{Known, Monitor, Outcome, Verdict};
use quarry_domain::link::{TargetReason, TargetState};
use quarry_domain::snapshot::{Endpoint, HealthCheck, ListenerProtocol, ProtocolVersion, Snapshot};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// A registration: target group ARN and number.
pub type Key = (String, u64);

/// Probes all targets of the snapshot in force.
pub struct Prober {
    probes: HashMap<Key, Probe>,
    /// What another proxy knew, until the targets are met here.
    resumed: HashMap<Key, Known>,
    /// Rung when a verdict has changed.
    pub changed: Rc<Notify>,
    brokers: Rc<Brokers>,
    door: Door,
}

struct Probe {
    monitor: Rc<RefCell<Monitor>>,
    check: HealthCheck,
    endpoint: Endpoint,
    speaks: Speaks,
    task: AbortHandle,
}

/// An answer head longer than this is no answer.
const MAX_HEAD: usize = 16 * 1024;
/// How soon to try again after a failure of our own.
const OWN_FAULT: Duration = Duration::from_millis(200);

impl Prober {
    pub fn new(door: Door, brokers: Rc<Brokers>) -> Self {
        Self { probes: HashMap::new(), resumed: HashMap::new(), changed: Rc::new(Notify::new()), brokers, door }
    }

    /// Starts, changes and ends probes so that they are those of `snapshot`. What is known of a
    /// registration that stays is kept.
    pub fn update(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.probes);
        for (arn, group) in &snapshot.target_groups {
            for target in group.targets.iter().filter(|t| t.probe && !t.draining) {
                let key = (arn.clone(), target.registration);
                let endpoint = target.endpoint.clone();
                let speaks = Speaks {
                    tls: group.health_check.protocol == ListenerProtocol::Https,
                    http2: group.protocol_version != ProtocolVersion::Http1,
                };
                let same = |p: &Probe| p.check == group.health_check && p.endpoint == endpoint && p.speaks == speaks;
                let probe = match before.remove(&key) {
                    Some(probe) if same(&probe) => probe,
                    Some(probe) => {
                        probe.task.abort();
                        probe.monitor.borrow_mut().reconfigure(&group.health_check, self.door.clock.monotonic());
                        self.start(probe.monitor, group.health_check.clone(), endpoint, speaks)
                    }
                    None => {
                        let now = self.door.clock.monotonic();
                        let monitor = match self.resumed.remove(&key) {
                            Some(known) => Monitor::resume(&group.health_check, known, now),
                            None => Monitor::new(&group.health_check, now),
                        };
                        self.start(Rc::new(RefCell::new(monitor)), group.health_check.clone(), endpoint, speaks)
                    }
                };
                self.probes.insert(key, probe);
            }
        }
        before.into_values().for_each(|probe| probe.task.abort());
        self.resumed.clear();
    }

    /// The next [`update`](Self::update) goes on from what another proxy knew.
    pub fn resume(&mut self, known: Vec<(String, u64, Known)>) {
        self.resumed = known.into_iter().map(|(arn, registration, known)| ((arn, registration), known)).collect();
    }

    /// What is known of each target, for another proxy.
    pub fn known(&self) -> Vec<(String, u64, Known)> {
        self.probes.iter().map(|((arn, n), p)| (arn.clone(), *n, p.monitor.borrow().known())).collect()
    }

    /// `None` for a target that is not probed.
    pub fn verdict(&self, arn: &str, registration: u64) -> Option<Verdict> {
        // The tuple key would need an owned string to be looked up by parts; probes are few and this
        // is no hot path.
        self.probes.get(&(arn.to_owned(), registration)).map(|p| p.monitor.borrow().verdict().clone())
    }

    /// Every probed target has been probed at least once.
    pub fn all_probed(&self) -> bool {
        let untouched = |p: &Probe| p.monitor.borrow().verdict().reason == Some(TargetReason::RegistrationInProgress);
        !self.probes.values().any(untouched)
    }

    /// The state of each probed target, for the routing table.
    pub fn states(&self) -> HashMap<Key, TargetState> {
        self.probes.iter().map(|(key, p)| (key.clone(), p.monitor.borrow().verdict().state)).collect()
    }

    fn start(&self, monitor: Rc<RefCell<Monitor>>, check: HealthCheck, endpoint: Endpoint, speaks: Speaks) -> Probe {
        let run = run(
            monitor.clone(),
            check.clone(),
            endpoint.clone(),
            speaks,
            self.brokers.clone(),
            self.changed.clone(),
            self.door.clone(),
        );
        let task = tokio::task::spawn_local(run).abort_handle();
        Probe { monitor, check, endpoint, speaks, task }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.probes.values().for_each(|probe| probe.task.abort());
    }
}

async fn run(
    monitor: Rc<RefCell<Monitor>>,
    check: HealthCheck,
    endpoint: Endpoint,
    speaks: Speaks,
    brokers: Rc<Brokers>,
    changed: Rc<Notify>,
    door: Door,
) {
    let timeout = Duration::from_secs(u64::from(check.timeout.max(1)));
    loop {
        let Some(due) = monitor.borrow().next_probe() else { return };
        tokio::time::sleep(due.saturating_sub(door.clock.monotonic())).await;
        let started = door.clock.monotonic();
        let (outcome, open) = match tokio::time::timeout(timeout, ask(&check, &endpoint, speaks, &brokers)).await {
            Err(_) => (Outcome::TimedOut, None),
            Ok(Err(ConnectError::Exhausted(error))) => {
                tracing::warn!(%error, "a health check could not be made");
                tokio::time::sleep(OWN_FAULT).await;
                continue;
            }
            Ok(Err(ConnectError::Nowhere(reason))) => (Outcome::Failed(Some(reason)), None),
            Ok(Err(ConnectError::Refused(_) | ConnectError::Tls(_) | ConnectError::TimedOut)) => {
                (Outcome::Failed(None), None)
            }
            Ok(Ok((status, stream))) => (Outcome::Status(status), Some(stream)),
        };
        if monitor.borrow_mut().observe(&outcome, started, door.clock.monotonic()) {
            changed.notify_one();
        }
        if let Some(mut stream) = open {
            // Closing with unread bytes would reset the connection: let a short answer end first.
            let mut rest = vec![0u8; 4096];
            let read = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
            let _ = tokio::time::timeout(Duration::from_millis(100), read).await;
        }
    }
}

/// Asks once: the answer's status, and the connection it came on.
async fn ask(
    check: &HealthCheck,
    endpoint: &Endpoint,
    speaks: Speaks,
    brokers: &Brokers,
) -> Result<(u16, Stream), ConnectError> {
    let mut stream = connect_target(endpoint, check.port, brokers, speaks).await?;
    if speaks.http2 {
        stream = to_target::alone(stream).await?;
    }
    let host = match endpoint {
        Endpoint::Tcp(address) => address.to_string(),
        Endpoint::Task { container_port, .. } => format!("127.0.0.1:{container_port}"),
        Endpoint::Host { name, port } => format!("{name}:{port}"),
        Endpoint::Barred | Endpoint::Nowhere { .. } => String::new(),
    };
    let path = if check.path.is_empty() { "/" } else { &check.path };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: ELB-HealthChecker/2.0\r\nAccept-Encoding: gzip, compressed\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 || bytes.len() > MAX_HEAD {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(&bytes) {
            Ok(httparse::Status::Partial) => {}
            Ok(httparse::Status::Complete(end)) => match response.code.unwrap_or(0) {
                100..=199 => {
                    bytes.drain(..end);
                }
                code => return Ok((code, stream)),
            },
            Err(error) => return Err(std::io::Error::other(error).into()),
        }
    }
}
