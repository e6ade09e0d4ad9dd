//! Ways out by the kernel: its calls, devices, privileges and settings.

use super::*;

#[cfg(target_arch = "x86_64")]
const CALLS: &[(&str, c_long)] = &[
    ("clone3", 435),
    ("bpf", 321),
    ("keyctl", 250),
    ("add_key", 248),
    ("request_key", 249),
    ("io_uring_setup", 425),
    ("io_uring_enter", 426),
    ("io_uring_register", 427),
    ("userfaultfd", 323),
    ("perf_event_open", 298),
    ("open_by_handle_at", 304),
    ("name_to_handle_at", 303),
    ("kexec_load", 246),
    ("kexec_file_load", 320),
    ("init_module", 175),
    ("finit_module", 313),
    ("delete_module", 176),
    ("open_tree", 428),
    ("move_mount", 429),
    ("fsopen", 430),
    ("fsconfig", 431),
    ("fsmount", 432),
    ("fspick", 433),
    ("mount_setattr", 442),
    ("pivot_root", 155),
    ("umount2", 166),
    ("reboot", 169),
    ("swapon", 167),
    ("swapoff", 168),
    ("syslog", 103),
    ("acct", 163),
    ("iopl", 172),
    ("ioperm", 173),
    ("settimeofday", 164),
    ("clock_settime", 227),
    ("clock_adjtime", 305),
    ("adjtimex", 159),
    ("quotactl", 179),
    ("quotactl_fd", 443),
    ("fanotify_init", 300),
    ("pidfd_getfd", 438),
    ("process_madvise", 440),
    ("move_pages", 279),
    ("migrate_pages", 256),
    ("mbind", 237),
    ("set_mempolicy", 238),
    ("lookup_dcookie", 212),
    ("vhangup", 153),
    ("sethostname", 170),
    ("setdomainname", 171),
    ("modify_ldt", 154),
    ("uselib", 134),
    ("nfsservctl", 180),
    ("memfd_secret", 447),
    ("landlock bypass by ptrace", 101),
    ("process_mrelease", 448),
    ("listmount", 458),
    ("statmount", 457),
];
#[cfg(not(target_arch = "x86_64"))]
const CALLS: &[(&str, c_long)] = &[];

/// Ways out by system calls.
pub fn kernel() {
    for (name, number) in CALLS {
        attempt(name, NO_CALL, checked(unsafe { syscall(*number, 0usize, 0usize, 0usize, 0usize, 0usize, 0usize) }));
    }
    unsafe {
        let none = c("none");
        let _ = fs::create_dir_all("/tmp/m");
        for (what, kind, at, flags) in [
            ("a tmpfs", "tmpfs", "/tmp/m", 0),
            ("the host's processes", "proc", "/tmp/m", 0),
            ("sysfs", "sysfs", "/tmp/m", 0),
            ("control groups", "cgroup", "/tmp/m", 0),
            ("control groups v2", "cgroup2", "/tmp/m", 0),
            ("the root anew", "none", "/", 32),
            ("devices", "devtmpfs", "/tmp/m", 0),
            ("an overlay", "overlay", "/tmp/m", 0),
            ("/proc/sys writable", "none", "/proc/sys", 32 | 4096),
            ("the root by bind", "none", "/tmp/m", 4096),
            ("debugfs", "debugfs", "/tmp/m", 0),
            ("fuse", "fuse", "/tmp/m", 0),
        ] {
            let (kind, at) = (c(kind), c(at));
            attempt(
                format_args!("mount {what}"),
                NO_CALL,
                checked(mount(none.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, std::ptr::null())),
            );
        }
        for (name, flag) in [
            ("user", 0x1000_0000),
            ("mount", 0x0002_0000),
            ("network", 0x4000_0000),
            ("pid", 0x2000_0000),
            ("ipc", 0x0800_0000),
            ("uts", 0x0400_0000),
            ("cgroup", 0x0200_0000),
            ("time", 0x80),
        ] {
            attempt(format_args!("unshare {name}"), NO_CALL, checked(unshare(flag)));
            #[cfg(target_arch = "x86_64")]
            if flag > 0xff {
                let child = syscall(56, (flag | 17) as c_ulong, 0usize, 0usize, 0usize, 0usize);
                if child == 0 {
                    std::process::exit(0);
                }
                attempt(format_args!("clone {name}"), NO_CALL, checked(child));
            }
        }
        for kind in ["user", "mnt", "net", "pid", "ipc", "uts", "cgroup"] {
            let entered = fs::File::open(format!("/proc/1/ns/{kind}")).and_then(|ns| checked(setns(ns.as_raw_fd(), 0)));
            attempt(format_args!("enter the {kind} namespace of process 1"), &[EPERM, ENOSYS, EACCES, ENOENT], entered);
        }
        attempt("chroot", NO_CALL, checked(chroot(c("/tmp").as_ptr())));
        #[cfg(target_arch = "x86_64")]
        {
            // The other ways in: the x32 half (mount is 165 there, too), and what 32-bit programs use.
            attempt(
                "mount by an x32 call",
                NO_CALL,
                checked(syscall(0x4000_0000 + 165, 0usize, 0usize, 0usize, 0usize, 0usize)),
            );
            // Those of 32-bit programs: a process of this kind is ended on the spot.
            let ended = Command::new("/proc/self/exe").arg("compat").status();
            match ended.map(|status| (status.signal(), status.code())) {
                Ok((Some(31), _)) => println!("held mount by a 32-bit call: the program is killed (SIGSYS)"),
                Ok((_, Some(code))) if code > 0 => {
                    attempt("mount by a 32-bit call", NO_CALL, Err::<i32, _>(io::Error::from_raw_os_error(code)));
                }
                other => println!("WORKED mount by a 32-bit call: {other:?}"),
            }
            // From another thread, and after a filter of one's own that allows everything (TSYNC).
            let other = std::thread::spawn(|| checked(unshare(0x1000_0000))).join().unwrap();
            attempt("unshare in another thread", NO_CALL, other);
            let allow: [u64; 1] = [0x7fff_0000_0000_0006];
            let program = (1u16, allow.as_ptr());
            let set = syscall(317, 1usize, 1usize, &raw const program);
            println!(
                "held a filter that allows all: it was {} and lifts nothing",
                if set == 0 { "set" } else { "refused" }
            );
            attempt("unshare after a filter that allows all", NO_CALL, checked(unshare(0x1000_0000)));
        }
    }
}

/// `mount` by the number that it has for 32-bit programs (21, which is `access` for others): ends with its errno, or
/// with 0.
pub fn compat() -> ! {
    #[cfg(target_arch = "x86_64")]
    {
        let result: i64;
        // SAFETY: the kernel's own entry for 32-bit calls; the arguments are null pointers.
        unsafe {
            std::arch::asm!("push rbx", "xor ebx, ebx", "int 0x80", "pop rbx", inlateout("rax") 21i64 => result,
                in("rcx") 0, in("rdx") 0, in("rsi") 0, in("rdi") 0, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        std::process::exit(-(result as i32));
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::process::exit(ENOSYS)
}

/// Devices, made or found.
pub fn devices() {
    unsafe {
        for (name, mode, major, minor) in [
            ("a disk", 0o060666, 8, 1),
            ("a virtual disk", 0o060666, 254, 0),
            ("memory", 0o020666, 1, 1),
            ("kmsg", 0o020666, 1, 11),
            ("tun", 0o020666, 10, 200),
            ("fuse", 0o020666, 10, 229),
            ("a whiteout", 0o020000, 0, 0),
        ] {
            let path = c("/tmp/device");
            attempt(format_args!("make {name}"), NO_CALL, checked(mknod(path.as_ptr(), mode, (major << 8) | minor)));
        }
    }
    for path in [
        "/dev/mem",
        "/dev/kmem",
        "/dev/port",
        "/dev/kmsg",
        "/dev/sda",
        "/dev/vda",
        "/dev/nvme0n1",
        "/dev/fuse",
        "/dev/kvm",
        "/dev/net/tun",
        "/dev/loop-control",
        "/dev/userfaultfd",
        "/dev/vhost-net",
        "/dev/mapper/control",
        "/dev/tty1",
    ] {
        attempt(format_args!("open {path}"), NO_FILE, fs::File::open(path).map(|_| "open"));
    }
}

/// More than it was given.
pub fn privilege() {
    unsafe {
        attempt("raise open files", &[EPERM], checked(setrlimit(7, &[1 << 30, 1 << 30])));
        attempt("higher priority", &[EPERM, EACCES], checked(setpriority(0, 0, -20)));
        attempt("real time", &[EPERM], checked(sched_setscheduler(0, 1, &10)));
        attempt("an id of nobody", &[EINVAL, EPERM], checked(setuid(70_000)));
        attempt("a file for nobody", &[EINVAL, EPERM], checked(chown(c("/tmp").as_ptr(), 70_000, 70_000)));
        for capability in [2, 12, 16, 17, 19, 21, 22, 23, 25, 38, 39, 40] {
            let raised = checked(prctl(47, 2, capability as c_ulong, 0usize, 0usize));
            attempt(format_args!("raise capability {capability}"), &[EPERM, EINVAL], raised);
        }
        match prctl(39, 0usize, 0usize, 0usize, 0usize) {
            1 => println!("held setuid programs: they give nothing"),
            other => println!("WORKED setuid programs: no_new_privs is {other}"),
        }
    }
    attempt("less likely to be killed", &[EACCES, EPERM], write("/proc/self/oom_score_adj", "-1000"));
}

/// The kernel's settings, and control groups.
pub fn settings() {
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hotplug",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/randomize_va_space",
        "/proc/sys/kernel/yama/ptrace_scope",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sys/fs/file-max",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/ipv4/conf/all/route_localnet",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/proc/bus/pci/devices",
        "/proc/fs/nfsd/threads",
        "/proc/acpi/wakeup",
        "/proc/1/oom_score_adj",
        "/proc/1/mem",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
        "/sys/class/net/eth0/mtu",
        "/sys/kernel/debug/x",
        "/sys/fs/cgroup/release_agent",
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/pids.max",
        "/sys/fs/cgroup/devices/devices.allow",
        "/sys/fs/cgroup/rdma/release_agent",
    ] {
        // Its own process 1 is the attacker's to shoot.
        if path.starts_with("/proc/1/") && std::process::id() == 1 {
            continue;
        }
        attempt(format_args!("write {path}"), NO_WRITE, write(path, "1"));
    }
    for directory in ["/sys/fs/cgroup/x", "/sys/fs/cgroup/memory/x", "/dev/x", "/proc/x", "/sys/x"] {
        attempt(format_args!("make {directory}"), NO_WRITE, fs::create_dir(directory).map(|()| "made"));
    }
    for path in [
        "/proc/kcore",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/sched_debug",
        "/proc/kpagecount",
        "/sys/kernel/security/lsm",
        "/sys/firmware/dmi/tables/DMI",
    ] {
        attempt(format_args!("read {path}"), NO_FILE, read(path));
    }
}

/// What ends the program's own means: descriptors.
pub fn last() {
    let mut held = Vec::new();
    let limit = loop {
        match fs::File::open("/proc/self/status") {
            Ok(file) => held.push(file),
            Err(error) => break error,
        }
        if held.len() > 1 << 21 {
            break io::Error::other("without an end");
        }
    };
    let count = held.len();
    drop(held);
    match limit.raw_os_error() {
        Some(24) => println!("held all descriptors of the machine: ended at {count} of its own"),
        _ => println!("WORKED all descriptors of the machine: {count}, {limit}"),
    }
}
