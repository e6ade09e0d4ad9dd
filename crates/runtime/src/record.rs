//! What a task's directory holds besides its containers' files: the plan, the state and the exit.

use quarry_domain::door::UnixMillis;
use quarry_domain::isolation::Isolation;
use quarry_domain::task::{ContainerHealth, ContainerState, ObservedContainer, TaskSpec};
use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// First host id of the ranges given to tasks. Far above what distributions hand out.
pub const FIRST_ID: u32 = 1_000_000_000;
/// Ids per task, and so the highest id a container may use, plus one.
pub const IDS_PER_TASK: u32 = 65_536;
/// How many ranges fit.
pub const ID_RANGES: u32 = (u32::MAX - FIRST_ID) / IDS_PER_TASK;

/// `spec.json`: everything the shim needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub spec: TaskSpec,
    pub isolation: Isolation,
    /// The data directory.
    pub data: PathBuf,
    /// First host id of the task's range; stable for the task's life. Unused without user namespaces.
    pub id_base: u32,
    /// The task's control group relative to each hierarchy's root; absent where none may be made.
    pub cgroup: Option<PathBuf>,
    /// The hub's address, the task's default gateway.
    pub hub_address: std::net::Ipv4Addr,
    /// Per container, in order: its image's unpacked layers, bottom first.
    pub layers: Vec<Vec<PathBuf>>,
}

/// `state.json`, and in its final form `exit.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The shim's process id in the host's namespace; valid while the lock is held.
    pub shim: u32,
    /// All containers were started (or failed to).
    pub started: bool,
    pub containers: Vec<ObservedContainer>,
    /// The task has namespaces of its own.
    pub isolated: bool,
    /// Without isolation: `(container port, host port)`.
    pub host_ports: Vec<(u16, u16)>,
}

impl Record {
    pub fn new(plan: &Plan) -> Self {
        let containers = plan
            .spec
            .containers
            .iter()
            .map(|c| ObservedContainer {
                name: c.name.clone(),
                state: ContainerState::Pending,
                health: ContainerHealth::Unknown,
            })
            .collect();
        let isolated = plan.isolation != Isolation::None;
        Self { shim: std::process::id(), started: false, containers, isolated, host_ports: Vec::new() }
    }

    /// What was not started yet never will be.
    pub fn fail_pending(&mut self, reason: &str) {
        let at_ms = now_ms();
        for container in &mut self.containers {
            if container.state == ContainerState::Pending {
                container.state = ContainerState::Failed { reason: reason.to_owned(), at_ms };
            }
        }
    }

    /// Every container has ended or failed.
    pub fn ended(&self) -> bool {
        self.containers.iter().all(|c| matches!(c.state, ContainerState::Exited { .. } | ContainerState::Failed { .. }))
    }
}

/// Replaces a file as a whole; with `durable` it survives a power cut once this returns.
pub fn write_atomic(path: &Path, value: &impl Serialize, durable: bool) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let bytes = serde_json::to_vec(value)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&bytes)?;
    if durable {
        file.sync_all()?;
    }
    std::fs::rename(&temporary, path)?;
    if durable && let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Reads a file of ours; `None` if it is not there.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(64 << 20).read_to_end(&mut bytes)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Takes the lock at `path` without waiting. `None`: a living process has it.
///
/// A lock belongs to the open file, so it may be taken here and handed to a child, which then
/// holds it for its life: there is no moment in between without a holder, and no process id that
/// could be used again by another process.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether a living process holds the lock at `path`. A lock file that is missing is not held.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(e) => Err(e.into()),
    }
}

/// Wall-clock time for what is shown. The shim is a process of its own without a door: the
/// scheduler never computes with these times.
pub fn now_ms() -> UnixMillis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_outlives_the_handle_that_took_it_if_it_was_handed_on() {
        let dir = std::env::temp_dir().join(format!("quarry-lock-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("lock");
        assert!(!is_locked(&path).unwrap());
        let lock = try_lock(&path).unwrap().unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        let handed_on = lock.try_clone().unwrap();
        drop(lock);
        assert!(is_locked(&path).unwrap());
        drop(handed_on);
        assert!(!is_locked(&path).unwrap());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
