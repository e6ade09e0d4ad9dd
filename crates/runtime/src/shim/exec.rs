//! Further commands in a container that runs: health checks, and what is asked for from outside, on a
//! terminal or over pipes. They get no more rights than the container's program.

use super::container::Running;
use super::inside::{self, Failure};
use super::limits;
use super::sandbox::{Sandbox, context};
use super::seccomp::Filters;
use crate::broker;
use crate::cgroup;
use crate::sys::{self, Forked};
use quarry_domain::link::ExecReply;
use quarry_domain::task::ContainerSpec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal};
use rustix::thread::ThreadNameSpaceType;
use std::convert::Infallible;
use std::ffi::CStr;
use std::io;

/// `TERM` of a command on a terminal, where the container has none.
pub const TERMINAL: &CStr = c"TERM=xterm-256color";

/// Commands that one task may have running from outside at a time.
pub const SESSIONS_MAX: usize = 32;

/// Where a command reads from and writes to.
#[derive(Clone, Copy)]
pub enum Streams<'a> {
    /// Nowhere.
    Null,
    /// New ones, whose other ends go to whoever asked, over this socket.
    Client { socket: BorrowedFd<'a>, terminal: bool },
}

/// A command that was asked for from outside.
pub struct Session {
    pid: i32,
    pidfd: OwnedFd,
    /// To whoever asked.
    socket: OwnedFd,
}

/// What a command is run in.
pub struct Place<'a> {
    pub container: &'a Running,
    pub spec: &'a ContainerSpec,
    pub hostname: &'a str,
    pub sandbox: &'a Sandbox,
    pub filters: &'a Filters,
}

impl Streams<'_> {
    pub fn terminal(self) -> bool {
        matches!(self, Self::Client { terminal: true, .. })
    }

    /// Gives the calling process, the leader of its session, these as its standard streams.
    pub fn attach(self) -> io::Result<()> {
        match self {
            Self::Null => {
                let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
                connect(&null, &null, &null)
            }
            Self::Client { socket, terminal: true } => {
                let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
                let terminal = rustix::fs::open("/dev/ptmx", flags, Mode::empty())
                    .map_err(|e| context("opening a terminal", e))?;
                let peer = sys::terminal_peer(terminal.as_fd()).map_err(|e| context("opening a terminal", e))?;
                rustix::process::ioctl_tiocsctty(&peer)?;
                connect(&peer, &peer, &peer)?;
                tell(socket, &ExecReply::Started, &[terminal.as_fd()])
            }
            Self::Client { socket, terminal: false } => {
                let pipe = || pipe_with(PipeFlags::CLOEXEC);
                let ((input, to), (from, output), (errors_from, errors)) = (pipe()?, pipe()?, pipe()?);
                connect(&input, &output, &errors)?;
                tell(socket, &ExecReply::Started, &[to.as_fd(), from.as_fd(), errors_from.as_fd()])
            }
        }
    }
}

fn connect(input: &OwnedFd, output: &OwnedFd, errors: &OwnedFd) -> io::Result<()> {
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(errors)?;
    Ok(())
}

fn tell(socket: BorrowedFd, reply: &ExecReply, descriptors: &[BorrowedFd]) -> io::Result<()> {
    broker::send(socket, &serde_json::to_vec(reply)?, descriptors)
}

impl Session {
    /// Starts a command by `run`, which is given its streams; the socket is for whoever asked.
    pub fn start(
        terminal: bool,
        run: impl FnOnce(Streams<'_>) -> io::Result<(i32, OwnedFd)>,
    ) -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let (pid, pidfd) = run(Streams::Client { socket: ours.as_fd(), terminal })?;
        Ok((Self { pid, pidfd, socket: ours }, theirs))
    }

    /// To wait for: the command's end, and that of whoever asked.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.pidfd.as_fd(), self.socket.as_fd()]
    }

    /// Goes on; `ended` and `heard`: which descriptors are ready. False once there is nothing left to do.
    pub fn step(&self, ended: bool, heard: bool) -> bool {
        if ended {
            let code = match sys::wait_child(self.pid) {
                Ok((code, signal)) => code.or(signal.map(|s| 128 + s)).unwrap_or(255),
                Err(_) => 255,
            };
            let packet = serde_json::to_vec(&ExecReply::Ended(code)).unwrap_or_default();
            let _ = rustix::net::send(&self.socket, &packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
            return false;
        }
        if heard && !matches!(rustix::net::recv(&self.socket, &mut [0u8; 16][..], RecvFlags::DONTWAIT), Ok((1.., _))) {
            self.end();
            return false;
        }
        true
    }

    /// Kills the command and what it started in the foreground.
    pub fn end(&self) {
        let _ = sys::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = sys::wait_child(self.pid);
    }
}

/// Runs a command in a container of namespaces, as its user and with no more rights than its program.
pub fn run(place: &Place<'_>, command: &[String], streams: Streams<'_>) -> io::Result<(i32, OwnedFd)> {
    match cgroup::fork_into(place.container.group.as_ref())? {
        Forked::Child => {
            let run = || between(place, command, streams);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            if let (Ok(Err(Failure::Create(reason) | Failure::Start(reason))), Streams::Client { socket, .. }) =
                (result, streams)
            {
                let _ = tell(socket, &ExecReply::Failed(reason), &[]);
            }
            sys::exit_now(126)
        }
        Forked::Parent(pid) => {
            let raw = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
            Ok((pid, rustix::process::pidfd_open(raw, PidfdFlags::empty())?))
        }
    }
}

/// The process between shim and command, which ends with the command's code. When it is killed, so is
/// the command.
fn between(place: &Place<'_>, command: &[String], streams: Streams<'_>) -> Result<Infallible, Failure> {
    let Place { container, spec, hostname, sandbox, filters } = place;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if let Some(group) = &container.group {
        group.join().map_err(|e| context("joining the control group", e))?;
    }
    limits::apply(&spec.options.ulimits)?;
    sandbox.enter().map_err(|e| context("entering the task's namespaces", e))?;
    let spaces = ThreadNameSpaceType::MOUNT | ThreadNameSpaceType::PROCESS_ID;
    rustix::thread::move_into_thread_name_spaces(container.pidfd.as_fd(), spaces)
        .map_err(|e| context("entering the container", e))?;
    // Entering them has cleared it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    match sys::fork(0).map_err(|e| context("fork", e))? {
        Forked::Child => inside::become_command(spec, command, hostname, sandbox.ranged, filters, streams),
        Forked::Parent(child) => {
            // The shim's sockets above all: this process is its copy.
            sys::close_all_but(container.pidfd.as_fd())?;
            let (code, signal) = sys::wait_child(child)?;
            sys::exit_now(code.or(signal.map(|s| 128 + s)).unwrap_or(125))
        }
    }
}
