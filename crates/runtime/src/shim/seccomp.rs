//! Which system calls a container may make: a list of what programs need, everything else is
//! refused with EPERM. Nothing on it makes namespaces, mounts, loads code into the kernel, reads
//! other processes or uses the keyring.

use super::filter::{Program, Verdict, compile};
use crate::sys;
use quarry_domain::task::{Capability, ContainerSpec};
use std::collections::BTreeMap;
use std::io;

/// The filters: the list, and the same for those that may do more.
pub struct Filters {
    list: Program,
    /// For containers that may trace their own processes.
    tracing: Program,
}

impl Filters {
    pub fn new() -> io::Result<Self> {
        let mut verdicts = verdicts();
        let compiled = |verdicts: &BTreeMap<i64, Verdict>| compile(verdicts, &Verdict::Refuse(libc::EPERM));
        let list = compiled(&verdicts)?;
        verdicts.extend(TRACING.iter().map(|call| (*call, Verdict::Allow)));
        Ok(Self { list, tracing: compiled(&verdicts)? })
    }

    /// Puts a container's in force for the calling thread and whatever it executes.
    pub fn apply(&self, spec: &ContainerSpec) -> io::Result<()> {
        let traces = spec.options.capabilities.contains(&Capability::SysPtrace);
        let program = if traces { &self.tracing } else { &self.list };
        sys::filter_calls(program).map_err(|e| io::Error::new(e.kind(), format!("seccomp: {e}")))
    }
}

/// What SYS_PTRACE is good for: it reaches the container's own processes only.
const TRACING: &[i64] = &[libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp];

fn verdicts() -> BTreeMap<i64, Verdict> {
    let mut verdicts: BTreeMap<i64, Verdict> =
        COMMON.iter().chain(ARCHITECTURE).map(|call| (*call, Verdict::Allow)).collect();
    let only = |argument: u8, mask: u32, values: &[u32], but: bool| Verdict::Only {
        argument,
        mask,
        values: values.to_vec(),
        but,
        otherwise: libc::EPERM,
    };

    // The arguments of `clone3` are behind a pointer, so a filter cannot see its flags; C libraries fall back to
    // `clone`, whose flags it sees.
    verdicts.insert(libc::SYS_clone3, Verdict::Refuse(libc::ENOSYS));
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    // CLONE_NEWTIME cannot be asked for there: the low byte of clone's flags is the exit signal.
    verdicts.insert(libc::SYS_clone, only(0, namespaces as u32, &[0], false));

    // Terminal input injection.
    verdicts.insert(libc::SYS_ioctl, only(1, u32::MAX, &[libc::TIOCSTI as u32, libc::TIOCLINUX as u32], true));

    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(|family| family as u32);
    verdicts.insert(libc::SYS_socket, only(0, u32::MAX, &families, false));

    let personalities = [0, 0x0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff];
    verdicts.insert(libc::SYS_personality, only(0, u32::MAX, &personalities, false));

    // Pipes, sockets and plain files, no devices.
    let kinds = [0, libc::S_IFREG, libc::S_IFIFO, libc::S_IFSOCK];
    verdicts.insert(libc::SYS_mknodat, only(2, libc::S_IFMT, &kinds, false));
    #[cfg(target_arch = "x86_64")]
    verdicts.insert(libc::SYS_mknod, only(1, libc::S_IFMT, &kinds, false));
    verdicts
}

/// Calls every architecture has.
#[rustfmt::skip]
const COMMON: &[i64] = &[
    // Files
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2, libc::SYS_openat, libc::SYS_openat2,
    libc::SYS_close, libc::SYS_close_range, libc::SYS_lseek, libc::SYS_dup, libc::SYS_dup3, libc::SYS_fcntl,
    libc::SYS_flock, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync, libc::SYS_syncfs, libc::SYS_sync_file_range,
    libc::SYS_truncate, libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_fadvise64, libc::SYS_readahead,
    libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchmodat2,
    libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_umask, libc::SYS_utimensat,
    libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_linkat,
    libc::SYS_symlinkat, libc::SYS_readlinkat, libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_chdir,
    libc::SYS_fchdir, libc::SYS_copy_file_range, libc::SYS_sendfile, libc::SYS_splice, libc::SYS_tee,
    libc::SYS_vmsplice, libc::SYS_pipe2, libc::SYS_memfd_create,
    libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, libc::SYS_getxattr, libc::SYS_lgetxattr,
    libc::SYS_fgetxattr, libc::SYS_listxattr, libc::SYS_llistxattr, libc::SYS_flistxattr, libc::SYS_removexattr,
    libc::SYS_lremovexattr, libc::SYS_fremovexattr,
    libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    libc::SYS_io_setup, libc::SYS_io_destroy, libc::SYS_io_submit, libc::SYS_io_cancel, libc::SYS_io_getevents,
    // Waiting
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_ppoll,
    libc::SYS_pselect6, libc::SYS_eventfd2, libc::SYS_signalfd4, libc::SYS_timerfd_create, libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    // Memory
    libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise,
    libc::SYS_msync, libc::SYS_mincore, libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_munlock, libc::SYS_mlockall,
    libc::SYS_munlockall, libc::SYS_remap_file_pages, libc::SYS_pkey_mprotect, libc::SYS_pkey_alloc,
    libc::SYS_pkey_free, libc::SYS_membarrier,
    // Processes, threads and signals
    libc::SYS_clone3, libc::SYS_execve, libc::SYS_execveat, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_wait4,
    libc::SYS_waitid, libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal, libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getpgid,
    libc::SYS_setpgid, libc::SYS_getsid, libc::SYS_setsid, libc::SYS_set_tid_address, libc::SYS_set_robust_list,
    libc::SYS_get_robust_list, libc::SYS_futex, libc::SYS_rseq, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn, libc::SYS_rt_sigpending, libc::SYS_rt_sigtimedwait, libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo, libc::SYS_rt_sigsuspend, libc::SYS_sigaltstack, libc::SYS_restart_syscall,
    libc::SYS_prctl, libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam, libc::SYS_sched_setparam, libc::SYS_sched_getscheduler, libc::SYS_sched_setscheduler,
    libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min, libc::SYS_sched_rr_get_interval,
    libc::SYS_sched_getattr, libc::SYS_sched_setattr, libc::SYS_getpriority, libc::SYS_setpriority,
    libc::SYS_ioprio_get, libc::SYS_ioprio_set, libc::SYS_getrlimit, libc::SYS_setrlimit, libc::SYS_prlimit64,
    libc::SYS_getrusage, libc::SYS_times, libc::SYS_getcpu, libc::SYS_seccomp, libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self,
    // Who am I: within the users of the task, and what its capabilities allow
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getgroups, libc::SYS_setuid,
    libc::SYS_setgid, libc::SYS_setreuid, libc::SYS_setregid, libc::SYS_setresuid, libc::SYS_setresgid,
    libc::SYS_getresuid, libc::SYS_getresgid, libc::SYS_setgroups, libc::SYS_setfsuid, libc::SYS_setfsgid,
    libc::SYS_capget, libc::SYS_capset,
    // Time
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_nanosleep,
    libc::SYS_gettimeofday, libc::SYS_getitimer, libc::SYS_setitimer, libc::SYS_timer_create,
    libc::SYS_timer_settime, libc::SYS_timer_gettime, libc::SYS_timer_getoverrun, libc::SYS_timer_delete,
    // Sockets (socket itself: by family)
    libc::SYS_socketpair, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_connect,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg,
    libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg, libc::SYS_setsockopt, libc::SYS_getsockopt,
    libc::SYS_shutdown,
    // System V and POSIX IPC: the task has namespaces of its own
    libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmctl, libc::SYS_shmdt, libc::SYS_semget, libc::SYS_semop,
    libc::SYS_semctl, libc::SYS_semtimedop, libc::SYS_msgget, libc::SYS_msgsnd, libc::SYS_msgrcv, libc::SYS_msgctl,
    libc::SYS_mq_open, libc::SYS_mq_unlink, libc::SYS_mq_timedsend, libc::SYS_mq_timedreceive, libc::SYS_mq_notify,
    libc::SYS_mq_getsetattr,
    // Facts and noise
    libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrandom,
];

/// Older forms that newer architectures lack.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ARCHITECTURE: &[i64] = &[
    libc::SYS_open, libc::SYS_creat, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_poll,
    libc::SYS_select, libc::SYS_dup2, libc::SYS_pipe, libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_unlink,
    libc::SYS_rename, libc::SYS_link, libc::SYS_symlink, libc::SYS_readlink, libc::SYS_chmod, libc::SYS_chown,
    libc::SYS_lchown, libc::SYS_getdents, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat, libc::SYS_fork,
    libc::SYS_vfork, libc::SYS_getpgrp, libc::SYS_pause, libc::SYS_alarm, libc::SYS_time, libc::SYS_epoll_create,
    libc::SYS_epoll_wait, libc::SYS_eventfd, libc::SYS_signalfd, libc::SYS_inotify_init, libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ARCHITECTURE: &[i64] = &[];

#[cfg(test)]
mod tests {
    use super::super::filter::tests::decide;
    use super::*;

    const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

    #[test]
    fn the_filter_is_the_list() {
        let filters = Filters::new().unwrap();
        let listed: Vec<i64> = COMMON.iter().chain(ARCHITECTURE).copied().collect();
        let by_argument =
            [libc::SYS_clone, libc::SYS_ioctl, libc::SYS_socket, libc::SYS_personality, libc::SYS_mknodat];
        for number in 0..1_000 {
            if by_argument.contains(&number)
                || number == libc::SYS_clone3
                || cfg!(target_arch = "x86_64") && number == 133
            {
                continue;
            }
            let expected = if listed.contains(&number) { libc::SECCOMP_RET_ALLOW } else { REFUSED };
            assert_eq!(decide(&filters.list, number as u32, [0; 6]), expected, "{number}");
            let expected = if TRACING.contains(&number) { libc::SECCOMP_RET_ALLOW } else { expected };
            assert_eq!(decide(&filters.tracing, number as u32, [0; 6]), expected, "{number}");
        }
        for call in [
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_io_uring_setup,
            libc::SYS_open_by_handle_at,
            libc::SYS_chroot,
            libc::SYS_userfaultfd,
            libc::SYS_perf_event_open,
        ] {
            assert_eq!(decide(&filters.list, call as u32, [0; 6]), REFUSED, "{call}");
        }
    }

    #[test]
    fn arguments_decide() {
        let filters = Filters::new().unwrap();
        let first = |call: i64, value: u64| decide(&filters.list, call as u32, [value, 0, 0, 0, 0, 0]);
        let second = |call: i64, value: u64| decide(&filters.list, call as u32, [0, value, 0, 0, 0, 0]);
        let third = |call: i64, value: u64| decide(&filters.list, call as u32, [0, 0, value, 0, 0, 0]);
        let allowed = libc::SECCOMP_RET_ALLOW;
        let threads = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND) as u64;
        assert_eq!(first(libc::SYS_clone, threads | libc::SIGCHLD as u64), allowed);
        for flag in [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWNET, libc::CLONE_NEWPID] {
            assert_eq!(first(libc::SYS_clone, threads | flag as u64), REFUSED);
        }
        assert_eq!(first(libc::SYS_clone3, 0), libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
        assert_eq!(second(libc::SYS_ioctl, libc::TIOCGWINSZ), allowed);
        assert_eq!(second(libc::SYS_ioctl, libc::TIOCSTI), REFUSED);
        // The kernel looks at the lower half, too.
        assert_eq!(second(libc::SYS_ioctl, libc::TIOCSTI | 1 << 32), REFUSED);
        assert_eq!(first(libc::SYS_socket, libc::AF_INET as u64), allowed);
        assert_eq!(first(libc::SYS_socket, libc::AF_PACKET as u64), REFUSED);
        assert_eq!(first(libc::SYS_personality, 0xffff_ffff), allowed);
        assert_eq!(first(libc::SYS_personality, 0x0040_0000), REFUSED);
        assert_eq!(third(libc::SYS_mknodat, u64::from(libc::S_IFIFO | 0o644)), allowed);
        assert_eq!(third(libc::SYS_mknodat, u64::from(libc::S_IFCHR | 0o644)), REFUSED);
        assert_eq!(third(libc::SYS_mknodat, u64::from(libc::S_IFBLK | 0o644)), REFUSED);
    }
}
