//! A container's ulimits, and the settings of its task's own namespaces.

use super::sandbox::{Sandbox, context};
use crate::sys::{self, Forked};
use quarry_domain::task::{Ulimit, UlimitName};
use rustix::fd::AsFd;
use rustix::process::{Resource, Rlimit};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io::{self, Read, Write};

/// Open files a container may have, where the shim itself may have as many.
const OPEN_FILES: u64 = 65_536;

/// Limits the calling process, while it may still raise what is limited.
pub fn apply(ulimits: &[Ulimit]) -> io::Result<()> {
    for (name, wanted) in [(UlimitName::Nofile, OPEN_FILES), (UlimitName::Core, 0)] {
        // What was lowered cannot be raised again.
        if ulimits.iter().all(|limit| limit.resource != name) {
            usual(resource(name), wanted);
        }
    }
    for limit in ulimits {
        let value = |n: u64| (n != u64::MAX).then_some(n);
        let wanted = Rlimit { current: value(limit.soft), maximum: value(limit.hard) };
        rustix::process::setrlimit(resource(limit.resource), wanted).map_err(|e| {
            let step = format!("the ulimit {:?} of {} is more than this machine gives", limit.resource, limit.hard);
            context(&step.to_lowercase(), e)
        })?;
    }
    Ok(())
}

fn usual(resource: Resource, wanted: u64) {
    let most = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let value = Some(wanted.min(most));
    let _ = rustix::process::setrlimit(resource, Rlimit { current: value, maximum: value });
}

fn resource(name: UlimitName) -> Resource {
    match name {
        UlimitName::Core => Resource::Core,
        UlimitName::Cpu => Resource::Cpu,
        UlimitName::Data => Resource::Data,
        UlimitName::Fsize => Resource::Fsize,
        UlimitName::Locks => Resource::Locks,
        UlimitName::Memlock => Resource::Memlock,
        UlimitName::Msgqueue => Resource::Msgqueue,
        UlimitName::Nice => Resource::Nice,
        UlimitName::Nofile => Resource::Nofile,
        UlimitName::Nproc => Resource::Nproc,
        UlimitName::Rss => Resource::Rss,
        UlimitName::Rtprio => Resource::Rtprio,
        UlimitName::Rttime => Resource::Rttime,
        UlimitName::Sigpending => Resource::Sigpending,
        UlimitName::Stack => Resource::Stack,
    }
}

/// Sets these of the task's network and IPC namespaces, in a process of its own that enters them.
pub fn set_controls(sandbox: &Sandbox, controls: &[(String, String)]) -> io::Result<()> {
    if controls.is_empty() {
        return Ok(());
    }
    let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let child = match sys::fork(0)? {
        Forked::Child => {
            let set = || -> io::Result<()> {
                move_into_link_name_space(sandbox.net.as_fd(), Some(LinkNameSpaceType::Network))?;
                move_into_link_name_space(sandbox.ipc.as_fd(), Some(LinkNameSpaceType::InterProcessCommunication))?;
                // Newer kernels let only the namespace's own root change what is of IPC.
                let own = |(_, result): &(usize, io::Result<()>)| matches!(result, Err(e) if e.kind() == io::ErrorKind::PermissionDenied);
                let tried: Vec<(usize, io::Result<()>)> =
                    controls.iter().map(|(name, value)| write(name, value)).enumerate().collect();
                if tried.iter().any(own) {
                    sandbox.enter()?;
                }
                for (index, result) in tried {
                    let (name, value) = &controls[index];
                    let refused = matches!(&result, Err(e) if e.kind() == io::ErrorKind::PermissionDenied);
                    let result = if refused { write(name, value) } else { result };
                    result.map_err(|e| context(&format!("the system control {}", name.replace('/', ".")), e))?;
                }
                Ok(())
            };
            if let Err(e) = set() {
                let _ = std::fs::File::from(to).write_all(e.to_string().as_bytes());
                sys::exit_now(1);
            }
            sys::exit_now(0)
        }
        Forked::Parent(pid) => pid,
    };
    drop(to);
    let mut reason = String::new();
    let _ = std::fs::File::from(from).read_to_string(&mut reason);
    match sys::wait_child(child)? {
        (Some(0), _) => Ok(()),
        _ => Err(io::Error::other(reason)),
    }
}

fn write(name: &str, value: &str) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(format!("/proc/sys/{name}"))?.write_all(value.as_bytes())
}
