//! The program inside the tests' containers: static, without dependencies, so that an image of one
//! file holds it. The first argument says what to do.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::raw::{c_char, c_int, c_long, c_ulong, c_void};
use std::time::Duration;

unsafe extern "C" {
    fn mount(s: *const c_char, t: *const c_char, k: *const c_char, f: c_ulong, d: *const c_void) -> c_int;
    fn unshare(flags: c_int) -> c_int;
    fn setns(fd: c_int, kind: c_int) -> c_int;
    fn mknod(path: *const c_char, mode: u32, dev: u64) -> c_int;
    fn ptrace(request: c_int, pid: c_int, a: *mut c_void, d: *mut c_void) -> c_long;
    fn setuid(uid: u32) -> c_int;
    fn setgid(gid: u32) -> c_int;
    fn chroot(path: *const c_char) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn getuid() -> u32;
    fn getgid() -> u32;
    fn chown(path: *const c_char, uid: u32, gid: u32) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn signal(number: c_int, handler: usize) -> usize;
    fn fork() -> c_int;
    fn setrlimit(resource: c_int, limit: *const [u64; 2]) -> c_int;
    fn isatty(fd: c_int) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int;
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map_or("", String::as_str) {
        "serve" => serve(args[2].parse().unwrap_or_else(|_| port())),
        "exit-when" => exit_when(&args[2], args[3].parse().unwrap()),
        "hog" => hog(),
        "escape" => escape(),
        "calls" => calls(),
        "list" => list(&args[2..]),
        "show" => show(),
        "talk" => talk(),
        "options" => options(),
        "fill" => fill(&args[2], args[3].parse().unwrap()),
        "write" => write_volume(&args[2], &args[3]),
        "connect" => connect(&args[2]),
        "reach" => reach(&args[2]),
        "well" => std::process::exit(i32::from(std::path::Path::new("/sick").exists())),
        "sickens" => sickens(args[2].parse().unwrap()),
        "end" => std::process::exit(args[2].parse().unwrap()),
        "orphans" => orphans(),
        "forks" => forks(),
        other => panic!("unknown part {other}"),
    }
}

fn port() -> u16 {
    std::env::var("PORT").unwrap().parse().unwrap()
}

extern "C" fn on_term(_: c_int) {
    std::process::exit(7);
}

/// Answers every connection with one line; ends with 7 on SIGTERM.
fn serve(port: u16) {
    unsafe { signal(15, on_term as *const () as usize) };
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("bind");
    println!("serving on {port}");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let peer = stream.peer_addr().map(|p| p.ip().to_string()).unwrap_or_default();
        let _ = stream.write_all(format!("hello {peer}\n").as_bytes());
    }
}

/// Ends with `code` as soon as `path` exists.
fn exit_when(path: &str, code: i32) {
    println!("waiting for {path}");
    while fs::metadata(path).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::process::exit(code);
}

/// Takes memory until it is killed.
fn hog() {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(vec![held.len() as u8 | 1; 4 << 20]);
    }
}

fn write_volume(path: &str, text: &str) {
    fs::write(path, text).expect("write");
    println!("{}", fs::read_to_string(path).unwrap());
}

fn connect(address: &str) {
    match std::net::TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_millis(800)) {
        Ok(mut stream) => {
            let mut text = String::new();
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
            let _ = stream.read_to_string(&mut text);
            println!("connected {}", text.trim());
        }
        Err(e) => println!("refused {e}"),
    }
}

/// Is well for some seconds and then no more.
fn sickens(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
    std::fs::write("/sick", "").unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

/// As `connect`, once somebody listens.
fn reach(address: &str) {
    for _ in 0..1000 {
        if std::net::TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_millis(800)).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    connect(address);
}

/// Leaves a zombie to whoever is PID 1 and says whether it was reaped.
fn orphans() {
    unsafe {
        if fork() == 0 {
            if fork() == 0 {
                std::thread::sleep(Duration::from_millis(50));
                std::process::exit(0);
            }
            std::process::exit(0);
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    let mut zombies = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let parent = status.lines().find(|l| l.starts_with("PPid:")).unwrap_or("").to_owned();
        zombies += i32::from(status.contains("State:\tZ") && parent.trim_end().ends_with("\t1"));
    }
    println!("pid {} orphans {zombies}", std::process::id());
    serve(3000);
}

/// Forks until refused.
fn forks() {
    let mut made = 0;
    loop {
        match unsafe { fork() } {
            0 => loop {
                std::thread::sleep(Duration::from_secs(60));
            },
            -1 => break,
            _ => made += 1,
        }
    }
    println!("forks {made}");
}

/// The names in each directory, with the first line of each file.
fn list(directories: &[String]) {
    for directory in directories {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap_or_else(|e| panic!("{directory}: {e}"))
            .flatten()
            .map(|e| match fs::read_to_string(e.path()) {
                Ok(text) if text.len() < 100 => format!("{}={text}", e.file_name().to_string_lossy()),
                _ => e.file_name().to_string_lossy().into_owned(),
            })
            .collect();
        names.sort();
        println!("{directory}: {}", names.join(" "));
    }
}

fn show() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    for line in status.lines().filter(|l| l.starts_with("Cap") || l.starts_with("NoNew") || l.starts_with("Seccomp:")) {
        println!("{line}");
    }
    println!("pid {}", std::process::id());
    println!("user {}:{}", unsafe { getuid() }, unsafe { getgid() });
    println!("cwd {}", std::env::current_dir().unwrap().display());
    println!("hostname {}", fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    println!("resolv {}", fs::read_to_string("/etc/resolv.conf").unwrap().trim().replace('\n', " "));
    println!("home {}", std::env::var("HOME").unwrap_or_default());
    println!("root-writable {}", fs::write("/written", "x").is_ok());
    println!("tmp-writable {}", fs::write("/tmp/written", "x").is_ok());
    let stdout = fs::OpenOptions::new().append(true).open("/dev/stdout");
    println!("stdout-reopens {}", stdout.is_ok());
    let mut names: Vec<_> =
        fs::read_dir("/").unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    println!("root {}", names.join(","));
}

/// Writes so many MiB into a file and one to its output, and waits.
fn fill(path: &str, mib: usize) {
    let bytes = vec![b'x'; 1 << 20];
    let mut file = fs::File::create(path).unwrap();
    for _ in 0..mib {
        file.write_all(&bytes).unwrap();
    }
    file.sync_all().unwrap();
    std::io::stdout().write_all(&bytes).unwrap();
    println!("\nfilled");
    std::thread::sleep(Duration::from_secs(600));
}

/// What the options of a container come to.
fn options() {
    let first =
        |path: &str| fs::read_to_string(path).unwrap_or_else(|e| e.to_string()).lines().next().unwrap_or("").to_owned();
    for line in fs::read_to_string("/proc/self/limits").unwrap().lines() {
        if line.starts_with("Max open files") || line.starts_with("Max core") || line.starts_with("Max stack") {
            println!("{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if ["/run", "/opt/x", "/dev/shm"].contains(&fields[4]) {
            println!("{} {} {}", fields[4], fields[5], fields.last().unwrap());
        }
    }
    println!("somaxconn {}", first("/proc/sys/net/core/somaxconn"));
    println!("shmmni {}", first("/proc/sys/kernel/shmmni"));
    print!("{}", fs::read_to_string("/etc/hosts").unwrap());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|l| l.starts_with("CapEff")).unwrap());
    println!("run {:?}", fs::write("/run/x", "x").is_ok());
    println!("opt {:?}", fs::write("/opt/x/x", "x").is_ok());
    let path = CString::new("/tmp/mine").unwrap();
    fs::write("/tmp/mine", "x").unwrap();
    println!("chown {}", unsafe { chown(path.as_ptr(), 7, 7) });
    // A child that asks to be traced: PTRACE_TRACEME.
    println!("traceme {}", unsafe { ptrace(0, 0, std::ptr::null_mut(), std::ptr::null_mut()) });
}

/// Does line by line what it is told on its input, and ends with 0 when that ends.
fn talk() {
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("end", code) => std::process::exit(code.parse().unwrap()),
            ("error", text) => eprintln!("{text}"),
            ("env", name) => println!("{}", std::env::var(name).unwrap_or_default()),
            ("size", _) => {
                let mut size = [0u16; 4];
                unsafe { ioctl(0, 0x5413, size.as_mut_ptr().cast()) };
                println!("{} rows, {} columns", size[0], size[1]);
            }
            ("terminal", _) => println!("terminal {}", unsafe { isatty(0) + isatty(1) }),
            ("show", _) => show(),
            (_, _) => println!("said {line}"),
        }
    }
    println!("no more");
}

fn report(what: &str, escaped: bool) {
    println!("{} {what}", if escaped { "ESCAPED" } else { "held" });
}

/// System calls that must be refused. Nothing here would harm a host if it were not.
fn calls() {
    let c = |s: &str| CString::new(s).unwrap();
    unsafe {
        let (tmpfs, tmp, none) = (c("tmpfs"), c("/tmp"), c("none"));
        report("mount", mount(none.as_ptr(), tmp.as_ptr(), tmpfs.as_ptr(), 0, std::ptr::null()) == 0);
        report(
            "remount",
            mount(none.as_ptr(), c("/proc/sys").as_ptr(), none.as_ptr(), 32 | 4096, std::ptr::null()) == 0,
        );
        for (name, flag) in
            [("user", 0x1000_0000), ("mount", 0x0002_0000), ("net", 0x4000_0000), ("pid", 0x2000_0000), ("time", 0x80)]
        {
            report(&format!("unshare {name}"), unshare(flag) == 0);
            #[cfg(target_arch = "x86_64")]
            {
                // clone(flag | SIGCHLD): a child, if it comes to be, ends at once.
                if flag > 0xff {
                    let pid = syscall(56, (flag | 17) as c_ulong, 0usize, 0usize, 0usize, 0usize);
                    if pid == 0 {
                        std::process::exit(0);
                    }
                    report(&format!("clone {name}"), pid > 0);
                }
            }
        }
        #[cfg(target_arch = "x86_64")]
        {
            // Only mounting calls, keys, foreign memory and kernel interfaces: none may work at all.
            for (name, number) in [
                ("clone3", 435),
                ("bpf", 321),
                ("keyctl", 250),
                ("add_key", 248),
                ("request_key", 249),
                ("io_uring_setup", 425),
                ("userfaultfd", 323),
                ("perf_event_open", 298),
                ("open_by_handle_at", 304),
                ("process_vm_readv", 310),
                ("kexec_load", 246),
                ("init_module", 175),
                ("finit_module", 313),
                ("open_tree", 428),
                ("move_mount", 429),
                ("fsopen", 430),
                ("mount_setattr", 442),
                ("pivot_root", 155),
                ("umount2", 166),
                ("reboot", 169),
                ("swapon", 167),
                ("syslog", 103),
                ("acct", 163),
                ("iopl", 172),
                ("settimeofday", 164),
                ("quotactl", 179),
                ("fanotify_init", 300),
                ("pidfd_getfd", 438),
            ] {
                let result = syscall(number, 0usize, 0usize, 0usize, 0usize, 0usize);
                let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
                report(name, !(result == -1 && (errno == 1 || errno == 38)));
            }
            // The 32-bit half of the x32 ABI must not be a way round the list (mount is 165 there, too).
            let result = syscall(0x4000_0000 + 165, 0usize, 0usize, 0usize, 0usize, 0usize);
            report("x32 calls", result != -1);
        }
        for kind in [1, 2, 4, 6, 8] {
            report(&format!("setns {kind}"), setns(0, 1 << (24 + kind)) == 0);
        }
        report("chroot", chroot(tmp.as_ptr()) == 0);
        // /dev is read-only, so try where files can be made.
        report("mknod disk", mknod(c("/tmp/disk").as_ptr(), 0o060666, (8 << 8) | 1) == 0);
        report("mknod mem", mknod(c("/tmp/mem").as_ptr(), 0o020666, (1 << 8) | 1) == 0);
        report("ptrace self", ptrace(0, 0, std::ptr::null_mut(), std::ptr::null_mut()) == 0);
        report("ptrace init", ptrace(16, 1, std::ptr::null_mut(), std::ptr::null_mut()) == 0);
        if getuid() != 0 {
            report("setuid root", setuid(0) == 0);
            report("setgid root", setgid(0) == 0);
        }
        report("setuid unmapped", setuid(70_000) == 0);
        report("chown unmapped", chown(c("/tmp").as_ptr(), 70_000, 70_000) == 0);
        report("packet socket", socket(17, 3, 0x300) >= 0);
        report("vsock", socket(40, 1, 0) >= 0);
        report("crypto socket", socket(38, 5, 0) >= 0);
        report("raise open files", setrlimit(7, &[1 << 30, 1 << 30]) == 0);
        report("signal outside", (2..400).any(|pid| kill(pid, 0) == 0 && pid != std::process::id() as c_int));
    }
    let others = fs::read_dir("/proc").unwrap().flatten();
    let others = others.filter(|e| e.file_name().to_str().unwrap_or("").parse::<u32>().is_ok()).count();
    report("see other processes", others > 2);
}

/// Tries to get out, one way after the other. Prints `held <what>` or `ESCAPED <what>`. Only for
/// the inside of a container: outside of one it would succeed.
fn escape() {
    calls();
    for path in [
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/proc/1/oom_score_adj.x",
        "/dev/written",
        "/sys/kernel/uevent_helper",
        "/sys/written",
        "/sys/class/net/lo/mtu",
        "/proc/acpi/x",
    ] {
        report(&format!("write {path}"), fs::write(path, "1").is_ok());
    }
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list"] {
        let found = fs::read(path).map(|b| !b.is_empty()).unwrap_or(false);
        report(&format!("read {path}"), found);
    }
    // Files and file systems of the host.
    for path in ["/proc/1/root/../../../root", "/proc/self/cwd/../../../../work", "/../../home", "/data", "/.probe"] {
        report(&format!("see {path}"), fs::metadata(path).is_ok() && fs::read_dir(path).is_ok_and(|d| d.count() > 0));
    }
    if let Ok(secret) = std::env::var("HOST_SECRET") {
        report("read a host file", fs::read(&secret).is_ok());
        report("read a host file from /proc/1/root", fs::read(format!("/proc/1/root{secret}")).is_ok());
    }
    let written =
        fs::OpenOptions::new().write(true).open("/dev/null").and_then(|mut null| null.write_all(b"x")).is_ok();
    report("devices that do not work", !written);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    report("mounts of the host", mounts.lines().any(|l| l.contains(" /home ") || l.contains("cgroup")));
    let devices: Vec<_> =
        fs::read_dir("/dev").unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    report(
        "disks in /dev",
        devices.iter().any(|d| d.starts_with("vd") || d.starts_with("sd") || d == "mem" || d == "kmsg"),
    );
    report(
        "own binary of the shim",
        fs::read("/proc/1/exe").is_ok_and(|b| b.len() != fs::read("/proc/self/exe").unwrap().len()),
    );
    report(
        "inherited descriptors",
        (3..64).any(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|t| !t.starts_with("/proc"))),
    );
    let mut interfaces: Vec<_> = fs::read_to_string("/proc/net/dev")
        .unwrap()
        .lines()
        .skip(2)
        .map(|l| l.split(':').next().unwrap().trim().to_owned())
        .collect();
    interfaces.sort();
    report("interfaces of the host", interfaces.iter().any(|i| i != "lo" && i != "eth0"));
    println!("done");
}
