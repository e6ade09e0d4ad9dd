//! The container's own first process, from its birth to the image's program: from here on nothing
//! of the host is within reach, and at the end no privilege is left but what the task definition gives.

use super::exec::{Streams, TERMINAL};
use super::rootfs::{self, Files, Mounts};
use super::sandbox::context;
use super::seccomp::Filters;
use super::user::{self, User};
use crate::record::IDS_PER_TASK;
use crate::sys::{self, Forked};
use quarry_domain::task::{Capability, ContainerSpec};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Gid, Signal, Uid};
use rustix::thread::CapabilitySet;
use std::convert::Infallible;
use std::ffi::CString;
use std::io;

/// `PATH` of a container whose image names none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container's first process needs; prepared by the shim before the fork.
pub struct Start<'a> {
    pub spec: &'a ContainerSpec,
    pub mounts: Mounts,
    pub files: Files,
    pub filters: &'a Filters,
    pub log: OwnedFd,
    /// A range of user ids is mapped; otherwise only the root user exists.
    pub ranged: bool,
    /// Do everything except running the program: this machine is only being tried.
    pub rehearsal: bool,
}

/// Why the program does not run.
pub enum Failure {
    /// The container could not be made.
    Create(String),
    /// It was made, but the program cannot be executed.
    Start(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Create(error.to_string())
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Create(io::Error::from(error).to_string())
    }
}

/// Becomes the container's program. `shim` is connected to the shim: it hangs up when the shim is
/// dead, and the shim takes its closing as the program's start.
pub fn become_container(start: Start, shim: &mut Option<OwnedFd>) -> Result<Infallible, Failure> {
    die_with_the_shim(shim)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::system::sethostname(start.files.hostname.trim().as_bytes()).map_err(|e| context("host name", e))?;
    rootfs::enter(&start.mounts, &start.files, start.spec.read_only_root, &start.spec.options)?;
    drop(start.mounts);

    let user = find_user(start.spec, start.ranged)?;
    let directory = if start.spec.working_dir.is_empty() { "/" } else { start.spec.working_dir.as_str() };
    rootfs::make_directory(directory).map_err(|e| context(&format!("working directory {directory}"), e))?;
    if start.spec.read_only_root {
        rootfs::make_read_only()?;
    }
    let (path_list, env) = environment(start.spec, &user, start.files.hostname.trim());

    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    // Programs that reopen /dev/stdout need to own the file behind it.
    let _ = rustix::fs::fchown(&start.log, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    rustix::stdio::dup2_stdout(&start.log)?;
    rustix::stdio::dup2_stderr(&start.log)?;

    let _ = rustix::process::setsid();
    drop_privileges(&user, start.ranged, &start.spec.options.capabilities)?;
    // A change of user clears it.
    die_with_the_shim(shim)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;

    if start.spec.init {
        let signals = sys::signal_descriptor()?;
        match sys::fork(0)? {
            Forked::Parent(child) => {
                // The lock and the sockets of the shim, above all: this process is its copy.
                std::mem::forget((shim.take(), start.log, null));
                if sys::close_all_but(signals.as_fd()).is_err() || start.filters.apply(start.spec).is_err() {
                    sys::exit_now(127);
                }
                super::init::run(child, signals)
            }
            Forked::Child => drop(signals),
        }
    }
    keep_to_yourself()?;
    sys::reset_signals();
    start.filters.apply(start.spec)?;
    sys::close_on_exec_from(3)?;
    rustix::process::chdir(directory)
        .map_err(|e| Failure::Start(format!("working directory {directory}: {}", io::Error::from(e))))?;
    if start.rehearsal {
        sys::exit_now(0);
    }
    execute(&start.spec.args, &path_list, &env)
}

/// Becomes another command in a container whose namespaces were entered, with the rights of its program.
pub fn become_command(
    spec: &ContainerSpec,
    command: &[String],
    hostname: &str,
    ranged: bool,
    filters: &Filters,
    streams: Streams<'_>,
) -> Result<Infallible, Failure> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let user = find_user(spec, ranged)?;
    let (path_list, mut env) = environment(spec, &user, hostname);
    if streams.terminal() && !env.iter().any(|entry| entry.as_bytes().starts_with(b"TERM=")) {
        env.push(TERMINAL.to_owned());
    }
    let _ = rustix::process::setsid();
    drop_privileges(&user, ranged, &spec.options.capabilities)?;
    // By now as the container's user, to whom the terminal then belongs.
    streams.attach()?;
    // A change of user clears it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    keep_to_yourself()?;
    sys::reset_signals();
    filters.apply(spec)?;
    sys::close_on_exec_from(3)?;
    rustix::process::chdir(if spec.working_dir.is_empty() { "/" } else { spec.working_dir.as_str() })?;
    execute(command, &path_list, &env)
}

/// The container's user, by the files of the present root directory.
fn find_user(spec: &ContainerSpec, ranged: bool) -> Result<User, Failure> {
    let user = user::resolve(&spec.user).map_err(Failure::Create)?;
    if !ranged {
        // Only one id exists here, and inside it is called root.
        return Ok(User { uid: 0, gid: 0, groups: Vec::new(), home: user.home });
    }
    if [user.uid, user.gid].iter().chain(&user.groups).any(|id| *id >= IDS_PER_TASK) {
        return Err(Failure::Create(format!("user and group ids must be below {IDS_PER_TASK}")));
    }
    Ok(user)
}

/// The kernel kills this process when the shim ends; if it has ended already, there is no point.
pub fn die_with_the_shim(shim: &Option<OwnedFd>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let Some(shim) = shim else { return Ok(()) };
    let mut set = [PollFd::new(shim, PollFlags::empty())];
    rustix::event::poll(&mut set, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    if set[0].revents().contains(PollFlags::HUP) {
        sys::exit_now(125);
    }
    Ok(())
}

/// Becomes `user` and gives up every capability but these, for ever. They are those of the task's own user
/// namespace, and its root user's only.
fn drop_privileges(user: &User, ranged: bool, kept: &[Capability]) -> io::Result<()> {
    let kept = if user.uid == 0 { kept } else { &[] };
    let set = kept.iter().fold(CapabilitySet::empty(), |set, capability| set | capability_set(*capability));
    for capability in (0..64).filter(|n| set.bits() & (1 << n) == 0) {
        sys::drop_from_bounding_set(capability).map_err(|e| context("dropping capabilities", e))?;
    }
    if ranged {
        let groups: Vec<Gid> = user.groups.iter().map(|g| Gid::from_raw(*g)).collect();
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        rustix::thread::set_thread_groups(&groups).map_err(|e| context("setgroups", e))?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(|e| context("setgid", e))?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|e| context("setuid", e))?;
    }
    keep_capabilities(set)
}

fn capability_set(capability: Capability) -> CapabilitySet {
    match capability {
        Capability::AuditWrite => CapabilitySet::AUDIT_WRITE,
        Capability::Chown => CapabilitySet::CHOWN,
        Capability::DacOverride => CapabilitySet::DAC_OVERRIDE,
        Capability::Fowner => CapabilitySet::FOWNER,
        Capability::Fsetid => CapabilitySet::FSETID,
        Capability::Kill => CapabilitySet::KILL,
        Capability::Mknod => CapabilitySet::MKNOD,
        Capability::NetBindService => CapabilitySet::NET_BIND_SERVICE,
        Capability::NetRaw => CapabilitySet::NET_RAW,
        Capability::Setfcap => CapabilitySet::SETFCAP,
        Capability::Setgid => CapabilitySet::SETGID,
        Capability::Setpcap => CapabilitySet::SETPCAP,
        Capability::Setuid => CapabilitySet::SETUID,
        Capability::SysChroot => CapabilitySet::SYS_CHROOT,
        Capability::SysPtrace => CapabilitySet::SYS_PTRACE,
    }
}

/// Empties the calling process's capability sets.
pub fn drop_capabilities() -> io::Result<()> {
    keep_capabilities(CapabilitySet::empty())
}

fn keep_capabilities(set: CapabilitySet) -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    let sets = rustix::thread::CapabilitySets { effective: set, permitted: set, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(|e| context("dropping capabilities", e))
}

/// Landlock, where the kernel has it: no signals and no abstract sockets out of this domain. The
/// namespaces say the same; this holds even where one of them has a hole.
pub fn keep_to_yourself() -> io::Result<()> {
    use landlock::{CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::AbstractUnixSocket | Scope::Signal)
        .and_then(|r| r.create())
        .and_then(|r| r.restrict_self())
        .map(drop)
        .map_err(|e| io::Error::other(format!("landlock: {e}")))
}

/// The program's search path and environment.
fn environment(spec: &ContainerSpec, user: &User, hostname: &str) -> (String, Vec<CString>) {
    let get =
        |name: &str| spec.env.iter().rev().find_map(|e| e.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')));
    let path = get("PATH").unwrap_or(DEFAULT_PATH).to_owned();
    let mut env = spec.env.clone();
    if get("PATH").is_none() {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    if get("HOME").is_none() {
        env.push(format!("HOME={}", user.home));
    }
    if get("HOSTNAME").is_none() {
        env.push(format!("HOSTNAME={hostname}"));
    }
    (path, env.into_iter().filter_map(|e| CString::new(e).ok()).collect())
}

/// Looks the program up as a shell does, and runs it. Returns only why it did not.
pub fn execute(args: &[String], path_list: &str, env: &[CString]) -> Result<Infallible, Failure> {
    let arguments: Result<Vec<CString>, _> = args.iter().map(|a| CString::new(a.as_str())).collect();
    let arguments = arguments.map_err(|_| Failure::Start("an argument holds a NUL byte".to_owned()))?;
    let program = args.first().ok_or_else(|| Failure::Start("no command specified".to_owned()))?;
    let candidates: Vec<String> = if program.contains('/') {
        vec![program.clone()]
    } else {
        let in_directory = |d: &str| format!("{}/{program}", if d.is_empty() { "." } else { d });
        path_list.split(':').map(in_directory).collect()
    };
    let mut worst: Option<io::Error> = None;
    for candidate in candidates {
        let path = CString::new(candidate).map_err(|e| Failure::Start(e.to_string()))?;
        let error = sys::execve(&path, &arguments, env);
        let missing = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR));
        if !missing || worst.is_none() {
            worst = Some(error);
        }
        if !missing && worst.as_ref().and_then(|e| e.raw_os_error()) != Some(libc::EACCES) {
            break;
        }
    }
    let reason = worst.map_or_else(String::new, |e| e.to_string());
    Err(Failure::Start(format!("exec: \"{program}\": {reason}")))
}
