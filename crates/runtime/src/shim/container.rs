//! Starting one container, the shim's side: mounts that only the host may make, the control
//! group, the forks, and the answer whether the program runs.

use super::inside::{self, Failure, Start};
use super::limits;
use super::rootfs::{DEVICES, Files, Mounts, Volume};
use super::sandbox::{Sandbox, context};
use super::seccomp::Filters;
use crate::cgroup::{self, Group};
use crate::sys::{self, Forked, MOUNT_ATTR_IDMAP, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use quarry_domain::task::ContainerSpec;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::OpenTreeFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A container whose program runs.
pub struct Running {
    /// In the host's (the shim's) process namespace.
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub group: Option<Group>,
}

/// What is needed besides the container's own specification.
pub struct Surroundings<'a> {
    pub sandbox: &'a Sandbox,
    pub id_base: u32,
    pub filters: &'a Filters,
    pub files: Files,
    /// Unpacked layers, bottom first.
    pub layers: &'a [PathBuf],
    /// An own directory for what the container writes.
    pub writable: PathBuf,
    pub log: OwnedFd,
    pub group: Option<Group>,
    pub rehearsal: bool,
}

/// Starts a container. Returns once its program runs (or, rehearsing, once it would).
pub fn start(spec: &ContainerSpec, around: Surroundings) -> Result<Running, Failure> {
    let mounts = prepare_mounts(spec, &around)?;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let start = Start {
        spec,
        mounts,
        files: around.files,
        filters: around.filters,
        log: around.log,
        ranged: around.sandbox.ranged,
        rehearsal: around.rehearsal,
    };
    let middle = match cgroup::fork_into(around.group.as_ref()).map_err(|e| context("fork", e))? {
        Forked::Child => {
            drop(ours);
            let mut shim = Some(theirs);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                between(around.sandbox, around.group.as_ref(), start, &mut shim)
            }));
            let message = match result {
                Ok(Err(Failure::Start(reason))) => format!("S{reason}"),
                Ok(Err(Failure::Create(reason))) => format!("C{reason}"),
                Err(_) => "Ca fault in the container's setup".to_owned(),
            };
            if let Some(shim) = shim {
                let _ = rustix::net::send(&shim, message.as_bytes(), SendFlags::NOSIGNAL);
            }
            sys::exit_now(126)
        }
        Forked::Parent(pid) => pid,
    };
    drop((theirs, start));
    let outcome = await_start(&ours);
    sys::wait_child(middle)?;
    match outcome {
        Ok(Some(pid)) => {
            let raw = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
            let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty())?;
            Ok(Running { pid, pidfd, group: around.group })
        }
        Ok(None) => Err(Failure::Create("the container's setup ended without a word".to_owned())),
        Err((pid, failure)) => {
            if let Some(pid) = pid {
                let _ = sys::kill(pid, libc::SIGKILL);
                let _ = sys::wait_child(pid);
            }
            Err(failure)
        }
    }
}

/// The process between shim and container: joins the control group while it still may, enters the
/// task's namespaces, and makes the container its sibling, so that the shim is its parent.
fn between(
    sandbox: &Sandbox,
    group: Option<&Group>,
    start: Start,
    shim: &mut Option<OwnedFd>,
) -> Result<std::convert::Infallible, Failure> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    if let Some(group) = group {
        group.join().map_err(|e| context("joining the control group", e))?;
    }
    limits::apply(&start.spec.options.ulimits)?;
    sandbox.enter().map_err(|e| context("entering the task's namespaces", e))?;
    let flags = libc::CLONE_PARENT | libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP;
    match sys::fork(flags).map_err(|e| context("making the container's namespaces", e))? {
        Forked::Child => inside::become_container(start, shim),
        Forked::Parent(pid) => {
            if let Some(shim) = shim {
                rustix::net::send(&*shim, format!("P{pid}").as_bytes(), SendFlags::NOSIGNAL)?;
            }
            sys::exit_now(0)
        }
    }
}

/// Reads until the other ends are closed, which execve does: the container's process id, or why
/// there is none.
fn await_start(socket: &OwnedFd) -> Result<Option<i32>, (Option<i32>, Failure)> {
    let mut pid = None;
    let mut failure = None;
    let mut buffer = [0u8; 2048];
    loop {
        let length = match rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((0, _)) => break,
            Ok((length, _)) => length,
            Err(rustix::io::Errno::INTR) => continue,
            // A peer that was killed with unread data.
            Err(_) => break,
        };
        let text = String::from_utf8_lossy(&buffer[1..length]).into_owned();
        match buffer[0] {
            b'P' => pid = text.parse().ok(),
            b'S' => failure = Some(Failure::Start(text)),
            _ => failure = Some(Failure::Create(text)),
        }
    }
    match failure {
        Some(failure) => Err((pid, failure)),
        None => Ok(pid),
    }
}

/// Detached mounts of all that comes from the host. Files of layers and volumes have the
/// container's own ids on disk; an id-mapped mount shows them in the task's range.
fn prepare_mounts(spec: &ContainerSpec, around: &Surroundings) -> io::Result<Mounts> {
    let map = around.sandbox.ranged.then(|| around.sandbox.user.as_fd());
    let mapped = if map.is_some() { MOUNT_ATTR_IDMAP } else { 0 };
    let clone = |path: &Path, recursive: bool| -> io::Result<OwnedFd> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        rustix::mount::open_tree(CWD, path, flags).map_err(|e| context(&path.display().to_string(), e))
    };
    let mut layers = Vec::new();
    for path in around.layers {
        let mount = clone(path, false)?;
        let set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | mapped;
        sys::mount_setattr(mount.as_fd(), false, set, 0, map).map_err(|e| context("mapping a layer's ids", e))?;
        layers.push(mount);
    }
    make_writable(&around.writable, around.sandbox.ranged.then_some(around.id_base))?;
    let writable = clone(&around.writable, false)?;
    let device = |name: &&str| -> io::Result<OwnedFd> {
        let mount = clone(&Path::new("/dev").join(name), false)?;
        // Written to all the same; what cannot be changed is whose it is and for whom.
        sys::mount_setattr(mount.as_fd(), false, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, None)
            .map_err(|e| context(name, e))?;
        Ok(mount)
    };
    let devices = DEVICES.iter().map(device).collect::<io::Result<Vec<_>>>()?;
    let mut volumes = Vec::new();
    for volume in &spec.mounts {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&volume.source)?;
        let mount = if volume.no_links { clone_straight(&volume.source)? } else { clone(&volume.source, false)? };
        let read_only = if volume.read_only { MOUNT_ATTR_RDONLY } else { 0 };
        let set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | mapped | read_only;
        sys::mount_setattr(mount.as_fd(), false, set, 0, map).map_err(|e| context("mapping a volume's ids", e))?;
        volumes.push(Volume { mount, target: volume.target.clone() });
    }
    Ok(Mounts { layers, writable, devices, volumes })
}

/// As a detached mount, if no part of the path is a link.
fn clone_straight(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let named = |e: rustix::io::Errno| context(&path.display().to_string(), e);
    let folder = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map_err(named)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(&folder, "", flags).map_err(named)
}

/// `u` and `w` of the overlay, owned by the task's root user.
fn make_writable(path: &Path, owner: Option<u32>) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o711).create(path)?;
    for name in ["u", "w"] {
        let directory = path.join(name);
        std::fs::DirBuilder::new().mode(0o755).create(&directory)?;
        std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        if owner.is_some() {
            std::os::unix::fs::chown(&directory, owner, owner)?;
        }
    }
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o711))
}
