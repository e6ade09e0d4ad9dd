//! What this machine allows, found out by doing it, and what to do about each gap.

use crate::cgroup::Hierarchies;
use crate::layout::{Layout, private_dir};
use crate::shim;
use crate::sys::{self, Forked};
use quarry_domain::isolation::{Finding, Isolation, IsolationReport};
use quarry_domain::task::Limits;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Names the variable that forces an isolation, for tests and for those who know better.
pub const FORCE: &str = "QUARRY_ISOLATION";

/// Tries this machine in a child process (`exe` is run as `<exe> probe <data dir>`). With `force`
/// only that isolation is tried, and it is an error if it does not work.
pub fn probe(data_dir: &Path, exe: &Path, force: Option<Isolation>) -> io::Result<IsolationReport> {
    let mut command = Command::new(exe);
    command.arg0("quarry").arg("probe").arg(data_dir).env_remove(FORCE);
    if let Some(isolation) = force {
        command.env(FORCE, isolation.as_str());
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let report: Result<IsolationReport, String> = serde_json::from_slice(&output.stdout)
        .map_err(|e| io::Error::other(format!("the probe of this machine failed ({}): {e}", output.status)))?;
    report.map_err(io::Error::other)
}

/// The child of [`probe`]: prints a `Result<IsolationReport, String>` as JSON. To be called first
/// thing in `main`, before any thread exists.
pub fn probe_main(data_dir: &Path) -> i32 {
    let report = examine(data_dir).map_err(|e| e.to_string());
    let printed = serde_json::to_vec(&report).map_err(io::Error::from).and_then(|b| io::stdout().write_all(&b));
    i32::from(printed.is_err())
}

/// The isolation that [`FORCE`] names, if it is set.
pub fn forced() -> io::Result<Option<Isolation>> {
    let Some(value) = std::env::var_os(FORCE) else { return Ok(None) };
    [Isolation::UserNamespaces, Isolation::Rootless, Isolation::None]
        .into_iter()
        .find(|i| value == i.as_str())
        .map(Some)
        .ok_or_else(|| io::Error::other(format!("{FORCE} must be user-namespaces, rootless or none, not {value:?}")))
}

fn examine(data_dir: &Path) -> io::Result<IsolationReport> {
    let layout = Layout::new(data_dir)?;
    private_dir(layout.data())?;
    let force = forced()?;
    let root = rustix::process::geteuid().is_root();
    let mut findings = Vec::new();
    let mut isolation = Isolation::None;
    for candidate in [Isolation::UserNamespaces, Isolation::Rootless] {
        let wanted = match force {
            Some(force) => force == candidate,
            None => isolation == Isolation::None && (root || candidate == Isolation::Rootless),
        };
        if !wanted {
            continue;
        }
        let tried = attempt(&layout, candidate)?;
        findings.push(isolation_finding(candidate, &tried));
        match tried {
            Ok(()) => isolation = candidate,
            Err(reason) if force.is_some() => {
                let remedy = remedy(candidate, &reason);
                let message = format!("isolation {} cannot work here: {reason}. {remedy}", candidate.as_str());
                return Err(io::Error::other(message));
            }
            Err(_) => {}
        }
    }
    if force == Some(Isolation::None) {
        findings.push(Finding {
            name: "isolation".to_owned(),
            available: false,
            detail: format!("{FORCE}=none: tasks are plain processes"),
            remedy: Some(format!("unset {FORCE}")),
        });
    } else if isolation == Isolation::None {
        findings.push(Finding {
            name: "isolation".to_owned(),
            available: false,
            detail: "no namespaces: tasks run as plain processes with the host's network, files and user".to_owned(),
            remedy: Some("see the findings above; run only images you trust meanwhile".to_owned()),
        });
    }
    let limits = limits_finding(&layout);
    let low_ports = low_ports_finding();
    let landlock = landlock_finding();
    let weaker = weaker_finding(isolation);
    let report = IsolationReport { isolation, limits: limits.available, low_ports: low_ports.available, findings };
    let findings = report.findings.into_iter().chain([limits, low_ports, landlock]).chain(weaker).collect();
    Ok(IsolationReport { findings, ..report })
}

/// Rehearses a container in a fork; the reason if it does not work.
fn attempt(layout: &Layout, isolation: Isolation) -> io::Result<Result<(), String>> {
    let directory = layout.data().join(format!(".probe-{}", std::process::id()));
    private_dir(&directory)?;
    let (mut read, write) = io::pipe()?;
    let child = match sys::fork(0)? {
        Forked::Child => {
            drop(read);
            let result = std::panic::catch_unwind(|| shim::rehearse(isolation, &directory));
            let reason = match result {
                Ok(Ok(())) => String::new(),
                Ok(Err(e)) => e.to_string(),
                Err(_) => "a fault in the rehearsal".to_owned(),
            };
            let _ = (&write).write_all(format!("{}{reason}", if reason.is_empty() { '+' } else { '-' }).as_bytes());
            sys::exit_now(0)
        }
        Forked::Parent(pid) => pid,
    };
    drop(write);
    let mut said = String::new();
    read.read_to_string(&mut said)?;
    sys::wait_child(child)?;
    crate::tree::remove(&directory)?;
    Ok(match said.strip_prefix('-') {
        Some(reason) => Err(reason.to_owned()),
        None if said == "+" => Ok(()),
        None => Err("the rehearsal was killed".to_owned()),
    })
}

fn isolation_finding(isolation: Isolation, tried: &Result<(), String>) -> Finding {
    let name = match isolation {
        Isolation::UserNamespaces => "namespaces with a uid range per task",
        Isolation::Rootless => "namespaces of an ordinary user",
        Isolation::None => "plain processes",
    };
    Finding {
        name: name.to_owned(),
        available: tried.is_ok(),
        detail: match tried {
            Ok(()) if isolation == Isolation::Rootless => {
                "a container was made with all its mounts; one user id, so that every container's user is root"
                    .to_owned()
            }
            Ok(()) => "a container was made with all its mounts".to_owned(),
            Err(reason) => reason.clone(),
        },
        remedy: tried.as_ref().err().map(|reason| remedy(isolation, reason)),
    }
}

/// What to do when a container could not be made, by what is seen on the machine.
fn remedy(isolation: Isolation, reason: &str) -> String {
    let number = |path: &str| fs::read_to_string(path).ok().and_then(|t| t.trim().parse::<u64>().ok());
    if isolation == Isolation::Rootless {
        if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
            return "AppArmor restricts user namespaces of ordinary users: as root run \
                    `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or run Quarry as root"
                .to_owned();
        }
        if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
            return "as root run `sysctl -w kernel.unprivileged_userns_clone=1`, or run Quarry as root".to_owned();
        }
    }
    if number("/proc/sys/user/max_user_namespaces") == Some(0) {
        return "as root run `sysctl -w user.max_user_namespaces=15000`".to_owned();
    }
    if isolation == Isolation::UserNamespaces && !rustix::process::geteuid().is_root() {
        return "this isolation needs root".to_owned();
    }
    if reason.contains("veth") {
        return "load the kernel module: `modprobe veth`".to_owned();
    }
    if reason.contains("mapping") && reason.contains("ids") {
        return "the data directory's file system does not support id-mapped mounts: put it on ext4, xfs, btrfs or \
                tmpfs (kernel 5.19 or later)"
            .to_owned();
    }
    if reason.contains("overlay") {
        return "overlayfs is needed in user namespaces (kernel 5.11 or later), on a data directory that is not \
                itself on an overlay"
            .to_owned();
    }
    "a container or seccomp profile around this process may refuse namespaces and mounts: run Quarry outside of it, \
     or give it CAP_SYS_ADMIN and an unmasked /proc"
        .to_owned()
}

fn limits_finding(layout: &Layout) -> Finding {
    let hierarchies = Hierarchies::detect();
    let group = hierarchies.group(&layout.cgroup().join(format!("probe-{}", std::process::id())));
    let limits = Limits {
        memory: Some(64),
        memory_reservation: None,
        cpu_shares: Some(128),
        cpu_quota: Some(1024),
        pids: Some(64),
    };
    let missing = ["memory", "cpu", "pids"].into_iter().find(|c| !hierarchies.has(c));
    let tried = match missing {
        Some(controller) => Err(io::Error::other(format!("no {controller} controller is mounted"))),
        None => group.create().and_then(|()| group.limit(&limits)),
    };
    let _ = group.remove();
    Finding {
        name: "limits of CPU, memory and processes".to_owned(),
        available: tried.is_ok(),
        detail: match &tried {
            Ok(()) => format!("control groups {}", hierarchies.describe()),
            Err(e) => format!("control groups {}; {e}", hierarchies.describe()),
        },
        remedy: tried.err().map(|_| {
            if rustix::process::geteuid().is_root() {
                "mount the memory, cpu and pids controllers writable at /sys/fs/cgroup; inside a container, delegate a \
                 cgroup to it"
                    .to_owned()
            } else {
                "limits need root; CPU and memory of tasks are counted but not enforced until then".to_owned()
            }
        }),
    }
}

fn low_ports_finding() -> Finding {
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    let start: u16 = start.trim().parse().unwrap_or(1024);
    // An address of its own, so that a server on port 80 of 127.0.0.1 says nothing about permission.
    let tried = TcpListener::bind("127.91.77.80:80").map(drop);
    let available = match &tried {
        Ok(()) => true,
        Err(e) => e.kind() == io::ErrorKind::AddrInUse || start <= 80,
    };
    Finding {
        name: "ports below 1024".to_owned(),
        available,
        detail: match &tried {
            Ok(()) => "port 80 of loopback can be bound".to_owned(),
            Err(e) => format!("binding port 80 of loopback: {e}; ports from {start} on are free to all"),
        },
        remedy: (!available).then(|| {
            "load balancers use 8000 more (8080 for 80); or as root run `sysctl -w \
             net.ipv4.ip_unprivileged_port_start=80`"
                .to_owned()
        }),
    }
}

/// What containers do not get with this isolation, beyond what the other findings say.
fn weaker_finding(isolation: Isolation) -> Option<Finding> {
    let detail = match isolation {
        Isolation::UserNamespaces => return None,
        Isolation::Rootless => {
            "as an ordinary user: every container's user is root in its container and this user outside, so that files \
             of volumes belong to one user, and images that start as root and become another user or give files away \
             (chown, setuid, gosu) do not run; ulimits cannot be raised; what tasks write is bounded by looking, not by the kernel"
        }
        Isolation::None => {
            "as plain processes: users, read-only roots, tmpfs, capabilities, hosts and system controls of task \
             definitions are not in force, tasks see the machine's files and network, and what they write is not bounded"
        }
    };
    Some(Finding {
        name: "all options of containers".to_owned(),
        available: false,
        detail: detail.to_owned(),
        remedy: Some("run Quarry as root, where it can make namespaces".to_owned()),
    })
}

fn landlock_finding() -> Finding {
    // Scopes of signals and abstract sockets came with version 6.
    let version = sys::landlock_version();
    let available = version.is_some_and(|v| v >= 6);
    Finding {
        name: "landlock".to_owned(),
        available,
        detail: match version {
            Some(v) if available => format!("version {v}: confines signals and abstract sockets a second time"),
            Some(v) => format!("version {v} has no scopes; namespaces and seccomp hold without it"),
            None => "not in force; namespaces and seccomp hold without it".to_owned(),
        },
        remedy: (!available).then(|| "optional: a kernel from 6.12 on, booted with landlock in `lsm=`".to_owned()),
    }
}
