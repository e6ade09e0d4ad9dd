//! What an attacker does with code running in a service: one attempt after the other, each a row that says what
//! must come of it. Static, of this one file, so that an image from scratch holds it. Prints a line for each:
//! `held <attempt>: <how it was refused>`, `other <attempt>: …` where it was refused in another way than the row
//! says, `WORKED <attempt>: …`. Only for the inside of a task: nothing here would destroy anything elsewhere, but
//! much of it would succeed.
//!
//! What there is to attack comes by the environment: `HOST_*` and `VICTIM_*`.
#![allow(unsafe_code)]

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
    if std::env::args().nth(1).as_deref() == Some("compat") {
        compat();
    }
    let parts = [processes, files, network, credentials, control, kernel, devices, privilege, settings, last];
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
    for (name, level, option) in [("SO_MARK", 1, 36), ("SO_RCVBUFFORCE", 1, 33), ("SO_DEBUG", 1, 1)] {
        let fd = unsafe { OwnedFd::from_raw_fd(socket(2, 1, 0)) };
        attempt(name, &[EPERM, EACCES], set(&fd, level, option));
    }
    let named = unsafe {
        [
            ("packet socket", 17, 3, 0x300),
            ("packet socket, cooked", 17, 2, 0x300),
            ("raw socket", 2, 3, 1),
            ("raw socket, everything", 2, 3, 255),
            ("raw socket, IPv6", 10, 3, 58),
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
        ("the console by the metadata", "/console".to_owned()),
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
        "/console",
        "/_quarry/v1/listeners",
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
fn kernel() {
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
fn compat() -> ! {
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
fn devices() {
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
fn privilege() {
    unsafe {
        attempt("raise open files", &[EPERM], checked(setrlimit(7, &[1 << 30, 1 << 30])));
        attempt("higher priority", &[EPERM, EACCES], checked(setpriority(0, 0, -20)));
        attempt("real time", &[EPERM], checked(sched_setscheduler(0, 1, &10)));
        attempt("an id of nobody", &[EINVAL, EPERM], checked(setuid(70_000)));
        attempt("a file for nobody", &[EINVAL, EPERM], checked(chown(c("/tmp").as_ptr(), 70_000, 70_000)));
        for capability in [0, 1, 6, 7, 12, 16, 19, 21, 22, 38, 39, 40] {
            let raised = checked(prctl(47, 2, capability as c_ulong, 0usize, 0usize));
            attempt(format_args!("raise capability {capability}"), &[EPERM, EINVAL], raised);
        }
        match prctl(39, 0usize, 0usize, 0usize, 0usize) {
            1 => println!("held setuid programs: they give nothing"),
            other => println!("WORKED setuid programs: no_new_privs is {other}"),
        }
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let has = status
        .lines()
        .filter(|line| line.starts_with("CapEff") || line.starts_with("CapPrm") || line.starts_with("CapBnd"));
    let has = has.filter(|line| line.split(':').nth(1).unwrap().trim().chars().any(|c| c != '0'));
    seen("capabilities", has.map(str::to_owned).collect());
    attempt("less likely to be killed", &[EACCES, EPERM], write("/proc/self/oom_score_adj", "-1000"));
}

/// The kernel's settings, and control groups.
fn settings() {
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
fn last() {
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
