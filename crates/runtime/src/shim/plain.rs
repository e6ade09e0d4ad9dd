//! Tasks as plain processes, where namespaces are refused. Honest about what is missing: the
//! image's files are copied, not mounted; the program runs as the same user, sees the host and
//! listens on the host's loopback at the port it is given in `PORT`. What needs no namespace is in force all the
//! same: no capabilities, no new privileges, the list of system calls, and Landlock's scopes.
//!
//! Volumes cannot be shown at their path. Instead each environment variable and argument that is
//! a mount's target path, or begins with it and a slash, gets the volume's path on the host in its
//! place. A volume's `read_only` is not enforced.

use super::container::Running;
use super::exec::{Streams, TERMINAL};
use super::inside::{self, Failure};
use super::limits;
use super::sandbox::context;
use super::seccomp::Filters;
use crate::cgroup::{self, Group};
use crate::sys::{self, Forked};
use quarry_domain::task::{ContainerSpec, Mount, TaskSpec};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, WaitOptions};
use std::ffi::CString;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// A free port of the host's loopback for each container port. Between here and the program's own
/// `bind` another process may take it; the task then fails and is replaced.
pub fn free_ports(spec: &TaskSpec) -> io::Result<Vec<(u16, u16)>> {
    let mut held = Vec::new();
    for port in spec.containers.iter().flat_map(|c| &c.ports) {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        held.push((*port, listener.local_addr()?.port(), listener));
    }
    Ok(held.into_iter().map(|(container, host, _)| (container, host)).collect())
}

/// Copies layers, bottom first, into one tree, with whiteouts and opaque directories applied.
pub fn merge(layers: &[PathBuf], root: &Path) -> io::Result<()> {
    fs::create_dir(root)?;
    for layer in layers {
        merge_directory(layer, root)?;
    }
    Ok(())
}

fn merge_directory(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let meta = fs::symlink_metadata(&source)?;
        let kind = meta.file_type();
        let existing = fs::symlink_metadata(&target).ok();
        if kind.is_dir() {
            if existing.as_ref().is_some_and(|e| !e.is_dir()) || is_opaque(&source) {
                remove(&target, existing.as_ref())?;
            }
            match fs::create_dir(&target) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            merge_directory(&source, &target)?;
            continue;
        }
        remove(&target, existing.as_ref())?;
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_file() {
            // A copy, not a hard link: the program may write to it, the store must not change.
            fs::copy(&source, &target)?;
        } else if !(kind.is_char_device() && meta.rdev() == 0) && kind.is_fifo() {
            rustix::fs::mknodat(rustix::fs::CWD, &target, rustix::fs::FileType::Fifo, 0o600.into(), 0)?;
        }
    }
    Ok(())
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0u8; 4];
    matches!(rustix::fs::lgetxattr(directory, crate::image::OPAQUE, &mut value[..]), Ok(1) if value[0] == b'y')
}

fn remove(path: &Path, existing: Option<&fs::Metadata>) -> io::Result<()> {
    match existing {
        None => Ok(()),
        Some(meta) if meta.is_dir() => crate::tree::remove(path),
        Some(_) => fs::remove_file(path),
    }
}

/// Where a program's output goes.
pub enum Output<'a> {
    Log(OwnedFd),
    /// Its input comes from there, too.
    Streams(Streams<'a>),
}

/// Starts the program of the copied image.
pub fn start(
    spec: &ContainerSpec,
    root: &Path,
    ports: &[(u16, u16)],
    output: Output<'_>,
    group: Option<Group>,
    filters: &Filters,
) -> Result<Running, Failure> {
    let program = find_program(spec, root, spec.args.first().map_or("", String::as_str))?;
    let mut args = spec.args.clone();
    for argument in args.iter_mut().skip(1) {
        *argument = relocate(argument, &spec.mounts, root);
    }
    let mut env = environment(spec, root, ports);
    if matches!(output, Output::Streams(streams) if streams.terminal()) {
        env.push(TERMINAL.to_owned());
    }
    let directory = root.join(spec.working_dir.trim_start_matches('/'));
    fs::create_dir_all(&directory).map_err(|e| context("working directory", e))?;
    for mount in &spec.mounts {
        fs::create_dir_all(&mount.source).map_err(|e| context(&mount.source.display().to_string(), e))?;
    }
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let pid = match cgroup::fork_into(group.as_ref())? {
        Forked::Child => {
            drop(ours);
            let mut shim = Some(theirs);
            let run = || -> Result<std::convert::Infallible, Failure> {
                inside::die_with_the_shim(&shim)?;
                if let Some(group) = &group {
                    group.join().map_err(|e| context("joining the control group", e))?;
                }
                limits::apply(&spec.options.ulimits)?;
                rustix::process::setsid()?;
                rustix::process::umask(0o022.into());
                match &output {
                    Output::Log(log) => {
                        rustix::stdio::dup2_stdout(log)?;
                        rustix::stdio::dup2_stderr(log)?;
                    }
                    Output::Streams(streams) => streams.attach()?,
                }
                rustix::process::chdir(&directory)?;
                rustix::thread::set_no_new_privs(true)?;
                inside::drop_capabilities()?;
                // As far as the surrounding sandbox lets us.
                let _ = inside::keep_to_yourself();
                sys::reset_signals();
                let _ = filters.apply(spec);
                sys::close_on_exec_from(3)?;
                let arguments: Vec<CString> = args.iter().filter_map(|a| CString::new(a.as_str()).ok()).collect();
                let path = CString::new(program.as_os_str().as_bytes()).map_err(|e| Failure::Start(e.to_string()))?;
                Err(Failure::Start(format!("exec: {}: {}", program.display(), sys::execve(&path, &arguments, &env))))
            };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            let reason = match result {
                Ok(Err(Failure::Start(e) | Failure::Create(e))) => e,
                Err(_) => "a fault in the process's setup".to_owned(),
            };
            if let Some(shim) = shim.take() {
                let _ = rustix::net::send(&shim, reason.as_bytes(), SendFlags::NOSIGNAL);
            }
            sys::exit_now(126)
        }
        Forked::Parent(pid) => pid,
    };
    drop(theirs);
    let mut buffer = [0u8; 2048];
    let length = rustix::net::recv(&ours, &mut buffer[..], RecvFlags::empty()).map_or(0, |(n, _)| n);
    if length > 0 {
        sys::wait_child(pid)?;
        return Err(Failure::Start(String::from_utf8_lossy(&buffer[..length]).into_owned()));
    }
    let raw = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
    Ok(Running { pid, pidfd: rustix::process::pidfd_open(raw, PidfdFlags::empty())?, group })
}

/// Runs another command of the copied image.
pub fn run(
    spec: &ContainerSpec,
    root: &Path,
    ports: &[(u16, u16)],
    command: &[String],
    filters: &Filters,
    streams: Streams<'_>,
) -> io::Result<(i32, OwnedFd)> {
    let spec = ContainerSpec { args: command.to_vec(), ..spec.clone() };
    match start(&spec, root, ports, Output::Streams(streams), None, filters) {
        Ok(running) => Ok((running.pid, running.pidfd)),
        Err(Failure::Create(e) | Failure::Start(e)) => Err(io::Error::other(e)),
    }
}

/// The program's file inside the copy. Links are followed as if the copy were the root directory.
fn find_program(spec: &ContainerSpec, root: &Path, program: &str) -> Result<PathBuf, Failure> {
    let path_list = spec.env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(inside::DEFAULT_PATH);
    let candidates: Vec<PathBuf> = if program.starts_with('/') {
        vec![PathBuf::from(program)]
    } else if program.contains('/') {
        vec![Path::new(&spec.working_dir).join(program)]
    } else {
        path_list.split(':').map(|d| Path::new(d).join(program)).collect()
    };
    candidates
        .iter()
        .filter_map(|c| resolve_within(root, c))
        .find(|path| fs::metadata(path).is_ok_and(|m| m.is_file()))
        .ok_or_else(|| Failure::Start(format!("exec: \"{program}\": executable file not found in the image")))
}

fn resolve_within(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut pending: Vec<std::ffi::OsString> = path
        .components()
        .rev()
        .filter(|c| !matches!(c, Component::RootDir))
        .map(|c| c.as_os_str().to_owned())
        .collect();
    let mut inside = PathBuf::new();
    let mut links = 0;
    while let Some(part) = pending.pop() {
        if part == "." {
            continue;
        }
        if part == ".." {
            inside.pop();
            continue;
        }
        let candidate = root.join(&inside).join(&part);
        match fs::read_link(&candidate) {
            Ok(target) => {
                links += 1;
                if links > 40 {
                    return None;
                }
                if target.is_absolute() {
                    inside = PathBuf::new();
                }
                let parts = target.components().rev().filter(|c| !matches!(c, Component::RootDir));
                pending.extend(parts.map(|c| c.as_os_str().to_owned()));
            }
            Err(_) => inside.push(part),
        }
    }
    Some(root.join(inside))
}

/// The container's environment with paths of volumes and of the image's files replaced, and `PORT`: the host port of the
/// first container port; `PORT_<container port>` for each.
fn environment(spec: &ContainerSpec, root: &Path, ports: &[(u16, u16)]) -> Vec<CString> {
    let mut env: Vec<String> = spec
        .env
        .iter()
        .filter(|e| spec.ports.is_empty() || !e.starts_with("PORT="))
        .map(|e| match e.split_once('=') {
            Some((name, value)) => format!("{name}={}", relocate(value, &spec.mounts, root)),
            None => e.clone(),
        })
        .collect();
    let host_port = |port: u16| ports.iter().find(|(container, _)| *container == port).map(|(_, host)| *host);
    for (index, port) in spec.ports.iter().enumerate() {
        if let Some(host) = host_port(*port) {
            if index == 0 {
                env.push(format!("PORT={host}"));
            }
            env.push(format!("PORT_{port}={host}"));
        }
    }
    if !env.iter().any(|e| e.starts_with("PATH=")) {
        env.push(format!("PATH={}", inside::DEFAULT_PATH));
    }
    env.into_iter().filter_map(|e| CString::new(e).ok()).collect()
}

/// A path at or below a mount's target becomes the volume's path on the host; the path of a file that
/// the image has, the path of its copy.
fn relocate(value: &str, mounts: &[Mount], root: &Path) -> String {
    let matching = mounts.iter().filter_map(|m| {
        let rest = value.strip_prefix(m.target.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then(|| (m.target.len(), format!("{}{rest}", m.source.display())))
    });
    if let Some((_, path)) = matching.max_by_key(|(length, _)| *length) {
        return path;
    }
    let copied = value.starts_with('/').then(|| resolve_within(root, Path::new(value))).flatten();
    match copied.filter(|path| fs::metadata(path).is_ok_and(|m| m.is_file())) {
        Some(path) => path.display().to_string(),
        None => value.to_owned(),
    }
}

/// Ends what the task's programs left behind; as a subreaper the shim is its parent.
pub fn reap_the_rest() {
    for _ in 0..200 {
        let me = std::process::id();
        let children = fs::read_to_string(format!("/proc/self/task/{me}/children")).unwrap_or_default();
        let children: Vec<i32> = children.split_whitespace().filter_map(|p| p.parse().ok()).collect();
        for child in &children {
            let _ = sys::kill(*child, libc::SIGKILL);
        }
        while let Ok(Some(_)) = rustix::process::waitpid(None, WaitOptions::NOHANG) {}
        if children.is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_volumes_and_image_files_move_and_others_stay() {
        let root = tempfile::tempdir().unwrap();
        let mount = |source: &str, target: &str| Mount {
            source: source.into(),
            target: target.into(),
            read_only: false,
            no_links: false,
        };
        let mounts = [mount("/q/volumes/a", "/data"), mount("/q/volumes/b", "/data/deep")];
        assert_eq!(relocate("/data", &mounts, root.path()), "/q/volumes/a");
        assert_eq!(relocate("/data/x.db", &mounts, root.path()), "/q/volumes/a/x.db");
        assert_eq!(relocate("/data/deep/x", &mounts, root.path()), "/q/volumes/b/x");
        assert_eq!(relocate("/database", &mounts, root.path()), "/database");
        fs::write(root.path().join("db.json"), "{}").unwrap();
        let copy = root.path().join("db.json").display().to_string();
        assert_eq!(relocate("/db.json", &mounts, root.path()), copy);
        assert_eq!(relocate("/../../db.json", &mounts, root.path()), copy);
        assert_eq!(relocate("db.json", &mounts, root.path()), "db.json");
        assert_eq!(relocate("/", &mounts, root.path()), "/");
    }

    #[test]
    fn links_of_the_image_stay_in_the_copy() {
        let root = std::env::temp_dir().join(format!("quarry-plain-{}", std::process::id()));
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::write(root.join("usr/bin/app"), "").unwrap();
        std::os::unix::fs::symlink("/usr/bin", root.join("bin")).unwrap();
        std::os::unix::fs::symlink("../../../../usr/bin/app", root.join("usr/up")).unwrap();
        assert_eq!(resolve_within(&root, Path::new("/bin/app")), Some(root.join("usr/bin/app")));
        assert_eq!(resolve_within(&root, Path::new("/usr/up")), Some(root.join("usr/bin/app")));
        fs::remove_dir_all(&root).unwrap();
    }
}
