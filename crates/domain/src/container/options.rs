//! Options of containers: ulimits, Linux parameters, further hosts, system controls. Read once, by the checks and
//! by what is lowered alike.

use super::Invalid;
use super::resources::network_mode;
use super::support::{self, only};
use crate::task::{Capability, ContainerOptions, Tmpfs, Ulimit, UlimitName};
use quarry_aws::ecs::{ContainerDefinition, LinuxParameters, TaskDefinition};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Of the kernel's settings, those of the IPC namespace.
const IPC_CONTROLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

/// What may be dropped, as the ECS API reference lists it (`KernelCapabilities`).
#[rustfmt::skip]
const CAPABILITIES: [&str; 37] = [
    "AUDIT_CONTROL", "AUDIT_WRITE", "BLOCK_SUSPEND", "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID",
    "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_ADMIN", "SYS_BOOT",
    "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME",
    "SYS_TTY_CONFIG", "SYSLOG", "WAKE_ALARM",
];

/// What a container of this definition asks for.
pub(super) fn options(
    container: &ContainerDefinition,
    definition: &TaskDefinition,
) -> Result<ContainerOptions, Invalid> {
    let name = container.name.as_deref().unwrap_or_default();
    let none = LinuxParameters::default();
    let linux = container.linux_parameters.as_ref().unwrap_or(&none);
    let path = format!("containerDefinitions[{name}].linuxParameters");
    only(linux, support::LINUX_PARAMETERS, &path)?;
    swap(name, linux)?;
    let shared_memory = match linux.shared_memory_size {
        None => None,
        Some(mib) => Some(u32::try_from(mib).ok().filter(|&mib| mib > 0).ok_or_else(|| {
            Invalid(format!("Invalid 'sharedMemorySize' setting for container '{name}': it must be at least 1 MiB."))
        })?),
    };
    Ok(ContainerOptions {
        ulimits: ulimits(name, container)?,
        tmpfs: tmpfs(name, container, linux)?,
        shared_memory,
        capabilities: capabilities(name, linux)?,
        extra_hosts: extra_hosts(name, container, network_mode(definition))?,
        system_controls: system_controls(name, container)?,
    })
}

/// What Fargate has not of these.
pub(super) fn check_fargate(container: &ContainerDefinition) -> Result<(), Invalid> {
    let Some(linux) = &container.linux_parameters else { return Ok(()) };
    let asked = [
        ("maxSwap", linux.max_swap.is_some()),
        ("sharedMemorySize", linux.shared_memory_size.is_some()),
        ("swappiness", linux.swappiness.is_some()),
    ];
    if let Some((name, _)) = asked.iter().find(|(_, asked)| *asked) {
        return Err(Invalid(format!("Fargate compatible task definitions do not support linuxParameters.{name}.")));
    }
    let added = linux.capabilities.iter().flat_map(|capabilities| capabilities.add.iter().flatten());
    match added.into_iter().find(|capability| *capability != "SYS_PTRACE") {
        None => Ok(()),
        Some(other) => Err(Invalid(format!(
            "Fargate compatible task definitions do not support adding the capability {other}: only SYS_PTRACE can be added."
        ))),
    }
}

fn ulimits(name: &str, container: &ContainerDefinition) -> Result<Vec<Ulimit>, Invalid> {
    let (mut out, mut seen) = (Vec::new(), BTreeSet::new());
    for one in container.ulimits.iter().flatten() {
        let what = one.name.as_deref().unwrap_or_default();
        let invalid = |why: &str| Invalid(format!("Invalid ulimit '{what}' for container '{name}': {why}"));
        let resource = ulimit_name(what).ok_or_else(|| invalid("there is no such limit."))?;
        if !seen.insert(resource) {
            return Err(invalid("it is given more than once."));
        }
        let number = |given: Option<i32>| match given {
            Some(-1) => Ok(u64::MAX),
            Some(n) if n >= 0 => Ok(n.unsigned_abs().into()),
            _ => Err(invalid("softLimit and hardLimit must be at least 0, or -1 for no limit.")),
        };
        let (soft, hard) = (number(one.soft_limit)?, number(one.hard_limit)?);
        if soft > hard {
            return Err(invalid("softLimit must not be greater than hardLimit."));
        }
        out.push(Ulimit { resource, soft, hard });
    }
    Ok(out)
}

fn ulimit_name(name: &str) -> Option<UlimitName> {
    Some(match name {
        "core" => UlimitName::Core,
        "cpu" => UlimitName::Cpu,
        "data" => UlimitName::Data,
        "fsize" => UlimitName::Fsize,
        "locks" => UlimitName::Locks,
        "memlock" => UlimitName::Memlock,
        "msgqueue" => UlimitName::Msgqueue,
        "nice" => UlimitName::Nice,
        "nofile" => UlimitName::Nofile,
        "nproc" => UlimitName::Nproc,
        "rss" => UlimitName::Rss,
        "rtprio" => UlimitName::Rtprio,
        "rttime" => UlimitName::Rttime,
        "sigpending" => UlimitName::Sigpending,
        "stack" => UlimitName::Stack,
        _ => return None,
    })
}

fn tmpfs(name: &str, container: &ContainerDefinition, linux: &LinuxParameters) -> Result<Vec<Tmpfs>, Invalid> {
    let mounted = container.mount_points.iter().flatten().filter_map(|point| point.container_path.as_deref());
    let mut paths: BTreeSet<&str> = mounted.collect();
    let mut out = Vec::new();
    for one in linux.tmpfs.iter().flatten() {
        let path = one.container_path.as_deref().unwrap_or_default();
        let invalid = |why: String| Invalid(format!("Invalid tmpfs '{path}' for container '{name}': {why}"));
        if !path.starts_with('/') || path == "/" || path.split('/').any(|part| part == "..") {
            return Err(invalid("containerPath must be an absolute path below '/'.".into()));
        }
        if !paths.insert(path) {
            return Err(invalid("something else is mounted there.".into()));
        }
        let size = one.size.and_then(|mib| u32::try_from(mib).ok()).filter(|&mib| mib > 0);
        let size = size.ok_or_else(|| invalid("size must be at least 1 MiB.".into()))?;
        let mut tmpfs =
            Tmpfs { target: path.to_owned(), size, read_only: false, executable: false, settings: Vec::new() };
        for option in one.mount_options.iter().flatten() {
            match option.split_once('=') {
                // The usual ones, as Docker has them: nothing is executed there, and nobody becomes another.
                None => match option.as_str() {
                    "defaults" | "rw" | "noexec" | "nosuid" | "nodev" | "async" | "atime" | "noatime" | "relatime"
                    | "norelatime" | "strictatime" | "nostrictatime" | "diratime" | "nodiratime" => {}
                    "ro" => tmpfs.read_only = true,
                    "exec" => tmpfs.executable = true,
                    other => return Err(invalid(format!("the mount option '{other}' is not supported here."))),
                },
                Some((key @ ("mode" | "uid" | "gid" | "nr_inodes"), value))
                    if !value.is_empty() && value.len() <= 10 && value.bytes().all(|b| b.is_ascii_digit()) =>
                {
                    tmpfs.settings.push((key.to_owned(), value.to_owned()));
                }
                Some(_) => return Err(invalid(format!("the mount option '{option}' is not supported here."))),
            }
        }
        out.push(tmpfs);
    }
    Ok(out)
}

/// The usual ones without those that are dropped, and those that are added: with `ALL` dropped, these alone. What is
/// dropped and added alike is there, as Docker has it.
fn capabilities(name: &str, linux: &LinuxParameters) -> Result<Vec<Capability>, Invalid> {
    let Some(asked) = &linux.capabilities else { return Ok(Capability::USUAL.to_vec()) };
    let path = format!("containerDefinitions[{name}].linuxParameters.capabilities");
    only(asked, support::CAPABILITIES, &path)?;
    let dropped: Vec<&str> = asked.drop.iter().flatten().map(String::as_str).collect();
    if let Some(unknown) = dropped.iter().find(|drop| **drop != "ALL" && !CAPABILITIES.contains(drop)) {
        return Err(Invalid(format!("The capability '{unknown}' of container '{name}' does not exist.")));
    }
    let stays = |one: &Capability| !dropped.contains(&"ALL") && !dropped.contains(&one.name());
    let mut out: BTreeSet<Capability> = Capability::USUAL.into_iter().filter(stays).collect();
    for added in asked.add.iter().flatten() {
        let possible = || Capability::USUAL.into_iter().chain([Capability::SysPtrace]);
        match possible().find(|one| one.name() == added) {
            Some(capability) => out.insert(capability),
            None => {
                let names: Vec<&str> = possible().map(Capability::name).collect();
                return Err(Invalid(format!(
                    "The capability '{added}' of container '{name}' cannot be added here: only {} can.",
                    names.join(", ")
                )));
            }
        };
    }
    Ok(out.into_iter().collect())
}

/// Containers get no swap space.
fn swap(name: &str, linux: &LinuxParameters) -> Result<(), Invalid> {
    if linux.max_swap.is_some_and(|mib| mib != 0) {
        return Err(Invalid(format!(
            "Invalid 'maxSwap' setting for container '{name}': containers have no swap space here, only 0 is possible."
        )));
    }
    // Without swap space it makes no difference.
    if linux.swappiness.is_some_and(|n| !(0..=100).contains(&n)) {
        return Err(Invalid(format!(
            "Invalid 'swappiness' setting for container '{name}': it must be between 0 and 100."
        )));
    }
    Ok(())
}

fn extra_hosts(name: &str, container: &ContainerDefinition, mode: &str) -> Result<Vec<(IpAddr, String)>, Invalid> {
    let mut out = Vec::new();
    for one in container.extra_hosts.iter().flatten() {
        if mode == "awsvpc" {
            return Err(Invalid("Extra hosts are not supported on container when networkMode=awsvpc.".into()));
        }
        let host = one.hostname.as_deref().unwrap_or_default();
        let address = one.ip_address.as_deref().unwrap_or_default().parse().ok();
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        match address.filter(|_| !host.is_empty() && host.len() <= 253 && host.chars().all(valid)) {
            Some(address) => out.push((address, host.to_owned())),
            None => {
                return Err(Invalid(format!(
                    "Invalid 'extraHosts' setting for container '{name}': a host name and its IP address are needed."
                )));
            }
        }
    }
    Ok(out)
}

fn system_controls(name: &str, container: &ContainerDefinition) -> Result<Vec<(String, String)>, Invalid> {
    let mut out = Vec::new();
    for one in container.system_controls.iter().flatten() {
        let namespace = one.namespace.as_deref().unwrap_or_default();
        let value = one.value.as_deref().unwrap_or_default();
        let invalid =
            |why: &str| Invalid(format!("Invalid system control '{namespace}' for container '{name}': {why}"));
        let own = namespace.strip_prefix("net.").or_else(|| namespace.strip_prefix("fs.mqueue."));
        if own.is_none_or(|rest| rest.is_empty()) && !IPC_CONTROLS.contains(&namespace) {
            return Err(invalid(
                "only those of the task's own namespaces can be set: net.*, fs.mqueue.* and kernel's of IPC.",
            ));
        }
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        };
        if namespace.len() > 200 || !namespace.split('.').all(plain) {
            return Err(invalid("the name is not valid."));
        }
        if value.is_empty() || value.len() > 200 || value.chars().any(char::is_control) {
            return Err(invalid("the value is not valid."));
        }
        out.push((namespace.replace('.', "/"), value.to_owned()));
    }
    Ok(out)
}
