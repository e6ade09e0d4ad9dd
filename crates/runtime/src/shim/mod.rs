//! The shim: one small parent per task. It is a child of the nursery and never has a second thread, so
//! that it may fork and run Rust in the child. It starts the task's containers, holds their exit
//! codes and logs, and hands out sockets made inside the task's network, while its own parent
//! comes and goes. When the shim dies, the kernel kills the task with it.

/// Says what went wrong in the log. That this cannot be done, on a full disk, must not end a task, as a
/// panic of `eprintln!` would.
macro_rules! complain {
    ($($words:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($words)*)));
    }};
}

mod check;
mod container;
mod exec;
mod filter;
mod init;
mod inside;
mod limits;
mod network;
mod order;
mod plain;
mod rehearsal;
mod rootfs;
mod sandbox;
mod seccomp;
pub mod secrets;
mod user;

pub use rehearsal::rehearse;

use crate::broker::{self, Answer, Broker, Client};
use crate::cgroup::{self, Group, Hierarchies};
use crate::layout::Layout;
use crate::record::{self, Plan, Record};
use crate::sys::{self, Forked};
use check::Check;
use container::{Running, Surroundings};
use exec::{Place, SESSIONS_MAX, Session, Streams};
use inside::Failure;
use quarry_domain::isolation::Isolation;
use quarry_domain::link::BrokerRequest;
use quarry_domain::task::{Capability, ContainerState, Limits, SecretEnv};
use rootfs::Files;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::thread::LinkNameSpaceType;
use sandbox::{Sandbox, context};
use seccomp::Filters;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What all shims of a nursery share.
pub struct Inherited {
    filters: Filters,
    hierarchies: Hierarchies,
}

impl Inherited {
    pub fn new() -> io::Result<Self> {
        Ok(Self { filters: Filters::new()?, hierarchies: Hierarchies::detect() })
    }
}

/// Runs the shim of the task in `task_dir`, in the nursery's child. `descriptors`: the task's lock file, locked; a file
/// that holds the containers' secrets (see [`secrets`]); the log for what the shim has to say. The caller ends with the code.
pub fn shim_main(task_dir: &Path, descriptors: Vec<OwnedFd>, inherited: Inherited) -> i32 {
    let Ok([lock, secrets, log]) = <[OwnedFd; 3]>::try_from(descriptors) else {
        complain!("shim {}: it needs three descriptors", task_dir.display());
        return 1;
    };
    let begun = || -> io::Result<Shim> {
        rustix::stdio::dup2_stdout(&log)?;
        rustix::stdio::dup2_stderr(&log)?;
        drop(log);
        rustix::process::setsid()?;
        Shim::load(task_dir, secrets::take(secrets)?, inherited)
    };
    let code = match begun() {
        Ok(mut shim) => {
            shim.run();
            0
        }
        Err(e) => {
            complain!("shim {}: {e}", task_dir.display());
            report_stillbirth(task_dir, &e);
            1
        }
    };
    // Last: whoever finds it free reads what was written before.
    drop(lock);
    code
}

/// A shim that cannot even begin leaves its reason as the task's end.
fn report_stillbirth(directory: &Path, error: &io::Error) {
    let Ok(Some(plan)) = record::read::<Plan>(&directory.join("spec.json")) else { return };
    let mut record = Record::new(&plan);
    record.fail_pending(&format!("ResourceInitializationError: {error}"));
    let _ = record::write_atomic(&directory.join("exit.json"), &record, true);
}

/// Becomes a process that nobody waits for and no terminal reaches. `None` in the one that was
/// started and has nothing left to do; the lock, taken from standard input, in the other.
pub(crate) fn detach() -> io::Result<Option<OwnedFd>> {
    if let Forked::Parent(_) = sys::fork(0)? {
        return Ok(None);
    }
    rustix::process::setsid()?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::process::chdir("/")?;
    let lock = sys::above_stdio(rustix::stdio::stdin())?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(Some(lock))
}

struct Shim {
    directory: PathBuf,
    plan: Plan,
    record: Record,
    /// By container, while it runs.
    running: Vec<Option<Running>>,
    /// By container, while it runs and has one.
    checks: Vec<Option<Check>>,
    /// Commands that run in its containers by request from outside.
    sessions: Vec<Session>,
    /// What containers are started in; absent until the first is.
    stage: Option<Stage>,
    /// When each container was started.
    started: Vec<Option<Instant>>,
    /// The task was told to end: what has not started yet never will.
    ending: bool,
    group: Option<Group>,
    /// The hub's network namespace, kept for a new holder.
    hub: Option<OwnedFd>,
    broker: Broker,
    inherited: Inherited,
}

/// Where containers are started.
struct Stage {
    /// Absent for plain processes.
    sandbox: Option<Sandbox>,
}

impl Shim {
    fn load(directory: &Path, secrets: Vec<SecretEnv>, inherited: Inherited) -> io::Result<Self> {
        let mut plan: Plan = record::read(&directory.join("spec.json"))?
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "spec.json is missing"))?;
        for (container, secrets) in plan.spec.containers.iter_mut().zip(secrets) {
            container.env.extend(secrets.0);
        }
        let record = Record::new(&plan);
        let broker = Broker::listen(&directory.join("s"))?;
        let group = plan.cgroup.as_ref().map(|relative| inherited.hierarchies.group(relative));
        let count = plan.spec.containers.len();
        let running = (0..count).map(|_| None).collect();
        // Without it nobody could tell this task's state: then rather no task.
        record::write_atomic(&directory.join("state.json"), &record, false)?;
        Ok(Self {
            directory: directory.to_owned(),
            plan,
            record,
            running,
            checks: (0..count).map(|_| None).collect(),
            sessions: Vec::new(),
            stage: None,
            started: vec![None; count],
            ending: false,
            group,
            hub: None,
            broker,
            inherited,
        })
    }

    fn run(&mut self) {
        if let Err(e) = self.set_stage().and_then(|stage| {
            self.stage = Some(stage);
            self.start_due()
        }) {
            let reason = format!("ResourceInitializationError: {e}");
            self.record.fail_pending(&reason);
            for running in self.running.iter().flatten() {
                let _ = sys::pidfd_send_signal(running.pidfd.as_fd(), libc::SIGKILL);
            }
        }
        self.record.started = self.record.containers.iter().all(|c| c.state != ContainerState::Pending);
        self.save_state();
        sys::trim_heap();
        while !self.record.ended() {
            if let Err(e) = self.wait_once() {
                complain!("shim {}: {e}", self.plan.spec.id);
                break;
            }
        }
        self.finish();
    }

    /// Makes what the containers are started in.
    fn set_stage(&mut self) -> io::Result<Stage> {
        if let Some(group) = &self.group {
            group
                .create()
                .and_then(|()| group.limit(&self.plan.spec.limits))
                .map_err(|e| context("control group", e))?;
        }
        let containers = &self.plan.spec.containers;
        // The last one counts, as ECS says.
        let controls: Vec<_> = containers.iter().flat_map(|c| c.options.system_controls.iter().cloned()).collect();
        if self.plan.isolation == Isolation::None {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
            self.record.host_ports = plain::free_ports(&self.plan.spec)?;
            if !controls.is_empty() {
                return Err(io::Error::other("system controls need namespaces, which this machine does not allow"));
            }
            return Ok(Stage { sandbox: None });
        }
        let holder = match (self.plan.isolation, self.plan.spec.address) {
            (Isolation::UserNamespaces, None) => None,
            _ => Some(self.holder()?),
        };
        let hub = match (&holder, self.plan.spec.address) {
            (Some(holder), Some(address)) => Some((holder.descriptor(&BrokerRequest::NetworkNamespace)?, address)),
            _ => None,
        };
        let sandbox = Sandbox::create(&self.plan)?;
        let target = hub.as_ref().map(|(namespace, address)| (namespace.as_fd(), *address, self.plan.hub_address));
        if !network::connect(&sandbox, &self.plan.spec.id, target, self.plan.spec.private_address)? {
            complain!("shim {}: the hub does not check addresses (rp_filter): no raw sockets", self.plan.spec.id);
            for container in &mut self.plan.spec.containers {
                container.options.capabilities.retain(|one| *one != Capability::NetRaw);
            }
        }
        limits::set_controls(&sandbox, &controls)?;
        self.hub = hub.map(|(namespace, _)| namespace);
        Ok(Stage { sandbox: Some(sandbox) })
    }

    /// Starts every container whose dependencies have come to pass, and gives up those whose never will.
    fn start_due(&mut self) -> io::Result<()> {
        let Some(stage) = self.stage.take() else { return Ok(()) };
        loop {
            let verdicts: Vec<order::Verdict> =
                (0..self.running.len()).map(|index| order::look(self.facts(), index)).collect();
            let mut moved = false;
            for (index, verdict) in verdicts.into_iter().enumerate() {
                match verdict {
                    order::Verdict::Over | order::Verdict::Wait => {}
                    order::Verdict::Start => {
                        moved = true;
                        self.started[index] = Some(Instant::now());
                        let started = match &stage.sandbox {
                            Some(sandbox) => self.start_container(index, sandbox),
                            None => self.start_plain_container(index),
                        };
                        self.note_start(index, started);
                    }
                    order::Verdict::Never(why) => {
                        moved = true;
                        let reason = format!("CannotStartContainerError: {why}");
                        self.record.containers[index].state =
                            ContainerState::Failed { reason, at_ms: record::now_ms() };
                    }
                }
            }
            if !moved {
                break;
            }
        }
        self.stage = Some(stage);
        self.record.started = self.record.containers.iter().all(|c| c.state != ContainerState::Pending);
        Ok(())
    }

    fn facts(&self) -> order::Facts<'_> {
        order::Facts {
            containers: &self.plan.spec.containers,
            seen: &self.record.containers,
            started: &self.started,
            ending: self.ending,
        }
    }

    /// The hub's holder; an ordinary user's shim joins its user namespace, in which it then has
    /// what root has outside.
    fn holder(&self) -> io::Result<Client> {
        let socket = Layout::new(&self.plan.data)?.hub_socket();
        let holder = Client::connect(&socket).map_err(|e| context("asking the hub's holder", e))?;
        if self.plan.isolation == Isolation::Rootless {
            join_user_namespace(&holder.descriptor(&BrokerRequest::UserNamespace)?)?;
        }
        Ok(holder)
    }

    fn start_container(&self, index: usize, sandbox: &Sandbox) -> Result<Running, Failure> {
        let spec = &self.plan.spec.containers[index];
        let around = Surroundings {
            sandbox,
            id_base: self.plan.id_base,
            filters: &self.inherited.filters,
            files: self.files(index),
            layers: &self.plan.layers[index],
            writable: self.directory.join(format!("fs-{index}")),
            log: self.log(index, sandbox.ranged.then_some(self.plan.id_base))?,
            group: self.container_group(index)?,
            rehearsal: false,
        };
        container::start(spec, around)
    }

    fn start_plain_container(&self, index: usize) -> Result<Running, Failure> {
        let root = self.directory.join(format!("root-{index}"));
        plain::merge(&self.plan.layers[index], &root).map_err(|e| context("copying the image's layers", e))?;
        let group = self.container_group(index)?;
        let spec = &self.plan.spec.containers[index];
        let output = plain::Output::Log(self.log(index, None)?);
        plain::start(spec, &root, &self.record.host_ports, output, group, &self.inherited.filters)
    }

    fn note_start(&mut self, index: usize, started: Result<Running, Failure>) {
        let at_ms = record::now_ms();
        let state = match started {
            Ok(running) => {
                let pid = running.pid as u32;
                self.running[index] = Some(running);
                self.checks[index] = self.plan.spec.containers[index].health_check.as_ref().map(Check::new);
                ContainerState::Running { pid, started_at_ms: at_ms }
            }
            Err(Failure::Create(e)) => {
                ContainerState::Failed { reason: format!("CannotCreateContainerError: {e}"), at_ms }
            }
            Err(Failure::Start(e)) => {
                ContainerState::Failed { reason: format!("CannotStartContainerError: {e}"), at_ms }
            }
        };
        self.record.containers[index].state = state;
    }

    fn container_group(&self, index: usize) -> io::Result<Option<Group>> {
        let Some(relative) = &self.plan.cgroup else { return Ok(None) };
        let group = self.inherited.hierarchies.group(&relative.join(index.to_string()));
        let limits = self.plan.spec.containers[index].limits;
        let limits = Limits { pids: limits.pids.or(Some(cgroup::DEFAULT_PIDS)), ..limits };
        group.create().and_then(|()| group.limit(&limits)).map_err(|e| context("control group", e))?;
        Ok(Some(group))
    }

    /// The log is owned by the task's root user, so that its programs may reopen `/dev/stdout`.
    fn log(&self, index: usize, owner: Option<u32>) -> io::Result<OwnedFd> {
        let path = self.directory.join(format!("{}.log", self.plan.spec.containers[index].name));
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        if owner.is_some() {
            std::os::unix::fs::fchown(&file, owner, owner)?;
        }
        Ok(file.into())
    }

    fn files(&self, index: usize) -> Files {
        let spec = &self.plan.spec;
        let mut hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
        if let Some(address) = spec.private_address.or(spec.address) {
            hosts.push_str(&format!("{address}\t{}\n", spec.hostname));
        }
        for (address, name) in &spec.containers[index].options.extra_hosts {
            hosts.push_str(&format!("{address}\t{name}\n"));
        }
        let search = search(&spec.containers[index].search);
        let resolv_conf = spec
            .dns
            .map_or_else(String::new, |dns| format!("nameserver {dns}\n{search}options timeout:2 attempts:3\n"));
        Files { hostname: format!("{}\n", spec.hostname), hosts, resolv_conf }
    }

    /// Waits until a container ends or somebody asks for something, and handles it.
    fn wait_once(&mut self) -> io::Result<()> {
        let watched: Vec<usize> = (0..self.running.len()).filter(|i| self.running[*i].is_some()).collect();
        let clients = self.broker.len();
        let checked: Vec<usize> = (0..self.checks.len())
            .filter(|i| self.checks[*i].as_ref().is_some_and(|c| c.descriptor().is_some()))
            .collect();
        let due = self.checks.iter().flatten().map(Check::due).chain(order::due(self.facts())).min();
        let timeout = due.map(|due| due.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let ready = {
            let ends = watched.iter().filter_map(|i| self.running[*i].as_ref()).map(|r| r.pidfd.as_fd());
            let probes = checked.iter().filter_map(|i| self.checks[*i].as_ref()?.descriptor());
            let sessions = self.sessions.iter().flat_map(Session::descriptors);
            broker::wait(self.broker.descriptors().chain(ends).chain(probes).chain(sessions), timeout)?
        };
        let (mut told_to_end, before) = (false, self.record.containers.clone());
        let running = &self.running;
        let names: Vec<&str> = self.record.containers.iter().map(|c| c.name.as_str()).collect();
        let pending: Vec<&str> = self
            .record
            .containers
            .iter()
            .filter(|c| c.state == ContainerState::Pending)
            .map(|c| c.name.as_str())
            .collect();
        let isolated = self.plan.isolation != Isolation::None;
        let rootless = self.plan.isolation == Isolation::Rootless;
        let hub = &self.hub;
        let filters = &self.inherited.filters;
        let (stage, plan, directory, ports) = (&self.stage, &self.plan, &self.directory, &self.record.host_ports);
        let (open, mut begun) = (self.sessions.len(), Vec::new());
        self.broker.serve(&ready[..clients], |request| match request {
            BrokerRequest::Stream if isolated => broker::stream_socket(),
            BrokerRequest::NetworkNamespace if isolated => own_namespace("net"),
            BrokerRequest::UserNamespace if rootless => own_namespace("user"),
            BrokerRequest::HubNamespace => match hub.as_ref().map(OwnedFd::try_clone) {
                Some(Ok(namespace)) => Answer::Descriptor(namespace),
                Some(Err(e)) => Answer::Failed(e.to_string()),
                None => Answer::Failed("this task is not at the hub".to_owned()),
            },
            BrokerRequest::Signal { container, signal } => {
                // To a container that has not started, it is a word to the whole task, too.
                told_to_end |= container.as_deref().is_none_or(|name| pending.contains(&name));
                send_signal(running, &names, container.as_deref(), signal)
            }
            BrokerRequest::Exec { container, command, terminal } => {
                let index =
                    names.iter().position(|name| *name == container).filter(|_| open + begun.len() < SESSIONS_MAX);
                let place = index.and_then(|index| Some((index, running[index].as_ref()?, stage.as_ref()?)));
                let Some((index, running, stage)) = place else {
                    return Answer::Failed(format!("no command can be run in container {container}"));
                };
                let spec = &plan.spec.containers[index];
                let started = Session::start(terminal, |streams| match &stage.sandbox {
                    Some(sandbox) => {
                        let hostname = &plan.spec.hostname;
                        exec::run(&Place { container: running, spec, hostname, sandbox, filters }, &command, streams)
                    }
                    None => {
                        let root = directory.join(format!("root-{index}"));
                        plain::run(spec, &root, ports, &command, filters, streams)
                    }
                });
                match started {
                    Ok((session, socket)) => {
                        begun.push(session);
                        Answer::Descriptor(socket)
                    }
                    Err(e) => Answer::Failed(e.to_string()),
                }
            }
            _ => Answer::Failed("a task's shim does not serve this".to_owned()),
        });
        self.ending |= told_to_end;
        let last = clients + watched.len() + checked.len();
        let mut told = ready[last..].chunks_exact(2);
        self.sessions.retain(|session| told.next().is_none_or(|told| session.step(told[0], told[1])));
        self.sessions.append(&mut begun);
        for (index, _) in watched.iter().zip(&ready[clients..clients + watched.len()]).filter(|(_, ready)| **ready) {
            if let Some(running) = self.running[*index].take() {
                self.record.containers[*index].state = ended(&running)?;
                if let Some(check) = self.checks[*index].take() {
                    check.end();
                }
            }
        }
        let probes_ended: Vec<usize> = checked
            .iter()
            .zip(&ready[clients + watched.len()..last])
            .filter_map(|(index, ready)| ready.then_some(*index))
            .collect();
        self.check(&probes_ended);
        self.start_due()?;
        if self.record.containers != before && !self.record.ended() {
            self.save_state();
        }
        Ok(())
    }

    /// Goes on with the health checks; `ended`: of these containers a command has ended.
    fn check(&mut self, ended: &[usize]) {
        let Some(stage) = &self.stage else { return };
        let (hostname, filters) = (&self.plan.spec.hostname, &self.inherited.filters);
        for (index, check) in self.checks.iter_mut().enumerate() {
            let (Some(check), Some(running)) = (check, &self.running[index]) else { continue };
            let spec = &self.plan.spec.containers[index];
            check.step(ended.contains(&index), |command| match &stage.sandbox {
                Some(sandbox) => {
                    let place = Place { container: running, spec, hostname, sandbox, filters };
                    exec::run(&place, command, Streams::Null)
                }
                None => {
                    let root = self.directory.join(format!("root-{index}"));
                    plain::run(spec, &root, &self.record.host_ports, command, filters, Streams::Null)
                }
            });
            self.record.containers[index].health = check.health();
        }
    }

    /// Writes the exit down for good, then takes away what the task had.
    fn finish(&mut self) {
        // Only after a failure of the loop does anything still run here.
        for (index, running) in self.running.iter_mut().enumerate() {
            if let Some(running) = running.take() {
                let _ = sys::pidfd_send_signal(running.pidfd.as_fd(), libc::SIGKILL);
                if let Ok(state) = ended(&running) {
                    self.record.containers[index].state = state;
                }
            }
        }
        self.sessions.iter().for_each(Session::end);
        if self.plan.isolation == Isolation::None {
            plain::reap_the_rest();
        }
        if let Err(e) = record::write_atomic(&self.directory.join("exit.json"), &self.record, true) {
            complain!("shim {}: exit.json: {e}", self.plan.spec.id);
        }
        if let Some(group) = &self.group
            && let Err(e) = group.remove()
        {
            complain!("shim {}: control group: {e}", self.plan.spec.id);
        }
    }

    fn save_state(&self) {
        if let Err(e) = record::write_atomic(&self.directory.join("state.json"), &self.record, false) {
            complain!("shim {}: state.json: {e}", self.plan.spec.id);
        }
    }
}

/// Enters the holder's user namespace and a mount namespace of its own in it.
pub(crate) fn join_user_namespace(user: &OwnedFd) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))
        .map_err(|e| context("entering the holder's user namespace", e))?;
    sys::unshare(libc::CLONE_NEWNS).map_err(|e| context("making a mount namespace", e))?;
    let flags = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).map_err(|e| context("making mounts private", e))
}

fn own_namespace(kind: &str) -> Answer {
    match std::fs::File::open(format!("/proc/self/ns/{kind}")) {
        Ok(file) => Answer::Descriptor(file.into()),
        Err(e) => Answer::Failed(e.to_string()),
    }
}

fn send_signal(running: &[Option<Running>], names: &[&str], container: Option<&str>, signal: i32) -> Answer {
    if !(1..=64).contains(&signal) {
        return Answer::Failed(format!("{signal} is no signal"));
    }
    for (running, name) in running.iter().zip(names) {
        if let Some(running) = running
            && container.is_none_or(|c| c == *name)
            && let Err(e) = sys::pidfd_send_signal(running.pidfd.as_fd(), signal)
            && e.raw_os_error() != Some(libc::ESRCH)
        {
            return Answer::Failed(format!("signal {signal} to {name}: {e}"));
        }
    }
    Answer::Done
}

/// Collects a container that has ended.
fn ended(running: &Running) -> io::Result<ContainerState> {
    let (code, signal) = sys::wait_child(running.pid)?;
    let code = code.or(signal.map(|s| 128 + s)).unwrap_or(255);
    let kills = running.group.as_ref().map_or(0, Group::oom_kills);
    Ok(ContainerState::Exited { code, oom_killed: kills > 0 && code != 0, at_ms: record::now_ms() })
}

/// What all C libraries read of a search list, in bytes.
const LONGEST_SEARCH: usize = 255;

/// The line of `/etc/resolv.conf` that has short names looked for in these domains: as many as all C
/// libraries read.
fn search(domains: &[String]) -> String {
    let mut line = String::new();
    for domain in domains {
        if line.len() + domain.len() + 1 > LONGEST_SEARCH {
            break;
        }
        line.push(' ');
        line.push_str(domain);
    }
    if line.is_empty() { line } else { format!("search{line}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_list_is_as_long_as_is_read() {
        assert_eq!(search(&[]), "");
        assert_eq!(search(&["own.test".into(), "board.local".into()]), "search own.test board.local\n");
        let long = ["a".repeat(200), "b".repeat(54), "c".into()];
        assert_eq!(search(&long), format!("search {}\n", long[0]));
    }
}
