//! The runtime as `serve` sees it: launches shims, observes what they wrote, passes signals on,
//! takes away what is left. It keeps no state that is not in the data directory, so that it may
//! die and come back at any moment.

use crate::broker::Client;
use crate::cgroup::{Group, Hierarchies};
use crate::exec;
use crate::holder::{self, HUB_ADDRESS, Keeper};
use crate::image::{LayerStore, UnpackLimits};
use crate::layout::{Layout, is_plain_name, private_dir};
use crate::nursery::{Nursery, Refusal};
use crate::probe;
use crate::record::{self, FIRST_ID, ID_RANGES, IDS_PER_TASK, Plan, Record};
use crate::stats;
use crate::sys;
use crate::usage;
use crate::watch::Watcher;
use quarry_domain::failpoint;
use quarry_domain::isolation::{Isolation, IsolationReport};
use quarry_domain::link::BrokerRequest;
use quarry_domain::snapshot::Hub;
use quarry_domain::task::{
    ContainerState, ContainerStats, Exec, ExecSpec, LaunchError, ObservedTask, Signal, TaskEntry, TaskId, TaskPhase,
    TaskRuntime, TaskSpec, Usage,
};
use rustix::fd::AsFd;
use rustix::fs::{IFlags, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How long the descriptors of a process that died may stay open.
const GONE: Duration = Duration::from_millis(200);

/// How a runtime is opened.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    pub data_dir: PathBuf,
    /// The binary that plays nursery, holder and probe. `/proc/self/exe` is the running program
    /// itself, also after its file was replaced by a newer one.
    pub exe: PathBuf,
    /// Use this isolation or fail; otherwise [`FORCE`](crate::FORCE) decides, otherwise the
    /// strongest that works.
    pub isolation: Option<Isolation>,
    /// The hub's own address.
    pub hub_address: Ipv4Addr,
    pub unpack: UnpackLimits,
}

impl RuntimeConfig {
    /// The usual settings.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            exe: PathBuf::from("/proc/self/exe"),
            isolation: None,
            hub_address: HUB_ADDRESS,
            unpack: UnpackLimits::default(),
        }
    }
}

/// Why a runtime could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0}")]
    Isolation(io::Error),
    #[error("the data directory {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Starts, watches and ends tasks in one data directory.
pub struct Runtime {
    config: RuntimeConfig,
    layout: Layout,
    report: IsolationReport,
    layers: LayerStore,
    watcher: Watcher,
    hierarchies: Hierarchies,
    /// Indices of the id ranges in use. Held while a task is launched.
    ranges: Mutex<BTreeSet<u32>>,
    keeper: Mutex<Option<Keeper>>,
    nursery: Nursery,
    /// Held while a task is launched: from the moment its layers are looked at until its plan names them.
    launching: RwLock<()>,
}

impl Runtime {
    /// Probes the machine and adopts the tasks that are there.
    pub fn open(config: RuntimeConfig) -> Result<Arc<Self>, OpenError> {
        let in_data = |source| OpenError::Io { path: config.data_dir.clone(), source };
        let layout = Layout::new(&config.data_dir).map_err(OpenError::Isolation)?;
        for directory in [layout.data().to_owned(), layout.tasks(), layout.volumes(), layout.data().join("log")] {
            private_dir(&directory).map_err(in_data)?;
        }
        spread(&layout.tasks());
        let force = match config.isolation {
            Some(isolation) => Some(isolation),
            None => probe::forced().map_err(OpenError::Isolation)?,
        };
        let report = probe::probe(layout.data(), &config.exe, force).map_err(OpenError::Isolation)?;
        let layers = LayerStore::open(&layout.layers(), config.unpack, report.isolation == Isolation::UserNamespaces)
            .map_err(in_data)?;
        let watcher = Watcher::start(&layout).map_err(in_data)?;
        let mut ranges = BTreeSet::new();
        for entry in fs::read_dir(layout.tasks()).map_err(in_data)?.flatten() {
            let Ok(id) = entry.file_name().into_string() else { continue };
            if id.starts_with('.') {
                // Half removed when somebody died; or another runtime is at it this moment.
                let _ = crate::tree::remove(&entry.path());
                continue;
            }
            if let Ok(Some(plan)) = record::read::<Plan>(&entry.path().join("spec.json")) {
                ranges.insert((plan.id_base.saturating_sub(FIRST_ID)) / IDS_PER_TASK);
            }
            watcher.add(&id);
        }
        let nursery = Nursery::new(&layout, &config.exe);
        Ok(Arc::new(Self {
            config,
            layout,
            report,
            layers,
            watcher,
            nursery,
            hierarchies: Hierarchies::detect(),
            ranges: Mutex::new(ranges),
            keeper: Mutex::default(),
            launching: RwLock::default(),
        }))
    }

    /// The hub network, `None` where tasks have no namespaces. Starts its holder if none lives, and
    /// from then on whenever it died.
    pub fn hub(&self) -> io::Result<Option<Hub>> {
        if self.report.isolation == Isolation::None {
            return Ok(None);
        }
        let settings = holder::Settings {
            layout: self.layout.clone(),
            exe: self.config.exe.clone(),
            rootless: self.report.isolation == Isolation::Rootless,
            address: self.config.hub_address,
        };
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        holder::ensure(&settings)?;
        if keeper.is_none() {
            *keeper = Some(Keeper::start(settings)?);
        }
        drop(keeper);
        Ok(Some(Hub { broker: self.layout.hub_socket(), address: self.config.hub_address }))
    }

    /// Ends the nursery of shims, and the holder, and with it the hub network. That none lives is no error.
    pub fn stop_hub(&self) -> io::Result<()> {
        self.nursery.end();
        // Released before the end, or it would be taken for a death.
        drop(self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take());
        holder::stop(&self.layout)
    }

    fn prepare(&self, spec: &TaskSpec, layers: Vec<Vec<PathBuf>>) -> Result<Plan, LaunchError> {
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        // Two data directories on one machine begin at different places.
        let start = u32::from_str_radix(&self.layout.short_hash(), 16).unwrap_or(0) % ID_RANGES;
        let index = (0..ID_RANGES)
            .map(|n| (start + n) % ID_RANGES)
            .find(|index| !ranges.contains(index))
            .ok_or_else(|| LaunchError::Resource("no range of user ids is free".to_owned()))?;
        ranges.insert(index);
        Ok(Plan {
            spec: spec.clone(),
            isolation: self.report.isolation,
            data: self.layout.data().to_owned(),
            id_base: FIRST_ID + index * IDS_PER_TASK,
            cgroup: self.report.limits.then(|| self.layout.cgroup().join(&spec.id)),
            hub_address: self.config.hub_address,
            layers,
        })
    }

    fn release_range(&self, plan: &Plan) {
        let index = plan.id_base.saturating_sub(FIRST_ID) / IDS_PER_TASK;
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner).remove(&index);
    }

    /// Has a shim made, with the task's lock and the secrets of its containers in its hands.
    fn start_shim(&self, directory: &Path, lock: File, spec: &TaskSpec) -> io::Result<()> {
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(self.layout.log("shim.log"))?;
        let secrets = crate::shim::secrets::hand_over(spec)?;
        match self.nursery.shim(&spec.id, [lock.as_fd(), secrets.as_fd(), log.as_fd()]) {
            Ok(()) => return Ok(()),
            Err(Refusal::Failed(e)) => return Err(e),
            Err(Refusal::Silent(e)) => {
                tracing::warn!(error = %e, "the nursery of shims is gone; another one is started")
            }
        }
        // Only a shim that was made, or will be, has the lock now.
        drop(lock);
        let Some(lock) = Self::take_lock(directory, Instant::now() + GONE)? else { return Ok(()) };
        if directory.join("state.json").exists() || directory.join("exit.json").exists() {
            return Ok(());
        }
        let secrets = crate::shim::secrets::hand_over(spec)?;
        match self.nursery.shim(&spec.id, [lock.as_fd(), secrets.as_fd(), log.as_fd()]) {
            Ok(()) => Ok(()),
            Err(Refusal::Failed(e) | Refusal::Silent(e)) => Err(e),
        }
    }

    fn observe_dir(&self, id: &str) -> io::Result<Option<ObservedTask>> {
        let directory = self.layout.task(id);
        // The lock first: a shim writes its last words before it lets go.
        let alive = record::is_locked(&directory.join("lock"))?;
        let exit: Option<Record> = record::read(&directory.join("exit.json"))?;
        let state: Option<Record> = match exit {
            Some(_) => None,
            None => record::read(&directory.join("state.json"))?,
        };
        if exit.is_none() && state.is_none() && !directory.join("spec.json").exists() {
            return Ok(None);
        }
        let entry = |record: &Record| {
            if record.isolated {
                TaskEntry::Broker(directory.join("s"))
            } else {
                TaskEntry::Host(record.host_ports.clone())
            }
        };
        let (phase, record) = match (exit, state) {
            (Some(exit), _) => (TaskPhase::Exited, Some(exit)),
            (None, Some(state)) if alive && state.started => (TaskPhase::Running, Some(state)),
            (None, state) if alive => (TaskPhase::Starting, state),
            (None, state) => (TaskPhase::Lost, state),
        };
        let entry = record.as_ref().filter(|r| phase == TaskPhase::Running && r.started).map(entry);
        let containers = match phase {
            TaskPhase::Starting => Vec::new(),
            _ => record.map(|r| r.containers).unwrap_or_default(),
        };
        Ok(Some(ObservedTask { id: id.to_owned(), phase, containers, entry }))
    }

    fn check(spec: &TaskSpec) -> Result<(), LaunchError> {
        let refuse = |what: String| Err(LaunchError::Create(what));
        if !is_plain_name(&spec.id) || spec.id.len() > 64 {
            return refuse(format!("{:?} is no task id", spec.id));
        }
        if spec.containers.is_empty() {
            return refuse("a task needs at least one container".to_owned());
        }
        let mut names = BTreeSet::new();
        for container in &spec.containers {
            if !is_plain_name(&container.name) || !names.insert(&container.name) {
                return refuse(format!("{:?} is no container name, or is there twice", container.name));
            }
            if container.args.is_empty() {
                return refuse(format!("container {}: no command specified", container.name));
            }
            if let Some(mount) = container.mounts.iter().find(|m| !m.target.starts_with('/') || m.target == "/") {
                return refuse(format!("container {}: {:?} is no mount point", container.name, mount.target));
            }
            if let Some(mount) = container.mounts.iter().find(|m| !m.source.is_absolute()) {
                return refuse(format!("container {}: {} is no absolute path", container.name, mount.source.display()));
            }
        }
        Ok(())
    }

    /// Waits until the task's lock is free and takes it, or gives up at `deadline`.
    fn take_lock(directory: &Path, deadline: Instant) -> io::Result<Option<File>> {
        loop {
            match record::try_lock(&directory.join("lock")) {
                Ok(Some(lock)) => return Ok(Some(lock)),
                Ok(None) if Instant::now() > deadline => return Ok(None),
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Err(e) => return Err(e),
            }
        }
    }
}

impl TaskRuntime for Runtime {
    fn isolation(&self) -> &IsolationReport {
        &self.report
    }

    fn launch(&self, spec: &TaskSpec) -> Result<(), LaunchError> {
        Self::check(spec)?;
        let resource = |e: io::Error| LaunchError::Resource(e.to_string());
        let directory = self.layout.task(&spec.id);
        if directory.join("state.json").exists() || directory.join("exit.json").exists() {
            return Ok(());
        }
        let _launching = self.launching.read().unwrap_or_else(PoisonError::into_inner);
        let mut layers = Vec::new();
        for container in &spec.containers {
            let unpacked: Result<Vec<PathBuf>, _> =
                container.image.layers.iter().map(|layer| self.layers.unpack(layer)).collect();
            layers.push(unpacked.map_err(|e| LaunchError::Image(e.to_string()))?);
        }
        if spec.address.is_some() || self.report.isolation == Isolation::Rootless {
            self.hub().map_err(resource)?;
        }
        private_dir(&directory).map_err(resource)?;
        self.watcher.add(&spec.id);
        // A moment's patience: an observer's look at the lock takes it, too.
        let patience = Instant::now() + Duration::from_millis(50);
        let Some(lock) = Self::take_lock(&directory, patience).map_err(resource)? else {
            return Ok(());
        };
        if directory.join("state.json").exists() {
            return Ok(());
        }
        let plan = match record::read::<Plan>(&directory.join("spec.json")).map_err(resource)? {
            Some(plan) => plan,
            None => {
                let plan = self.prepare(spec, layers)?;
                record::write_atomic(&directory.join("spec.json"), &plan, false).map_err(resource)?;
                plan
            }
        };
        failpoint::at("runtime.planned");
        let started = self.start_shim(&directory, lock, spec);
        failpoint::at("runtime.started");
        started.map_err(|e| {
            self.release_range(&plan);
            let _ = crate::tree::remove(&directory);
            LaunchError::Resource(format!("the task's shim cannot be started: {e}"))
        })
    }

    fn observe(&self) -> io::Result<Vec<ObservedTask>> {
        let mut tasks = Vec::new();
        for entry in fs::read_dir(self.layout.tasks())? {
            if let Ok(id) = entry?.file_name().into_string()
                && !id.starts_with('.')
                && let Some(task) = self.observe_one(&id)
            {
                tasks.push(task);
            }
        }
        tasks.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(tasks)
    }

    fn observe_one(&self, id: &str) -> Option<ObservedTask> {
        if !is_plain_name(id) {
            return None;
        }
        match self.observe_dir(id) {
            Ok(task) => task,
            Err(e) => {
                // Unknown is not absent, and not lost either: its shim may well live.
                tracing::warn!(task = id, error = %e, "the task's state cannot be read");
                let task =
                    ObservedTask { id: id.to_owned(), phase: TaskPhase::Starting, containers: Vec::new(), entry: None };
                self.layout.task(id).exists().then_some(task)
            }
        }
    }

    fn changed(&self) -> Option<BTreeSet<TaskId>> {
        self.watcher.changed()
    }

    fn signal(&self, id: &str, container: Option<&str>, signal: Signal) -> io::Result<()> {
        let signal = match signal {
            Signal::Term => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
            Signal::Other(number) => number,
        };
        let directory = self.layout.task(id);
        let request = BrokerRequest::Signal { container: container.map(str::to_owned), signal };
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            if !is_plain_name(id)
                || !record::is_locked(&directory.join("lock"))?
                || directory.join("exit.json").exists()
            {
                return Ok(());
            }
            match Client::connect(&directory.join("s")).and_then(|c| c.ask(&request)) {
                Ok(_) => return Ok(()),
                // Not yet listening, or gone this moment.
                Err(e) if Instant::now() > deadline => return Err(e),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn exec(&self, id: &str, spec: &ExecSpec) -> io::Result<Exec> {
        if !is_plain_name(id) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{id:?} is no task id")));
        }
        let ExecSpec { container, command, terminal } = spec.clone();
        let shim = Client::connect(&self.layout.task(id).join("s"))?;
        let socket = shim.descriptor(&BrokerRequest::Exec { container, command, terminal })?;
        exec::begun(socket)
    }

    fn remove(&self, id: &str) -> io::Result<()> {
        if !is_plain_name(id) {
            return Ok(());
        }
        let directory = self.layout.task(id);
        if !directory.exists() {
            return Ok(());
        }
        let plan: Option<Plan> = record::read(&directory.join("spec.json")).unwrap_or(None);
        let _ = self.signal(id, None, Signal::Kill);
        let lock = match Self::take_lock(&directory, Instant::now() + Duration::from_secs(5))? {
            Some(lock) => lock,
            None => {
                kill_shim(&directory)?;
                let deadline = Instant::now() + Duration::from_secs(5);
                Self::take_lock(&directory, deadline)?
                    .ok_or_else(|| io::Error::other(format!("the shim of task {id} does not end")))?
            }
        };
        if let Some(group) = plan.as_ref().and_then(|p| p.cgroup.as_ref()) {
            self.hierarchies.group(group).remove()?;
        }
        let doomed = self.layout.tasks().join(format!(".{id}"));
        crate::tree::remove(&doomed)?;
        fs::rename(&directory, &doomed)?;
        failpoint::at("runtime.removed");
        drop(lock);
        crate::tree::remove(&doomed)?;
        if let Some(plan) = &plan {
            self.release_range(plan);
        }
        self.watcher.tell(id);
        Ok(())
    }

    fn subscribe(&self, wake: Box<dyn Fn() + Send + Sync>) {
        self.watcher.subscribe(wake);
    }

    fn usage(&self, id: &str) -> Option<Usage> {
        if !is_plain_name(id) {
            return None;
        }
        let plan: Plan = record::read(&self.layout.task(id).join("spec.json")).ok()??;
        let of_task = |task: &PathBuf| {
            let groups = (0..plan.spec.containers.len()).map(|index| task.join(index.to_string()));
            groups.map(|group| self.hierarchies.group(&group)).collect()
        };
        let groups: Vec<Group> = plan.cgroup.as_ref().map(of_task).unwrap_or_default();
        let observed = self.observe_dir(id).ok()??;
        let pids = observed.containers.iter().filter_map(|container| match container.state {
            ContainerState::Running { pid, .. } => Some(pid),
            ContainerState::Pending | ContainerState::Exited { .. } | ContainerState::Failed { .. } => None,
        });
        usage::of(&groups, &pids.collect::<Vec<_>>())
    }

    fn stats(&self, id: &str) -> Vec<ContainerStats> {
        let plan = record::read::<Plan>(&self.layout.task(id).join("spec.json"));
        let (true, Ok(Some(plan)), Ok(Some(seen))) = (is_plain_name(id), plan, self.observe_dir(id)) else {
            return Vec::new();
        };
        let of = |(index, seen): (usize, &quarry_domain::task::ObservedContainer)| {
            let ContainerState::Running { pid, .. } = seen.state else { return None };
            let group = plan.cgroup.as_ref().map(|task| self.hierarchies.group(&task.join(index.to_string())));
            stats::of(&seen.name, group.as_ref(), pid, plan.isolation != Isolation::None)
        };
        seen.containers.iter().enumerate().filter_map(of).collect()
    }

    fn written(&self, id: &str) -> Option<u64> {
        if !is_plain_name(id) || self.report.isolation == Isolation::None {
            return None;
        }
        let mut bytes = 0;
        for entry in fs::read_dir(self.layout.task(id)).ok()?.flatten() {
            let name = entry.file_name();
            match name.to_str() {
                Some(name) if name.starts_with("fs-") => bytes += crate::tree::size(&entry.path().join("u")),
                Some(name) if name.ends_with(".log") => bytes += crate::tree::size(&entry.path()),
                _ => {}
            }
        }
        Some(bytes)
    }

    fn release_log(&self, id: &str, container: &str, offset: u64) -> io::Result<()> {
        if !is_plain_name(id) || !is_plain_name(container) {
            return Ok(());
        }
        let file = match OpenOptions::new().write(true).open(self.log_path(id, container)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&file, flags, 0, offset) {
            // The file system knows no holes.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    fn collect(&self, idle: Duration) -> io::Result<usize> {
        let retired = {
            // Whoever launches a task has its plan written by now.
            let _launching = self.launching.write().unwrap_or_else(PoisonError::into_inner);
            let mut used = BTreeSet::new();
            for entry in fs::read_dir(self.layout.tasks())? {
                // A plan that cannot be read may name any layer.
                if let Some(plan) = record::read::<Plan>(&entry?.path().join("spec.json"))? {
                    used.extend(plan.layers.into_iter().flatten());
                }
            }
            self.layers.retire(&used, idle)?
        };
        for layer in &retired {
            crate::tree::remove(layer)?;
        }
        Ok(retired.len())
    }

    fn log_path(&self, id: &str, container: &str) -> PathBuf {
        self.layout.task(id).join(format!("{container}.log"))
    }

    fn connect(&self, entry: &TaskEntry, port: u16) -> io::Result<TcpStream> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        match entry {
            TaskEntry::Host(_) => TcpStream::connect(address),
            TaskEntry::Broker(path) => {
                let stream = TcpStream::from(Client::connect(path)?.descriptor(&BrokerRequest::Stream)?);
                // Loopback: it is there at once, or refused.
                stream.set_nonblocking(false)?;
                rustix::net::connect(&stream, &address)?;
                Ok(stream)
            }
        }
    }

    fn volume_path(&self, name: &str) -> io::Result<PathBuf> {
        if !is_plain_name(name) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no volume name")));
        }
        let path = self.layout.volumes().join(name);
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&path)?;
        Ok(path)
    }
}

/// Has the file system put each directory made in this one into another part of the disk, where it knows of that
/// (ext2 to ext4). For a minute or more ext4 gives no file the place of one that was deleted, and looks at each of these places
/// first: where many tasks have ended in one part, a start costs some milliseconds more.
fn spread(directory: &Path) {
    let mark = || -> rustix::io::Result<()> {
        let directory =
            rustix::fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let flags = rustix::fs::ioctl_getflags(&directory)?;
        rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR)
    };
    // Only a hint.
    let _ = mark();
}

/// For a shim that does not answer. Its process id is its own while it holds the lock.
fn kill_shim(directory: &Path) -> io::Result<()> {
    let Some(state) = record::read::<Record>(&directory.join("state.json"))? else { return Ok(()) };
    let Some(pid) = Pid::from_raw(state.shim as i32) else { return Ok(()) };
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    if record::is_locked(&directory.join("lock"))? {
        sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL)?;
    }
    Ok(())
}
