//! A container's file system, built inside its own mount namespace: layers under an overlay, the
//! kernel's file systems, devices, volumes, and then nothing else.
//!
//! Paths of the image are never resolved against the host: each is opened with
//! `openat2(RESOLVE_IN_ROOT)` below the new root, and mounts are attached to descriptors.

use super::sandbox::context;
use crate::sys::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use quarry_domain::task::ContainerOptions;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

/// Devices every container has.
pub const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Of `/dev/shm`, in MiB, where nothing is said; as Docker has it.
const SHARED_MEMORY: u32 = 64;

/// Detached mounts, made by the shim, which may see the host's paths and set id maps.
pub struct Mounts {
    /// Bottom first.
    pub layers: Vec<OwnedFd>,
    /// Holds `u` (upper) and `w` (work).
    pub writable: OwnedFd,
    /// In the order of [`DEVICES`].
    pub devices: Vec<OwnedFd>,
    pub volumes: Vec<Volume>,
}

/// A volume and where it goes.
pub struct Volume {
    pub mount: OwnedFd,
    pub target: String,
}

/// Small files that are written into the root.
pub struct Files {
    pub hostname: String,
    pub hosts: String,
    pub resolv_conf: String,
}

const HIDDEN_FILES: [&str; 6] =
    ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sysrq-trigger", "/proc/latency_stats", "/proc/kpagecount"];
const HIDDEN_DIRECTORIES: [&str; 5] =
    ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap", "/sys/kernel"];
const READ_ONLY: [&str; 4] = ["/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq"];

/// Builds the root and makes it the process's root directory.
pub fn enter(mounts: &Mounts, files: &Files, read_only: bool, options: &ContainerOptions) -> io::Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|e| context("making mounts private", e))?;
    stage(mounts)?;
    let root = rustix::fs::open("root", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let root = root.as_fd();

    let plain = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let kernel = plain | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    attach_new(root, "proc", "proc", &[], kernel)?;
    let sys = attach_new(root, "sys", "sysfs", &[], kernel | MountAttrFlags::MOUNT_ATTR_RDONLY);
    if sys.is_err() {
        // Refused where the surrounding sandbox hides parts of it; an empty one is as good.
        attach_new(root, "sys", "tmpfs", &[("mode", "555"), ("size", "4k")], kernel)?;
    }
    if read_only || is_missing(root, "tmp") {
        attach_new(root, "tmp", "tmpfs", &[("mode", "1777"), ("size", "64m")], plain)?;
    }
    devices(root, &mounts.devices, options.shared_memory.unwrap_or(SHARED_MEMORY))?;
    write_file(root, "etc/hostname", &files.hostname)?;
    write_file(root, "etc/hosts", &files.hosts)?;
    write_file(root, "etc/resolv.conf", &files.resolv_conf)?;
    for volume in &mounts.volumes {
        let target = directory(root, Path::new(&volume.target))
            .map_err(|e| context(&format!("mount point {}", volume.target), e))?;
        attach(volume.mount.as_fd(), target.as_fd())
            .map_err(|e| context(&format!("mounting a volume at {}", volume.target), e))?;
    }
    for tmpfs in &options.tmpfs {
        let size = format!("{}m", tmpfs.size);
        let mut settings = vec![("size", size.as_str()), ("mode", "1777")];
        settings.extend(tmpfs.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut attributes = plain;
        attributes.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, !tmpfs.executable);
        attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, tmpfs.read_only);
        attach_new(root, tmpfs.target.trim_start_matches('/'), "tmpfs", &settings, attributes)?;
    }

    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".").map_err(|e| context("pivot_root", e))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(|e| context("leaving the host's root", e))?;
    rustix::process::chdir("/")?;
    hide()?;
    Ok(())
}

/// The root becomes read-only, once nothing has to be made in it any more.
pub fn make_read_only() -> io::Result<()> {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    sys::mount_setattr(root.as_fd(), false, MOUNT_ATTR_RDONLY, 0, None).map_err(|e| context("read-only root", e))
}

/// Makes the directory `path` of the container and all above it.
pub fn make_directory(path: &str) -> io::Result<()> {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    directory(root.as_fd(), Path::new(path)).map(drop)
}

/// Attaches layers and the writable directory to a private tmpfs and mounts the overlay at `root`
/// of it, which becomes the working directory. Names in the overlay's options are our own and short.
fn stage(mounts: &Mounts) -> io::Result<()> {
    let place = ["/tmp", "/mnt", "/run"].into_iter().find(|p| Path::new(p).is_dir());
    let place = place.ok_or_else(|| io::Error::other("the host has none of /tmp, /mnt, /run"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", place, "tmpfs", flags, Some(c"mode=0700,size=1m"))
        .map_err(|e| context("mounting a tmpfs", e))?;
    rustix::process::chdir(place)?;
    let mut lower = Vec::new();
    for (index, layer) in mounts.layers.iter().enumerate() {
        let name = format!("l{index}");
        std::fs::create_dir(&name)?;
        attach_at(layer.as_fd(), &name).map_err(|e| context("attaching a layer", e))?;
        lower.push(name);
    }
    if lower.is_empty() {
        std::fs::create_dir("l")?;
        lower.push("l".to_owned());
    }
    lower.reverse();
    std::fs::create_dir("up")?;
    attach_at(mounts.writable.as_fd(), "up").map_err(|e| context("attaching the writable layer", e))?;
    std::fs::create_dir("root")?;
    // `volatile`: what a task writes outside its volumes need not survive a power cut.
    let options = format!("lowerdir={},upperdir=up/u,workdir=up/w,userxattr", lower.join(":"));
    let mount = |options: String| -> io::Result<()> {
        let options = CString::new(options)?;
        Ok(rustix::mount::mount("overlay", "root", "overlay", flags, Some(options.as_c_str()))?)
    };
    mount(format!("{options},volatile"))
        .or_else(|_| mount(options))
        .map_err(|e| context("mounting the image's layers (overlay)", e))
}

fn devices(root: BorrowedFd, devices: &[OwnedFd], shared_memory: u32) -> io::Result<()> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let dev = attach_new(root, "dev", "tmpfs", &[("mode", "755"), ("size", "64k")], attributes)?;
    for (name, device) in DEVICES.iter().zip(devices) {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&dev, *name, flags, Mode::from_raw_mode(0o666))?;
        let target = rustix::fs::openat(&dev, *name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        attach(device.as_fd(), target.as_fd()).map_err(|e| context(&format!("device {name}"), e))?;
    }
    for name in ["pts", "shm"] {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
    }
    let pts = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
    attach_new(root, "dev/pts", "devpts", &pts, attributes)?;
    let shm = attributes | MountAttrFlags::MOUNT_ATTR_NODEV;
    let size = format!("{shared_memory}m");
    attach_new(root, "dev/shm", "tmpfs", &[("mode", "1777"), ("size", &size)], shm)?;
    for (target, name) in [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("pts/ptmx", "ptmx"),
    ] {
        rustix::fs::symlinkat(target, &dev, name)?;
    }
    sys::mount_setattr(dev.as_fd(), false, MOUNT_ATTR_RDONLY, 0, None)
}

/// Covers what tells of the host or changes it.
fn hide() -> io::Result<()> {
    for path in HIDDEN_FILES.iter().filter(|p| Path::new(p).symlink_metadata().is_ok()) {
        rustix::mount::mount_bind("/dev/null", *path).map_err(|e| context(path, e))?;
    }
    for path in HIDDEN_DIRECTORIES.iter().filter(|p| Path::new(p).is_dir()) {
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("tmpfs", *path, "tmpfs", flags, Some(c"mode=0555,size=4k"))
            .map_err(|e| context(path, e))?;
    }
    for path in READ_ONLY.iter().filter(|p| Path::new(p).is_dir()) {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(CWD, *path, flags).map_err(|e| context(path, e))?;
        sys::mount_setattr(tree.as_fd(), true, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, None)?;
        attach_at(tree.as_fd(), path).map_err(|e| context(path, e))?;
    }
    Ok(())
}

fn attach(mount: BorrowedFd, target: BorrowedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

fn attach_at(mount: BorrowedFd, target: &str) -> io::Result<()> {
    Ok(rustix::mount::move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// A new file system of `kind` at `path` below the root.
fn attach_new(
    root: BorrowedFd,
    path: &str,
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let make = || -> io::Result<OwnedFd> {
        let target = directory(root, Path::new(path))?;
        let filesystem = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            if value.is_empty() {
                rustix::mount::fsconfig_set_flag(&filesystem, *key)?;
            } else {
                rustix::mount::fsconfig_set_string(&filesystem, *key, *value)?;
            }
        }
        rustix::mount::fsconfig_create(&filesystem)?;
        let mount = rustix::mount::fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        attach(mount.as_fd(), target.as_fd())?;
        Ok(mount)
    };
    make().map_err(|e| context(&format!("mounting {kind} at /{path}"), e))
}

fn open_in(root: BorrowedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn is_missing(root: BorrowedFd, path: &str) -> bool {
    open_in(root, Path::new(path), OFlags::PATH).is_err()
}

/// Opens the directory `path` below `root`, making what is missing. Links of the image are
/// followed, within the root only.
fn directory(root: BorrowedFd, path: &Path) -> io::Result<OwnedFd> {
    let mut so_far = PathBuf::from(".");
    let mut current = open_in(root, &so_far, OFlags::PATH | OFlags::DIRECTORY)?;
    for part in path.components() {
        let std::path::Component::Normal(name) = part else {
            if matches!(part, std::path::Component::ParentDir) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path with .. is refused"));
            }
            continue;
        };
        so_far.push(name);
        current = match open_in(root, &so_far, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(0o755))?;
                open_in(root, &so_far, OFlags::PATH | OFlags::DIRECTORY)?
            }
            other => other?,
        };
    }
    Ok(current)
}

/// Replaces a file of the root, whatever it was, by one with this content.
fn write_file(root: BorrowedFd, path: &str, content: &str) -> io::Result<()> {
    let path = Path::new(path);
    let (parent, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
    let write = || -> io::Result<()> {
        let parent = directory(root, parent)?;
        match rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))?;
        io::Write::write_all(&mut std::fs::File::from(file), content.as_bytes())
    };
    write().map_err(|e| context(&format!("writing /{}", path.display()), e))
}
