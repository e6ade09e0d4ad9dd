//! The few system calls that no safe wrapper offers. Everything `unsafe` of the runtime is here,
//! each block with the reason why it is sound.
//!
//! The functions that fork may be called from a single-threaded process only (the nursery with its shims, the
//! holder, the probe, none of which ever makes a thread): there the child may run any Rust code. They check it.
#![allow(unsafe_code)]

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::FromRawFd;

/// Which side of a fork this is.
pub enum Forked {
    Child,
    /// The child's process id.
    Parent(i32),
}

/// Attributes for [`mount_setattr`], as in `linux/mount.h`.
pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
pub const MOUNT_ATTR_NODEV: u64 = 0x4;
pub const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// As in `linux/sched.h`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A fork with namespace flags (`CLONE_NEW*`). With `CLONE_PARENT` the child becomes the caller's
/// sibling.
///
/// # Panics
/// If the process has more than one thread.
pub fn fork(flags: libc::c_int) -> io::Result<Forked> {
    fork_into(None, flags)
}

/// A [`fork`] whose child begins in the control group (version 2) with this directory, where one is given.
pub fn fork_into(group: Option<BorrowedFd>, flags: libc::c_int) -> io::Result<Forked> {
    assert!(single_threaded(), "fork is for single-threaded processes");
    let exit_signal = if flags & libc::CLONE_PARENT != 0 { 0 } else { libc::SIGCHLD as u64 };
    let mut args = CloneArgs { flags: flags as u64, exit_signal, ..Default::default() };
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.as_raw_fd() as u64;
    }
    // SAFETY: no stack, no tls and no id pointers are given, so this behaves as fork(2): the child
    // has a copy of all memory. The process is single-threaded, so no lock is held by a thread
    // that the child lacks.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &args as *const CloneArgs, size_of::<CloneArgs>()) })?;
    Ok(if pid == 0 { Forked::Child } else { Forked::Parent(pid as i32) })
}

/// Where the kernel reads this process's command line from, which may be replaced. The words that were there when the
/// process was executed must not be used any more.
pub struct CommandLine {
    start: usize,
    length: usize,
}

impl CommandLine {
    /// That of the calling process; a fork's child has its own at the same place.
    pub fn find() -> io::Result<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let field = |n: usize| crate::proc::fields(&stat).nth(n - 3).and_then(|f| f.parse::<usize>().ok());
        match (field(48), field(49)) {
            (Some(start), Some(end)) if start != 0 && end > start => Ok(Self { start, length: end - start }),
            _ => Err(io::Error::other("the kernel does not tell where the command line is")),
        }
    }

    /// Replaces it by these words, as far as there is room.
    pub fn set(&self, words: &[&[u8]]) {
        let mut line = Vec::with_capacity(self.length);
        for word in words {
            line.extend_from_slice(word);
            line.push(0);
        }
        // Ends in a zero in any case: the rest of the place is the environment's.
        line.resize(self.length - 1, 0);
        line.push(0);
        let place = std::ptr::with_exposed_provenance_mut::<u8>(self.start);
        // SAFETY: the kernel put the program's arguments there, on the stack's far end: memory of this process that may
        // be written, as long as `length` says, and that no Rust reference is to: the standard library reads it
        // through pointers, and finds strings that end within it now as before.
        unsafe { std::ptr::copy_nonoverlapping(line.as_ptr(), place, self.length) };
    }
}

fn single_threaded() -> bool {
    match std::fs::read_dir("/proc/self/task") {
        Ok(entries) => entries.count() == 1,
        Err(_) => true,
    }
}

/// Ends the process at once: no destructors, no flushing.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// `mount_setattr(2)` on a mount's descriptor.
pub fn mount_setattr(
    mount: BorrowedFd,
    recursive: bool,
    set: u64,
    clear: u64,
    user_namespace: Option<BorrowedFd>,
) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: set,
        attr_clr: clear,
        propagation: 0,
        userns_fd: user_namespace.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a static C string, `attr` lives through the call and its size is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &attr as *const MountAttr,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// `unshare(2)` of namespaces (`CLONE_NEW*`).
pub fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: only namespace flags are used by the callers, which do not touch memory or
    // descriptors of this process.
    check(unsafe { libc::unshare(flags) } as libc::c_long)?;
    Ok(())
}

/// Marks every descriptor from `first` on to be closed at exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: with CLOSE_RANGE_CLOEXEC nothing is closed now; no owned descriptor becomes invalid.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Closes every descriptor above the standard ones except `kept`. For a process that goes on without
/// anything it was made with and ends by [`exit_now`].
pub fn close_all_but(kept: BorrowedFd) -> io::Result<()> {
    let kept = kept.as_raw_fd() as u32;
    let close = |first: u32, last: u32| {
        // SAFETY: whoever owned these descriptors is never heard of again: the caller's frames are not
        // returned to and no destructor runs.
        check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
    };
    if kept > 3 {
        close(3, kept - 1)?;
    }
    close(kept + 1, u32::MAX)
}

/// Replaces the program. Returns only the reason why it could not.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let mut argv: Vec<*const libc::c_char> = args.iter().map(|a| a.as_ptr()).collect();
    argv.push(std::ptr::null());
    let mut envp: Vec<*const libc::c_char> = env.iter().map(|e| e.as_ptr()).collect();
    envp.push(std::ptr::null());
    // SAFETY: both vectors are null-terminated arrays of pointers to C strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Sends a signal given by its number.
pub fn pidfd_send_signal(pidfd: BorrowedFd, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed and means "as kill(2)"; the descriptor is borrowed.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    })?;
    Ok(())
}

/// `kill(2)`; a negative id means a process group.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes plain integers.
    check(unsafe { libc::kill(pid, signal) } as libc::c_long)?;
    Ok(())
}

/// Blocks all signals and returns a descriptor that reads them (`struct signalfd_siginfo`).
pub fn signal_descriptor() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigfillset before it is read; the descriptor that
    // signalfd returns is new and owned by nobody else.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut set);
        check(libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut()) as libc::c_long)?;
        let fd = check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC) as libc::c_long)?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Default dispositions and no blocked signal, as a program expects them.
pub fn reset_signals() {
    // SAFETY: the set is initialised by sigemptyset; SIG_DFL is a valid disposition. Signals whose
    // disposition cannot be changed are left alone.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
        for signal in 1..=64 {
            if signal != libc::SIGKILL && signal != libc::SIGSTOP && !(32..34).contains(&signal) {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

/// Takes one capability out of the bounding set; false where the kernel does not know it.
pub fn drop_from_bounding_set(capability: u32) -> io::Result<bool> {
    // SAFETY: both calls take plain integers.
    unsafe {
        if libc::prctl(libc::PR_CAPBSET_READ, capability as libc::c_ulong, 0, 0, 0) < 0 {
            return Ok(false);
        }
        check(libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) as libc::c_long)?;
    }
    Ok(true)
}

/// Has a filter decide on every system call of the calling thread and of whatever it executes, for good. Needs
/// `no_new_privs`.
pub fn filter_calls(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = program.len().try_into().map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies as many instructions as there are, writes none, and checks them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &program) })?;
    Ok(())
}

/// The version of Landlock's interface that the kernel has in force, if any.
pub fn landlock_version() -> Option<i64> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the call takes no attributes and makes nothing.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    (version > 0).then_some(version)
}

/// The other side of a pseudo-terminal whose `ptmx` this is, unlocked.
pub fn terminal_peer(terminal: BorrowedFd) -> io::Result<OwnedFd> {
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int, which lives through the call; TIOCGPTPEER takes flags as its argument
    // and returns a new descriptor that nobody else owns.
    unsafe {
        check(libc::ioctl(terminal.as_raw_fd(), libc::TIOCSPTLCK, &unlocked) as libc::c_long)?;
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let peer = check(libc::ioctl(terminal.as_raw_fd(), libc::TIOCGPTPEER, flags) as libc::c_long)?;
        Ok(OwnedFd::from_raw_fd(peer as i32))
    }
}

/// Gives freed heap pages back to the kernel: a shim lives long and needs next to nothing.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Waits for a child and returns its `(exit code, signal)`; one of them is `None`.
pub fn wait_child(pid: i32) -> io::Result<(Option<i32>, Option<i32>)> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::INVAL)?;
    loop {
        match rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok((status.exit_status(), status.terminating_signal())),
            Ok(None) | Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
    }
}

/// Moves descriptor `fd` away from 0, 1 and 2, close-on-exec.
pub fn above_stdio(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_capabilities_are_no_error() {
        assert!(!drop_from_bounding_set(250).unwrap());
    }

    #[test]
    fn a_missing_program_is_reported_by_exec() {
        let error = execve(c"/nonexistent/program", &[], &[]);
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }
}
