//! Tasks as the runtime sees them: what is wanted, what is seen, and the contract between
//! the scheduler and whatever starts processes.

use crate::door::UnixMillis;
use crate::image::ResolvedImage;
use crate::isolation::IsolationReport;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// 32 lower-case hexadecimal digits, the last segment of a task's ARN.
pub type TaskId = String;

/// Everything a shim needs to run one task. Written to the task's directory before the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    pub id: TaskId,
    /// Host name inside the task.
    pub hostname: String,
    /// In start order.
    pub containers: Vec<ContainerSpec>,
    /// Where the task's own connections on the hub network come from; absent with [`Isolation::None`](crate::isolation::Isolation::None).
    pub address: Option<Ipv4Addr>,
    /// The address that others reach it by; it reaches itself by it, too.
    #[serde(default)]
    pub private_address: Option<Ipv4Addr>,
    /// Name server that is written to `/etc/resolv.conf`.
    pub dns: Option<Ipv4Addr>,
    /// Limits over all containers of the task; `None` where the task definition names none.
    pub limits: Limits,
}

/// Limits enforced by a control group, where the machine allows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// ECS CPU units (1024 = one core) as a share under contention.
    pub cpu_shares: Option<u32>,
    /// ECS CPU units as a ceiling.
    pub cpu_quota: Option<u32>,
    /// Hard limit in MiB: beyond it the container is killed with OutOfMemoryError.
    pub memory: Option<u32>,
    /// Soft limit in MiB.
    pub memory_reservation: Option<u32>,
    pub pids: Option<u32>,
}

/// One container of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub name: String,
    pub image: ResolvedImage,
    /// Program and arguments: entry point and command, overrides applied. Never empty.
    pub args: Vec<String>,
    /// `NAME=value`, image's and task definition's, overrides applied.
    pub env: Vec<String>,
    /// Beyond these: values that are handed to the shim without being written down.
    #[serde(skip)]
    pub secrets: SecretEnv,
    pub working_dir: String,
    /// `user[:group]`, empty for root.
    pub user: String,
    /// How the shim finds out whether the container is well.
    #[serde(default)]
    pub health_check: Option<HealthCheckSpec>,
    /// What must have come to pass before it starts.
    #[serde(default)]
    pub depends_on: Vec<DependsOn>,
    /// For so many seconds others wait for it, if they do.
    #[serde(default)]
    pub start_timeout: Option<u32>,
    pub read_only_root: bool,
    /// Run a small init as PID 1 that reaps and forwards signals.
    pub init: bool,
    pub mounts: Vec<Mount>,
    #[serde(default)]
    pub options: ContainerOptions,
    pub limits: Limits,
    /// Domains that are tried after a short name, in `/etc/resolv.conf`.
    #[serde(default)]
    pub search: Vec<String>,
    /// Ports the container listens on. With no isolation the runtime passes `PORT`.
    pub ports: Vec<u16>,
}

/// What a container definition may ask for beyond the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerOptions {
    pub ulimits: Vec<Ulimit>,
    pub tmpfs: Vec<Tmpfs>,
    /// Of `/dev/shm`, in MiB.
    pub shared_memory: Option<u32>,
    /// What its root user has in the task's own user namespace.
    pub capabilities: Vec<Capability>,
    /// Lines of `/etc/hosts`: address and name.
    pub extra_hosts: Vec<(IpAddr, String)>,
    /// Settings of the task's own namespaces, as `/proc/sys` names them: `net/core/somaxconn`, and their values.
    pub system_controls: Vec<(String, String)>,
}

/// A limit of a container's processes; `u64::MAX` is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub resource: UlimitName,
    pub soft: u64,
    pub hard: u64,
}

/// `name` of an ulimit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UlimitName {
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// A file system in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Absolute, inside the container.
    pub target: String,
    /// MiB
    pub size: u32,
    pub read_only: bool,
    pub executable: bool,
    /// `mode`, `uid`, `gid`, `nr_inodes` and their values.
    pub settings: Vec<(String, String)>,
}

/// A Linux capability that a container may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Capability {
    AuditWrite,
    Chown,
    DacOverride,
    Fowner,
    Fsetid,
    Kill,
    Mknod,
    NetBindService,
    NetRaw,
    Setfcap,
    Setgid,
    Setpcap,
    Setuid,
    SysChroot,
    SysPtrace,
}

impl Capability {
    /// What a container has unless its definition says otherwise: Docker's default set (the Docker Engine's "Runtime
    /// privilege and Linux capabilities"), which ECS gives, too.
    pub const USUAL: [Self; 14] = [
        Self::AuditWrite,
        Self::Chown,
        Self::DacOverride,
        Self::Fowner,
        Self::Fsetid,
        Self::Kill,
        Self::Mknod,
        Self::NetBindService,
        Self::NetRaw,
        Self::Setfcap,
        Self::Setgid,
        Self::Setpcap,
        Self::Setuid,
        Self::SysChroot,
    ];

    /// As task definitions call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AuditWrite => "AUDIT_WRITE",
            Self::Chown => "CHOWN",
            Self::DacOverride => "DAC_OVERRIDE",
            Self::Fowner => "FOWNER",
            Self::Fsetid => "FSETID",
            Self::Kill => "KILL",
            Self::Mknod => "MKNOD",
            Self::NetBindService => "NET_BIND_SERVICE",
            Self::NetRaw => "NET_RAW",
            Self::Setfcap => "SETFCAP",
            Self::Setgid => "SETGID",
            Self::Setpcap => "SETPCAP",
            Self::Setuid => "SETUID",
            Self::SysChroot => "SYS_CHROOT",
            Self::SysPtrace => "SYS_PTRACE",
        }
    }
}

/// Variables with secret values, `NAME=value`. They are not serialized and not printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretEnv(pub Vec<String>);

impl std::fmt::Debug for SecretEnv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} hidden", self.0.len())
    }
}

/// A command that is run in the container again and again; 0 means that it is well. Times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheckSpec {
    /// Never empty.
    pub command: Vec<String>,
    pub interval: u32,
    pub timeout: u32,
    /// Failures before the first success do not count so long.
    pub start_period: u32,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DependsOn {
    pub container: String,
    pub condition: Dependency,
}

/// `condition` of a container's dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dependency {
    Start,
    Complete,
    Success,
    Healthy,
}

/// What the health check of a container says so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerHealth {
    /// There is no check, or it has not decided yet.
    #[default]
    Unknown,
    Healthy,
    Unhealthy,
}

/// Counts the outcomes of a health check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthCount {
    pub health: ContainerHealth,
    failures: u32,
}

/// A directory of the host shown inside a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// On the host; made if it is missing.
    pub source: PathBuf,
    /// Absolute, inside the container.
    pub target: String,
    pub read_only: bool,
    /// No part of the source may be a link: others may write along its way.
    #[serde(default)]
    pub no_links: bool,
}

/// What is seen of a task. "Unknown" is never "absent": a task whose state cannot be read is `Lost`
/// only if its shim is certainly dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedTask {
    pub id: TaskId,
    pub phase: TaskPhase,
    /// In the order of the specification; empty while starting.
    pub containers: Vec<ObservedContainer>,
    /// Where connections into the task come from.
    pub entry: Option<TaskEntry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskPhase {
    /// The shim was started and has not reported yet.
    Starting,
    Running,
    /// All containers have ended; their exit codes are known.
    Exited,
    /// The shim died with the task, no exit code is known.
    Lost,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedContainer {
    pub name: String,
    pub state: ContainerState,
    #[serde(default)]
    pub health: ContainerHealth,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    Pending,
    Running {
        pid: u32,
        started_at_ms: UnixMillis,
    },
    Exited {
        /// 128 + signal where a signal ended it, as shells and ECS show it.
        code: i32,
        oom_killed: bool,
        at_ms: UnixMillis,
    },
    /// It could not be started; the reason in words.
    Failed {
        reason: String,
        at_ms: UnixMillis,
    },
}

/// How the balancer reaches a port of a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TaskEntry {
    /// The shim's socket: it hands out TCP sockets made inside the task's network namespace
    /// (see [`crate::link::BrokerRequest`]); connect them to `127.0.0.1:<container port>`.
    Broker(PathBuf),
    /// No namespace of its own: the process listens on these host ports, `(container port, host port)`.
    Host(Vec<(u16, u16)>),
}

/// Why a task could not be launched.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The image's layers cannot be unpacked; shown as CannotPullContainerError.
    #[error("CannotPullContainerError: {0}")]
    Image(String),
    /// Shown as CannotCreateContainerError.
    #[error("CannotCreateContainerError: {0}")]
    Create(String),
    /// Shown as ResourceInitializationError.
    #[error("ResourceInitializationError: {0}")]
    Resource(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    Term,
    Kill,
    /// Another one by its number, from an image's stop signal.
    Other(i32),
}

/// What a task has used of its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of all its processes since it began, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory in use now, without file pages that the kernel can drop at once, in bytes.
    pub memory_bytes: u64,
}

/// A command to run in a container of a running task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSpec {
    pub container: String,
    /// Never empty.
    pub command: Vec<String>,
    /// On a terminal of its own, otherwise over pipes.
    pub terminal: bool,
}

/// A command that runs in a container. It is killed when this is dropped. No descriptor blocks.
pub struct Exec {
    /// Closed, its input ends. With a terminal, that.
    pub input: OwnedFd,
    /// With a terminal, that; read to its end, it gives an error.
    pub output: OwnedFd,
    /// What it says of errors; with a terminal that is in `output`.
    pub errors: Option<OwnedFd>,
    /// Readable when it has ended.
    pub end: Box<dyn ExecEnd>,
}

/// What is heard of a command's end.
pub trait ExecEnd: AsFd + Send + Sync {
    /// Its code, 128 + signal where a signal ended it; `None` while it runs. An error says why it never ran.
    fn ended(&self) -> std::io::Result<Option<i32>>;
    /// Tells the terminal, and by it the command, its size in characters.
    fn resize(&self, terminal: BorrowedFd<'_>, rows: u16, columns: u16);
}

/// What a container uses, for the task metadata endpoint. What cannot be told is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerStats {
    pub name: String,
    /// Processor time, in nanoseconds: all, and what of it was spent by programs and by the kernel for them.
    pub cpu_ns: u64,
    pub cpu_user_ns: Option<u64>,
    pub cpu_system_ns: Option<u64>,
    /// Periods in which there was a ceiling, those in which it was met, and the nanoseconds waited for it.
    pub throttling: (u64, u64, u64),
    /// Of the whole machine since it started, in nanoseconds, and its processors.
    pub machine_cpu_ns: u64,
    pub processors: u32,
    /// Bytes, with the kernel's pages of files; the most it ever was, and its bound.
    pub memory: u64,
    pub memory_peak: Option<u64>,
    pub memory_limit: u64,
    /// As the kernel lists it.
    pub memory_details: BTreeMap<String, u64>,
    pub processes: Option<u64>,
    pub processes_limit: Option<u64>,
    /// Of the task's network, by interface.
    pub networks: BTreeMap<String, NetworkStats>,
}

/// Counters of a network interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStats {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

/// Starts, watches and ends tasks. Calls block for milliseconds; call them off the async threads.
/// Every call may be repeated after a crash with the same outcome.
pub trait TaskRuntime: Send + Sync + 'static {
    fn isolation(&self) -> &IsolationReport;
    /// Unpacks what is missing of the images, then starts the task's shim. Returns once the shim
    /// runs; progress shows in [`observe`](Self::observe). Launching an id again is no error.
    fn launch(&self, spec: &TaskSpec) -> Result<(), LaunchError>;
    /// All tasks with a directory, also those of before a restart. An error where that cannot be told
    /// (no descriptor is free, say): nothing is known then, least of all that there are none.
    fn observe(&self) -> std::io::Result<Vec<ObservedTask>>;
    fn observe_one(&self, id: &str) -> Option<ObservedTask>;
    /// The tasks of which [`observe_one`](Self::observe_one) may say something else than when this was last called; at
    /// the first call all. `None` where that cannot be told. For one caller alone.
    fn changed(&self) -> Option<BTreeSet<TaskId>> {
        None
    }
    /// To the container, or to all of the task. A task that is gone is no error.
    fn signal(&self, id: &str, container: Option<&str>, signal: Signal) -> std::io::Result<()>;
    /// Runs a command in a container that runs, as its user, in its environment and with no more rights.
    fn exec(&self, id: &str, spec: &ExecSpec) -> std::io::Result<Exec>;
    /// Ends what is left of the task and frees its directory, control group and network.
    fn remove(&self, id: &str) -> std::io::Result<()>;
    /// `wake` is called, from any thread, whenever what `observe` returns may have changed.
    fn subscribe(&self, wake: Box<dyn Fn() + Send + Sync>);
    /// What the task has used; `None` where that cannot be told, and of a task that is not there.
    fn usage(&self, id: &str) -> Option<Usage>;
    /// What each container that runs uses; empty of a task that is not there.
    fn stats(&self, id: &str) -> Vec<ContainerStats>;
    /// Bytes on the disk that the task's containers have written outside of their volumes, their output included;
    /// `None` where that cannot be told (plain processes).
    fn written(&self, id: &str) -> Option<u64>;
    /// What was written of a container's output before `offset` is needed no more: it is taken off the disk where the
    /// file system can do that. Offsets stay as they are.
    fn release_log(&self, id: &str, container: &str, offset: u64) -> std::io::Result<()>;
    /// Removes unpacked layers that no task has and none had for this long. How many there were.
    fn collect(&self, idle: std::time::Duration) -> std::io::Result<usize>;
    /// Where a container's output goes; appended to, never truncated while the task is there.
    fn log_path(&self, id: &str, container: &str) -> PathBuf;
    /// A TCP connection to a port of the task, from inside the task. Without a network of its own, to that port of
    /// the machine's loopback.
    fn connect(&self, entry: &TaskEntry, port: u16) -> std::io::Result<TcpStream>;
    /// The directory of a named volume, shared by all tasks that name it; made if it is missing.
    fn volume_path(&self, name: &str) -> std::io::Result<PathBuf>;
}

impl HealthCount {
    /// Takes in one outcome. `seconds`: how long ago the container started.
    pub fn count(&mut self, check: &HealthCheckSpec, well: bool, seconds: u64) {
        if well {
            *self = Self { health: ContainerHealth::Healthy, failures: 0 };
            return;
        }
        let starting = self.health == ContainerHealth::Unknown && seconds < u64::from(check.start_period);
        self.failures += u32::from(!starting);
        if self.failures >= check.retries {
            self.health = ContainerHealth::Unhealthy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_count_after_the_start_period() {
        let check =
            HealthCheckSpec { command: vec!["x".into()], interval: 5, timeout: 2, start_period: 20, retries: 2 };
        let mut count = HealthCount::default();
        for at in [5, 10, 15] {
            count.count(&check, false, at);
            assert_eq!(count.health, ContainerHealth::Unknown);
        }
        count.count(&check, true, 18);
        assert_eq!(count.health, ContainerHealth::Healthy);
        count.count(&check, false, 19);
        count.count(&check, true, 24);
        count.count(&check, false, 29);
        assert_eq!(count.health, ContainerHealth::Healthy, "never two in a row");
        count.count(&check, false, 34);
        assert_eq!(count.health, ContainerHealth::Unhealthy);
        count.count(&check, true, 39);
        assert_eq!(count.health, ContainerHealth::Healthy);
    }
}
